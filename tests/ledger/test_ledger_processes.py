"""Several processes at one ledger."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_samples import channel_id, known, next_charge, pay, reserved
from ledger_workers import (
    Workers,
    increment_reserved,
    increment_unreserved,
    mirror_and_hold,
    open_and_close,
    race,
    race_for_lease,
    race_to_enqueue,
    start_holder,
    started_workers,
)

from farthing.ledger import Ledger, LedgerUnusable, NotReserved, open_ledger
from tests.postgres import Cluster

PROCESSES = 4


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with started_workers(PROCESSES) as started:
        yield started


def test_open__by_several_at_once_where_there_is_nothing(
    workers: Workers, tmp_path: Path, postgres_cluster: Cluster
) -> None:
    with (
        postgres_cluster.database() as one,
        postgres_cluster.database() as two,
        postgres_cluster.database() as three,
    ):
        files = [str(tmp_path / f"{number}.db") for number in range(20)]
        workers.all_do(open_and_close, [one, two, three, *files])
        for url in (one, two, three, *files):
            ledger = open_ledger(url)
            pay(ledger, known(ledger, 1))
            ledger.close()


def test_commit__by_several_at_once_exactly_one_wins(
    workers: Workers, ledger: Ledger, ledger_url: str
) -> None:
    channels = [known(ledger, number) for number in range(30)]
    results = workers.all_do(race, ledger_url, channels)
    assert [sum(made) for made in zip(*results, strict=True)] == [1] * 30
    assert ledger.totals().charges == 30
    assert ledger.prove() == []


def test_commit__by_several_at_once_adds_up(
    workers: Workers, ledger: Ledger, ledger_url: str
) -> None:
    channel = known(ledger, 1)
    workers.all_do(increment_unreserved, ledger_url, channel, 25)
    charges = ledger.charges(channel_id=channel)
    assert [charge.total for charge in charges] == list(range(1, 25 * PROCESSES + 1))
    assert ledger.prove() == []


def test_take_lease__by_several_at_once_exactly_one_gets_it(
    workers: Workers, ledger: Ledger, ledger_url: str
) -> None:
    results = workers.all_do(race_for_lease, ledger_url, [f"lease {n}" for n in range(30)])
    assert [sum(taken) for taken in zip(*results, strict=True)] == [1] * 30


def test_enqueue__by_several_at_once_is_ordered_once(
    workers: Workers, ledger: Ledger, ledger_url: str
) -> None:
    subjects = [channel_id(number) for number in range(30)]
    results = workers.all_do(race_to_enqueue, ledger_url, subjects)
    assert results == [[each.id for each in ledger.transactions()]] * PROCESSES
    assert [len(ledger.rows(number)) for number in results[0]] == [1] * 30


def test_enqueue__refunds_while_others_write_mirrors_is_never_lost(
    workers: Workers, ledger: Ledger, ledger_url: str
) -> None:
    channels = [known(ledger, number) for number in range(10)]
    workers.all_do(mirror_and_hold, ledger_url, channels)


def test_reserve__by_several_at_once_no_commit_is_refused(
    workers: Workers, ledger: Ledger, ledger_url: str
) -> None:
    channel = known(ledger, 1)
    assert workers.all_do(increment_reserved, ledger_url, channel, 25) == [0] * PROCESSES
    assert ledger.totals().charged == 25 * PROCESSES
    assert ledger.prove() == []


def test_reserve__held_by_a_process_that_is_killed(ledger: Ledger, ledger_url: str) -> None:
    channel = known(ledger, 1)
    holder, _ = start_holder(ledger_url, channel)
    assert ledger.reserve([channel]) == [NotReserved.BUSY]
    holder.kill()
    holder.join()
    # PostgreSQL hears of it a moment later.
    while ledger.reserve([channel]) == [NotReserved.BUSY]:
        pass
    assert ledger.commit([next_charge(channel, ledger.channel(channel).state)]) == [True]  # type: ignore[union-attr]


def test_commit__two_batches_in_opposite_orders(ledger: Ledger, another: Ledger) -> None:
    """Neither waits for the other while the other waits for it."""
    channels = [known(ledger, number) for number in range(20)]
    failures: list[BaseException] = []

    def work(each: Ledger, order: list[bytes]) -> None:
        try:
            for turn in range(40):
                states = {channel: each.channel(channel).state for channel in order}  # type: ignore[union-attr]
                each.commit(
                    [
                        next_charge(channel, state, request_id=f"{id(each)}-{turn}")
                        for channel, state in states.items()
                    ]
                )
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(ledger, channels)),
        threading.Thread(target=work, args=(another, channels[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ledger.prove() == []


# ---------------------------------------------------------------- forks


def test_fork__a_ledger_opened_before_is_refused(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    reserved(ledger, channel)
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (
            lambda: ledger.reserve([channel_id(2)]),
            lambda: ledger.commit([]) or ledger.totals(),
            lambda: ledger.release([channel]),
            lambda: ledger.remember("a", "b"),
        ):
            try:
                use()
            except LedgerUnusable as error:
                refused += "open it in each process" in str(error)
        ledger.close()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    # Nothing of the parent's was lost by it.
    assert ledger.commit([next_charge(channel, ledger.channel(channel).state)]) == [True]  # type: ignore[union-attr]
    ledger.release([channel])
    pay(ledger, channel)


def test_fork__a_child_keeps_no_reservation(ledger: Ledger, ledger_url: str) -> None:
    """A process that forked is killed; its child lives on."""
    channel = known(ledger, 1)
    holder, child_may_end = start_holder(ledger_url, channel, forks=True)
    assert ledger.reserve([channel]) == [NotReserved.BUSY]
    holder.kill()
    holder.join()
    while ledger.reserve([channel]) == [NotReserved.BUSY]:
        pass
    child_may_end.send(True)


# ---------------------------------------------------------------- where locks are the process's


@pytest.mark.parametrize("kind", ["F_OFD_SETLK", "F_SETLK"])
def test_byte_locks__between_two_processes(tmp_path: Path, kind: str) -> None:
    code = f"""
import fcntl, sys
if "{kind}" == "F_SETLK": del fcntl.F_OFD_SETLK
from pathlib import Path
from farthing.ledger.locks import ByteLocks
locks = ByteLocks(Path({str(tmp_path / "locks")!r}))
names = [bytes([n]) * 32 for n in range(256)]
for line in sys.stdin:
    give, number = line.split()
    if give == "give": print(locks.give(names[int(number)]), flush=True)
    else: print(locks.take(names[int(number)]), flush=True)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]

    def tell(process: int, what: str) -> str:
        stdin, stdout = processes[process].stdin, processes[process].stdout
        assert stdin is not None and stdout is not None
        stdin.write(what + "\n")
        stdin.flush()
        return stdout.readline().strip()

    try:
        assert tell(0, "take 255") == "True"
        assert tell(1, "take 255") == "False"
        assert tell(1, "take 0") == "True"
        assert tell(0, "give 255") == "None"
        assert tell(1, "take 255") == "True"
        assert tell(0, "take 255") == "False"
        processes[1].kill()
        processes[1].wait()
        assert tell(0, "take 255") == "True"
        assert tell(0, "take 0") == "True"
    finally:
        for process in processes:
            process.kill()
            process.communicate()
