"""One request of a payer at a price with rules."""

from __future__ import annotations

import time
from collections.abc import Sequence

from farthing.ledger import Payer, PayerChange, Standing
from farthing.paywall.pricing.request import Request
from farthing.paywall.pricing.rules import PayerRule, Quote
from farthing.paywall.reservations import Reservation


class Deal:
    """A payer whose books are reserved and read, and what it asks for.

    What that costs is worked out as often as it is asked, and `change` says what becomes of it.
    """

    def __init__(
        self,
        payer: Payer,
        rules: Sequence[PayerRule],
        request: Request,
        standing: Standing,
        reservation: Reservation[int],
    ) -> None:
        self.payer = payer
        self.reservation = reservation
        self._rules = rules
        self._request = request
        self._standing = standing
        # One moment for all of it, also if its handler takes long.
        self._now = int(time.time())

    def quote(self, amount: int) -> Quote:
        """What is charged where it would be ``amount`` without rules.

        Raises:
            RuleRefused: A rule does not allow it.
        """
        quote = Quote(self._request, self._now, self._standing, amount)
        for rule in self._rules:
            rule.apply(quote)
        for rule in self._rules:
            rule.settle(quote)
        return quote

    def change(self, quote: Quote) -> PayerChange | None:
        """What a charge by that quote changes in the payer's books; None is nothing."""
        if not quote.tallies and not quote.entitlements:
            return None
        return PayerChange(
            self.payer,
            self.reservation.state,
            list(quote.tallies.values()),
            list(quote.entitlements.values()),
        )
