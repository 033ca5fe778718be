# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Channel lens
@license MIT
@notice Reads what a settlement contract says of many channels, in one call. It is never deployed:
        `eth_call` runs its creation and gets what that would leave behind as code, and the code's
        end is the immutable value below.

        It holds nothing and is trusted with nothing.
"""
from ..interfaces import IBatchSettlement

# As many as the longest code a chain takes (EIP-170) has room for.
MAX_CHANNELS: constant(uint256) = 378
WORDS: constant(uint256) = 1 + 2 * MAX_CHANNELS

CLAIMED_SHIFT: constant(uint256) = 128
TIME_SHIFT: constant(uint256) = 128
NONCE_SHIFT: constant(uint256) = 168

# First what the answer is to: the hash of chain id, contract and channels, so that nobody takes
# another's answer for it. Then two words of each channel, from the top: total claimed (16 bytes),
# balance (16); next refund nonce (11), time a withdrawal was asked for (5), its amount (16).
ANSWER: immutable(uint256[WORDS])


@deploy
def __init__(settlement: IBatchSettlement, channelIds: DynArray[bytes32, MAX_CHANNELS]):
    answer: uint256[WORDS] = empty(uint256[WORDS])
    answer[0] = convert(keccak256(abi_encode(chain.id, settlement, channelIds)), uint256)
    place: uint256 = 1
    for channel_id: bytes32 in channelIds:
        balance: uint128 = 0
        claimed: uint128 = 0
        balance, claimed = staticcall settlement.channels(channel_id)
        amount: uint128 = 0
        asked_at: uint40 = 0
        amount, asked_at = staticcall settlement.pendingWithdrawals(channel_id)
        nonce: uint256 = staticcall settlement.refundNonce(channel_id)
        answer[place] = convert(balance, uint256) | convert(claimed, uint256) << CLAIMED_SHIFT
        answer[unsafe_add(place, 1)] = (
            convert(amount, uint256) | convert(asked_at, uint256) << TIME_SHIFT | nonce << NONCE_SHIFT
        )
        place = unsafe_add(place, 2)
    ANSWER = answer
