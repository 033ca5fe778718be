"""A wallet's memory against a model, through payments, losses, clocks, rules and restarts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from farthing.wallet import Budget, BudgetExceeded, Rules, Store
from farthing.wallet.records import Signing
from tests.escrow_world import PAYER
from tests.wallet.wallet_kit import (
    DAILY,
    DAY,
    HOST,
    MONTHLY,
    NOON,
    Clock,
    lane,
    new_store,
    sign_off,
    sign_off_ready,
)

LANES = 3
HOSTS = (HOST, "blog.example")
limits = st.integers(0, 500)


class Memory(RuleBasedStateMachine):
    """The model knows the highest ceiling of each channel, and when and where each was raised."""

    @initialize(whole=limits, host=limits)
    def begin(self, whole: int, host: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        # The latest at which a payment was made.
        self.time = 0
        self.rules = self.new_rules(whole, host)
        self.path = Path(self.folder.name) / "wallet.db"
        self.store = new_store(self.path, self.rules, self.clock)
        for number in range(LANES):
            self.store.add_lane(lane(number))
        self.signed = [0] * LANES
        self.charged = [0] * LANES
        self.upper = [0] * LANES
        self.raised: list[tuple[int, str, int]] = []

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @staticmethod
    def new_rules(whole: int, host: int) -> Rules:
        return Rules((Budget(whole, MONTHLY), Budget(host, DAILY, HOST)))

    def used(self, budget: Budget, now: int) -> int:
        begin, end = budget.period.window(now) or (0, 0)
        return sum(
            amount
            for time, host, amount in self.raised
            if begin <= time < end and budget.host in ("*", host)
        )

    @rule(
        number=st.integers(0, LANES - 1),
        host=st.sampled_from(HOSTS),
        price=st.integers(1, 200),
        part=st.none() | st.integers(0, 100),
        sign=st.sampled_from([sign_off, sign_off_ready]),
    )
    def pay(
        self, number: int, host: str, price: int, part: int | None, sign: Callable[..., Signing]
    ) -> None:
        """``part`` percent of the price are charged; None: the answer is lost."""
        now = max(self.time, self.clock.now)
        ceiling = self.charged[number] + price
        raised = max(0, ceiling - self.signed[number])
        fits = all(
            self.used(budget, now) + raised <= budget.limit
            for budget in self.rules.budgets
            if budget.host in ("*", host)
        )
        try:
            signing = sign(self.store, lane(number), price, host=host)
        except BudgetExceeded:
            assert not fits
            return
        assert fits and signing.ceiling == ceiling
        self.time = now
        self.signed[number] = max(ceiling, self.signed[number])
        self.upper[number] = max(ceiling, self.upper[number])
        self.raised.append((self.time, host, raised))
        if part is not None:
            self.store.charged(signing, price * part // 100, None)
            self.charged[number] += price * part // 100
            self.upper[number] = self.charged[number]

    @rule(seconds=st.sampled_from([-40 * DAY, -DAY, -1, 1, 3_600, DAY, 31 * DAY]))
    def set_clock(self, seconds: int) -> None:
        # The budgets begin with the year.
        self.clock.now = max(NOON - 120 * DAY, self.clock.now + seconds)

    @rule(whole=limits, host=limits)
    def set_rules(self, whole: int, host: int) -> None:
        self.rules = self.new_rules(whole, host)
        self.store.set_rules(PAYER, self.rules)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store(self.path, self.clock)

    @invariant()
    def books_agree(self) -> None:
        for number in range(LANES):
            here = self.store.lane(lane(number).channel_id)
            known = (self.charged[number], self.upper[number], self.signed[number])
            assert (here.charged, here.upper, here.signed) == known
            assert here.charged <= here.upper <= here.signed


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
