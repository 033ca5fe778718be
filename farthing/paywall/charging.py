"""What comes after a handler: its answer is charged for and sent, or its payment is let go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from farthing.ledger import Answer, LedgerUnavailable, NewCharge
from farthing.paywall.admission import Admission, Charged
from farthing.paywall.books import Books
from farthing.paywall.limits import Limits
from farthing.paywall.outcomes import PRIVATE, RESPONSE, Outcomes
from farthing.paywall.payers import Payers
from farthing.paywall.receipts import Receipts
from farthing.paywall.replies import Reply
from farthing.protocol.receipts import Charge

# Caches obey some of an app's headers before `cache-control`: CDN-Cache-Control and its like.
_REPLACED = (b"cache-control", b"surrogate-control", RESPONSE)


class Charging:
    """Ends admissions, with a charge or without one.

    Args:
        books: Where charges are made, and channels given back.
        payers: Who are given back with them.
        outcomes: What clients are told.
        receipts: Signs what is charged, for clients that ask; None gives no receipts.
        limits: How large an answer is kept, and how long.
        counts: How often each outcome came.

    Attributes:
        on_charge: Called with every `Charged`, in the way of its answer: it has to be quick, and
            must not raise.
    """

    def __init__(
        self,
        books: Books,
        payers: Payers,
        outcomes: Outcomes,
        receipts: Receipts | None,
        limits: Limits,
        counts: Counter[str],
    ) -> None:
        self.on_charge: Callable[[Charged], None] | None = None
        self._books = books
        self._payers = payers
        self._outcomes = outcomes
        self._receipts = receipts
        self._limits = limits
        self._counts = counts

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
        try:
            charge, sent = self._charge(admission, status, headers, body)
        except BaseException:
            self._give(admission)
            raise
        asked = time.perf_counter()
        try:
            is_made = await self._books.commits.submit(charge, partial(self._give, admission))
        except LedgerUnavailable as error:
            return self._outcomes.ledger_unavailable(error)
        if not is_made:
            return self._outcomes.overtaken(admission.price, admission._url)
        self._counts["paid"] += 1
        self._books.forget_answers()
        if self.on_charge is not None:
            done = time.perf_counter()
            self.on_charge(
                Charged(
                    charge.request_id,
                    charge.route,
                    admission._payment.config.payer,
                    charge.channel_id,
                    charge.amount,
                    status,
                    done - admission._started,
                    done - asked,
                )
            )
        return Reply(status, sent, body or b"")

    def _charge(
        self,
        admission: Admission,
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes | None,
    ) -> tuple[NewCharge, list[tuple[bytes, bytes]]]:
        """An admission's charge, and the headers of the answer that is charged for."""
        payment, reservation = admission._payment, admission._reservation
        state, now = reservation.state, int(time.time())
        charged = msgspec.structs.replace(
            state,
            charged=state.charged + admission.amount,
            charges=state.charges + 1,
            ceiling=payment.ceiling,
            signature=payment.signature,
        )
        request_id = self._books.next_id()
        receipt = self._receipt(admission, charged.charged, request_id, now)
        told = self._outcomes.told(admission, charged, receipt)
        sent = [each for each in headers if not each[0].lower().endswith(_REPLACED)]
        sent += told, PRIVATE
        answer = None
        if body is not None and len(body) <= self._limits.answer_bytes:
            expires = now + self._limits.answer_seconds
            answer = Answer(admission._target, status, sent, body, expires)
        charge = NewCharge(
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
        )
        return charge, sent

    def cancel(self, admission: Admission) -> list[tuple[bytes, bytes]]:
        """Ends an admission without a charge: the handler failed, or its client is gone.

        Gives the headers to send with a failed handler's answer: they tell a client that has
        deposited that it did.
        """
        self._give(admission)
        self._counts["handler_failed"] += 1
        if not admission._deposited:
            return []
        admission.amount = 0
        return [self._outcomes.told(admission, admission._reservation.state)]

    def _give(self, admission: Admission) -> None:
        """Lets the next requests of the channel and its payer go on."""
        self._books.reservations.give(admission._reservation)
        self._payers.give(admission)

    def _receipt(
        self, admission: Admission, total: int, request_id: str, now: int
    ) -> Mapping[str, Any] | None:
        """The signed statement of a charge, for a client that asked. It leaves with the answer, and
        so only when the charge was made."""
        if admission._request is None:
            return None
        assert self._receipts is not None
        payment, request = admission._payment, admission._request
        return self._receipts.statement(
            payment.config.payer,
            Charge(payment.channel_id, admission.amount, total, *request, request_id, now),
        )
