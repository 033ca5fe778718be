"""What other processes do with a ledger, and a way to have several do it at once."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

from ledger_samples import next_charge

from farthing.ledger import ChannelState, NotReserved, open_ledger

_spawn = multiprocessing.get_context("spawn")


def at_once(processes: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Results of ``work(barrier, number, *arguments)`` in so many processes."""
    with _spawn.Manager() as manager:
        barrier = manager.Barrier(processes)
        with _spawn.Pool(processes) as pool:
            calls = [(barrier, number, *arguments) for number in range(processes)]
            return pool.starmap(work, calls, chunksize=1)


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


def hold(url: str, channel: bytes, sender: Any) -> None:
    """Reserves a channel and never gives it back."""
    ledger = open_ledger(url)
    sender.send(isinstance(ledger.reserve([channel])[0], ChannelState))
    sender.close()
    while True:
        time.sleep(60)


def start_holder(url: str, channel: bytes) -> Any:
    """A process that holds the channel."""
    receiver, sender = _spawn.Pipe(duplex=False)
    process = _spawn.Process(target=hold, args=(url, channel, sender), daemon=True)
    process.start()
    sender.close()
    assert receiver.recv()
    return process
