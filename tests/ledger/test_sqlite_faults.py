"""A SQLite ledger whose disk is full, broken or locked: nothing half written, and it recovers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from ledger_samples import (
    ANSWER,
    CONFIG,
    LEASE,
    MIRROR,
    AtOnce,
    channel_id,
    enqueue,
    known,
    next_charge,
    order_refund,
    pay,
    reserved,
    sign,
)

from farthing.ledger import Ledger, LedgerUnavailable, checkpoints, open_ledger, sqlite_file
from farthing.ledger.sqlite import SqliteLedger


class FaultyDisk(apsw.VFS):
    """The operating system's files, of which one call fails when it is told so."""

    def __init__(self) -> None:
        self.fails: tuple[str, int] | None = None
        self.failed = False
        super().__init__("faulty", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return FaultyFile(self, name, flags)

    def check(self, operation: str) -> None:
        """Raises in the call whose turn it is."""
        if self.fails is None or self.fails[0] != operation:
            return
        if self.fails[1] == 0:
            self.failed = True
            raise apsw.FullError if operation == "write" else apsw.IOError
        self.fails = operation, self.fails[1] - 1


class FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("unix", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.check("read")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.check("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._disk.check("sync")
        super().xSync(flags)


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    faulty = FaultyDisk()
    yield faulty
    faulty.unregister()


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_commit__any_one_call_to_the_disk_fails(
    tmp_path: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    # The log is copied after every commit, so that the calls of that fail too.
    monkeypatch.setattr(checkpoints, "PAGES", 0)
    monkeypatch.setattr(checkpoints, "Thread", AtOnce)
    nothing = everything = 0
    for turn in range(1_000):
        path = str(tmp_path / f"{turn}.db")
        ledger = open_ledger(path)
        channels = [known(ledger, number) for number in range(3)]
        pay(ledger, channels[0])
        before = ledger.charges(), [ledger.channel(each) for each in channels]
        batch = [next_charge(each, reserved(ledger, each), answer=ANSWER) for each in channels]
        disk.fails, disk.failed = (operation, turn), False
        try:
            made = ledger.commit(batch)
        except LedgerUnavailable:
            disk.fails = None
            nothing += 1
            assert (ledger.charges(), [ledger.channel(each) for each in channels]) == before
            made = ledger.commit(batch)
        else:
            # What failed was to copy the log into the file, after the commit.
            everything += disk.failed
        disk.fails = None
        assert made == [True] * 3
        assert ledger.totals().charges == 4
        assert ledger.prove() == []
        ledger.close()
        assert_books(path, 4)
        if not disk.failed:
            break
    assert nothing >= 1 and everything >= 1
    assert nothing + everything == turn


def assert_books(path: str, charges: int) -> None:
    again = open_ledger(path)
    assert again.totals().charges == charges
    assert again.prove() == []
    again.close()


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_writes__any_one_call_to_the_disk_fails(
    tmp_path: Path, disk: FaultyDisk, operation: str
) -> None:
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    channel = known(ledger, 1)
    pay(ledger, channel, answer=ANSWER)
    number = enqueue(ledger)
    assert ledger.take_lease(LEASE, 60)
    queued = ledger.transaction(number)
    for work in (
        lambda: ledger.mirror_many([(channel_id(2), CONFIG, MIRROR)]),
        lambda: order_refund(ledger, channel, 0, 5),
        lambda: ledger.take_lease(("another", "holder"), 60),
        lambda: ledger.give_lease(LEASE),
        lambda: enqueue(ledger, rows=[(channel, 5)]),
        lambda: sign(ledger, number),
        lambda: ledger.move_transaction(number, LEASE, "refused", time=70),
        lambda: ledger.remember("name", "value"),
        lambda: ledger.mirror(channel, CONFIG, msgspec.structs.replace(MIRROR, balance=5)),
        lambda: ledger.mirror(channel_id(2), CONFIG, MIRROR),
        lambda: ledger.forget_answers(5_000),
    ):
        disk.fails = operation, 0
        with pytest.raises(LedgerUnavailable):
            work()
        disk.fails = None
    assert ledger.transactions() == [queued]
    assert ledger.attempts(number) == [] and ledger.in_flight() == {}
    assert ledger.held_refund(channel, 0) == 0
    sign(ledger, number)
    assert ledger.recall("name") is None
    assert reserved(ledger, channel).mirror == MIRROR
    assert ledger.channel(channel_id(2)) is None
    assert ledger.answer(channel) == ANSWER
    ledger.remember("name", "value")
    assert ledger.recall("name") == "value"
    ledger.close()


def test_open__the_disk_fails(tmp_path: Path, disk: FaultyDisk) -> None:
    path = str(tmp_path / "ledger.db")
    for operation in ("write", "sync"):
        disk.fails = operation, 0
        with pytest.raises(LedgerUnavailable):
            open_ledger(path)
    disk.fails = None
    ledger = open_ledger(path)
    pay(ledger, known(ledger, 1))
    ledger.close()


def test_reserve__a_read_fails_and_nothing_is_held(tmp_path: Path, disk: FaultyDisk) -> None:
    path = str(tmp_path / "ledger.db")
    ledger = open_ledger(path)
    channels = [known(ledger, number) for number in range(3)]
    ledger.close()
    # Nothing is in memory yet.
    ledger, another = open_ledger(path), open_ledger(path)
    disk.fails = "read", 0
    with pytest.raises(LedgerUnavailable):
        ledger.reserve(channels)
    disk.fails = None
    for channel in channels:
        reserved(another, channel)
    another.close()
    for channel in channels:
        reserved(ledger, channel)
    ledger.close()


def writer(ledger: Ledger) -> apsw.Connection:
    assert isinstance(ledger, SqliteLedger)
    return ledger._writer


def test_commit__the_database_may_not_grow(tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    channels = [known(ledger, number) for number in range(40)]
    ((pages,),) = writer(ledger).execute("PRAGMA page_count")
    writer(ledger).execute(f"PRAGMA max_page_count = {pages}")
    batch = [next_charge(each, reserved(ledger, each), answer=ANSWER) for each in channels]
    with pytest.raises(LedgerUnavailable, match="database or disk is full"):
        ledger.commit(batch)
    assert ledger.totals().charges == 0
    writer(ledger).execute(f"PRAGMA max_page_count = {pages + 1_000}")
    assert ledger.commit(batch) == [True] * 40
    assert ledger.prove() == []
    ledger.close()


def test_commit__another_process_holds_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TRIES", 3)
    path = tmp_path / "ledger.db"
    ledger = open_ledger(str(path))
    channel = known(ledger, 1)
    charge = next_charge(channel, reserved(ledger, channel))
    with closing(apsw.Connection(str(path))) as theirs:
        theirs.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match="database is locked"):
            ledger.commit([charge])
        # Who only reads is not kept waiting.
        assert ledger.channel(channel) is not None
        theirs.execute("ROLLBACK")
    assert ledger.commit([charge]) == [True]
    ledger.close()


def test_commit__a_sum_that_128_bits_cannot_hold(tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    first, second = known(ledger, 1), known(ledger, 2)
    good = next_charge(first, reserved(ledger, first))
    bad = next_charge(second, reserved(ledger, second), amount=2**128)
    with pytest.raises(OverflowError):
        ledger.commit([good, bad])
    assert ledger.charges() == []
    assert ledger.commit([good]) == [True]
    ledger.close()
