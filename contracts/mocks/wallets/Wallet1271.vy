# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Contract wallet for tests
@license MIT
@notice An ERC-1271 wallet with one owner key. Anybody may have it call anything, so that tests can
        make it a payer, a receiver or an authorizer that acts.
"""
from ...modules import signatures

MAGIC: constant(bytes4) = 0x1626ba7e

owner: public(immutable(address))


@deploy
def __init__(owner_: address):
    owner = owner_


@external
@view
def isValidSignature(digest: bytes32, signature: Bytes[signatures.MAX_SIGNATURE]) -> bytes4:
    if signatures._recover(digest, signature) != owner:
        return 0xffffffff
    return MAGIC


@external
@payable
def execute(target: address, data: Bytes[8_192]) -> Bytes[512]:
    """
    @notice Passes a revert on as it came.
    """
    return raw_call(target, data, value=msg.value, max_outsize=512)
