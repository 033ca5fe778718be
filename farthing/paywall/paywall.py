"""The paywall: from a request to leave to run its handler.

    price - parse - verify - reserve - handler - commit the charge - answer

To parse and verify is the work of `farthing.paywall.intake`, what comes after the handler that of
`farthing.paywall.charging`; answers that are no handler's are made by `farthing.paywall.outcomes`.

It knows no server: `farthing.paywall.asgi` and `farthing.paywall.wsgi` bring it requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from farthing.ledger import ChannelState, Ledger, LedgerUnavailable, NotReserved
from farthing.paywall.admission import Admission, Arrival, Charged
from farthing.paywall.books import Books
from farthing.paywall.channels import Channels
from farthing.paywall.charging import Charging
from farthing.paywall.checks import LedgerBehind, check_books
from farthing.paywall.intake import Intake
from farthing.paywall.limits import Limits
from farthing.paywall.offer import Offers
from farthing.paywall.onchain import ChainUnavailable, OnChain
from farthing.paywall.outcomes import Outcomes
from farthing.paywall.payers import Payers
from farthing.paywall.prices import Prices, Refused, Rule
from farthing.paywall.pricing.request import Request, RequestInvalid
from farthing.paywall.pricing.rules import RuleRefused
from farthing.paywall.replies import Reply
from farthing.paywall.reservations import ChannelReservation
from farthing.protocol import Domain, FarthingError
from farthing.protocol.payments import SIGNATURE_HEADER, ErrorCode, Payment, PaymentRefused

log = logging.getLogger("farthing.paywall")

# Bytes that name what is asked for.
TARGET = 32
# After how long a part that does not answer is taken to be down.
HEALTH_SECONDS = 2.0

_HEADER = SIGNATURE_HEADER.lower().encode()


class Paywall:
    """One publisher's paywall. To be used by one event loop at a time.

    ``commit`` and ``cancel``, which end what `admit` began, are those of `Charging`. ``counts`` has
    how often each outcome came; ``on_charge`` is called with every `Charged`, in the way of its
    answer: it has to be quick, and must not raise.

    Args:
        prices: What costs what.
        offers: On what terms.
        domain: The settlement contract vouchers are signed for.
        ledger: Where charges are kept.
        chain: Where deposits and refunds are sent; None takes vouchers of known channels only.
        limits: How long, how large, how much.
    """

    def __init__(
        self,
        prices: Prices,
        offers: Offers,
        domain: Domain,
        ledger: Ledger,
        chain: OnChain | None,
        limits: Limits,
    ) -> None:
        self.prices = prices
        self.offers = offers
        self.domain = domain
        self.ledger = ledger
        self.limits = limits
        self.counts: Counter[str] = Counter()
        self.books = Books(ledger, limits)
        self.channels = Channels(self.books, chain, limits, self.counts)
        self.payers = Payers(self.books, limits.payers)
        self._outcomes = Outcomes(offers, self.counts)
        self._intake = Intake(offers.terms, domain, self.books, self.channels, self.payers)
        self._charging = Charging(
            self.books, self.payers, self._outcomes, offers.receipts, limits, self.counts
        )
        self.commit = self._charging.commit
        self.cancel = self._charging.cancel

    @property
    def on_charge(self) -> Callable[[Charged], None] | None:
        return self._charging.on_charge

    @on_charge.setter
    def on_charge(self, told: Callable[[Charged], None] | None) -> None:
        self._charging.on_charge = told

    async def admit(self, rule: Rule | Refused, arrival: Arrival) -> Admission | Reply | None:
        """Leave to run the handler of a priced request, or the answer in its place.

        None when the price turns out to be 0. An admission is to be ended with `commit` or
        `cancel`, whatever happens.
        """
        if isinstance(rule, Refused):
            return self._outcomes.not_found()
        header = None
        accept: list[bytes] = []
        for name, value in arrival.headers:
            if name == _HEADER:
                # Several are one list, as HTTP has it, and no payment. They are not put together:
                # there may be thousands.
                header = value if header is None else b","
            elif name == b"accept":
                accept.append(value)
        try:
            price = self.prices.price(rule, _request(rule, arrival))
        except RequestInvalid as error:
            return self._outcomes.request_invalid(error)
        except Exception as error:
            # The function is the publisher's own; whatever it does, nothing is given away.
            return self._outcomes.price_failed(rule, error)
        if price == 0:
            return None
        if header is None:
            return self._outcomes.unpaid(price, arrival.url(), accept)
        started = time.perf_counter()
        try:
            payment, reservation = await self._intake.check(header, price, rule.text)
            admitting = self._reserved(rule, price, payment, reservation, arrival, started)
            if payment.deposit is None and not payment.is_refund:
                return await admitting
            # Money moves on chain: that goes on to its end when the client is gone.
            return await self._to_the_end(admitting)
        except PaymentRefused as refused:
            return self._outcomes.refused(refused, price, arrival.url)
        except RuleRefused as refused:
            return self._outcomes.payer_refused(refused)
        except LedgerUnavailable as error:
            return self._outcomes.ledger_unavailable(error)
        except ChainUnavailable as error:
            return self._outcomes.chain_unavailable(error)
        except LedgerBehind as error:
            return self._outcomes.ledger_behind(error)

    async def _reserved(
        self,
        rule: Rule,
        price: int,
        payment: Payment,
        reservation: ChannelReservation | None,
        arrival: Arrival,
        started: float,
    ) -> Admission | Reply:
        """What becomes of a payment whose terms and signature are right."""
        if reservation is None:
            reservation = await self._take(payment)
        try:
            check_books(payment.channel_id, reservation.state.charged, reservation.state.mirror)
            if payment.is_refund:
                answer = await self._refund(payment, reservation, price, arrival)
                self.books.reservations.give(reservation)
                return answer
            target, deposited = _target(arrival, payment), ""
            repeated = await self._repeated(payment, price, target, reservation.state)
            if repeated is not None:
                self.books.reservations.give(reservation)
                return repeated
            if payment.deposit is not None:
                deposited = await self.channels.deposit(payment, reservation)
            state = reservation.state
            expected = state.charged + price
            if payment.ceiling != expected:
                self.books.reservations.give(reservation)
                return self._outcomes.corrected(payment, expected, price, arrival.url(), state)
            await self.channels.keep_fresh(payment, reservation)
            await self.channels.check_room(payment, reservation, price)
            admission = Admission(
                payment, rule, target, reservation, deposited, started, arrival.url, price, price
            )
            if payment.wants_receipt and self.offers.receipts is not None:
                admission._request = arrival.method, arrival.url()
            if rule.function is not None or self.payers.rules(rule):
                # Last, for from here on the payer is held too.
                await self._apply_rules(admission, arrival)
        except BaseException:
            self.books.reservations.give(reservation)
            raise
        return admission

    async def _apply_rules(self, admission: Admission, arrival: Arrival) -> None:
        """Has rules lower what is charged, or refuse it."""
        try:
            await self.payers.open(admission, _request(admission._rule, arrival))
        except RuleRefused as refused:
            if admission._deposited:
                # Its money has moved all the same.
                admission.amount = 0
                state = admission._reservation.state
                refused.headers.append(self._outcomes.told(admission, state))
            raise

    async def _take(self, payment: Payment) -> ChannelReservation:
        """Reserves a channel that another request holds, or that is not known."""
        taken = await self.books.reservations.take(payment.channel_id)
        if taken is NotReserved.UNKNOWN:
            await self.channels.meet(payment)
            taken = await self.books.reservations.take(payment.channel_id)
        if isinstance(taken, NotReserved):
            raise PaymentRefused(
                ErrorCode.CHANNEL_BUSY, "another request of this channel is under way: retry"
            )
        return taken

    async def _repeated(
        self, payment: Payment, price: int, target: bytes, state: ChannelState
    ) -> Reply | None:
        """The stored answer, for the channel's latest voucher sent once more for the same thing."""
        if (payment.ceiling, payment.signature) != (state.ceiling, state.signature):
            return None
        # It was not charged, so it allows another one too: only its name tells it from that.
        is_named = payment.ceiling == state.charged + price
        if is_named and not payment.identifier:
            return None
        answer = await self.books.read(self.ledger.answer, payment.channel_id)
        if answer is None or answer.expires_at < time.time():
            return None
        if answer.target[:TARGET] != target[:TARGET] or (is_named and answer.target != target):
            return None
        return self._outcomes.repeated(answer)

    async def _refund(
        self, payment: Payment, reservation: ChannelReservation, price: int, arrival: Arrival
    ) -> Reply:
        state = reservation.state
        if payment.ceiling != state.charged:
            return self._outcomes.corrected(payment, state.charged, price, arrival.url(), state)
        refunded = await self.channels.refund(payment, reservation)
        return self._outcomes.refunded(payment, reservation.state, refunded)

    async def _to_the_end(
        self, admitting: Coroutine[Any, Any, Admission | Reply]
    ) -> Admission | Reply:
        """Admits whoever waits for it; the channel stays reserved until then."""
        task = self.books.spawn(admitting)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._abandon)
            raise

    def _abandon(self, task: asyncio.Task[Admission | Reply]) -> None:
        """Ends what was admitted for a client that is gone."""
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.warning("for a client that is gone: %s", error)
        elif isinstance(admission := task.result(), Admission):
            self.cancel(admission)

    async def health(self) -> dict[str, str]:
        """Which of ``ledger`` and ``chain`` cannot be asked now, and why; nothing when all is well.

        Without the chain there are no new deposits; known channels go on paying.
        """
        faults = {}
        parts = [("ledger", self.books.read(self.ledger.recall, ""))]
        if self.channels.chain is not None:
            # On a thread of its own: those of the chain may all be waiting for deposits.
            parts.append(("chain", asyncio.to_thread(self.channels.chain.check)))
        for name, answer in parts:
            try:
                await asyncio.wait_for(answer, HEALTH_SECONDS)
            except TimeoutError:
                faults[name] = f"it did not answer within {HEALTH_SECONDS} seconds"
            except FarthingError as error:
                faults[name] = str(error)
        return faults

    async def close(self) -> None:
        """Waits for what is under way, and closes the ledger. May be called again."""
        self.payers.close()
        await self.books.settle()
        await self.channels.close()
        await self.books.close()


def _request(rule: Rule, arrival: Arrival) -> Request:
    if rule.function is None and not rule.payer_rules:
        return _NOTHING
    found = rule.pattern.fullmatch(arrival.path)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in arrival.headers}
    parameters: Mapping[str, str] = found.groupdict() if found else {}
    return Request(arrival.method, arrival.path, arrival.query, headers, parameters)


# A fixed price does not look at the request.
_NOTHING = Request("", "", b"", {}, {})


def _target(arrival: Arrival, payment: Payment) -> bytes:
    """Names what is asked for, so that an answer is only ever repeated for the same; and then how
    the client calls its payment, if it does."""
    text = f"{arrival.method}\0{arrival.path}\0".encode("utf-8", "surrogatepass")
    target = hashlib.blake2b(text + arrival.query, digest_size=TARGET).digest()
    return target + payment.identifier.encode()
