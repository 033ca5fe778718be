"""The supervisor: a part that fails is opened anew, later each time, and all end when told to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from farthing.operations.supervisor import Keeper, PartState, Supervisor, pause_after
from farthing.protocol import FarthingError


class Broken(FarthingError):
    """It does not work."""


class Script:
    """A part that does what it is told: a number is a good step, an error is raised.

    Attributes:
        log: What was done with it.
    """

    def __init__(self, steps: list[float | Exception]) -> None:
        self.steps = steps
        self.log: list[str] = []
        self.note = "all is well"

    def open(self) -> Script:
        self.log.append("open")
        return self

    def step(self) -> float:
        self.log.append("step")
        found = self.steps.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        self.log.append("close")


class Waits:
    """A clock that only waiting moves; stops once all of the script is played."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.waited: list[float] = []
        self.now = 1_000.0

    def __call__(self, seconds: float) -> bool:
        if seconds:
            self.waited.append(seconds)
            self.now += seconds
        return not self.script.steps


def kept(script: Script, opener: Callable[[], Script] | None = None) -> tuple[Keeper, Waits]:
    waits = Waits(script)
    return Keeper("watcher", opener or script.open, waits, lambda: waits.now), waits


def test_run__steps_until_told_to_stop() -> None:
    script = Script([4, 5, 6])
    keeper, waits = kept(script)
    keeper.run()
    assert script.log == ["open", "step", "step", "step", "close"]
    assert waits.waited == [4, 5, 6]
    assert keeper.state == PartState(good_at=1_009, note="all is well")


def test_run__a_part_that_fails_is_opened_anew() -> None:
    script = Script([4, Broken("no node answers: check it."), 7])
    keeper, waits = kept(script)
    keeper.run()
    assert script.log == ["open", "step", "step", "close", "open", "step", "close"]
    assert waits.waited == [4, 1, 7]
    assert keeper.state == PartState(good_at=1_005, note="all is well")


def test_run__waits_longer_after_each_failure(caplog: pytest.LogCaptureFixture) -> None:
    script = Script([Broken("down.")] * 9)
    keeper, waits = kept(script)
    keeper.run()
    assert waits.waited == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert keeper.state == PartState(failures=9, error="down.")
    assert caplog.messages == ["watcher failed and is tried again: down."] * 9


def test_run__a_good_step_ends_the_waiting() -> None:
    script = Script([Broken("down."), Broken("down."), 3, Broken("down."), 3])
    keeper, waits = kept(script)
    keeper.run()
    assert waits.waited == [1, 2, 3, 1, 3]
    assert keeper.state.failures == 0


def test_run__a_part_that_does_not_open() -> None:
    script = Script([3])
    refusals: list[Exception] = [Broken("locked."), Broken("locked.")]

    def opener() -> Script:
        if refusals:
            raise refusals.pop()
        return script.open()

    keeper, waits = kept(script, opener)
    keeper.run()
    assert script.log == ["open", "step", "close"]
    assert waits.waited == [1, 2, 3]


def test_run__a_fault_of_ours_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    script = Script([ZeroDivisionError("oh"), 1])
    keeper, _ = kept(script)
    keeper.run()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert keeper.state.failures == 0


def test_state__says_what_failed() -> None:
    script = Script([2, ZeroDivisionError("oh")])
    keeper, _ = kept(script)
    keeper.run()
    assert keeper.state == PartState(1_000, 1, "unexpected ZeroDivisionError: oh", "all is well")


def test_pause_after__is_bounded() -> None:
    assert [pause_after(n) for n in (1, 2, 7, 1_000_000)] == [1, 2, 60, 60]


class Endless:
    """Steps until it is told to stop, and says when it has begun."""

    note = ""

    def __init__(self) -> None:
        self.began, self.closed = threading.Event(), threading.Event()

    def step(self) -> float:
        self.began.set()
        return 3_600

    def close(self) -> None:
        self.closed.set()


def test_supervisor__ends_all_parts_when_told() -> None:
    parts = {"watcher": Endless(), "redeemer": Endless()}
    supervisor = Supervisor({name: (lambda part=part: part) for name, part in parts.items()})
    supervisor.start()
    for part in parts.values():
        assert part.began.wait(10)
    assert supervisor.join(10) == []
    assert all(part.closed.is_set() for part in parts.values())
    assert supervisor.states()["watcher"].good_at > 0


def test_supervisor__does_not_wait_for_ever() -> None:
    go_on = threading.Event()

    class Hangs(Endless):
        def step(self) -> float:
            super().step()
            go_on.wait(30)
            return 0

    part = Hangs()
    supervisor = Supervisor({"watcher": lambda: part})
    supervisor.start()
    assert part.began.wait(10)
    assert supervisor.join(0) == ["watcher"]
    go_on.set()
    assert supervisor.join(10) == []


def test_supervisor__one_that_fails_does_not_stop_the_others() -> None:
    good = Endless()

    def broken() -> Endless:
        raise Broken("down.")

    supervisor = Supervisor({"watcher": broken, "redeemer": lambda: good})
    supervisor.start()
    assert good.began.wait(10)
    assert supervisor.join(10) == []
    states = supervisor.states()
    assert states["watcher"].error == "down."
    assert states["redeemer"].error == ""
