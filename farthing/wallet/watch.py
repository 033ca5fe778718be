"""A live feed of a wallet: what is paid, and what its owner should look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from farthing.wallet.errors import utc
from farthing.wallet.receipts import evidence_of
from farthing.wallet.records import Payment
from farthing.wallet.store import Store

# From which part of a budget on its owner is told, in percent.
NEARLY = 80


@dataclass(frozen=True)
class Alert:
    """Something to look at: ``subject`` is a budget or a channel, ``text`` a sentence."""

    subject: str
    text: str


News: TypeAlias = Payment | Alert


class Watch:
    """Tells once of everything that is new, in whatever process it happened.

    Args:
        store: The wallet's memory.
        after: The id of the last payment that is known already.
    """

    def __init__(self, store: Store, after: int = 0) -> None:
        self._store = store
        self._after = after
        # Payments of which it was not known what they cost.
        self._open: set[int] = set()
        self._told: set[Alert] = set()

    def look(self) -> list[News]:
        """What came since the last look: payments as they are signed and again once it is known
        what was charged, and alerts."""
        news: list[News] = []
        first = min(self._open, default=self._after + 1) - 1
        for payment in self._store.history(after=first):
            is_new = payment.id > self._after
            if is_new or (payment.id in self._open and payment.charged is not None):
                news.append(payment)
                problem = evidence_of(self._store, payment).problem
                if problem is not None:
                    news.append(Alert(f"payment {payment.id}", f"its receipt is wrong: {problem}"))
            self._after = max(self._after, payment.id)
            (self._open.add if payment.charged is None else self._open.discard)(payment.id)
        fresh = [alert for alert in self._alerts() if alert not in self._told]
        self._told.update(fresh)
        return news + fresh

    def _alerts(self) -> list[Alert]:
        alerts = [
            Alert(
                f"channel 0x{lane.channel_id.hex()}", f"nothing more is paid there: {lane.problem}"
            )
            for lane in self._store.lanes()
            if lane.problem is not None
        ]
        for budget, spent, _, until in self._store.used():
            if budget.limit and spent * 100 >= budget.limit * NEARLY:
                # The number is not in it, so that it comes once a period.
                limit = self._store.home.show(budget.limit)
                text = f"{NEARLY} % and more of {limit} are spent, until {utc(until)}"
                alerts.append(Alert(f"budget {budget.name}", text))
        return alerts
