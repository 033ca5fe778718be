"""Contract wallets: whether an address is one, and what it says of a signature (ERC-1271)."""

from __future__ import annotations

from eth_abi.abi import encode
from web3 import Web3
from web3.types import Wei

from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import TransactionRefused, as_farthing_error

# `isValidSignature(bytes32,bytes)`: its selector is also the answer that means yes.
_IS_VALID = bytes.fromhex("1626ba7e")
_YES = _IS_VALID.ljust(32, b"\0")
# What the settlement contract gives a wallet for its answer; see contracts/modules/signatures.vy.
ERC1271_GAS = 500_000
_CALL_GAS, _ZERO_BYTE_GAS, _BYTE_GAS = 21_000, 4, 16


def is_contract(w3: Web3, address: str) -> bool:
    """Whether there is code at ``address``.

    Raises:
        NodeUnreachable: The chain cannot be asked.
    """
    try:
        return bool(w3.eth.get_code(Web3.to_checksum_address(address)))
    except Exception as error:
        raise as_farthing_error(error, address) from error


def is_valid_erc1271(
    w3: Web3, settlement: str, wallet: str, digest: bytes, signature: bytes
) -> bool:
    """Whether the wallet tells the settlement contract that it signed ``digest``.

    It is asked as that contract asks it: by its address, and with no more gas.

    Raises:
        NodeUnreachable: The chain cannot be asked.
    """
    data = _IS_VALID + encode(["bytes32", "bytes"], [digest, signature])
    zeros = data.count(0)
    gas = _CALL_GAS + _ZERO_BYTE_GAS * zeros + _BYTE_GAS * (len(data) - zeros) + ERC1271_GAS
    try:
        answer = w3.eth.call(
            {
                "from": Web3.to_checksum_address(settlement),
                "to": Web3.to_checksum_address(wallet),
                "data": data,
                "gas": gas,
                "gasPrice": Wei(0),
            }
        )
    except Exception as error:
        found = as_farthing_error(error, wallet)
        # It refused, or it used up its gas: that is a no.
        if isinstance(found, ContractReverted | TransactionRefused):
            return False
        raise found from error
    return bytes(answer[:32]) == _YES
