"""The log of a SQLite ledger: copied beside the commits, begun anew, and never in their way."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import apsw
import pytest
from ledger_samples import AtOnce, known, pay

from farthing.ledger import Ledger, checkpoints, open_ledger
from farthing.ledger.checkpoints import Checkpoints
from farthing.ledger.sqlite import SqliteLedger

PAGES = 50


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "PAGES", PAGES)


@pytest.fixture
def ledger(file: SqliteLedger) -> Ledger:
    return file


def pages(path: Path) -> int:
    """How many the log has that are not begun anew."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("SELECT 1 FROM charges").fetchall()
        in_log, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    return in_log


def test_log__begins_anew_again_and_again(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "Thread", AtOnce)
    channel = known(ledger, 1)
    lengths = []
    for _ in range(200):
        pay(ledger, channel)
        lengths.append(pages(path))
    assert PAGES <= max(lengths) < 2 * PAGES
    assert sum(after < before for before, after in pairwise(lengths)) >= 5
    assert ledger.totals().charges == 200
    assert ledger.prove() == []


def test_copying__commits_go_first(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    seen: list[int] = []
    connect = ledger._checkpoints._connect  # type: ignore[attr-defined]

    def observed() -> apsw.Connection:
        seen.append(niceness())
        return connect()

    monkeypatch.setattr(checkpoints, "Thread", AtOnce)
    monkeypatch.setattr(ledger._checkpoints, "_connect", observed)  # type: ignore[attr-defined]
    before, channel = niceness(), known(ledger, 1)
    for _ in range(PAGES):
        pay(ledger, channel)
    # Elsewhere a thread has no priority of its own.
    assert (seen[0] > before) == (sys.platform == "linux")
    assert niceness() == before


def test_commits__go_on_while_the_log_is_copied(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    copy = Checkpoints._copy

    def slowly(self: Checkpoints) -> None:
        begun.set()
        assert may_end.wait(30)
        copy(self)

    monkeypatch.setattr(Checkpoints, "_copy", slowly)
    channel = known(ledger, 1)
    while not begun.is_set():
        pay(ledger, channel)
    made = ledger.totals().charges
    for _ in range(100):
        pay(ledger, channel)
    assert ledger.totals().charges == made + 100
    assert pages(path) > 2 * PAGES
    # Who closes waits for it: only that lets it end here.
    copying = ledger._checkpoints._thread  # type: ignore[attr-defined]
    join = copying.join
    monkeypatch.setattr(copying, "join", lambda: (may_end.set(), join()))
    ledger.close()
    assert may_end.is_set() and not copying.is_alive()
    again = open_ledger(str(path))
    assert again.totals().charges == made + 100
    assert again.prove() == []
    again.close()


@pytest.mark.parametrize("overtaken", [0, 1, 3, checkpoints.ROUNDS + 1])
def test_log__what_is_committed_while_it_is_copied_is_copied_too(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, overtaken: int
) -> None:
    another = open_ledger(str(path))
    # Of the two, only the first has its log copied.
    another._writer.set_wal_hook(None)  # type: ignore[attr-defined]
    channel, theirs = known(ledger, 1), known(ledger, 2)
    steps, left = [], []

    class Overtaken(apsw.Connection):
        """Somebody commits during each of the first steps, which let others commit."""

        def wal_checkpoint(self, dbname: str | None = None, mode: int = 0) -> tuple[int, int]:
            if mode == apsw.SQLITE_CHECKPOINT_NOOP:
                return super().wal_checkpoint(dbname, mode)
            if mode == apsw.SQLITE_CHECKPOINT_FULL:
                in_log, copied = super().wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
                left.append(in_log - copied)
                return super().wal_checkpoint(dbname, mode)
            # A reader keeps that commit from beginning the log anew, as the copying itself would.
            with closing(apsw.Connection(str(path))) as reader:
                reader.execute("BEGIN; SELECT 1 FROM charges").fetchall()
                steps.append(super().wal_checkpoint(dbname, mode))
                if len(steps) <= overtaken:
                    pay(another, theirs)
            return steps[-1]

    def connect() -> apsw.Connection:
        connection = Overtaken(str(path))
        connection.execute("SELECT 1 FROM charges").fetchall()
        return connection

    monkeypatch.setattr(checkpoints, "Thread", AtOnce)
    monkeypatch.setattr(ledger._checkpoints, "_connect", connect)  # type: ignore[attr-defined]
    while not steps:
        pay(ledger, channel)
    # One step after the last commit finds nothing new and syncs the file, and one copies what came
    # while it did. Where commits never end, what came during the last is left for them to wait for.
    assert len(steps) == min(overtaken + 1, checkpoints.ROUNDS) + 1
    assert (left[0] > 0) == (overtaken > checkpoints.ROUNDS)
    pay(ledger, channel)
    assert pages(path) < PAGES
    another.close()
    assert ledger.prove() == []


def test_log__a_reader_that_stays_stops_no_commit(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "Thread", AtOnce)
    channel = known(ledger, 1)
    with closing(apsw.Connection(str(path))) as reader:
        reader.execute("BEGIN; SELECT count(*) FROM charges").fetchall()
        for _ in range(100):
            pay(ledger, channel)
        assert reader.execute("SELECT count(*) FROM charges").fetchall() == [(0,)]
        assert pages(path) > 3 * PAGES
    # Now that it is gone.
    for _ in range(100):
        pay(ledger, channel)
    assert pages(path) < 2 * PAGES
    assert ledger.totals().charges == 200


def test_commit__the_system_has_no_thread_to_spare(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    channel = known(ledger, 1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        for _ in range(100):
            pay(ledger, channel)
    assert pages(path) > 3 * PAGES
    monkeypatch.setattr(checkpoints, "Thread", AtOnce)
    for _ in range(100):
        pay(ledger, channel)
    assert pages(path) < 2 * PAGES
    assert ledger.totals().charges == 200
