"""Copies of a ledger: whole, of one moment, and marked so that nobody goes on in them unawares."""

import stat
import threading
import time
from pathlib import Path

import pytest
from ledger_samples import ANSWER, CONFIG, enqueue, known, next_charge, pay

from farthing.ledger import (
    RESTORED,
    BackupRefused,
    Entitlement,
    Ledger,
    LedgerUnavailable,
    Payer,
    PayerChange,
    Tally,
    open_ledger,
    sqlite_file,
)
from tests.postgres import Cluster


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db")


def test_backup__has_everything_and_says_that_it_is_one(ledger: Ledger, tmp_path: Path) -> None:
    before = int(time.time())
    channel = known(ledger, 1)
    owned = Entitlement("own", "a", 50, 0, 1, 0)
    change = PayerChange(Payer.of(CONFIG), 0, [Tally("free", 0, 1)], [owned])
    pay(ledger, channel, answer=ANSWER, change=change)
    number = enqueue(ledger, rows=[(channel, 7)])
    path = tmp_path / "backup.db"
    ledger.backup(path)
    pay(ledger, channel)
    assert [each.name for each in tmp_path.glob("backup.db*")] == ["backup.db"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ledger.recall(RESTORED) is None

    copy = open_ledger(str(path))
    assert copy.charges() == ledger.charges(limit=1)
    assert copy.answer(channel) == ANSWER
    assert copy.transaction(number) == ledger.transaction(number)
    assert copy.in_flight() == {channel: 7}
    assert copy.entitlements() == ledger.entitlements() != []
    assert copy.standing(change.payer.id, ["free"], []).tallies["free"].value == 1
    assert copy.prove() == []
    assert before <= int(copy.recall(RESTORED) or 0) <= time.time()
    # It can be gone on in.
    copy.remember(RESTORED, "")
    pay(copy, channel)
    copy.close()


def test_backup__while_others_pay(ledger: Ledger, another: Ledger, tmp_path: Path) -> None:
    channels = [known(ledger, number) for number in range(200)]
    done = threading.Event()
    failures: list[BaseException] = []

    def go_on_paying() -> None:
        try:
            while not done.is_set():
                states = [another.channel(each).state for each in channels]  # type: ignore[union-attr]
                charges = [
                    next_charge(channel, state, request_id=f"{channel.hex()}-{state.charges}")
                    for channel, state in zip(channels, states, strict=True)
                ]
                assert all(another.commit(charges))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=go_on_paying)
    thread.start()
    try:
        for number in range(5):
            ledger.backup(tmp_path / f"{number}.db")
    finally:
        done.set()
        thread.join()
    assert failures == []
    for number in range(5):
        copy = open_ledger(str(tmp_path / f"{number}.db"))
        # All of a commit or nothing.
        assert copy.totals().charges % 200 == 0
        assert copy.prove() == []
        copy.close()


def test_backup__where_something_is(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Remember the milk.")
    for taken in (path, tmp_path, tmp_path / "ledger.db"):
        with pytest.raises(BackupRefused, match=r"there is something at .* already, give a new"):
            ledger.backup(taken)
    assert path.read_text() == "Remember the milk."
    pay(ledger, known(ledger, 1))


def test_backup__no_folder(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="No such file or directory"):
        ledger.backup(tmp_path / "missing" / "backup.db")


def test_backup__that_fails_leaves_nothing(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> float:
        raise OSError("no space left on device")

    path = tmp_path / "backup.db"
    with monkeypatch.context() as patched:
        # The last thing before the copy is marked.
        patched.setattr(sqlite_file.time, "time", full)
        with pytest.raises(LedgerUnavailable, match="no space left"):
            ledger.backup(path)
    assert list(tmp_path.glob("backup*")) == []
    ledger.backup(path)


def test_open_postgresql__a_dump_that_was_restored(
    postgres_cluster: Cluster, postgres_url: str
) -> None:
    before = int(time.time())
    ledger = open_ledger(postgres_url)
    pay(ledger, known(ledger, 1))
    with postgres_cluster.database() as target:
        postgres_cluster.restore(postgres_url, target)
        # Whoever opens it first, all are told, until one has seen to it.
        copies = [open_ledger(target), open_ledger(target)]
        assert copies[0].charges() == ledger.charges()
        for copy in copies:
            assert before <= int(copy.recall(RESTORED) or 0) <= time.time() + 1
        copies[0].remember(RESTORED, "")
        copies.append(open_ledger(target))
        assert [copy.recall(RESTORED) for copy in copies] == [""] * 3
        for copy in copies:
            copy.close()
    again = open_ledger(postgres_url)
    assert again.recall(RESTORED) is None
    for each in (again, ledger):
        each.close()


def test_backup__of_a_ledger_in_postgresql(postgres_url: str, tmp_path: Path) -> None:
    ledger = open_ledger(postgres_url)
    with pytest.raises(BackupRefused, match=r"is in PostgreSQL, so use pg_dump .*\.$"):
        ledger.backup(tmp_path / "backup")
    assert list(tmp_path.iterdir()) == []
    ledger.close()
