"""The ledger as one event loop uses it: nothing in it is waited for by the loop itself."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, TypeVar

from farthing.ledger import Ledger, LedgerUnavailable, NewCharge
from farthing.paywall.batcher import Batcher
from farthing.paywall.limits import Limits
from farthing.paywall.reservations import Reservations

log = logging.getLogger("farthing.paywall")

T = TypeVar("T")

# Charges of one transaction. More would share a sync of the disk that costs little by then, and
# keep the first of them waiting.
COMMIT_BATCH = 64
# Seconds within which a commit is quick. After a slow one, the disk is waited for beside the loop.
QUICK = 0.005
# Seconds between two looks for answers that are kept long enough.
FORGET_SECONDS = 1


class Books:
    """A ledger with the threads it is used on, and what goes on beside the requests.

    Attributes:
        ledger: To be used through the other methods, or on threads of its own.
        reservations: One request at a time for each channel.
        payers: Likewise for each payer, where prices have rules for payers.
        commits: Makes charges, many at a time.
        tasks: What goes on whoever waits for it.
    """

    def __init__(self, ledger: Ledger, limits: Limits) -> None:
        self.ledger = ledger
        self._thread = ThreadPoolExecutor(1, "farthing-ledger")
        self._commit_thread = ThreadPoolExecutor(1, "farthing-commit")
        wait, hold = limits.wait_seconds, limits.hold_seconds
        self.reservations = Reservations(ledger, ledger.reserve, self._thread, wait, hold)
        self.payers = Reservations(ledger, ledger.reserve_payers, self._thread, wait, hold)
        # Beside the loop, where another processor has time for it; where there is none, waking a
        # thread and waiting for it only costs.
        self._on_loop = ledger.is_local and _processors() == 1
        self.commits = Batcher(
            self._commit, self._commit_thread, COMMIT_BATCH, at_once=self._commit_at_once
        )
        self.tasks: set[asyncio.Task[Any]] = set()
        self._is_slow = False
        self._forgot_at = 0
        self._run = secrets.token_hex(8)
        self._numbers = count(1)

    def _commit(self, charges: Sequence[NewCharge]) -> list[bool]:
        """On the thread."""
        return self._timed(self.ledger.commit, charges)

    def _commit_at_once(self, charges: Sequence[NewCharge]) -> list[bool] | None:
        """On the loop, as long as it is quick and nobody else writes."""
        if not self._on_loop or self._is_slow:
            return None
        return self._timed(self.ledger.commit_at_once, charges)

    def _timed(self, commit: Callable[[Sequence[NewCharge]], T], charges: Sequence[NewCharge]) -> T:
        started = time.perf_counter()
        try:
            return commit(charges)
        finally:
            self._is_slow = time.perf_counter() - started > QUICK

    def next_id(self) -> str:
        """A request id that no other request has."""
        return f"{self._run}-{next(self._numbers)}"

    async def read(self, call: Callable[..., T], *arguments: object) -> T:
        """Calls a method of the ledger that only reads."""
        if self.ledger.is_local:
            return call(*arguments)
        return await self.write(call, *arguments)

    async def write(self, call: Callable[..., T], *arguments: object) -> T:
        """Calls a method of the ledger."""
        # The thread that `reserve` uses of a ledger that has to be waited for.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, call, *arguments)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Runs ``work`` to its end, whoever waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def forget_answers(self) -> None:
        """Has answers removed that are kept long enough, if that was not done just now."""
        now = int(time.time())
        if now - self._forgot_at >= FORGET_SECONDS:
            self._forgot_at = now
            self.spawn(self._forget(now))

    async def _forget(self, now: int) -> None:
        try:
            await self.write(self.ledger.forget_answers, now)
        except LedgerUnavailable as error:
            # They are removed the next time.
            log.warning("%s", error)

    async def settle(self) -> None:
        """Waits for all tasks, and those they start."""
        while self.tasks:
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def close(self) -> None:
        """Ends the threads, and closes the ledger. May be called again."""
        for pool in (self._thread, self._commit_thread):
            await asyncio.to_thread(pool.shutdown)
        self.ledger.close()


def _processors() -> int:
    """How many processors this process may use."""
    # Elsewhere a process cannot be kept to some of them.
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
