# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Hostile contract wallet
@license MIT
@notice Answers an ERC-1271 question with any word followed by zeros, cut to any size; or reverts,
        burns all gas it is given, or calls another contract before it says yes to everything.
"""
from ...modules import signatures

MAGIC: constant(bytes32) = 0x1626ba7e00000000000000000000000000000000000000000000000000000000
MAX_ANSWER: constant(uint256) = 32_768

ANSWER: constant(uint256) = 0
REVERT: constant(uint256) = 1
BURN_GAS: constant(uint256) = 2

mode: uint256
word: bytes32
size: uint256
callTarget: address
callData: Bytes[4_096]


@external
def answerWith(word: bytes32, size: uint256):
    self.mode = ANSWER
    self.word = word
    self.size = size


@external
def revertAlways():
    self.mode = REVERT


@external
def burnGas():
    self.mode = BURN_GAS


@external
def callBack(target: address, data: Bytes[4_096]):
    """
    @notice From now on every answer is a yes, once the call has succeeded. ERC-1271 asks by a static
            call, so a call that changes anything fails, and the answer with it.
    """
    self.mode = ANSWER
    self.word = MAGIC
    self.size = 32
    self.callTarget = target
    self.callData = data


@external
@raw_return
def isValidSignature(digest: bytes32, signature: Bytes[signatures.MAX_SIGNATURE]) -> Bytes[MAX_ANSWER]:
    if self.mode == REVERT:
        raise "hostile wallet"
    assert self.mode != BURN_GAS, UNREACHABLE
    if self.callTarget != empty(address):
        raw_call(self.callTarget, self.callData)
    return slice(abi_encode(self.word, empty(bytes32[MAX_ANSWER // 32 - 1])), 0, self.size)
