# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Allowance deposit collector
@license MIT
@notice Deposits from a plain ERC-20 allowance to this contract, for tokens with neither ERC-3009 nor
        Permit2; the allowance may come along as an EIP-2612 permit.

        Why an allowance is not enough: anybody may send a deposit, naming any config. A thief could
        open a channel that has the victim as payer, the thief as receiver and the thief's key as
        payer authorizer, fill it from the victim's allowance and claim it all. So the payer signs,
        under this contract's own domain, exactly which channel gets exactly how much:
        `AllowanceDeposit(bytes32 channelId,uint256 amount,uint256 nonce,uint256 deadline)`.
        The channel id stands for every party, the token, the chain and the settlement contract. A
        permit in place of that signature would not do: it names no channel, and on a token
        whose fallback accepts every call a forged one seems to succeed. Nor would the transaction's
        origin: it says who pays for gas, not what they meant.

        A nonce counts once per payer, in any order. To take back a signature before its deadline,
        take back the allowance. Payers that are contracts answer by ERC-1271.

        `collector_data` is abi.encode(uint256 nonce, uint256 deadline, bytes signature,
        bytes eip2612Data). `deadline` is in seconds and is the last one that counts; `eip2612Data`
        may be empty, or a permit of exactly the amount; see `eip2612_permit`.
"""
from ethereum.ercs import IERC20

from ..interfaces import IDepositCollector
from ..modules import eip2612_permit
from ..modules import eip712_domain
from ..modules import settlement_only
from ..modules import signatures

implements: IDepositCollector
initializes: eip712_domain
initializes: settlement_only
exports: (eip712_domain.eip712Domain, settlement_only.x402BatchSettlement)

ALLOWANCE_DEPOSIT_TYPEHASH: public(constant(bytes32)) = keccak256(
    "AllowanceDeposit(bytes32 channelId,uint256 amount,uint256 nonce,uint256 deadline)"
)

# payer -> nonce -> spent
isNonceUsed: public(HashMap[address, HashMap[uint256, bool]])


@deploy
def __init__(settlement: address):
    eip712_domain.__init__("Farthing Allowance Collector", "1")
    settlement_only.__init__(settlement)


@external
def collect(payer: address, token: address, amount: uint256, channel_id: bytes32, collector_data: Bytes[2_048]):
    settlement_only._check_caller()

    nonce: uint256 = 0
    deadline: uint256 = 0
    signature: Bytes[signatures.MAX_SIGNATURE] = b""
    eip2612_data: Bytes[eip2612_permit.DATA_SIZE] = b""
    nonce, deadline, signature, eip2612_data = abi_decode(
        collector_data, (uint256, uint256, Bytes[signatures.MAX_SIGNATURE], Bytes[eip2612_permit.DATA_SIZE])
    )
    # Check.
    if block.timestamp > deadline:
        raw_revert(method_id("DepositExpired()"))
    if self.isNonceUsed[payer][nonce]:
        raw_revert(method_id("NonceAlreadyUsed()"))
    # Consume.
    self.isNonceUsed[payer][nonce] = True
    # Verify.
    if not signatures._is_valid(payer, self._digest(channel_id, amount, nonce, deadline), signature):
        raw_revert(method_id("InvalidSignature()"))
    # Transfer.
    eip2612_permit._try_permit(token, payer, self, amount, eip2612_data)
    if not extcall IERC20(token).transferFrom(
        payer, settlement_only.x402BatchSettlement, amount, default_return_value=True
    ):
        raw_revert(abi_encode(token, method_id=method_id("SafeERC20FailedOperation(address)")))


@external
@view
def getDepositDigest(channelId: bytes32, amount: uint256, nonce: uint256, deadline: uint256) -> bytes32:
    return self._digest(channelId, amount, nonce, deadline)


@internal
@view
def _digest(channel_id: bytes32, amount: uint256, nonce: uint256, deadline: uint256) -> bytes32:
    return eip712_domain._digest(
        eip712_domain._separator(),
        keccak256(abi_encode(ALLOWANCE_DEPOSIT_TYPEHASH, channel_id, amount, nonce, deadline)),
    )
