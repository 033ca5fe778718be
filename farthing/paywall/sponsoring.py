"""What the publisher's key sends for payers, and how much of it it bears.

A payer pays no gas for a deposit or a refund: it signs, and the publisher sends. One that deposits,
buys nothing and takes its money back loses nothing, so what it can have sent is bounded; and the
last coins of the key are not spent on payers, for they have to pay for redemptions.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from farthing.paywall.pricing.rules import RuleRefused
from farthing.protocol.payments import ErrorCode, PaymentRefused

# A code of ours: x402 has none.
TOO_MANY = "too_many_transactions"
SECONDS = 3_600.0


@dataclass(frozen=True)
class SponsorLimits:
    """How much the publisher's key bears.

    Attributes:
        per_hour: Deposits and refunds of one payer, of each worker process.
        reserve: Wei below which the key sends only redemptions; nothing where gas costs nothing.
    """

    per_hour: int = 30
    reserve: int = 0


class Sponsoring:
    """Counts what is sent for payers. Its methods may be called from several threads.

    Args:
        limits: How much.
        clock: Seconds.
    """

    def __init__(self, limits: SponsorLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        # When something was sent for a payer; who came last is last.
        self._sent: OrderedDict[str, deque[float]] = OrderedDict()
        self._depositing: Counter[str] = Counter()
        self._lock = threading.Lock()

    def check(self, payer: str) -> None:
        """One more transaction would be sent for this payer now.

        Raises:
            RuleRefused: It has had as many within the hour as it may.
        """
        with self._lock:
            self._times(payer)

    def count(self, payer: str) -> None:
        """`check`, for a transaction that is ordered now."""
        with self._lock:
            times = self._times(payer)
            times.append(self._clock())
            self._sent[payer] = times
            self._sent.move_to_end(payer)

    def _times(self, payer: str) -> deque[float]:
        now = self._clock()
        self._forget(now - SECONDS)
        times = self._sent.get(payer, deque())
        while times and times[0] <= now - SECONDS:
            times.popleft()
        if len(times) >= self._limits.per_hour:
            raise RuleRefused(
                TOO_MANY,
                f"this payer has had {len(times)} deposits and refunds sent within an hour",
                int(times[0] + SECONDS - now) + 1,
            )
        return times

    def _forget(self, before: float) -> None:
        """Payers for whom nothing was sent since."""
        while self._sent:
            payer, times = next(iter(self._sent.items()))
            if times and times[-1] > before:
                return
            del self._sent[payer]

    @contextmanager
    def deposit(self, payer: str, amount: int, balance: Callable[[str], int]) -> Iterator[None]:
        """A deposit, from its order to its end.

        Each was simulated by itself, and a payer can sign many that one balance pays for: all but
        one would fail on chain, for the publisher's gas.

        Raises:
            PaymentRefused: The payer does not have that much beside its others under way.
        """
        with self._lock:
            self._depositing[payer] += amount
            wanted = self._depositing[payer]
        try:
            # Alone it was simulated already.
            if wanted > amount and balance(payer) < wanted:
                raise PaymentRefused(
                    ErrorCode.DEPOSIT_SIMULATION_FAILED,
                    "the payer's other deposits under way leave too little for this one: retry",
                )
            yield
        finally:
            with self._lock:
                self._depositing[payer] -= amount
                if not self._depositing[payer]:
                    del self._depositing[payer]

    def is_spent(self, coins: int, gas_price: Callable[[], int]) -> bool:
        """Whether what the key has is kept for redemptions.

        Args:
            coins: What it has, in wei.
            gas_price: Asks what gas costs now, in wei.
        """
        return coins < self._limits.reserve and gas_price() > 0
