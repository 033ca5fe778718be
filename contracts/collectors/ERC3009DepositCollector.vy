# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title ERC-3009 deposit collector
@license MIT
@notice Deposits by `receiveWithAuthorization`: the payer signs once and needs neither gas nor an
        allowance.

        The authorization's nonce is keccak256(abi.encode(channelId, salt)), so a payer's signature
        is good for one channel, one amount and one deposit. ERC-3009 lets only the payee redeem
        a receive-authorization; the payee is this contract, which passes the tokens on in the same
        call and holds none in between.

        `collector_data` is abi.encode(uint256 validAfter, uint256 validBefore, uint256 salt,
        bytes signature). Whether a contract wallet may be the payer is the token's decision.

        This is the collector of most deposits and is kept cheap: `collect` is IDepositCollector's,
        but takes no more data than it can use. The shorter buffer saves 330 gas, and is why there is
        no `implements`, which would insist on the interface's bound.
"""
from ethereum.ercs import IERC20

from ..modules import settlement_only
from ..modules import signatures

initializes: settlement_only
exports: settlement_only.x402BatchSettlement

# Four words, and a signature with its length.
MAX_DATA: constant(uint256) = 5 * 32 + signatures.MAX_SIGNATURE


interface IERC3009:
    def receiveWithAuthorization(
        owner: address,
        to: address,
        amount: uint256,
        validAfter: uint256,
        validBefore: uint256,
        nonce: bytes32,
        signature: Bytes[signatures.MAX_SIGNATURE],
    ): nonpayable


@deploy
def __init__(settlement: address):
    settlement_only.__init__(settlement)


@external
def collect(payer: address, token: address, amount: uint256, channel_id: bytes32, collector_data: Bytes[MAX_DATA]):
    settlement_only._check_caller()

    valid_after: uint256 = 0
    valid_before: uint256 = 0
    salt: uint256 = 0
    signature: Bytes[signatures.MAX_SIGNATURE] = b""
    valid_after, valid_before, salt, signature = abi_decode(
        collector_data, (uint256, uint256, uint256, Bytes[signatures.MAX_SIGNATURE])
    )
    nonce: bytes32 = keccak256(abi_encode(channel_id, salt))
    # Settlement has just read a balance from the token, so there is code.
    extcall IERC3009(token).receiveWithAuthorization(
        payer, self, amount, valid_after, valid_before, nonce, signature, skip_contract_check=True
    )
    # Tokens that return nothing are taken at their word; settlement checks its balance anyway.
    if not extcall IERC20(token).transfer(
        settlement_only.x402BatchSettlement, amount, default_return_value=True
    ):
        raw_revert(abi_encode(token, method_id=method_id("SafeERC20FailedOperation(address)")))
