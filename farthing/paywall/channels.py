"""What the paywall knows of channels from the chain, and what it does there for their payers.

It meets channels, sends deposits, gives refunds, and looks again at what it saw long ago.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from farthing.ledger import ChannelState, Mirror, NewCharge
from farthing.paywall.books import Books
from farthing.paywall.checks import check_books, check_room
from farthing.paywall.limits import Limits
from farthing.paywall.onchain import DEPOSIT, ChainUnavailable, Done, OnChain
from farthing.paywall.prices import MAX_PRICE
from farthing.paywall.reservations import ChannelReservation
from farthing.protocol import Domain, FarthingError
from farthing.protocol.payments import ErrorCode, Payment, PaymentRefused

log = logging.getLogger("farthing.paywall")

T = TypeVar("T")

# Deposits and refunds that are waited for at a time.
THREADS = 32
# Looks at channels that are known, and at those that are not, at a time.
LOOKERS = 8
# Requests of channels that are not known, or of payers that may be contracts, that may wait for the
# chain. Anybody can send any number of them.
STRANGERS = 128
# Seconds before the chain is asked once more about a channel that has no room for a payment.
LOOK_AGAIN = 2.0
# Seconds for which nobody waits for a chain that has not answered.
BLIND = 5.0
# The route of the charge of nothing that stands for a refund.
REFUND_ROUTE = "refund"


class Channels:
    """The chain's side of a paywall's channels.

    Args:
        books: Where it is written down.
        chain: None knows no more than the ledger does.
        limits: How long, how much.
        counts: Counts looks that failed, as ``refresh_failed``.
    """

    def __init__(
        self, books: Books, chain: OnChain | None, limits: Limits, counts: Counter[str]
    ) -> None:
        self.chain = chain
        self._books = books
        self._ledger = books.ledger
        self._limits = limits
        self._counts = counts
        self._threads = ThreadPoolExecutor(THREADS, "farthing-chain")
        # Each with threads of its own, so that neither waits for the other, or for deposits.
        self._looks = ThreadPoolExecutor(LOOKERS, "farthing-look")
        self._strangers = ThreadPoolExecutor(LOOKERS, "farthing-stranger")
        self._asking = 0
        self._looking: dict[bytes, asyncio.Task[ChannelState | None]] = {}
        self._blind_until = 0.0

    async def check_signature(self, payment: Payment, domain: Domain) -> None:
        """Checks the voucher of a payer that may be a contract wallet.

        Raises:
            PaymentRefused: It is not its signature.
            ChainUnavailable: The wallet cannot be asked.
        """
        if self.chain is None or not self._limits.contract_payers:
            raise PaymentRefused(
                ErrorCode.VOUCHER_SIGNATURE,
                "set a payerAuthorizer: channels without one are not taken here",
            )
        await self._for_stranger(self.chain.check_signature, payment, domain)

    async def meet(self, payment: Payment) -> None:
        """Writes a channel down that the ledger does not know and the chain does, or will."""
        if self.chain is None:
            raise PaymentRefused(ErrorCode.CHANNEL_NOT_FOUND, "this channel is not known here")
        mirror = await self._for_stranger(self.chain.mirror, payment.channel_id)
        if mirror.balance == 0:
            if payment.deposit is None:
                raise PaymentRefused(
                    ErrorCode.CHANNEL_NOT_FOUND, "this channel holds nothing: deposit first"
                )
            # Nothing was paid on it yet. A deposit that is not sent would leave a channel in the
            # ledger that cost its payer nothing, and there may be any number of those.
            if payment.ceiling != payment.amount:
                raise PaymentRefused(
                    ErrorCode.CUMULATIVE_AMOUNT_MISMATCH,
                    f"the first voucher must be for {payment.amount}",
                )
        if payment.deposit is not None:
            # Nothing is written for a deposit that would fail.
            await self._for_stranger(self.chain.check_deposit, payment)
        await self._record(payment, mirror)

    async def deposit(self, payment: Payment, reservation: ChannelReservation) -> str:
        assert payment.deposit is not None
        if self.chain is None:
            raise PaymentRefused(ErrorCode.DEPOSIT_PAYLOAD, "deposits are not taken here")
        if payment.ceiling != reservation.state.charged + payment.amount:
            # The voucher is no good, so its client has to be corrected before money moves.
            return ""
        reservation.expires_at = math.inf
        name = self.chain.authorization(payment)
        known = await self._books.read(self._ledger.find_transaction, DEPOSIT, name)
        if known is None or known.state in ("failed", "refused"):
            # What would not be served with it is not worth the gas.
            state = reservation.state
            balance = min(state.mirror.balance + payment.deposit.amount, MAX_PRICE)
            mirror = msgspec.structs.replace(state.mirror, balance=balance)
            funded = msgspec.structs.replace(state, mirror=mirror)
            check_room(payment, funded, payment.amount, self._limits.exposure_cap)
        done = await self._on_chain(self.chain.deposit, payment)
        await self._resync(payment, reservation, done.block)
        reservation.expires_at = time.monotonic() + self._limits.hold_seconds
        return done.transaction

    async def refund(self, payment: Payment, reservation: ChannelReservation) -> Done:
        """Claims what was charged and gives back the rest, or what was asked for of it.

        Raises:
            PaymentRefused: Nothing is left, or less, or the chain refused.
        """
        if self.chain is None:
            raise PaymentRefused(ErrorCode.REFUND_PAYLOAD, "refunds are not given here")
        # However long it takes: what is given back is counted from this state.
        reservation.expires_at = math.inf
        admitted = reservation.state
        await self._resync(payment, reservation)
        state = _unmoved(admitted, reservation.state)
        # It moves the channel on, so that a request which was admitted before, and lost its
        # reservation by being slow, is not charged for any more.
        fence = NewCharge.without_request(
            payment.channel_id,
            state,
            (payment.ceiling, payment.signature),
            REFUND_ROUTE,
            self._books.next_id(),
        )
        try:
            refunded = await self._on_chain(self.chain.refund, payment, state, fence)
        except PaymentRefused:
            # What was held for one that will not happen can be spent again.
            await self._resync(payment, reservation)
            raise
        await self._resync(payment, reservation, refunded.block)
        return refunded

    async def _resync(
        self, payment: Payment, reservation: ChannelReservation, since: int = 0
    ) -> None:
        """Looks at the channel as of the block ``since`` or a later one."""
        assert self.chain is not None
        mirror = await self._on_chain(self.chain.mirror, payment.channel_id, since)
        reservation.state = await self._record(payment, mirror)
        check_books(payment.channel_id, reservation.state.charged, reservation.state.mirror)

    async def _record(self, payment: Payment, mirror: Mirror) -> ChannelState:
        """Writes down what the chain says of a channel."""
        return await self._books.write(
            self._ledger.mirror, payment.channel_id, payment.config, mirror
        )

    async def keep_fresh(self, payment: Payment, reservation: ChannelReservation) -> None:
        """Asks the chain again about a channel that was last looked at long ago.

        The payment waits only if a withdrawal could have come and gone since then. When the chain
        cannot be asked, payments go on within what was known, up to the exposure cap.
        """
        age = _age(reservation.state)
        if age < self._limits.sync_seconds or self._is_blind():
            return
        if age < payment.config.withdraw_delay - self._limits.sync_seconds:
            self._look(payment)
        else:
            await self._see(payment, reservation)

    async def _see(self, payment: Payment, reservation: ChannelReservation) -> None:
        """Waits for a look at the chain; if it takes long or fails, things stay as they are."""
        done, late = await asyncio.wait({self._look(payment)}, timeout=self._limits.wait_seconds)
        for task in done:
            reservation.state = _unmoved(reservation.state, task.result() or reservation.state)
        if late:
            self._blind_until = time.monotonic() + BLIND
        check_books(payment.channel_id, reservation.state.charged, reservation.state.mirror)

    def _is_blind(self) -> bool:
        return self.chain is None or time.monotonic() < self._blind_until

    def _look(self, payment: Payment) -> asyncio.Task[ChannelState | None]:
        """A look at the chain, one at a time for each channel."""
        channel_id = payment.channel_id
        task = self._looking.get(channel_id)
        if task is None:
            task = self._looking[channel_id] = self._books.spawn(self._refresh(payment))
            task.add_done_callback(lambda _: self._looking.pop(channel_id))
        return task

    async def _refresh(self, payment: Payment) -> ChannelState | None:
        assert self.chain is not None
        try:
            mirror = await _run(self._looks, self.chain.mirror, payment.channel_id)
            return await self._record(payment, mirror)
        except FarthingError as error:
            self._blind_until = time.monotonic() + BLIND
            self._counts["refresh_failed"] += 1
            log.warning("channel 0x%s could not be looked up: %s", payment.channel_id.hex(), error)
            return None

    async def check_room(
        self, payment: Payment, reservation: ChannelReservation, price: int
    ) -> None:
        try:
            check_room(payment, reservation.state, price, self._limits.exposure_cap)
        except PaymentRefused:
            # The chain may know of more: a deposit that somebody else sent, a redemption.
            if self._is_blind() or _age(reservation.state) < LOOK_AGAIN:
                raise
            await self._see(payment, reservation)
            check_room(payment, reservation.state, price, self._limits.exposure_cap)

    async def close(self) -> None:
        """Ends the threads. A deposit whose request is gone still writes to the ledger by then."""
        # Not on the loop: a thread may be waiting for it.
        for pool in (self._threads, self._looks, self._strangers):
            await asyncio.to_thread(pool.shutdown)
        if self.chain is not None:
            self.chain.close()

    async def _on_chain(self, call: Callable[..., T], *arguments: object) -> T:
        return await _run(self._threads, call, *arguments)

    async def _for_stranger(self, call: Callable[..., T], *arguments: object) -> T:
        """Asks the chain for somebody who has shown nothing yet but a signature, or not even that.

        Raises:
            ChainUnavailable: Too many ask for that.
        """
        if self._asking >= STRANGERS:
            raise ChainUnavailable(f"{STRANGERS} requests of unknown channels wait for the chain")
        self._asking += 1
        asked = _run(self._strangers, call, *arguments)
        # Not when its client goes: the thread has the call all the same.
        asked.add_done_callback(self._asked)
        return await asyncio.shield(asked)

    def _asked(self, asked: asyncio.Future[Any]) -> None:
        self._asking -= 1
        if not asked.cancelled():
            # Told, whether or not somebody still waits for it.
            asked.exception()


def _run(pool: ThreadPoolExecutor, call: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
    return asyncio.get_running_loop().run_in_executor(pool, call, *arguments)


def _unmoved(admitted: ChannelState, now: ChannelState) -> ChannelState:
    """The books as they are now, if nothing was charged since the payment was admitted on them.

    Its ceiling was compared with those. A reservation that was lost meanwhile, with its time or its
    connection, lets others charge; on their books this payment would be charged above its ceiling.

    Raises:
        PaymentRefused: Something was charged.
    """
    if (now.charges, now.charged) != (admitted.charges, admitted.charged):
        raise PaymentRefused(
            ErrorCode.CHANNEL_BUSY, "another request of this channel went first: retry"
        )
    return now


def _age(state: ChannelState) -> float:
    """Seconds since the chain was asked about a channel."""
    return time.time() - state.mirror.synced_at / 1000
