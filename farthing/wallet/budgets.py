"""What is used of each budget in its period, looked at and taken from.

Both happen inside the transaction of whoever asks, so that no two payments see the same room.
"""

from __future__ import annotations

from collections.abc import Callable

from farthing.wallet.database import Database
from farthing.wallet.errors import BudgetExceeded, DepositExceeded, HostRefused
from farthing.wallet.rules import Budget, matches


class Budgets:
    """The budgets' part of a wallet's file.

    Args:
        show: How a refusal writes amounts.
    """

    def __init__(self, database: Database, show: Callable[[int], str]) -> None:
        self._database = database
        self._show = show
        self._windows: dict[str, tuple[int, int]] = {}

    def take(self, budget: Budget, now: int, host: str, raised: int, deposited: int) -> None:
        """Takes a payment and its deposit, smallest units, from a budget as it is at ``now``.

        Raises:
            HostRefused: It is not in force.
            BudgetExceeded, DepositExceeded: It has no room for them.
        """
        window, show = self._window(budget, now), self._show
        if window is None:
            raise HostRefused(host, raised, f"the budget {budget.name} is not in force now", show)
        spent, put = self.used(budget, window)
        if spent + raised > budget.limit:
            raise BudgetExceeded(budget.name, raised, budget.limit, spent, window[1], show)
        if deposited and put + deposited > budget.limit:
            raise DepositExceeded(budget.name, deposited, budget.limit, put, window[1], show)
        self._database.execute(
            "INSERT INTO used VALUES (?, ?, ?, ?) ON CONFLICT (budget, begins)"
            " DO UPDATE SET spent = excluded.spent, deposited = excluded.deposited",
            (budget.name, window[0], str(spent + raised), str(put + deposited)),
        )

    def used(self, budget: Budget, window: tuple[int, int]) -> tuple[int, int]:
        """What was spent and what deposited of a budget in a period, smallest units."""
        row = self._database.execute(
            "SELECT spent, deposited FROM used WHERE budget = ? AND begins = ?",
            (budget.name, window[0]),
        ).fetchone()
        if row is not None:
            return int(row[0]), int(row[1])
        # A period's first payment, or a budget that was set in the middle of one: what was paid in
        # it before counts.
        spent = deposited = 0
        for host, raised, put in self._database.execute(
            "SELECT host, raised, deposited FROM payments WHERE time >= ? AND time < ?", window
        ):
            if matches(budget.host, host):
                spent, deposited = spent + int(raised), deposited + int(put)
        return spent, deposited

    def _window(self, budget: Budget, now: int) -> tuple[int, int] | None:
        """The budget's period now, worked out once a period: every payment asks."""
        known = self._windows.get(budget.name)
        if known is None or not known[0] <= now < known[1]:
            known = budget.period.window(now)
            if known is not None:
                self._windows[budget.name] = known
        return known
