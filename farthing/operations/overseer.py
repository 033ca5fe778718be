"""The part that looks after the others: how they do, how things stand, and what is wrong."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

from farthing.ledger import Ledger, LedgerUnavailable
from farthing.operations.alerts import Alerts, Problem
from farthing.operations.beats import beat, leave, read_beats
from farthing.operations.problems import NEEDED, Bounds, find_problems
from farthing.operations.standing import Look, Standing
from farthing.operations.supervisor import PartState
from farthing.protocol.amounts import plural

# Seconds between two looks, and how many times as long as a look takes there are between two: on a
# large ledger they are rarer.
PAUSE = 15.0
TIMES = 20
LEASE = "overseer"


def process_name() -> str:
    """This process, as the others see it."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Overseer:
    """Looks after the parts of all processes. One process at a time raises alerts.

    A process that has neither watcher nor redeemer only looks when no other one has: it has readers
    to serve.

    Attributes:
        standing: How things stood at the last look; None before, and while another one looks.

    Args:
        ledger: Its own.
        look: Reads how things stand.
        bounds: From when on something is wrong.
        alerts: Raises them.
        states: How the parts of this process do.
        process: This process's name.
        clock: Unix seconds.
        told: Is given each standing.
    """

    def __init__(
        self,
        ledger: Ledger,
        look: Look,
        bounds: Bounds,
        alerts: Alerts,
        states: Callable[[], Mapping[str, PartState]],
        *,
        process: str,
        told: Callable[[Standing | None], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.note = ""
        self._ledger = ledger
        self._look = look
        self._bounds = bounds
        self._alerts = alerts
        self._states = states
        self._process = process
        self._told = told
        self._clock = clock

    def step(self) -> float:
        began = time.monotonic()
        try:
            problems = self._problems()
        except LedgerUnavailable as error:
            # Whoever has the lease is not known then. To be told twice is better than never.
            problems = [Problem("ledger_down", f"nothing can be charged: {error}")]
        if problems is not None:
            self._alerts.see(problems)
            self._alerts.deliver()
        return max(PAUSE, TIMES * (time.monotonic() - began))

    def close(self) -> None:
        try:
            leave(self._ledger, self._process)
            self._ledger.give_lease((LEASE, self._process))
        finally:
            self._ledger.close()

    def _problems(self) -> list[Problem] | None:
        """What is wrong; None when another process looks after that."""
        beat(self._ledger, self._process, self._states(), int(self._clock()))
        lease_seconds = self._bounds.thresholds.silent_seconds
        if not self._should_look() or not self._ledger.take_lease(
            (LEASE, self._process), lease_seconds
        ):
            self.note = "another process looks"
            self._told(None)
            return None
        standing = self._look.take()
        self._told(standing)
        problems = find_problems(standing, self._bounds)
        self.note = plural(len(problems), "problem") if problems else ""
        return problems

    def _should_look(self) -> bool:
        if any(name in self._states() for name in NEEDED):
            return True
        silent = self._bounds.thresholds.silent_seconds
        others = read_beats(self._ledger).values()
        fresh = [each for each in others if self._clock() - each.at < silent]
        return not any(name in each.parts for each in fresh for name in NEEDED)
