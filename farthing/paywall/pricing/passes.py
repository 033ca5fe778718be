"""Passes: bought for a time or a number of uses, and everything they cover is free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from farthing.ledger import Entitlement
from farthing.paywall.pricing.periods import Period
from farthing.paywall.pricing.request import Request
from farthing.paywall.pricing.rules import PayerRule, PricingInvalid, Quote, whole

KIND = "pass"


class Pass:
    """A pass: one route sells it, others are covered by it.

    Bought again while it lasts, it lasts so much longer, and covers as many uses more.

    Args:
        name: What the ledger calls it.
        period: How long it lasts from when it is bought: ``"P30D"``, ``"P1M"``. None is without
            end: with a number of uses that is a stock of something to consume.
    """

    def __init__(self, name: str, period: str | None = None) -> None:
        if not name or len(name) > 100:
            raise PricingInvalid(f"a pass cannot be called {name!r}: give 1 to 100 characters")
        self.name = name
        self.period = None if period is None else Period.parse(period)

    def sold(self) -> PayerRule:
        """The rule of a route that sells it."""
        return _Sold(self)

    def covers(self, uses: int | None = None) -> PayerRule:
        """The rule of a route that costs nothing with it, for so many uses of each bought one.

        Uses are counted over all routes together.
        """
        return _Covered(self, None if uses is None else whole(uses, "uses"))


@dataclass(frozen=True)
class _OfPass(PayerRule):
    of: Pass

    def entitlements(self, request: Request) -> Sequence[tuple[str, str]]:
        return [(KIND, self.of.name)]


@dataclass(frozen=True)
class _Sold(_OfPass):
    def settle(self, quote: Quote) -> None:
        if not quote.is_sold:
            return
        name, period = self.of.name, self.of.period
        known = quote.entitlement(KIND, name) or Entitlement(KIND, name, quote.now, 0, 0, 0)
        until = 0 if period is None else period.end(known.until or quote.now)
        quote.entitle(msgspec.structs.replace(known, until=until, bought=known.bought + 1))
        quote.reasons.append(f"bought pass {name}")


@dataclass(frozen=True)
class _Covered(_OfPass):
    uses: int | None

    def apply(self, quote: Quote) -> None:
        known = quote.entitlement(KIND, self.of.name)
        if not quote.amount or known is None:
            return
        if self.uses is None:
            quote.waive(f"pass {self.of.name}")
        elif known.used < self.uses * known.bought:
            used, uses = known.used + 1, self.uses * known.bought
            quote.entitle(msgspec.structs.replace(known, used=used))
            quote.waive(f"pass {self.of.name}, {used} of {uses}")
