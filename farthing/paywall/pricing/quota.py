"""Free quota: the first few of a period cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from farthing.paywall.pricing.periods import Period
from farthing.paywall.pricing.rules import PayerRule, Quote, whole


@dataclass(frozen=True)
class FreeQuota(PayerRule):
    """The first requests of a payer in each period cost nothing.

    Args:
        count: How many.
        period: ``"P1D"``, ``"P1M"``.
        name: Routes with the same name share one quota; each has its own without.
    """

    count: int
    period: str
    name: str = ""

    def __post_init__(self) -> None:
        whole(self.count, "a quota")
        Period.parse(self.period)

    def bind(self, route: str, decimals: int) -> FreeQuota:
        return replace(self, name=self.name or route)

    def tallies(self) -> Sequence[str]:
        return [self._tally]

    def apply(self, quote: Quote) -> None:
        begun = Period.parse(self.period).begin(quote.now)
        used = quote.tally(self._tally, begun)
        if quote.amount and used < self.count:
            quote.set_tally(self._tally, used + 1, begun)
            quote.waive(f"free, {used + 1} of {self.count}")

    @property
    def _tally(self) -> str:
        return f"free {self.period} {self.name}"
