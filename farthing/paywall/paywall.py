"""The paywall: from a request to leave to run its handler, and from its answer to a charge.

    price - parse - verify - reserve - handler - commit the charge - answer

It knows no server: `farthing.paywall.asgi` and `farthing.paywall.wsgi` bring it requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any, TypeVar

import msgspec

from farthing.ledger import (
    Answer,
    ChannelState,
    Ledger,
    LedgerUnavailable,
    Mirror,
    NewCharge,
    NotReserved,
)
from farthing.paywall.batcher import Batcher
from farthing.paywall.checks import (
    EXPOSURE_CAP,
    LedgerBehind,
    check_books,
    check_room,
    check_signature,
    check_terms,
)
from farthing.paywall.limits import Limits
from farthing.paywall.offer import Offers, payment_response, wants_page
from farthing.paywall.onchain import ChainUnavailable, OnChain
from farthing.paywall.prices import MAX_PRICE, Prices, Refused, Request, Rule
from farthing.paywall.replies import Reply, json_reply
from farthing.paywall.reservations import Reservation, Reservations
from farthing.protocol import ZERO_ADDRESS, Domain, FarthingError
from farthing.protocol.payments import (
    RESPONSE_HEADER,
    SIGNATURE_HEADER,
    ErrorCode,
    Payment,
    PaymentRefused,
    read_payment,
)

log = logging.getLogger("farthing.paywall")

T = TypeVar("T")

# Charges of one transaction. More would share a sync of the disk that costs little by then, and
# keep the first of them waiting.
COMMIT_BATCH = 64
# Signatures checked in one turn of the loop, about 50 microseconds each.
CHECK_BATCH = 32
# Seconds between two looks for answers that are kept long enough.
FORGET_SECONDS = 1
# Calls of the chain that run at a time. A deposit holds one until it is confirmed.
CHAIN_THREADS = 32
# Seconds before the chain is asked once more about a channel that has no room for a payment.
LOOK_AGAIN = 2.0
# Seconds for which nobody waits for a chain that has not answered.
BLIND = 5.0
# The route of the charge of nothing that stands for a refund.
REFUND_ROUTE = "refund"
# After how long a part that does not answer is taken to be down.
HEALTH_SECONDS = 2.0

_HEADER = SIGNATURE_HEADER.lower().encode()
_RESPONSE = RESPONSE_HEADER.lower().encode()
_PRIVATE = (b"cache-control", b"private, no-store")
# Caches obey some of an app's headers before `cache-control`: CDN-Cache-Control and its like.
_REPLACED = (b"cache-control", b"surrogate-control", _RESPONSE)
_SOON = [(b"retry-after", b"1")]


class ChargeInvalid(FarthingError):
    """A handler asked for more than the price it was called for, or for no amount at all."""

    def __init__(self, amount: object, price: int) -> None:
        super().__init__(f"a charge is an int of 0 to the price of {price}, not {amount!r}.")


class Admission:
    """Leave to run a handler for a request that can be paid.

    Attributes:
        payer: Who pays, an address.
        channel_id: From which channel.
        price: What it costs at most, in the token's smallest unit.
        amount: What will be charged if the handler succeeds; `charge` lowers it.
    """

    __slots__ = (
        "_deposited",
        "_payment",
        "_reservation",
        "_rule",
        "_started",
        "_target",
        "amount",
        "price",
    )

    def __init__(
        self,
        payment: Payment,
        rule: Rule,
        price: int,
        target: bytes,
        reservation: Reservation,
        deposited: str,
        started: float,
    ) -> None:
        self._started = started
        self._payment = payment
        self._rule = rule
        self._target = target
        self._reservation = reservation
        self._deposited = deposited
        self.price = price
        self.amount = price

    @property
    def payer(self) -> str:
        return self._payment.config.payer

    @property
    def channel_id(self) -> bytes:
        return self._payment.channel_id

    def charge(self, amount: int) -> None:
        """Charges ``amount`` smallest units instead of the whole price.

        Raises:
            ChargeInvalid: It is not an int of 0 to the price.
        """
        if type(amount) is not int or not 0 <= amount <= self.price:
            raise ChargeInvalid(amount, self.price)
        self.amount = amount


class Arrival(msgspec.Struct):
    """A request as a server hands it over. Header names are in lower case."""

    method: str
    path: str
    query: bytes
    url: Callable[[], str]
    headers: list[tuple[bytes, bytes]]


class Charged(msgspec.Struct, frozen=True):
    """A charge that is on the disk, for logs and metrics.

    Attributes:
        request_id: As it is in the ledger.
        route: The price's rule.
        payer: An address.
        amount: What was charged, in the token's smallest unit.
        status: The answer's.
        seconds: From the request to the charge, and ``commit_seconds`` of them for the disk.
    """

    request_id: str
    route: str
    payer: str
    channel_id: bytes
    amount: int
    status: int
    seconds: float
    commit_seconds: float


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
        self._chain = chain
        self._chain_threads = ThreadPoolExecutor(CHAIN_THREADS, "farthing-chain")
        self._ledger_thread = ThreadPoolExecutor(1, "farthing-ledger")
        self._commit_thread = ThreadPoolExecutor(1, "farthing-commit")
        self._reservations = Reservations(
            ledger, self._ledger_thread, limits.wait_seconds, limits.hold_seconds
        )
        self._commits = Batcher(ledger.commit, self._commit_thread, COMMIT_BATCH)
        self._checks = Batcher(self._check_signatures, None, CHECK_BATCH)
        self._blind_until = 0.0
        self._looking: dict[bytes, asyncio.Task[ChannelState | None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._forgot_at = 0
        self._run = secrets.token_hex(8)
        self._numbers = count(1)

    # ------------------------------------------------------------ before the handler

    def rule(self, method: str, path: str) -> Rule | Refused | None:
        """What holds for a request; None lets it pass."""
        return self.prices.find(method, path)

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
        payment = read_payment(header)
        check_terms(payment, self.offers.terms, price)
        await self._check_signature(payment)
        admitting = self._reserved(rule, price, payment, arrival, started)
        if payment.deposit is None and not payment.is_refund:
            return await admitting
        # Money moves on chain: that goes on to its end when the client is gone, and the channel
        # stays reserved until then.
        task = self._spawn(admitting)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._abandon)
            raise

    async def _reserved(
        self, rule: Rule, price: int, payment: Payment, arrival: Arrival, started: float
    ) -> Admission | Reply:
        """What becomes of a payment whose terms and signature are right."""
        reservation = await self._reservations.take(payment.channel_id)
        if reservation is NotReserved.UNKNOWN:
            await self._meet(payment)
            reservation = await self._reservations.take(payment.channel_id)
        if isinstance(reservation, NotReserved):
            raise PaymentRefused(
                ErrorCode.CHANNEL_BUSY, "another request of this channel is under way: retry"
            )
        try:
            check_books(payment.channel_id, reservation.state.charged, reservation.state.mirror)
            if payment.is_refund:
                answer = await self._refund(payment, reservation, price, arrival)
                self._reservations.give(reservation)
                return answer
            target, deposited = _target(arrival), ""
            repeated = await self._repeated(payment, price, target, reservation.state)
            if repeated is not None:
                self._reservations.give(reservation)
                return repeated
            if payment.deposit is not None:
                deposited = await self._deposit(payment, reservation)
            state = reservation.state
            expected = state.charged + price
            if payment.ceiling != expected:
                self._reservations.give(reservation)
                return self._correct(price, expected, arrival, payment.channel_id, state)
            await self._keep_fresh(payment, reservation)
            await self._check_room(payment, reservation, price)
        except BaseException:
            self._reservations.give(reservation)
            raise
        return Admission(payment, rule, price, target, reservation, deposited, started)

    def _abandon(self, task: asyncio.Task[Admission | Reply]) -> None:
        """Ends what was admitted for a client that is gone."""
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.warning("for a client that is gone: %s", error)
        elif isinstance(admission := task.result(), Admission):
            self.cancel(admission)

    async def _check_room(self, payment: Payment, reservation: Reservation, price: int) -> None:
        try:
            check_room(payment, reservation.state, price, self.limits.exposure_cap)
        except PaymentRefused:
            # The chain may know of more: a deposit that somebody else sent, a redemption.
            if self._is_blind() or _age(reservation.state) < LOOK_AGAIN:
                raise
            await self._see(payment, reservation)
            check_room(payment, reservation.state, price, self.limits.exposure_cap)

    async def _check_signature(self, payment: Payment) -> None:
        if payment.config.payer_authorizer != ZERO_ADDRESS:
            refused = await self._checks.submit(payment)
            if refused is not None:
                raise refused
        elif self._chain is None:
            raise PaymentRefused(
                ErrorCode.VOUCHER_SIGNATURE, "set a payerAuthorizer: contract wallets are not taken"
            )
        else:
            await self._on_chain(self._chain.check_signature, payment, self.domain)

    def _check_signatures(self, payments: Sequence[Payment]) -> list[PaymentRefused | None]:
        return [self._refused(payment) for payment in payments]

    def _refused(self, payment: Payment) -> PaymentRefused | None:
        try:
            check_signature(payment, self.domain)
        except PaymentRefused as refused:
            return refused
        return None

    async def _repeated(
        self, payment: Payment, price: int, target: bytes, state: ChannelState
    ) -> Reply | None:
        """The stored answer, for the channel's latest voucher sent once more for the same thing."""
        if (payment.ceiling, payment.signature) != (state.ceiling, state.signature):
            return None
        if payment.ceiling == state.charged + price:
            # It charged less than it allowed, and allows this one too.
            return None
        answer = await self._read(self.ledger.answer, payment.channel_id)
        if answer is None or answer.target != target or answer.expires_at < time.time():
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
        told = self._told(payment, charged, admission)
        kept = (each for each in headers if not each[0].lower().endswith(_REPLACED))
        sent = [*kept, told, _PRIVATE]
        answer = None
        if body is not None and len(body) <= self.limits.answer_bytes:
            expires = now + self.limits.answer_seconds
            answer = Answer(admission._target, status, sent, body, expires)
        request_id, asked = self._next_id(), time.perf_counter()
        made = self._commits.submit(
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
            ),
            partial(self._reservations.give, reservation),
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
        if now - self._forgot_at >= FORGET_SECONDS:
            self._forgot_at = now
            self._spawn(self._forget(now))
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

    async def _forget(self, now: int) -> None:
        """Removes answers that are kept long enough, a few at a time."""
        try:
            await self._write(self.ledger.forget_answers, now)
        except LedgerUnavailable as error:
            # They are removed the next time.
            log.warning("%s", error)

    def cancel(self, admission: Admission) -> list[tuple[bytes, bytes]]:
        """Ends an admission without a charge: the handler failed, or its client is gone.

        Gives the headers to send with a failed handler's answer: they tell a client that has
        deposited that it did.
        """
        self._reservations.give(admission._reservation)
        self.counts["handler_failed"] += 1
        if not admission._deposited:
            return []
        admission.amount = 0
        return [self._told(admission._payment, admission._reservation.state, admission)]

    def _told(
        self, payment: Payment, state: ChannelState, admission: Admission
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
        )
        return _RESPONSE, header

    # ------------------------------------------------------------ the chain

    async def _meet(self, payment: Payment) -> None:
        """Writes a channel down that the ledger does not know and the chain does, or will."""
        if self._chain is None:
            raise PaymentRefused(ErrorCode.CHANNEL_NOT_FOUND, "this channel is not known here")
        mirror = await self._on_chain(self._chain.mirror, payment.channel_id)
        if mirror.balance == 0 and payment.deposit is None:
            raise PaymentRefused(
                ErrorCode.CHANNEL_NOT_FOUND, "this channel holds nothing: deposit first"
            )
        if payment.deposit is not None:
            # Nothing is written for a deposit that would fail.
            await self._on_chain(self._chain.check_deposit, payment)
        await self._record(payment, mirror)

    async def _deposit(self, payment: Payment, reservation: Reservation) -> str:
        assert payment.deposit is not None
        if self._chain is None:
            raise PaymentRefused(ErrorCode.DEPOSIT_PAYLOAD, "deposits are not taken here")
        if payment.ceiling != reservation.state.charged + payment.amount:
            # The voucher is no good, so its client has to be corrected before money moves.
            return ""
        reservation.expires_at = math.inf
        name = self._chain.authorization(payment)
        known = await self._read(self.ledger.deposit, name)
        if known is None:
            # What would not be served with it is not worth the gas.
            state = reservation.state
            balance = min(state.mirror.balance + payment.deposit.amount, MAX_PRICE)
            mirror = msgspec.structs.replace(state.mirror, balance=balance)
            funded = msgspec.structs.replace(state, mirror=mirror)
            check_room(payment, funded, payment.amount, self.limits.exposure_cap)
        save = self._saving(self.ledger.save_deposit, int(time.time()))
        transaction = await self._on_chain(self._chain.deposit, payment, known, save)
        await self._resync(payment, reservation)
        reservation.expires_at = asyncio.get_running_loop().time() + self.limits.hold_seconds
        return transaction

    async def _refund(
        self, payment: Payment, reservation: Reservation, price: int, arrival: Arrival
    ) -> Reply:
        if self._chain is None:
            raise PaymentRefused(ErrorCode.REFUND_PAYLOAD, "refunds are not given here")
        state = reservation.state
        if payment.ceiling != state.charged:
            return self._correct(price, state.charged, arrival, payment.channel_id, state)
        # However long it takes: what is given back is counted from this state.
        reservation.expires_at = math.inf
        loop = asyncio.get_running_loop()
        sent = await self._read(self.ledger.recall, _refund_name(payment))

        def hold(mirror: Mirror, amount: int) -> None:
            held = self._hold(payment, state, mirror, max(amount, _held(sent, mirror)))
            asyncio.run_coroutine_threadsafe(held, loop).result()

        try:
            refund = await self._on_chain(self._chain.refund, payment, state, hold)
        except PaymentRefused:
            # It will not happen, so nothing is held but for those before it.
            await self._write(self.ledger.remember, _refund_name(payment), sent or "")
            await self._resync(payment, reservation)
            raise
        await self._resync(payment, reservation)
        self.counts["refunded"] += 1
        header = payment_response(
            self.offers.terms.network,
            payment.config.payer,
            payment.channel_id,
            reservation.state,
            charged=None,
            transaction=refund.transaction,
            amount=str(refund.amount),
        )
        message = {"refunded": str(refund.amount), "transaction": refund.transaction}
        return json_reply(200, message, [(_RESPONSE, header), _PRIVATE])

    async def _hold(
        self, payment: Payment, state: ChannelState, mirror: Mirror, amount: int
    ) -> None:
        """Makes sure, before a refund is sent, that what it gives back cannot be spent."""
        await self._write(
            self.ledger.remember, _refund_name(payment), f"{mirror.refund_nonce} {amount}"
        )
        await self._record(payment, mirror)
        # A charge of nothing moves the channel on, so that a request which was admitted before,
        # and lost its reservation by being slow, is not charged for any more.
        made = await self._commits.submit(
            NewCharge(
                channel_id=payment.channel_id,
                charges=state.charges,
                charged=state.charged,
                amount=0,
                price=0,
                ceiling=payment.ceiling,
                signature=payment.signature,
                route=REFUND_ROUTE,
                request_id=self._next_id(),
                time=int(time.time()),
                answer=None,
            )
        )
        if not made:
            raise PaymentRefused(
                ErrorCode.CHANNEL_BUSY, "another request of this channel went first: retry"
            )

    async def _resync(self, payment: Payment, reservation: Reservation) -> None:
        assert self._chain is not None
        mirror = await self._on_chain(self._chain.mirror, payment.channel_id)
        reservation.state = await self._record(payment, mirror)
        check_books(payment.channel_id, reservation.state.charged, reservation.state.mirror)

    async def _record(self, payment: Payment, mirror: Mirror) -> ChannelState:
        """Writes down what the chain says of a channel.

        A refund that was sent counts as gone until its nonce is used, whatever the chain says
        meanwhile: its transaction may still come.
        """
        sent = await self._read(self.ledger.recall, _refund_name(payment))
        held = _held(sent, mirror)
        if held:
            gone = min(mirror.balance, mirror.withdraw_amount + held)
            mirror = msgspec.structs.replace(mirror, withdraw_amount=gone)
        return await self._write(self.ledger.mirror, payment.channel_id, payment.config, mirror)

    async def _keep_fresh(self, payment: Payment, reservation: Reservation) -> None:
        """Asks the chain again about a channel that was last looked at long ago.

        The payment waits only if a withdrawal could have come and gone since then. When the chain
        cannot be asked, payments go on within what was known, up to the exposure cap.
        """
        age = _age(reservation.state)
        if age < self.limits.sync_seconds or self._is_blind():
            return
        if age < payment.config.withdraw_delay - self.limits.sync_seconds:
            self._look(payment)
        else:
            await self._see(payment, reservation)

    async def _see(self, payment: Payment, reservation: Reservation) -> None:
        """Waits for a look at the chain; if it takes long or fails, things stay as they are."""
        done, late = await asyncio.wait({self._look(payment)}, timeout=self.limits.wait_seconds)
        for task in done:
            reservation.state = task.result() or reservation.state
        if late:
            self._blind_until = time.monotonic() + BLIND
        check_books(payment.channel_id, reservation.state.charged, reservation.state.mirror)

    def _is_blind(self) -> bool:
        return self._chain is None or time.monotonic() < self._blind_until

    def _look(self, payment: Payment) -> asyncio.Task[ChannelState | None]:
        """A look at the chain, one at a time for each channel."""
        channel_id = payment.channel_id
        task = self._looking.get(channel_id)
        if task is None:
            task = self._looking[channel_id] = self._spawn(self._refresh(payment))
            task.add_done_callback(lambda _: self._looking.pop(channel_id))
        return task

    async def _refresh(self, payment: Payment) -> ChannelState | None:
        assert self._chain is not None
        try:
            mirror = await self._on_chain(self._chain.mirror, payment.channel_id)
            return await self._record(payment, mirror)
        except FarthingError as error:
            self._blind_until = time.monotonic() + BLIND
            self.counts["refresh_failed"] += 1
            log.warning("channel 0x%s could not be looked up: %s", payment.channel_id.hex(), error)
            return None

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Runs ``work`` to its end, whoever waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _on_chain(self, call: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._chain_threads, call, *arguments)

    def _saving(self, call: Callable[..., object], *more: object) -> Callable[[Any], None]:
        """``call`` on the ledger, to be made from a thread of the chain, which waits for it."""
        loop = asyncio.get_running_loop()

        def save(value: Any) -> None:
            asyncio.run_coroutine_threadsafe(self._write(call, value, *more), loop).result()

        return save

    def _next_id(self) -> str:
        return f"{self._run}-{next(self._numbers)}"

    async def _read(self, call: Callable[..., T], *arguments: object) -> T:
        if self.ledger.is_local:
            return call(*arguments)
        return await self._write(call, *arguments)

    async def _write(self, call: Callable[..., T], *arguments: object) -> T:
        # The thread that `reserve` uses of a ledger that has to be waited for.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._ledger_thread, call, *arguments)

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
        parts = [("ledger", self._read(self.ledger.recall, ""))]
        if self._chain is not None:
            # On a thread of its own: those of the chain may all be waiting for deposits.
            parts.append(("chain", asyncio.to_thread(self._chain.check)))
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
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for pool in (self._chain_threads, self._ledger_thread, self._commit_thread):
            # Not on the loop: a thread of the chain may be waiting for it.
            await asyncio.to_thread(pool.shutdown)
        self.ledger.close()


def _request(rule: Rule, arrival: Arrival) -> Request:
    if rule.function is None:
        return _NOTHING
    found = rule.pattern.fullmatch(arrival.path)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in arrival.headers}
    parameters: Mapping[str, str] = found.groupdict() if found else {}
    return Request(arrival.method, arrival.path, arrival.query, headers, parameters)


# A fixed price does not look at the request.
_NOTHING = Request("", "", b"", {}, {})


def _age(state: ChannelState) -> float:
    """Seconds since the chain was asked about a channel."""
    return time.time() - state.mirror.synced_at / 1000


def _refund_name(payment: Payment) -> str:
    """Under which name the ledger remembers a refund that was sent: its nonce and amount."""
    return f"refund 0x{payment.channel_id.hex()}"


def _held(sent: str | None, mirror: Mirror) -> int:
    """What of a refund that was sent may still leave the channel."""
    if not sent:
        return 0
    nonce, amount = (int(part) for part in sent.split())
    return amount if nonce == mirror.refund_nonce else 0


def _target(arrival: Arrival) -> bytes:
    """Names what is asked for, so that an answer is only ever repeated for the same."""
    text = f"{arrival.method}\0{arrival.path}\0".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text + arrival.query, digest_size=32).digest()
