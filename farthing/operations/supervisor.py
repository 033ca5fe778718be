"""Keeps the parts of a server going, each on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Protocol

import msgspec

from farthing.protocol import FarthingError

log = logging.getLogger("farthing.operations")

# Seconds before a part that failed is tried again: the first time, and at most.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


class Part(Protocol):
    """What is done again and again. Its methods are called by one thread.

    Attributes:
        note: What it would say of itself, in one line.
    """

    @property
    def note(self) -> str: ...

    def step(self) -> float:
        """Does what is due now; after how many seconds there may be more to do.

        What it raises is logged, and the part is closed and opened anew.
        """

    def close(self) -> None:
        """Gives back what it holds. Called once, whatever was raised before."""


class PartState(msgspec.Struct, frozen=True):
    """How a part does.

    Attributes:
        good_at: When it last did its step, unix seconds; 0 when it never did.
        failures: How often it failed since then.
        error: What it failed with last; empty while it does well.
        note: What it says of itself.
    """

    good_at: int = 0
    failures: int = 0
    error: str = ""
    note: str = ""


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(FIRST_PAUSE * 2.0 ** (min(failures, 16) - 1), LONGEST_PAUSE)


class Keeper:
    """Keeps one part going.

    Args:
        name: The part's.
        opener: Opens it.
        wait: Waits so many seconds at most; whether it is time to stop.
        clock: Unix seconds.
    """

    def __init__(
        self,
        name: str,
        opener: Callable[[], Part],
        wait: Callable[[float], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.state = PartState()
        self._opener = opener
        self._wait = wait
        self._clock = clock

    def run(self) -> None:
        """Steps the part until it is time to stop; what goes wrong meanwhile is logged."""
        while not self._wait(0):
            try:
                self._keep()
            except FarthingError as error:
                self._failed(str(error))
                log.warning("%s failed and is tried again: %s", self.name, error)
            except Exception as error:
                # A fault of ours: the trace says where. The other parts go on, and so may this one.
                self._failed(f"unexpected {type(error).__name__}: {error}")
                log.exception("%s failed and is tried again", self.name)
            else:
                return
            if self._wait(pause_after(self.state.failures)):
                return

    def _keep(self) -> None:
        with closing(self._opener()) as part:
            while True:
                pause = part.step()
                self.state = PartState(good_at=int(self._clock()), note=part.note)
                if self._wait(pause):
                    return

    def _failed(self, error: str) -> None:
        before = self.state
        self.state = PartState(before.good_at, before.failures + 1, error, before.note)


class Supervisor:
    """All parts of a process.

    Args:
        parts: Opens each, by name.
    """

    def __init__(self, parts: Mapping[str, Callable[[], Part]]) -> None:
        self._stopping = threading.Event()
        self._keepers = [Keeper(name, opener, self._wait) for name, opener in parts.items()]
        # Daemons: a part that hangs does not keep the process from ending. What it was about is
        # written down before it is done, and so found again.
        self._threads = [
            threading.Thread(target=keeper.run, name=f"farthing-{keeper.name}", daemon=True)
            for keeper in self._keepers
        ]

    def states(self) -> dict[str, PartState]:
        """How each part does."""
        return {keeper.name: keeper.state for keeper in self._keepers}

    def start(self) -> None:
        """Starts all parts."""
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float) -> list[str]:
        """Tells all parts to end after the step they are at, and waits for them; the names of those
        that have not ended after so long. May be called again."""
        self._stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        pairs = zip(self._keepers, self._threads, strict=True)
        return [keeper.name for keeper, thread in pairs if thread.is_alive()]

    def _wait(self, seconds: float) -> bool:
        return self._stopping.wait(seconds)
