"""The paywall's side of the chain: it looks channels up, sends deposits and gives refunds.

Nothing here is quick, and all of it waits; the paywall calls it on threads of its own. Deposits and
refunds are sent by the publisher's own key, so no third party is needed.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from farthing.chain.checked_node import Receipt, WouldFail
from farthing.chain.connection import NodeUnreachable
from farthing.chain.fees import FeePolicy
from farthing.chain.journal import FAILED, QUEUED, REFUSED, SIGNED
from farthing.chain.queue import FIRST_PAUSE, LONGEST_PAUSE, TransactionQueue
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import (
    Transaction,
    TransactionRefused,
    TransactionSigner,
    coins_of,
    gas_price,
)
from farthing.chain.settlement import Settlement
from farthing.chain.token import holding
from farthing.chain.wallets import is_contract, is_valid_erc1271
from farthing.ledger import (
    ChannelMoved,
    ChannelState,
    Ledger,
    LedgerUnavailable,
    Mirror,
    NewCharge,
    RefundHold,
)
from farthing.paywall.checks import check_signature
from farthing.paywall.limits import SYNC_SECONDS
from farthing.paywall.plain_payers import PlainPayers
from farthing.paywall.sponsoring import Sponsoring, SponsorLimits
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

DEPOSIT, REFUND = "deposit", "refund"
# Blocks on top of a transaction's own after which nobody looks for it any more.
CONFIRMATIONS = 12
# Seconds that a request waits for its transaction, which goes on without it.
WAIT_SECONDS = 120.0
# After how long a transaction that cannot be sent, for want of coins or of a lower fee, is not
# waited for.
HELD_UP_SECONDS = 2.0
# How long a node may take to have a block that another one has.
CATCH_UP_SECONDS = 20.0


class ChainUnavailable(FarthingError):
    """The chain could not be asked, or has not answered yet. Nothing is known to have failed."""


@dataclass(frozen=True)
class Collectors:
    """Addresses of the contracts that pull deposits; None where a kind is not taken."""

    erc3009: str | None
    permit2: str | None


@dataclass(frozen=True)
class Done:
    """What was done on chain.

    Attributes:
        transaction: Its transaction's hash in hex.
        amount: What was deposited, or came back to the payer.
        block: Number of its block: what is read of the channel from now on is not of before it.
    """

    transaction: str
    amount: int
    block: int


class OnChain:
    """The chain, as a paywall needs it. Its methods may run on several threads at a time.

    What it sends goes through a `TransactionQueue`: it is written down first, and whatever process
    has a queue of the same key on the same ledger may be the one that brings it to its end.

    Args:
        settlement: The contract.
        account: The publisher's key, which pays for gas.
        authorizer: The receiver authorizer's key; it signs claims and refunds.
        collectors: How deposits are pulled.
        min_deposit: The least a deposit may be, in smallest units.
        ledger: Where transactions are written down; for this alone, and closed with it.
        fees: What is offered for gas.
        sync_seconds: After how long the chain is asked again whether a payer has code.
        sponsored: How much the key sends for payers.
        confirmations: Blocks after which a transaction is final.

    Every method raises `ChainUnavailable` when the chain cannot be asked.
    """

    def __init__(
        self,
        settlement: Settlement,
        account: TransactionSigner,
        authorizer: Signer,
        collectors: Collectors,
        min_deposit: int,
        ledger: Ledger,
        *,
        fees: FeePolicy | None = None,
        sync_seconds: float = SYNC_SECONDS,
        sponsored: SponsorLimits | None = None,
        confirmations: int = CONFIRMATIONS,
    ) -> None:
        self._settlement = settlement
        self._authorizer = authorizer
        self._collectors = collectors
        self._min_deposit = min_deposit
        self._ledger = ledger
        self._plain = PlainPayers(sync_seconds)
        self._sponsoring = Sponsoring(sponsored or SponsorLimits())
        self.queue = TransactionQueue(
            settlement.w3,
            account,
            ledger,
            confirmations=confirmations,
            fees=fees or FeePolicy(),
            holder=f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}",
        )

    def check(self) -> None:
        """Raises `ChainUnavailable` when the chain cannot be asked now."""
        try:
            self._settlement.channel(bytes(32))
        except FarthingError as error:
            raise ChainUnavailable(str(error)) from error

    def check_signature(self, payment: Payment, domain: Domain) -> None:
        """`checks.check_signature` for a channel whose payer may be a contract wallet."""
        w3 = self._settlement.w3
        check = partial(
            check_signature,
            payment,
            domain,
            is_valid_erc1271=partial(is_valid_erc1271, w3, self._settlement.address),
        )
        try:
            self._plain.check(payment.config.payer, partial(is_contract, w3), check)
        except (NodeUnreachable, TransactionRefused) as error:
            raise ChainUnavailable(str(error)) from error

    def mirror(self, channel_id: bytes, since: int = 0) -> Mirror:
        """What the chain says of a channel now, after the block with the number ``since``.

        Behind one URL there may be many nodes, and the one that is asked may not have the block in
        which another one has a transaction. It is given some time.
        """
        until, pause = time.monotonic() + CATCH_UP_SECONDS, FIRST_PAUSE
        while True:
            asked_at = time.time_ns() // 1_000_000
            try:
                found = self._settlement.snapshot(channel_id)
                problem = f"the node is at block {found.block}, and block {since} is there"
                if found.block >= since:
                    break
            except NodeUnreachable as error:
                raise ChainUnavailable(str(error)) from error
            except FarthingError as error:
                # One node told its block, and one that does not have it was asked for it.
                problem = str(error)
            if not since or time.monotonic() >= until:
                raise ChainUnavailable(problem)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return Mirror(
            found.balance,
            found.total_claimed,
            found.withdraw_amount,
            found.withdraw_requested_at,
            found.refund_nonce,
            asked_at,
            found.block,
        )

    # ------------------------------------------------------------ deposits

    def check_deposit(self, payment: Payment) -> None:
        """A deposit could be sent now.

        Raises:
            PaymentRefused: It is too small, or the chain would refuse it.
            RuleRefused: Enough was sent for its payer.
        """
        wish = _wish(payment)
        if wish.amount < self._min_deposit:
            raise PaymentRefused(
                ErrorCode.DEPOSIT_BELOW_MIN_DEPOSIT,
                f"the deposit of {wish.amount} is below the least of {self._min_deposit}",
            )
        collector, data = self._collection(payment)
        self._check_sponsored(payment.config.payer)
        with self._depositing(payment):
            # It fits beside those that are under way.
            pass
        try:
            self._settlement.check_deposit(
                self.queue.address, payment.config, wish.amount, collector, data
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

    def deposit(self, payment: Payment) -> Done:
        """Sends a deposit and waits until the chain has it.

        One that was sent before is not sent again: the chain takes an authorization once.

        Args:
            payment: A deposit payload.

        Raises:
            PaymentRefused: The chain refused it.
            LedgerUnavailable: It cannot be written down; nothing was sent.
        """
        name = self.authorization(payment)
        number = self._find(DEPOSIT, name)
        if number is not None:
            return self._deposited(payment, number)
        self.check_deposit(payment)
        with self._depositing(payment):
            self._sponsoring.count(payment.config.payer)
            amount = _wish(payment).amount
            collector, data = self._collection(payment)
            plan = self._settlement.plan_deposit(payment.config, amount, collector, data)
            with _asking(ErrorCode.DEPOSIT_TRANSACTION_FAILED):
                number = self.queue.submit(DEPOSIT, name, plan)
            return self._deposited(payment, number)

    def _deposited(self, payment: Payment, number: int) -> Done:
        """What a deposit that was ordered has done; waits for it."""
        failed = ErrorCode.DEPOSIT_TRANSACTION_FAILED
        receipt = self._receipt(number, failed)
        for event in self._settlement.events(receipt):
            if event.name == "Deposited" and event.args["channelId"] == payment.channel_id:
                return _done(receipt, event.args["amount"])
        raise PaymentRefused(failed, "the transaction deposited nothing")

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

    def refund(self, payment: Payment, state: ChannelState, fence: NewCharge) -> Done:
        """Claims what was charged, gives the rest back, or the part that was asked for.

        A refund of the channel that is on its way already is waited for, whatever is asked now.

        Args:
            payment: A refund payload whose voucher is for exactly what was charged.
            state: The channel's books, with what the chain says now.
            fence: A charge of nothing, for these books.

        Raises:
            PaymentRefused: Nothing is left, or less than was asked for, or the chain refused.
            LedgerUnavailable: It cannot be written down; nothing was sent.
        """
        mirror = state.mirror
        name = payment.channel_id + mirror.refund_nonce.to_bytes(16, "big")
        failed = ErrorCode.REFUND_TRANSACTION_FAILED
        number = self._find(REFUND, name)
        if number is None:
            amount = _refundable(payment, state)
            self._check_sponsored(payment.config.payer)
            self._sponsoring.count(payment.config.payer)
            plan = self._plan_refund(payment, state, amount)
            hold = RefundHold(mirror.refund_nonce, amount, fence)
            with _asking(failed):
                # What it claims is not planned by a redeemer too.
                claims = state.charged > mirror.total_claimed
                rows = [(payment.channel_id, state.charged)] if claims else []
                number = self.queue.submit(REFUND, name, plan, rows, refund=hold)
        receipt = self._receipt(number, failed)
        events = self._settlement.events(receipt)
        given = sum(event.args["amount"] for event in events if event.name == "Refunded")
        return _done(receipt, given)

    def _plan_refund(self, payment: Payment, state: ChannelState, amount: int) -> Transaction:
        claims = []
        if state.charged > state.mirror.total_claimed:
            # The voucher of the refund is for what was charged, so it serves for the claim.
            claims.append(
                VoucherClaim(payment.config, payment.ceiling, payment.signature, state.charged)
            )
        return self._settlement.plan_refund(
            self._authorizer, payment.config, amount, state.mirror.refund_nonce, claims
        )

    # ------------------------------------------------------------ sending

    def _check_sponsored(self, payer: str) -> None:
        """The key bears one more transaction of a payer.

        Raises:
            RuleRefused: It has borne as many of this payer as it does.
            ChainUnavailable: What it has left is for redemptions.
        """
        w3, key = self._settlement.w3, self.queue.address
        with _told():
            coins = coins_of(w3, key)
            is_spent = self._sponsoring.is_spent(coins, partial(gas_price, w3, key))
        if is_spent:
            raise ChainUnavailable(
                f"the key {key} has {coins} wei left, for redemptions alone: send it some coins."
            )
        self._sponsoring.check(payer)

    def _depositing(self, payment: Payment) -> AbstractContextManager[None]:
        """See `Sponsoring.deposit`."""

        def balance(payer: str) -> int:
            with _told():
                return holding(self._settlement.w3, payment.config.token, payer)

        return self._sponsoring.deposit(payment.config.payer, _wish(payment).amount, balance)

    def _find(self, kind: str, name: bytes) -> int | None:
        """The transaction of that name that was ordered before."""
        known = self.queue.find(kind, name)
        return None if known is None else known.id

    def _receipt(self, number: int, failed: ErrorCode) -> Receipt:
        """Waits for a transaction.

        Raises:
            PaymentRefused: It failed, or will never be sent; with ``failed``.
            ChainUnavailable: It is on its way, or will be.
        """
        with _asking(failed):
            found = self.queue.wait(number, min(HELD_UP_SECONDS, WAIT_SECONDS))
            if found.state == SIGNED or (found.state == QUEUED and not found.reason):
                found = self.queue.wait(number, WAIT_SECONDS - HELD_UP_SECONDS)
            receipt = self.queue.receipt(number)
        if found.state in (FAILED, REFUSED) or (receipt is not None and receipt["status"] != 1):
            raise PaymentRefused(failed, found.reason or "the transaction failed")
        if found.state in (QUEUED, SIGNED) or receipt is None:
            why = found.reason or self.queue.problem or "it is in no block yet."
            raise ChainUnavailable(f"transaction {number} is on its way: {why}")
        return receipt

    def close(self) -> None:
        """Closes the ledger it writes to. May be called again."""
        self._ledger.close()


def _done(receipt: Receipt, amount: int) -> Done:
    return Done(str(receipt["transactionHash"].to_0x_hex()), amount, receipt["blockNumber"])


def _refundable(payment: Payment, state: ChannelState) -> int:
    """What is asked back.

    Raises:
        PaymentRefused: So much is not left.
    """
    left = state.mirror.balance - state.charged
    amount = left if payment.refund_amount is None else payment.refund_amount
    if left <= 0:
        raise PaymentRefused(ErrorCode.REFUND_NO_BALANCE, "nothing of the deposit is left")
    if amount > left:
        raise PaymentRefused(
            ErrorCode.REFUND_AMOUNT_INVALID, f"{amount} was asked back, {left} is left"
        )
    return amount


def _wish(payment: Payment) -> DepositWish:
    assert payment.deposit is not None
    return payment.deposit


@contextmanager
def _told() -> Iterator[None]:
    """What keeps the chain from telling something, as the paywall tells it."""
    try:
        yield
    except FarthingError as error:
        raise ChainUnavailable(str(error)) from error


@contextmanager
def _asking(failed: ErrorCode) -> Iterator[None]:
    """What the queue raises, as the paywall tells it: refused with ``failed``, or not known yet."""
    try:
        yield
    except (ContractReverted, WouldFail) as error:
        raise PaymentRefused(failed, str(error)) from error
    except ChannelMoved as error:
        raise PaymentRefused(ErrorCode.CHANNEL_BUSY, str(error)) from error
    except LedgerUnavailable:
        raise
    except FarthingError as error:
        raise ChainUnavailable(str(error)) from error
