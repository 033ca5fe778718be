# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title EIP-712 domain with ERC-5267
@license MIT
@notice The separator is fixed at deployment and used from there for as long as it is true. After a
        change of the chain id, or when this runtime code stands at another address than the one it
        was deployed to, it is built anew for every use, so a signature never counts twice.
"""

DOMAIN_TYPEHASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
# ERC-5267: bit i says that field i is part of the domain; here name, version, chain id, contract.
DOMAIN_FIELDS: constant(bytes1) = 0x0f

NAME: immutable(String[32])
VERSION: immutable(String[8])
DEPLOYED_CHAIN_ID: immutable(uint256)
DEPLOYED_ADDRESS: immutable(address)
DEPLOYED_SEPARATOR: immutable(bytes32)


@deploy
def __init__(name: String[32], version: String[8]):
    NAME = name
    VERSION = version
    DEPLOYED_CHAIN_ID = chain.id
    DEPLOYED_ADDRESS = self
    DEPLOYED_SEPARATOR = self._build(name, version)


@external
@view
def eip712Domain() -> (bytes1, String[32], String[8], uint256, address, bytes32, DynArray[uint256, 1]):
    return (DOMAIN_FIELDS, NAME, VERSION, chain.id, self, empty(bytes32), [])


@internal
@view
def _separator() -> bytes32:
    if chain.id == DEPLOYED_CHAIN_ID and self == DEPLOYED_ADDRESS:
        return DEPLOYED_SEPARATOR
    return self._build(NAME, VERSION)


@internal
@view
def _build(name: String[32], version: String[8]) -> bytes32:
    return keccak256(abi_encode(DOMAIN_TYPEHASH, keccak256(name), keccak256(version), chain.id, self))


@internal
@pure
def _digest(separator: bytes32, struct_hash: bytes32) -> bytes32:
    return keccak256(concat(0x1901, separator, struct_hash))
