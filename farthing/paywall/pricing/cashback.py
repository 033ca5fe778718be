"""Cashback: a part of what was paid lowers what comes later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farthing.paywall.pricing.rules import PayerRule, Quote, whole

# A percent of the smallest unit still counts: balances are kept in hundredths of it.
HUNDREDTHS = 100


@dataclass(frozen=True)
class Cashback(PayerRule):
    """So many percent of what a payer is charged lower its later charges.

    Args:
        percent: 1 to 100.
        name: Routes with the same name share one balance; all do without.
    """

    percent: int
    name: str = ""

    def __post_init__(self) -> None:
        whole(self.percent, "a cashback's percent", 1, 100)

    def tallies(self) -> Sequence[str]:
        return [self._tally]

    def apply(self, quote: Quote) -> None:
        balance = quote.tally(self._tally)
        credit = min(balance // HUNDREDTHS, quote.amount)
        if credit:
            quote.amount -= credit
            quote.credited += credit
            quote.set_tally(self._tally, balance - credit * HUNDREDTHS)
            quote.reasons.append(f"{credit} of it from cashback")

    def settle(self, quote: Quote) -> None:
        if quote.amount:
            balance = quote.tally(self._tally)
            quote.set_tally(self._tally, balance + quote.amount * self.percent)

    @property
    def _tally(self) -> str:
        return f"cashback {self.name}".rstrip()
