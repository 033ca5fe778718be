"""A contract's refusal as a Python exception: one class for each custom error.

The four bytes a contract reverts with are the start of the hash of the error's signature; see the
error list of the x402 settlement contract and ``contracts/*.vy``.
"""

import re
from typing import Any, ClassVar

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from farthing.protocol.errors import FarthingError

SELECTOR = 4
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_REASON = keccak(text="Error(string)")[:SELECTOR]
_PANIC = keccak(text="Panic(uint256)")[:SELECTOR]


class ContractReverted(FarthingError):
    """A contract refused the call, and nothing happened.

    Attributes:
        data: What the contract reverted with; its first four bytes name the error.
        row: Index of the row of a batch that was refused, counted from zero; None when it is not
            about one row.
        detail: What is known about that row: channel, amounts.
    """

    signature: ClassVar[str] = ""
    meaning: ClassVar[str] = "the contract refused the call without saying why"

    def __init__(self, data: bytes = b"", *, row: int | None = None, detail: str = "") -> None:
        self.data = data
        self.row = row
        self.detail = detail
        super().__init__(data, row, detail)

    def __str__(self) -> str:
        name = f"{type(self).__name__}: " if self.signature else ""
        where = "" if self.row is None else f" (row {self.row}{self.detail and ': ' + self.detail})"
        return f"{name}{self._meaning()}{where}."

    def _meaning(self) -> str:
        return self.meaning

    def at(self, row: int, detail: str) -> "ContractReverted":
        """The same refusal, with the row it is about."""
        return type(self)(self.data, row=row, detail=detail)


class RevertedWithReason(ContractReverted):
    """A refusal with a text, or with a code this package does not know."""

    def _meaning(self) -> str:
        head, body = self.data[:SELECTOR], self.data[SELECTOR:]
        try:
            if head == _REASON:
                return f"the contract says: {decode(['string'], body)[0]}"
            if head == _PANIC:
                return f"the contract panicked with code {decode(['uint256'], body)[0]}"
        except DecodingError:
            pass
        return f"the contract refused with 0x{self.data.hex()}, which is not an error known here"


class InvalidChannel(ContractReverted):
    signature = "InvalidChannel()"
    meaning = "an address of the channel is zero, or the sender is not the channel's payer"


class ZeroDeposit(ContractReverted):
    signature = "ZeroDeposit()"
    meaning = "a deposit must be at least one unit"


class DepositOverflow(ContractReverted):
    signature = "DepositOverflow()"
    meaning = "the channel's balance would pass 128 bits; deposit less"


class InvalidSignature(ContractReverted):
    signature = "InvalidSignature()"
    meaning = "the signature is not the one of the key that has to sign; sign again with that key"


class NotReceiverAuthorizer(ContractReverted):
    signature = "NotReceiverAuthorizer()"
    meaning = "all rows of a signed batch need the same receiver authorizer; split the batch by it"


class NotAuthorizedToClaim(ContractReverted):
    signature = "NotAuthorizedToClaim()"
    meaning = "only the channel's receiver or receiver authorizer may claim; send from one of them"


class NotAuthorizedToRefund(ContractReverted):
    signature = "NotAuthorizedToRefund()"
    meaning = "only the channel's receiver or receiver authorizer may refund; send from one of them"


class ClaimExceedsCeiling(ContractReverted):
    signature = "ClaimExceedsCeiling()"
    meaning = "the claim is above what the voucher allows; claim at most the voucher's ceiling"


class ClaimExceedsBalance(ContractReverted):
    signature = "ClaimExceedsBalance()"
    meaning = "the claim is above what the channel holds; claim at most its balance"


class WithdrawalAlreadyPending(ContractReverted):
    signature = "WithdrawalAlreadyPending()"
    meaning = "a withdrawal of this channel is pending; finalize it first"


class WithdrawalNotPending(ContractReverted):
    signature = "WithdrawalNotPending()"
    meaning = "no withdrawal of this channel is pending; initiate one first"


class NotAuthorizedToFinalizeWithdraw(ContractReverted):
    signature = "NotAuthorizedToFinalizeWithdraw()"
    meaning = "only the channel's payer or payer authorizer may finalize; send from one of them"


class WithdrawDelayNotElapsed(ContractReverted):
    signature = "WithdrawDelayNotElapsed()"
    meaning = "the channel's withdraw delay is not over; wait and finalize again"


class NothingToWithdraw(ContractReverted):
    signature = "NothingToWithdraw()"
    meaning = "a withdrawal must be at least one unit"


class WithdrawAmountExceedsAvailable(ContractReverted):
    signature = "WithdrawAmountExceedsAvailable()"
    meaning = "the withdrawal is above what is unclaimed; ask for at most that"


class WithdrawDelayOutOfRange(ContractReverted):
    signature = "WithdrawDelayOutOfRange()"
    meaning = "the channel's withdraw delay must be 900 to 2,592,000 seconds"


class EmptyBatch(ContractReverted):
    signature = "EmptyBatch()"
    meaning = "a batch needs at least one row"


class BatchTooLong(ContractReverted):
    signature = "BatchTooLong()"
    meaning = "a claim has at most 100 rows, a redemption 128; split it"


class DepositCollectionFailed(ContractReverted):
    signature = "DepositCollectionFailed()"
    meaning = "the contract did not receive exactly the deposit; the token may take a fee"


class InvalidCollector(ContractReverted):
    signature = "InvalidCollector()"
    meaning = "a deposit needs the address of a collector contract"


class InvalidRefundNonce(ContractReverted):
    signature = "InvalidRefundNonce()"
    meaning = "the refund nonce has moved on; read `refundNonce` and sign again"


class ZeroRefund(ContractReverted):
    signature = "ZeroRefund()"
    meaning = "a refund must be at least one unit"


class NotARedemption(ContractReverted):
    signature = "NotARedemption()"
    meaning = "a signature authorises a call of `redeem` and no other; pass the bytes of one"


class NotEnoughGas(ContractReverted):
    signature = "NotEnoughGas()"
    meaning = "a redemption needs more gas for its payouts; send it with a higher gas limit"


class OnlySelf(ContractReverted):
    signature = "OnlySelf()"
    meaning = "only the settlement contract itself calls this; use `redeem` or `settle`"


class SafeERC20FailedOperation(ContractReverted):
    signature = "SafeERC20FailedOperation(address)"
    meaning = "the token refused the transfer; look at the token's own rules (paused, blocked)"


class OnlyX402BatchSettlement(ContractReverted):
    signature = "OnlyX402BatchSettlement()"
    meaning = "a collector answers only to its settlement contract; deposit through that"


class Permit2612AmountMismatch(ContractReverted):
    signature = "Permit2612AmountMismatch()"
    meaning = "the permit is not for the deposit's amount; sign one for exactly that"


class InvalidX402BatchSettlementAddress(ContractReverted):
    signature = "InvalidX402BatchSettlementAddress()"
    meaning = "a collector is deployed with the address of its settlement contract, not with zero"


class InvalidPermit2Address(ContractReverted):
    signature = "InvalidPermit2Address()"
    meaning = "the Permit2 collector is deployed with the address of Permit2, not with zero"


class DepositExpired(ContractReverted):
    signature = "DepositExpired()"
    meaning = "the deposit's deadline is over; sign it again with a later one"


class NonceAlreadyUsed(ContractReverted):
    signature = "NonceAlreadyUsed()"
    meaning = "a deposit with this nonce was made before; sign it again with a fresh one"


class AuthorizationNotYetValid(ContractReverted):
    signature = "AuthorizationNotYetValid()"
    meaning = "the token's authorization is not valid yet; wait until after `validAfter`"


class AuthorizationExpired(ContractReverted):
    signature = "AuthorizationExpired()"
    meaning = "the token's authorization has expired; sign one with a later `validBefore`"


class AuthorizationUsedOrCanceled(ContractReverted):
    signature = "AuthorizationUsedOrCanceled()"
    meaning = "the token's authorization was used or canceled; sign one with another salt"


class CallerMustBePayee(ContractReverted):
    signature = "CallerMustBePayee()"
    meaning = "only the payee an authorization names may use it; sign it for the collector"


class ERC2612ExpiredSignature(ContractReverted):
    signature = "ERC2612ExpiredSignature(uint256)"
    meaning = "the permit's deadline is over; sign one with a later deadline"


class ERC20InsufficientBalance(ContractReverted):
    signature = "ERC20InsufficientBalance(address,uint256,uint256)"
    meaning = "the account holds fewer tokens than the transfer moves; fund it first"


class ERC20InsufficientAllowance(ContractReverted):
    signature = "ERC20InsufficientAllowance(address,uint256,uint256)"
    meaning = "the allowance is below what the transfer moves; approve or permit more first"


class ERC20InvalidReceiver(ContractReverted):
    signature = "ERC20InvalidReceiver(address)"
    meaning = "the token does not transfer to that address; name another receiver"


class InvalidSigner(ContractReverted):
    signature = "InvalidSigner()"
    meaning = "Permit2 found another signer; sign the transfer with the payer's key"


class InvalidSignatureLength(ContractReverted):
    signature = "InvalidSignatureLength()"
    meaning = "Permit2 takes signatures of 64 or 65 bytes; sign the transfer again"


class InvalidContractSignature(ContractReverted):
    signature = "InvalidContractSignature()"
    meaning = "the payer's wallet does not accept the signature; sign the transfer with its key"


class SignatureExpired(ContractReverted):
    signature = "SignatureExpired(uint256)"
    meaning = "the deadline of the Permit2 transfer is over; sign one with a later deadline"


class InvalidNonce(ContractReverted):
    signature = "InvalidNonce()"
    meaning = "the Permit2 nonce was used before; sign the transfer with another"


class InvalidAmount(ContractReverted):
    signature = "InvalidAmount(uint256)"
    meaning = "the Permit2 transfer permits less than the deposit; sign one for its amount"


def typed_revert(data: bytes) -> ContractReverted:
    """The exception for what a contract reverted with.

    Args:
        data: The revert data: empty, or four bytes of selector and the error's arguments.
    """
    if not data:
        return ContractReverted()
    return _BY_SELECTOR.get(data[:SELECTOR], RevertedWithReason)(data)


def revert_data(error: BaseException) -> bytes | None:
    """The revert data in what web3 raised; None when it is not about a revert."""
    found: Any = getattr(error, "data", None)
    if isinstance(found, dict):
        found = found.get("data")
    if isinstance(found, str) and _HEX.fullmatch(found):
        return bytes.fromhex(found[2:])
    return b"" if "revert" in str(error).lower() else None


_BY_SELECTOR: dict[bytes, type[ContractReverted]] = {
    keccak(text=error.signature)[:SELECTOR]: error
    for error in ContractReverted.__subclasses__()
    if error.signature
}
