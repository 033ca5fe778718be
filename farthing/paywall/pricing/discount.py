"""Volume discount: who buys much pays less for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from farthing.paywall.pricing.periods import Period
from farthing.paywall.pricing.rules import PayerRule, PricingInvalid, Quote, whole


@dataclass(frozen=True)
class VolumeDiscount(PayerRule):
    """So many percent off, after so many paid requests of a payer in a period.

    What is charged is rounded down, in the payer's favour.

    Args:
        percents: From the number of paid requests to the percent off those that follow:
            ``{10: 10, 100: 25}``.
        period: ``"P1M"``.
        name: Routes with the same name count together; each by itself without.
    """

    percents: Mapping[int, int]
    period: str
    name: str = ""

    def __post_init__(self) -> None:
        if not self.percents:
            raise PricingInvalid("there is no step: give one, like {10: 25}")
        for count, percent in self.percents.items():
            whole(count, "a step of a discount")
            whole(percent, "a discount's percent", 1, 100)
        Period.parse(self.period)

    def bind(self, route: str, decimals: int) -> VolumeDiscount:
        return replace(self, name=self.name or route)

    def tallies(self) -> Sequence[str]:
        return [self._tally]

    def apply(self, quote: Quote) -> None:
        bought = quote.tally(self._tally, self._begun(quote))
        reached = [count for count in self.percents if count <= bought]
        if quote.amount and reached:
            percent = self.percents[max(reached)]
            quote.amount = quote.amount * (100 - percent) // 100
            quote.reasons.append(f"{percent} % off")

    def settle(self, quote: Quote) -> None:
        if quote.is_sold:
            begun = self._begun(quote)
            quote.set_tally(self._tally, quote.tally(self._tally, begun) + 1, begun)

    def _begun(self, quote: Quote) -> int:
        return Period.parse(self.period).begin(quote.now)

    @property
    def _tally(self) -> str:
        return f"volume {self.period} {self.name}"
