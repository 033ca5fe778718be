"""What becomes of requests, as their clients are told it.

Every answer that the paywall gives by itself is made here, and counted as it is made. A handler's
answer is its own, and goes out with the header of `Outcomes.told`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from farthing.ledger import Answer, ChannelState, LedgerUnavailable
from farthing.paywall.admission import Admission
from farthing.paywall.checks import EXPOSURE_CAP, LedgerBehind
from farthing.paywall.offer import Offers, payment_response, wants_page
from farthing.paywall.onchain import ChainUnavailable, Done
from farthing.paywall.prices import Rule
from farthing.paywall.pricing.request import RequestInvalid
from farthing.paywall.pricing.rules import RuleRefused
from farthing.paywall.replies import Reply, json_reply
from farthing.protocol.payments import RESPONSE_HEADER, ErrorCode, Payment, PaymentRefused

log = logging.getLogger("farthing.paywall")

RESPONSE = RESPONSE_HEADER.lower().encode()
PRIVATE = (b"cache-control", b"private, no-store")
_SOON = [(b"retry-after", b"1")]


class Outcomes:
    """Makes and counts the answers of one publisher's paywall. Prices are in smallest units.

    Args:
        offers: On what terms to pay.
        counts: How often each outcome came.
    """

    def __init__(self, offers: Offers, counts: Counter[str]) -> None:
        self._offers = offers
        self._counts = counts

    # ------------------------------------------------------------ no payment yet

    def not_found(self) -> Reply:
        """For a path that looks like a priced one, and is none."""
        self._counts["refused"] += 1
        return json_reply(404, {"error": "not_found"})

    def request_invalid(self, error: RequestInvalid) -> Reply:
        """For a request that has no price as it is."""
        self._counts["request_invalid"] += 1
        return json_reply(400, {"error": "request_invalid", "reason": str(error)})

    def price_failed(self, rule: Rule, error: Exception) -> Reply:
        """For a price function that raised: whatever it does, nothing is given away."""
        log.error("the price function of %s failed", rule.text, exc_info=error)
        self._counts["failed"] += 1
        return json_reply(500, {"error": "price_unavailable"})

    def unpaid(self, price: int, url: str, accept: Sequence[bytes]) -> Reply:
        """For a request without a payment: what it costs."""
        self._counts["unpaid"] += 1
        return self._offers.payment_required(price, url, as_page=wants_page(accept))

    # ------------------------------------------------------------ a payment that is not taken

    def refused(self, refused: PaymentRefused, price: int, url: Callable[[], str]) -> Reply:
        """For a payment that cannot be taken."""
        self._counts[refused.code] += 1
        if refused.code == EXPOSURE_CAP:
            return json_reply(503, {"error": refused.code, "reason": refused.reason}, _SOON)
        return self._offers.payment_required(
            price, url(), error=refused.code, reason=refused.reason
        )

    def corrected(
        self, payment: Payment, expected: int, price: int, url: str, state: ChannelState
    ) -> Reply:
        """For a voucher that is not for ``expected``: where its channel stands, with the proof."""
        code = ErrorCode.CUMULATIVE_AMOUNT_MISMATCH
        self._counts[code] += 1
        return self._offers.payment_required(
            price,
            url,
            error=code,
            reason=f"the voucher must be for {expected}",
            state=(payment.channel_id, state),
        )

    def overtaken(self, price: int, url: Callable[[], str]) -> Reply:
        """For a payment whose channel was charged for another request while its handler ran."""
        self._counts["overtaken"] += 1
        reply = self._offers.payment_required(
            price,
            url(),
            error=ErrorCode.CHANNEL_BUSY,
            reason="another request of this channel went first: retry",
        )
        return msgspec.structs.replace(reply, headers=[*reply.headers, *_SOON])

    def payer_refused(self, refused: RuleRefused) -> Reply:
        """For a payer whom a rule does not let have what it asks for."""
        self._counts[refused.code] += 1
        status, headers = 403, refused.headers
        if refused.retry_after is not None:
            status, headers = 429, [*headers, (b"retry-after", str(refused.retry_after).encode())]
        return json_reply(status, {"error": refused.code, "reason": refused.reason}, headers)

    def ledger_unavailable(self, error: LedgerUnavailable) -> Reply:
        """For what is asked of a ledger that does not answer."""
        self._counts["ledger_unavailable"] += 1
        log.warning("%s", error)
        return json_reply(503, {"error": "ledger_unavailable"}, _SOON)

    def chain_unavailable(self, error: ChainUnavailable) -> Reply:
        """For what is asked of a chain that does not answer."""
        self._counts["chain_unavailable"] += 1
        log.warning("%s", error)
        return json_reply(503, {"error": ErrorCode.RPC_READ_FAILED}, _SOON)

    def ledger_behind(self, error: LedgerBehind) -> Reply:
        """For a channel that the ledger and the chain tell different things of."""
        self._counts["ledger_behind"] += 1
        log.error("%s", error)
        return json_reply(503, {"error": "ledger_behind"})

    # ------------------------------------------------------------ a payment that was taken

    def repeated(self, answer: Answer) -> Reply:
        """The stored answer, to who paid for it and asks again."""
        self._counts["repeated"] += 1
        return Reply(answer.status, answer.headers, answer.body)

    def refunded(self, payment: Payment, state: ChannelState, refunded: Done) -> Reply:
        """For a channel whose money went back; ``state`` is where that leaves it."""
        self._counts["refunded"] += 1
        header = payment_response(
            self._offers.terms.network,
            payment.config.payer,
            payment.channel_id,
            state,
            charged=None,
            transaction=refunded.transaction,
            amount=str(refunded.amount),
        )
        message = {"refunded": str(refunded.amount), "transaction": refunded.transaction}
        return json_reply(200, message, [(RESPONSE, header), PRIVATE])

    def told(
        self, admission: Admission, state: ChannelState, receipt: Mapping[str, Any] | None = None
    ) -> tuple[bytes, bytes]:
        """The header that says what a request was charged, and where that leaves its channel."""
        payment = admission._payment
        wish = payment.deposit
        header = payment_response(
            self._offers.terms.network,
            payment.config.payer,
            payment.channel_id,
            state,
            charged=admission.amount,
            transaction=admission._deposited,
            amount=str(wish.amount) if wish and admission._deposited else "",
            extensions=receipt,
        )
        return RESPONSE, header
