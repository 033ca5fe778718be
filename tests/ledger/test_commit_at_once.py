"""Commits for which nobody is waited for: made at once, or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest
from ledger_samples import known, next_charge, reserved

from farthing.ledger import Ledger, LedgerUnavailable, open_ledger
from farthing.ledger.sqlite import SqliteLedger


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which SQLite waited for others, so far."""
    waited: list[float] = []
    sleep = time.sleep

    def note(seconds: float) -> None:
        waited.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", note)
    return waited


@contextmanager
def writing(path: Path) -> Iterator[apsw.Connection]:
    """Another process at work on the same file."""
    with closing(apsw.Connection(str(path))) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_at_once__nobody_writes__as_commit_does(file: SqliteLedger, path: Path) -> None:
    first, second, third = (known(file, number) for number in (1, 2, 3))
    batch = [
        next_charge(first, reserved(file, first)),
        next_charge(second, reserved(file, second), charged=5),
        next_charge(third, reserved(file, third)),
    ]
    assert file.commit_at_once(batch) == [True, False, True]
    assert file.commit_at_once(batch[:1]) == [True], "made before, and its channel's latest"
    with closing(open_ledger(str(path))) as another:
        assert [charge.channel_id for charge in another.charges()] == [first, third]
        assert another.prove() == []


def test_at_once__another_process_writes__nothing_and_no_wait(
    file: SqliteLedger, path: Path, waits: list[float]
) -> None:
    channel = known(file, 1)
    charge = next_charge(channel, reserved(file, channel))
    with writing(path) as other:
        assert file.commit_at_once([charge]) is None
        assert (file.charges(), waits) == ([], [])
        # One that may wait does.
        waiting = threading.Thread(target=file.commit, args=([charge],))
        waiting.start()
        other.execute("ROLLBACK")
        waiting.join(30)
    assert len(file.charges()) == 1
    assert file.prove() == []


def test_at_once__another_process_comes_between_the_batch_and_one_by_one__nothing(
    file: SqliteLedger, path: Path, waits: list[float]
) -> None:
    first, second = known(file, 1), known(file, 2)
    batch = [
        next_charge(first, reserved(file, first)),
        next_charge(second, reserved(file, second), charged=5),
    ]
    before = file.channel(first), file.channel(second)
    begun: list[str] = []
    with closing(apsw.Connection(str(path))) as other:

        def statement(cursor: object, text: str, values: object) -> bool:
            if text.startswith("BEGIN"):
                begun.append(text)
                if len(begun) == 2:
                    other.execute("BEGIN IMMEDIATE")
            return True

        # Called before each statement.
        file._writer.exec_trace = statement
        assert file.commit_at_once(batch) is None
        assert waits == []
        file._writer.exec_trace = None
        other.execute("ROLLBACK")
    assert (file.channel(first), file.channel(second), file.charges()) == (*before, [])
    assert file.commit(batch) == [True, False]


def test_at_once__another_thread_writes__nothing_and_no_wait(file: SqliteLedger) -> None:
    channel = known(file, 1)
    charge = next_charge(channel, reserved(file, channel))
    made: list[list[bool] | None] = []
    trying = threading.Thread(target=lambda: made.append(file.commit_at_once([charge])))
    with file._writing:
        trying.start()
        trying.join(30)
        assert made == [None]
    assert file.charges() == []
    assert file.commit_at_once([charge]) == [True]


def test_at_once__the_file_is_gone__fails_as_commit_does(file: SqliteLedger, path: Path) -> None:
    channel = known(file, 1)
    charge = next_charge(channel, reserved(file, channel))
    path.rename(path.with_name("elsewhere.db"))
    with pytest.raises(LedgerUnavailable):
        file.commit_at_once([charge])
    # And others get their turn.
    assert not file._writing.locked()


def test_at_once__not_of_a_ledger_that_is_no_file(postgres_url: str) -> None:
    opened: Ledger = open_ledger(postgres_url)
    channel = known(opened, 1)
    charge = next_charge(channel, reserved(opened, channel))
    assert opened.commit_at_once([charge]) is None
    assert opened.charges() == []
    opened.close()
