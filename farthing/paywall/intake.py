"""From a payment's header to a payment that is right, as far as it can be told without its books.

    parse - verify - reserve

Payments that come together are checked together, and so are their channels reserved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from farthing.paywall.batcher import Batcher
from farthing.paywall.books import Books
from farthing.paywall.channels import Channels
from farthing.paywall.checks import check_channel_id, check_signatures, check_terms
from farthing.paywall.payers import Payers
from farthing.paywall.pricing.rules import RuleRefused
from farthing.paywall.reservations import ChannelReservation
from farthing.protocol import ZERO_ADDRESS, Domain
from farthing.protocol.payments import Payment, PaymentRefused, Terms, read_payment

# Payments checked in one turn of the loop, about 60 microseconds each.
CHECK_BATCH = 32

# A payment's header and price; the payment, and its channel where it could be had at once.
_Sent: TypeAlias = tuple[bytes, int]
_Checked: TypeAlias = tuple[Payment | PaymentRefused, ChannelReservation | None]


class Intake:
    """Reads and checks payments; to be used by one event loop.

    Args:
        terms: What a payment has to accept.
        domain: The settlement contract vouchers are signed for.
        books: Where channels are reserved.
        channels: Asks the chain about payers that may be contracts.
        payers: Who is denied.
    """

    def __init__(
        self, terms: Terms, domain: Domain, books: Books, channels: Channels, payers: Payers
    ) -> None:
        self._terms = terms
        self._domain = domain
        self._reservations = books.reservations
        self._channels = channels
        self._payers = payers
        self._checks = Batcher(self._check_all, None, CHECK_BATCH, self._decline)

    async def check(
        self, header: bytes, price: int, route: str
    ) -> tuple[Payment, ChannelReservation | None]:
        """The payment of a header, and its channel where nobody else has it; else None.

        Whoever gets a channel has to give it back. ``price`` is in the token's smallest unit,
        ``route`` the text of its rule.

        Raises:
            PaymentRefused: It is none, or not for these terms and this price, or not its payer's.
            RuleRefused: Its payer is denied.
            ChainUnavailable: Only the chain can tell whose it is, and it does not answer.
        """
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
            await self._channels.check_signature(payment, self._domain)
        try:
            self._payers.check_denied(payment, route)
        except RuleRefused:
            self._decline(sent, (payment, reservation))
            raise
        return payment, reservation

    def _check_all(self, sent: Sequence[_Sent]) -> list[_Checked]:
        """Checks payments, and reserves the channels of those that are right and can be had.

        Step by step for all of them, not payment by payment: the code and the tables of one step
        stay in the processor's caches.
        """
        payments = [self._read(header, price) for header, price in sent]
        # Without an authorizer the payer may be a contract: the chain has to be asked.
        signed = {
            place: each
            for place, each in enumerate(payments)
            if isinstance(each, Payment) and each.config.payer_authorizer != ZERO_ADDRESS
        }
        faults = check_signatures(list(signed.values()), self._domain)
        for place, fault in zip(list(signed), faults, strict=True):
            if fault is not None:
                payments[place] = fault
                del signed[place]
        wanted = [each.channel_id for each in signed.values()]
        taken = dict(zip(signed, self._reservations.take_free(wanted), strict=True))
        return [(each, taken.get(place)) for place, each in enumerate(payments)]

    def _read(self, header: bytes, price: int) -> Payment | PaymentRefused:
        """A payment for these terms and this price, signed by whomever."""
        try:
            payment = read_payment(header)
            check_terms(payment, self._terms, price)
            check_channel_id(payment, self._domain)
        except PaymentRefused as refused:
            return refused
        return payment

    def _decline(self, sent: _Sent, checked: _Checked) -> None:
        """Gives back what was reserved for a client that is gone, or that gets nothing."""
        if checked[1] is not None:
            self._reservations.give(checked[1])
