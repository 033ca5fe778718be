"""What other processes do with a ledger, and a way to have several do it at once."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from typing import Any

import msgspec
from ledger_samples import CONFIG, MIRROR, enqueue, next_charge, order_refund

from farthing.ledger import ChannelState, NotReserved, open_ledger

_spawn = multiprocessing.get_context("spawn")


class Workers:
    """Processes that do the same thing at once."""

    def __init__(self, processes: int, pool: Any, barrier: Any) -> None:
        self.processes = processes
        self._pool = pool
        self._barrier = barrier

    def all_do(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Results of ``work(barrier, number, *arguments)`` in each of them."""
        calls = [(work, self._barrier, number, *arguments) for number in range(self.processes)]
        return list(self._pool.starmap(_one, calls, chunksize=1))


@contextmanager
def started_workers(processes: int) -> Iterator[Workers]:
    with _spawn.Manager() as manager, _spawn.Pool(processes) as pool:
        yield Workers(processes, pool, manager.Barrier(processes))


def _one(work: Callable[..., Any], barrier: Barrier, number: int, *arguments: Any) -> Any:
    try:
        return work(barrier, number, *arguments)
    except BaseException:
        # Or the others would wait for this one for ever.
        barrier.abort()
        raise


def open_and_close(barrier: Barrier, number: int, urls: list[str]) -> None:
    for url in urls:
        barrier.wait()
        open_ledger(url).close()


def race(barrier: Barrier, number: int, url: str, channels: list[bytes]) -> list[bool]:
    """Every process charges each channel against the same state at the same time."""
    ledger = open_ledger(url)
    made = []
    for channel in channels:
        known = ledger.channel(channel)
        assert known is not None
        barrier.wait()
        made += ledger.commit([next_charge(channel, known.state, request_id=f"{number}")])
    ledger.close()
    return made


def increment_unreserved(
    barrier: Barrier, number: int, url: str, channel: bytes, times: int
) -> None:
    """Charges one so many times, trying again whenever another process was faster."""
    ledger = open_ledger(url)
    barrier.wait()
    done = 0
    while done < times:
        known = ledger.channel(channel)
        assert known is not None
        charge = next_charge(channel, known.state, amount=1, request_id=f"{number}-{done}")
        done += ledger.commit([charge])[0]
    ledger.close()


def increment_reserved(barrier: Barrier, number: int, url: str, channel: bytes, times: int) -> int:
    """Charges one so many times under a reservation; how many commits were refused."""
    ledger = open_ledger(url)
    barrier.wait()
    done = refused = 0
    while done < times:
        (state,) = ledger.reserve([channel])
        if not isinstance(state, ChannelState):
            assert state is NotReserved.BUSY
            time.sleep(0)
            continue
        (made,) = ledger.commit(
            [next_charge(channel, state, amount=1, request_id=f"{number}-{done}")]
        )
        done += made
        refused += not made
        ledger.release([channel])
    ledger.close()
    return refused


def race_for_lease(barrier: Barrier, number: int, url: str, names: list[str]) -> list[bool]:
    """Every process takes each lease at the same time."""
    ledger = open_ledger(url)
    taken = []
    for name in names:
        barrier.wait()
        taken.append(ledger.take_lease((name, str(number)), 60))
    ledger.close()
    return taken


def race_to_enqueue(barrier: Barrier, number: int, url: str, subjects: list[bytes]) -> list[int]:
    """Every process orders the same transactions at the same time."""
    ledger = open_ledger(url)
    ids = []
    for subject in subjects:
        barrier.wait()
        ids.append(enqueue(ledger, subject=subject, rows=[(subject, number)]))
    ledger.close()
    return ids


def mirror_and_hold(barrier: Barrier, number: int, url: str, channels: list[bytes]) -> None:
    """One holds refunds while the others write mirrors of the same channels."""
    ledger = open_ledger(url)
    for turn in range(20):
        barrier.wait()
        if number == 0:
            for channel in channels:
                order_refund(ledger, channel, turn, 100 + turn)
        else:
            said = msgspec.structs.replace(MIRROR, refund_nonce=turn, synced_at=1_000 + turn)
            order = channels if number % 2 else channels[::-1]
            ledger.mirror_many([(channel, CONFIG, said) for channel in order])
        barrier.wait()
        held = {ledger.channel(each).state.mirror.withdraw_amount for each in channels}  # type: ignore[union-attr]
        assert held == {100 + turn}
    ledger.close()


def hold(url: str, channel: bytes, forks: bool, pipe: Any) -> None:
    """Reserves a channel and never gives it back; ``pipe`` is told once it is held."""
    ledger = open_ledger(url)
    (state,) = ledger.reserve([channel])
    if not forks or os.fork() == 0:
        pipe.send(isinstance(state, ChannelState))
        pipe.recv()
        os._exit(0)
    os.wait()


def start_holder(url: str, channel: bytes, *, forks: bool = False) -> tuple[Any, Any]:
    """A process that holds the channel, and with ``forks`` has a child; what ends the child."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=hold, args=(url, channel, forks, theirs), daemon=True)
    process.start()
    theirs.close()
    assert ours.recv()
    return process, ours
