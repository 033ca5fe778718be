"""The paywall: from a request to leave to run its handler, and from its answer to a charge.

    price - parse - verify - reserve - handler - commit the charge - answer

It knows no server: `farthing.paywall.asgi` and `farthing.paywall.wsgi` bring it requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import msgspec

from farthing.ledger import (
    Answer,
    ChannelState,
    Ledger,
    LedgerUnavailable,
    NewCharge,
    NotReserved,
)
from farthing.paywall.admission import Admission, Arrival, Charged
from farthing.paywall.batcher import Batcher
from farthing.paywall.books import Books
from farthing.paywall.channels import Channels
from farthing.paywall.checks import (
    EXPOSURE_CAP,
    LedgerBehind,
    check_books,
    check_signature,
    check_terms,
)
from farthing.paywall.limits import Limits
from farthing.paywall.offer import Offers, payment_response, wants_page
from farthing.paywall.onchain import ChainUnavailable, OnChain
from farthing.paywall.payers import Payers
from farthing.paywall.prices import Prices, Refused, Rule
from farthing.paywall.pricing.request import Request, RequestInvalid
from farthing.paywall.pricing.rules import RuleRefused
from farthing.paywall.replies import Reply, json_reply
from farthing.paywall.reservations import ChannelReservation
from farthing.protocol import ZERO_ADDRESS, Domain, FarthingError
from farthing.protocol.payments import (
    RESPONSE_HEADER,
    SIGNATURE_HEADER,
    ErrorCode,
    Payment,
    PaymentRefused,
    read_payment,
)
from farthing.protocol.receipts import Charge

log = logging.getLogger("farthing.paywall")

# Bytes that name what is asked for.
TARGET = 32
# Payments checked in one turn of the loop, about 60 microseconds each.
CHECK_BATCH = 32
# After how long a part that does not answer is taken to be down.
HEALTH_SECONDS = 2.0

# A payment's header and price; the payment, and its channel where it could be had at once.
_Sent: TypeAlias = tuple[bytes, int]
_Checked: TypeAlias = tuple[Payment | PaymentRefused, ChannelReservation | None]

_HEADER = SIGNATURE_HEADER.lower().encode()
_RESPONSE = RESPONSE_HEADER.lower().encode()
_PRIVATE = (b"cache-control", b"private, no-store")
# Caches obey some of an app's headers before `cache-control`: CDN-Cache-Control and its like.
_REPLACED = (b"cache-control", b"surrogate-control", _RESPONSE)
_SOON = [(b"retry-after", b"1")]


class Paywall:
    """One publisher's paywall. To be used by one event loop at a time.

    ``counts`` has how often each outcome came; ``on_charge`` is called with every `Charged`, in the
    way of its answer: it has to be quick, and must not raise.

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
        self.on_charge: Callable[[Charged], None] | None = None
        self.books = Books(ledger, limits)
        self.channels = Channels(self.books, chain, limits, self.counts)
        self.payers = Payers(self.books, limits.payers)
        self._checks = Batcher(self._check_all, None, CHECK_BATCH, self._decline)

    # ------------------------------------------------------------ before the handler

    async def admit(self, rule: Rule | Refused, arrival: Arrival) -> Admission | Reply | None:
        """Leave to run the handler of a priced request, or the answer in its place.

        None when the price turns out to be 0. An admission is to be ended with `commit` or
        `cancel`, whatever happens.
        """
        if isinstance(rule, Refused):
            self.counts["refused"] += 1
            return json_reply(404, {"error": "not_found"})
        header = None
        accept: list[bytes] = []
        for name, value in arrival.headers:
            if name == _HEADER:
                # Several are one list, as HTTP has it, and no payment.
                header = value if header is None else header + b"," + value
            elif name == b"accept":
                accept.append(value)
        try:
            price = self.prices.price(rule, _request(rule, arrival))
        except RequestInvalid as error:
            self.counts["request_invalid"] += 1
            return json_reply(400, {"error": "request_invalid", "reason": str(error)})
        except Exception:
            # The function is the publisher's own; whatever it does, nothing is given away.
            log.exception("the price function of %s failed", rule.text)
            self.counts["failed"] += 1
            return json_reply(500, {"error": "price_unavailable"})
        if price == 0:
            return None
        if header is None:
            self.counts["unpaid"] += 1
            as_page = wants_page(accept)
            return self.offers.payment_required(price, arrival.url(), as_page=as_page)
        try:
            return await self._admit(rule, price, header, arrival)
        except PaymentRefused as refused:
            self.counts[refused.code] += 1
            return self._refuse(refused, price, arrival)
        except RuleRefused as refused:
            self.counts[refused.code] += 1
            return _refuse_payer(refused)
        except LedgerUnavailable as error:
            self.counts["ledger_unavailable"] += 1
            log.warning("%s", error)
            return json_reply(503, {"error": "ledger_unavailable"}, _SOON)
        except ChainUnavailable as error:
            self.counts["chain_unavailable"] += 1
            log.warning("%s", error)
            return json_reply(503, {"error": ErrorCode.RPC_READ_FAILED}, _SOON)
        except LedgerBehind as error:
            self.counts["ledger_behind"] += 1
            log.error("%s", error)  # noqa: TRY400  # where it was found tells nothing
            return json_reply(503, {"error": "ledger_behind"})

    async def _admit(
        self, rule: Rule, price: int, header: bytes, arrival: Arrival
    ) -> Admission | Reply:
        started = time.perf_counter()
        sent = header, price
        checking = self._checks.submit(sent)
        try:
            payment, reservation = await checking
        except asyncio.CancelledError:
            # It may have been checked in the same turn.
            if checking.done() and not checking.cancelled() and checking.exception() is None:
                self._decline(sent, checking.result())
            raise
        if isinstance(payment, PaymentRefused):
            raise payment
        if payment.config.payer_authorizer == ZERO_ADDRESS:
            await self.channels.check_signature(payment, self.domain)
        try:
            self.payers.check_denied(payment, rule.text)
        except RuleRefused:
            self._decline(sent, (payment, reservation))
            raise
        admitting = self._reserved(rule, price, payment, reservation, arrival, started)
        if payment.deposit is None and not payment.is_refund:
            return await admitting
        # Money moves on chain: that goes on to its end when the client is gone, and the channel
        # stays reserved until then.
        task = self.books.spawn(admitting)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._abandon)
            raise

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
                return self._correct(price, expected, arrival, payment.channel_id, state)
            await self.channels.keep_fresh(payment, reservation)
            await self.channels.check_room(payment, reservation, price)
            admission = Admission(payment, rule, price, target, reservation, deposited, started)
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
                refused.headers.append(self._told(admission._payment, state, admission))
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

    def _abandon(self, task: asyncio.Task[Admission | Reply]) -> None:
        """Ends what was admitted for a client that is gone."""
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.warning("for a client that is gone: %s", error)
        elif isinstance(admission := task.result(), Admission):
            self.cancel(admission)

    def _check_all(self, sent: Sequence[_Sent]) -> list[_Checked]:
        """Checks payments, and reserves the channels of those that are right and can be had."""
        payments = [self._check(header, price) for header, price in sent]
        ids = [
            each.channel_id
            for each in payments
            if isinstance(each, Payment) and each.config.payer_authorizer != ZERO_ADDRESS
        ]
        taken = iter(self.books.reservations.take_free(ids))
        return [
            (each, next(taken))
            if isinstance(each, Payment) and each.config.payer_authorizer != ZERO_ADDRESS
            else (each, None)
            for each in payments
        ]

    def _decline(self, sent: _Sent, checked: _Checked) -> None:
        """Gives back what was reserved for a client that is gone."""
        if checked[1] is not None:
            self.books.reservations.give(checked[1])

    def _check(self, header: bytes, price: int) -> Payment | PaymentRefused:
        """All that can be told of a payment from itself alone."""
        try:
            payment = read_payment(header)
            check_terms(payment, self.offers.terms, price)
            # Without an authorizer the payer may be a contract: the chain has to be asked.
            if payment.config.payer_authorizer != ZERO_ADDRESS:
                check_signature(payment, self.domain)
        except PaymentRefused as refused:
            return refused
        return payment

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
        self.counts["repeated"] += 1
        return Reply(answer.status, answer.headers, answer.body)

    # ------------------------------------------------------------ after the handler

    async def commit(
        self,
        admission: Admission,
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes | None,
    ) -> Reply:
        """Charges for a handler's answer, and gives it back as it is to be sent.

        When this returns an answer with the payment's header, the charge is on the disk. ``body``
        is None for one too long to be kept; then the body of what is given back is empty, and
        the server sends the rest itself. Goes on to its end when its caller is cancelled.
        """
        payment, reservation = admission._payment, admission._reservation
        state, now = reservation.state, int(time.time())
        charged = msgspec.structs.replace(
            state,
            charged=state.charged + admission.amount,
            charges=state.charges + 1,
            ceiling=payment.ceiling,
            signature=payment.signature,
        )
        request_id = self.books.next_id()
        receipt = self._receipt(admission, charged.charged, request_id, now)
        told = self._told(payment, charged, admission, receipt)
        sent = [each for each in headers if not each[0].lower().endswith(_REPLACED)]
        sent += told, _PRIVATE
        answer = None
        if body is not None and len(body) <= self.limits.answer_bytes:
            expires = now + self.limits.answer_seconds
            answer = Answer(admission._target, status, sent, body, expires)
        asked = time.perf_counter()
        made = self.books.commits.submit(
            NewCharge(
                channel_id=payment.channel_id,
                charges=state.charges,
                charged=state.charged,
                amount=admission.amount,
                price=admission.price,
                ceiling=payment.ceiling,
                signature=payment.signature,
                route=admission._rule.text,
                request_id=request_id,
                time=now,
                answer=answer,
                reason=admission.reason,
                change=admission._change,
            ),
            partial(self._give, admission),
        )
        try:
            is_made = await made
        except LedgerUnavailable as error:
            self.counts["ledger_unavailable"] += 1
            log.warning("%s", error)
            return json_reply(503, {"error": "ledger_unavailable"}, _SOON)
        if not is_made:
            self.counts["overtaken"] += 1
            busy = PaymentRefused(
                ErrorCode.CHANNEL_BUSY, "another request of this channel went first: retry"
            )
            return json_reply(402, {"error": busy.code, "reason": busy.reason}, _SOON)
        self.counts["paid"] += 1
        self.books.forget_answers()
        if self.on_charge is not None:
            done = time.perf_counter()
            self.on_charge(
                Charged(
                    request_id,
                    admission._rule.text,
                    payment.config.payer,
                    payment.channel_id,
                    admission.amount,
                    status,
                    done - admission._started,
                    done - asked,
                )
            )
        return Reply(status, sent, body or b"")

    def cancel(self, admission: Admission) -> list[tuple[bytes, bytes]]:
        """Ends an admission without a charge: the handler failed, or its client is gone.

        Gives the headers to send with a failed handler's answer: they tell a client that has
        deposited that it did.
        """
        self._give(admission)
        self.counts["handler_failed"] += 1
        if not admission._deposited:
            return []
        admission.amount = 0
        return [self._told(admission._payment, admission._reservation.state, admission)]

    def _give(self, admission: Admission) -> None:
        """Lets the next requests of the channel and its payer go on."""
        self.books.reservations.give(admission._reservation)
        self.payers.give(admission)

    def _receipt(
        self, admission: Admission, total: int, request_id: str, now: int
    ) -> Mapping[str, Any] | None:
        """The signed statement of a charge, for a client that asked. It leaves with the answer, and
        so only when the charge was made."""
        if admission._request is None:
            return None
        assert self.offers.receipts is not None
        payment, request = admission._payment, admission._request
        return self.offers.receipts.statement(
            payment.config.payer,
            Charge(payment.channel_id, admission.amount, total, *request, request_id, now),
        )

    def _told(
        self,
        payment: Payment,
        state: ChannelState,
        admission: Admission,
        receipt: Mapping[str, Any] | None = None,
    ) -> tuple[bytes, bytes]:
        wish = payment.deposit
        header = payment_response(
            self.offers.terms.network,
            payment.config.payer,
            payment.channel_id,
            state,
            charged=admission.amount,
            transaction=admission._deposited,
            amount=str(wish.amount) if wish and admission._deposited else "",
            extensions=receipt,
        )
        return _RESPONSE, header

    async def _refund(
        self, payment: Payment, reservation: ChannelReservation, price: int, arrival: Arrival
    ) -> Reply:
        state = reservation.state
        if payment.ceiling != state.charged:
            return self._correct(price, state.charged, arrival, payment.channel_id, state)
        refunded = await self.channels.refund(payment, reservation)
        self.counts["refunded"] += 1
        header = payment_response(
            self.offers.terms.network,
            payment.config.payer,
            payment.channel_id,
            reservation.state,
            charged=None,
            transaction=refunded.transaction,
            amount=str(refunded.amount),
        )
        message = {"refunded": str(refunded.amount), "transaction": refunded.transaction}
        return json_reply(200, message, [(_RESPONSE, header), _PRIVATE])

    # ------------------------------------------------------------ answers

    def _refuse(self, refused: PaymentRefused, price: int, arrival: Arrival) -> Reply:
        if refused.code == EXPOSURE_CAP:
            return json_reply(503, {"error": refused.code, "reason": refused.reason}, _SOON)
        return self.offers.payment_required(
            price, arrival.url(), error=refused.code, reason=refused.reason
        )

    def _correct(
        self, price: int, expected: int, arrival: Arrival, channel_id: bytes, state: ChannelState
    ) -> Reply:
        code = ErrorCode.CUMULATIVE_AMOUNT_MISMATCH
        self.counts[code] += 1
        return self.offers.payment_required(
            price,
            arrival.url(),
            error=code,
            reason=f"the voucher must be for {expected}",
            state=(channel_id, state),
        )

    # ------------------------------------------------------------ health, and the end

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


def _refuse_payer(refused: RuleRefused) -> Reply:
    status, headers = 403, refused.headers
    if refused.retry_after is not None:
        status, headers = 429, [*headers, (b"retry-after", str(refused.retry_after).encode())]
    return json_reply(status, {"error": refused.code, "reason": refused.reason}, headers)


def _target(arrival: Arrival, payment: Payment) -> bytes:
    """Names what is asked for, so that an answer is only ever repeated for the same; and then how
    the client calls its payment, if it does."""
    text = f"{arrival.method}\0{arrival.path}\0".encode("utf-8", "surrogatepass")
    target = hashlib.blake2b(text + arrival.query, digest_size=TARGET).digest()
    return target + payment.identifier.encode()
