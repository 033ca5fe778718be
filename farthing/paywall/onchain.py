"""The paywall's side of the chain: it looks channels up, sends deposits and gives refunds.

Nothing here is quick, and all of it waits; the paywall calls it on threads of its own. Deposits and
refunds are sent by the publisher's own key, so no third party is needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hexbytes import HexBytes
from msgspec.structs import replace

from farthing.chain.connection import NodeUnreachable
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import (
    Sender,
    Signed,
    Transaction,
    TransactionLost,
    TransactionRefused,
)
from farthing.chain.settlement import Settlement
from farthing.chain.wallets import is_contract, is_valid_erc1271
from farthing.ledger import ChannelState, Deposit, LedgerUnavailable, Mirror
from farthing.paywall.checks import check_books, check_signature
from farthing.protocol import (
    DepositAuthorization,
    Domain,
    FarthingError,
    InvalidField,
    Permit2Deposit,
    VoucherClaim,
)
from farthing.protocol.keccak import keccak
from farthing.protocol.payments import (
    DepositWish,
    Erc3009Consent,
    ErrorCode,
    Payment,
    PaymentRefused,
)
from farthing.protocol.signatures import Signer

# Nonces drawn for one transaction before it is given up.
ATTEMPTS = 5


class ChainUnavailable(FarthingError):
    """The chain could not be asked, or has not answered yet. Nothing is known to have failed."""


@dataclass(frozen=True)
class Collectors:
    """Addresses of the contracts that pull deposits; None where a kind is not taken."""

    erc3009: str | None
    permit2: str | None


@dataclass(frozen=True)
class Refunded:
    """A refund: its transaction's hash in hex, and what came back to the payer."""

    transaction: str
    amount: int


class OnChain:
    """The chain, as a paywall needs it. Its methods may run on several threads at a time.

    Args:
        settlement: The contract.
        sender: The publisher's key, which pays for gas. Nothing else in this process sends with it.
        authorizer: The receiver authorizer's key; it signs claims and refunds.
        collectors: How deposits are pulled.
        min_deposit: The least a deposit may be, in smallest units.

    Every method raises `ChainUnavailable` when the chain cannot be asked.
    """

    def __init__(
        self,
        settlement: Settlement,
        sender: Sender,
        authorizer: Signer,
        collectors: Collectors,
        min_deposit: int,
    ) -> None:
        self._settlement = settlement
        self._sender = sender
        self._authorizer = authorizer
        self._collectors = collectors
        self._min_deposit = min_deposit
        # One nonce at a time; receipts are waited for outside of it.
        self._sending = threading.Lock()

    def check(self) -> None:
        """Raises `ChainUnavailable` when the chain cannot be asked now."""
        try:
            self._settlement.channel(bytes(32))
        except FarthingError as error:
            raise ChainUnavailable(str(error)) from error

    def check_signature(self, payment: Payment, domain: Domain) -> None:
        """`checks.check_signature` for a channel whose payer may be a contract wallet."""
        w3 = self._settlement.w3
        try:
            check_signature(
                payment,
                domain,
                is_contract=partial(is_contract, w3),
                is_valid_erc1271=partial(is_valid_erc1271, w3, self._settlement.address),
            )
        except (NodeUnreachable, TransactionRefused) as error:
            raise ChainUnavailable(str(error)) from error

    def mirror(self, channel_id: bytes) -> Mirror:
        """What the chain says of a channel now."""
        asked_at = time.time_ns() // 1_000_000
        try:
            found = self._settlement.snapshot(channel_id)
        except FarthingError as error:
            raise ChainUnavailable(str(error)) from error
        return Mirror(
            found.balance,
            found.total_claimed,
            found.withdraw_amount,
            found.withdraw_requested_at,
            found.refund_nonce,
            asked_at,
        )

    # ------------------------------------------------------------ deposits

    def check_deposit(self, payment: Payment) -> None:
        """Raises `PaymentRefused` for a deposit too small, or one the chain would refuse."""
        wish = _wish(payment)
        if wish.amount < self._min_deposit:
            raise PaymentRefused(
                ErrorCode.DEPOSIT_BELOW_MIN_DEPOSIT,
                f"the deposit of {wish.amount} is below the least of {self._min_deposit}",
            )
        collector, data = self._collection(payment)
        try:
            self._settlement.check_deposit(
                self._sender.address, payment.config, wish.amount, collector, data
            )
        except ContractReverted as error:
            raise PaymentRefused(ErrorCode.DEPOSIT_SIMULATION_FAILED, str(error)) from error
        except FarthingError as error:
            raise ChainUnavailable(str(error)) from error

    def authorization(self, payment: Payment) -> bytes:
        """The name of a deposit: 32 bytes that hash what the payer signed."""
        collector, data = self._collection(payment)
        amount = _wish(payment).amount.to_bytes(16, "big")
        return keccak(payment.channel_id + bytes.fromhex(collector[2:]) + amount + data)

    def deposit(
        self, payment: Payment, known: Deposit | None, save: Callable[[Deposit], None]
    ) -> str:
        """Sends a deposit and waits until the chain has it; the transaction's hash in hex.

        Args:
            payment: A deposit payload.
            known: What the ledger has under its `authorization`. One that was sent before is not
                sent again in other bytes: the chain takes an authorization once.
            save: Writes a deposit down, durably; called before anything is sent.

        Raises:
            PaymentRefused: The chain refused it.
        """
        if known is not None and known.state != "failed":
            mined = self._resume(known)
            if mined:
                save(replace(known, state="confirmed"))
                return "0x" + known.transaction.hex()
        self.check_deposit(payment)
        wish = _wish(payment)
        collector, data = self._collection(payment)
        plan = self._settlement.plan_deposit(payment.config, wish.amount, collector, data)
        deposit = Deposit(
            self.authorization(payment), payment.channel_id, wish.amount, b"", b"", "open"
        )

        def save_signed(signed: Signed) -> None:
            nonlocal deposit
            deposit = replace(deposit, transaction=bytes(signed.hash), raw=signed.raw)
            save(deposit)

        try:
            signed = self._send(plan, save_signed)
            receipt = self._sender.confirm(signed)
        except ContractReverted as error:
            save(replace(deposit, state="failed"))
            raise PaymentRefused(ErrorCode.DEPOSIT_TRANSACTION_FAILED, str(error)) from error
        except LedgerUnavailable:
            raise
        except FarthingError as error:
            raise ChainUnavailable(str(error)) from error
        moved = [
            event
            for event in self._settlement.events(receipt)
            if event.name == "Deposited" and event.args["channelId"] == payment.channel_id
        ]
        if not moved:
            save(replace(deposit, state="failed"))
            raise PaymentRefused(
                ErrorCode.DEPOSIT_TRANSACTION_FAILED, "the transaction deposited nothing"
            )
        save(replace(deposit, state="confirmed"))
        return str(signed.hash.to_0x_hex())

    def _resume(self, known: Deposit) -> bool:
        """Whether a deposit that was sent before is on the chain; it is sent again if it is not."""
        if known.state == "confirmed":
            return True
        try:
            return self._sender.resume(HexBytes(known.transaction), known.raw)
        except FarthingError as error:
            raise ChainUnavailable(str(error)) from error

    def _collection(self, payment: Payment) -> tuple[str, bytes]:
        """The collector for a deposit, and the data it wants."""
        wish = _wish(payment)
        consent = wish.consent
        try:
            if isinstance(consent, Erc3009Consent):
                if self._collectors.erc3009 is None:
                    raise PaymentRefused(
                        ErrorCode.PERMIT2_AUTHORIZATION_REQUIRED,
                        "deposit with a permit2Authorization",
                    )
                authorization = DepositAuthorization(
                    payer=payment.config.payer,
                    collector=self._collectors.erc3009,
                    amount=wish.amount,
                    valid_after=consent.valid_after,
                    valid_before=consent.valid_before,
                    channel_id=payment.channel_id,
                    salt=consent.salt,
                )
                data = authorization.collector_data(consent.signature)
                return self._collectors.erc3009, data
            if self._collectors.permit2 is None:
                raise PaymentRefused(
                    ErrorCode.ERC3009_AUTHORIZATION_REQUIRED, "deposit with an erc3009Authorization"
                )
            transfer = Permit2Deposit(
                token=payment.config.token,
                amount=wish.amount,
                collector=self._collectors.permit2,
                nonce=consent.nonce,
                deadline=consent.deadline,
                channel_id=payment.channel_id,
            )
            return self._collectors.permit2, transfer.collector_data(consent.signature)
        except InvalidField as error:
            raise PaymentRefused(ErrorCode.DEPOSIT_PAYLOAD, str(error)) from error

    # ------------------------------------------------------------ refunds

    def refund(
        self, payment: Payment, state: ChannelState, hold: Callable[[Mirror, int], None]
    ) -> Refunded:
        """Claims what was charged, gives the rest back, or the part that was asked for.

        Args:
            payment: A refund payload whose voucher is for exactly what was charged.
            state: The channel's books.
            hold: Gets what the chain says now and the amount; writes down, durably, that so much
                is on its way back. Called before anything is sent, so that a crash leaves less to
                spend, not more.

        Raises:
            PaymentRefused: Nothing is left, or less than was asked for, or the chain refused.
            LedgerBehind: More is claimed on chain than was charged.
        """
        mirror = self.mirror(payment.channel_id)
        check_books(payment.channel_id, state.charged, mirror)
        left = mirror.balance - state.charged
        amount = left if payment.refund_amount is None else payment.refund_amount
        if left <= 0:
            raise PaymentRefused(ErrorCode.REFUND_NO_BALANCE, "nothing of the deposit is left")
        if amount > left:
            raise PaymentRefused(
                ErrorCode.REFUND_AMOUNT_INVALID, f"{amount} was asked back, {left} is left"
            )
        claims = []
        if state.charged > mirror.total_claimed:
            # The voucher of the refund is for what was charged, so it serves for the claim.
            claims.append(
                VoucherClaim(payment.config, payment.ceiling, payment.signature, state.charged)
            )
        plan = self._settlement.plan_refund(
            self._authorizer, payment.config, amount, mirror.refund_nonce, claims
        )
        is_held = False

        def hold_once(_: Signed) -> None:
            # Only once: holding moves the channel on, and the second time would find it moved.
            nonlocal is_held
            if not is_held:
                hold(mirror, amount)
                is_held = True

        try:
            signed = self._send(plan, hold_once)
            receipt = self._sender.confirm(signed)
        except (ContractReverted, TransactionRefused) as error:
            raise PaymentRefused(ErrorCode.REFUND_TRANSACTION_FAILED, str(error)) from error
        except (NodeUnreachable, TransactionLost) as error:
            raise ChainUnavailable(str(error)) from error
        events = self._settlement.events(receipt)
        given = sum(event.args["amount"] for event in events if event.name == "Refunded")
        return Refunded(str(signed.hash.to_0x_hex()), given)

    # ------------------------------------------------------------ sending

    def _send(self, plan: Transaction, before: Callable[[Signed], None]) -> Signed:
        """Signs and sends; ``before`` is called with what was signed before it is sent.

        Another process may send with the same key: then both can have drawn one nonce, and the
        later is refused and draws again.
        """
        with self._sending:
            for attempt in range(1, ATTEMPTS + 1):
                self._sender.forget_nonce()
                signed = self._sender.sign(plan)
                before(signed)
                try:
                    self._sender.broadcast(signed)
                except TransactionRefused:
                    if attempt == ATTEMPTS:
                        raise
                else:
                    break
        return signed


def _wish(payment: Payment) -> DepositWish:
    assert payment.deposit is not None
    return payment.deposit
