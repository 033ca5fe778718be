"""Caps: how much, and how often, one payer may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from farthing.paywall.pricing.periods import Period
from farthing.paywall.pricing.rules import PayerRule, Quote, RuleRefused, whole
from farthing.protocol.amounts import from_units, to_units

CAP_REACHED = "payer_cap_reached"
RATE_LIMITED = "payer_rate_limited"


@dataclass(frozen=True)
class Cap(PayerRule):
    """A payer is charged no more than that in a period; what would be more is refused.

    Args:
        most: A decimal string in units of the token.
        period: ``"P1D"``, ``"P1M"``.
        name: Routes with the same name count together; all do without.
    """

    most: str
    period: str
    name: str = ""
    units: int = 0
    decimals: int = 0

    def __post_init__(self) -> None:
        Period.parse(self.period)

    def bind(self, route: str, decimals: int) -> Cap:
        return replace(self, units=to_units(self.most, decimals), decimals=decimals)

    def tallies(self) -> Sequence[str]:
        return [self._tally]

    def settle(self, quote: Quote) -> None:
        if not quote.amount:
            return
        period = Period.parse(self.period)
        begun = period.begin(quote.now)
        spent = quote.tally(self._tally, begun)
        if spent + quote.amount > self.units:
            left = from_units(max(0, self.units - spent), self.decimals)
            asked = from_units(quote.amount, self.decimals)
            raise RuleRefused(
                CAP_REACHED,
                f"one payer is charged {self.most} at most each {self.period}, of which {left} is "
                f"left and this may cost {asked}: come back when the next begins",
                period.end(begun) - quote.now,
            )
        quote.set_tally(self._tally, spent + quote.amount, begun)

    @property
    def _tally(self) -> str:
        return f"cap {self.period} {self.name}".rstrip()


@dataclass(frozen=True)
class RateLimit(PayerRule):
    """A payer is served so often in a period, whatever it is charged; what is more is refused.

    Args:
        count: How often.
        period: ``"PT1M"``.
        name: Routes with the same name count together; all do without.
    """

    count: int
    period: str
    name: str = ""

    def __post_init__(self) -> None:
        whole(self.count, "a rate limit")
        Period.parse(self.period)

    def tallies(self) -> Sequence[str]:
        return [self._tally]

    def settle(self, quote: Quote) -> None:
        period = Period.parse(self.period)
        begun = period.begin(quote.now)
        served = quote.tally(self._tally, begun)
        if served >= self.count:
            raise RuleRefused(
                RATE_LIMITED,
                f"one payer is served {self.count} times at most each {self.period}: come back "
                "when the next begins",
                period.end(begun) - quote.now,
            )
        quote.set_tally(self._tally, served + 1, begun)

    @property
    def _tally(self) -> str:
        return f"rate {self.period} {self.name}".rstrip()
