"""Kills the process that steps a transaction queue, again and again, on a chain that is rough too.

``python -m tests.crash.queue_kills`` is the full run, over both databases; its last line is one
JSON object, and it comes only if every payment was made once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from web3 import Web3
from web3.types import RPCEndpoint

from farthing.chain.anvil import ANVIL_KEYS, anvil
from farthing.chain.connection import connect
from farthing.ledger import QueuedTransaction, open_ledger
from tests.crash.conftest import sqlite
from tests.crash.kill_points import PATIENCE
from tests.crash.kills import Database
from tests.crash.queue_worker import CONFIRMATIONS, POINTS, RANDOM, Job, nobody, work
from tests.escrow_world import PAYER, World
from tests.postgres import cluster

FULL = 200
MAX_PASSES = 12
# Of a hundred blocks, before how many the node forgets what it was sent, the base fee jumps, or the
# chain is reorganised.
DROPS, SPIKES, REORGANISATIONS = 20, 10, 10
GWEI = 10**9

_context = get_context("forkserver")
_context.set_forkserver_preload(["tests.crash.queue_worker"])


@dataclass
class QueueTally:
    """What came of a run.

    Attributes:
        kills: How many workers were killed, by the point.
        payments: How many were ordered.
        replaced: How many were signed more than once.
        mishaps: What the chain did meanwhile.
        lost: Payments that were ordered and not made.
        double: Payments that were made twice, or paid for twice.
    """

    kills: Counter[str] = field(default_factory=Counter)
    payments: int = 0
    replaced: int = 0
    mishaps: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    double: int = 0


class Weather:
    """Mines, and does what chains do, for as long as its block lasts."""

    def __init__(self, w3: Web3, seed: int, mishaps: Counter[str]) -> None:
        self._w3 = w3
        self._chance = random.Random(seed)
        self._mishaps = mishaps
        self._is_over = threading.Event()
        self._blocks = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._blow)

    def __enter__(self) -> Weather:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def wait(self, blocks: int) -> None:
        """Waits for so many blocks."""
        for _ in range(blocks):
            assert self._blocks.acquire(timeout=PATIENCE)

    def _blow(self) -> None:
        while not self._is_over.wait(0.01):
            kind = self._chance.randrange(100)
            if kind < DROPS:
                self._mishap("drop", "anvil_dropAllTransactions")
            elif kind < DROPS + SPIKES:
                fee = hex(self._chance.randrange(1, 20) * GWEI)
                self._mishap("spike", "anvil_setNextBlockBaseFeePerGas", fee)
            elif kind < DROPS + SPIKES + REORGANISATIONS:
                depth = self._chance.randrange(1, CONFIRMATIONS)
                self._mishap("reorganisation", "anvil_reorg", depth, [])
            self._call("evm_mine")
            self._blocks.release()

    def _mishap(self, kind: str, method: str, *arguments: Any) -> None:
        self._mishaps[kind] += 1
        self._call(method, *arguments)

    def _call(self, method: str, *arguments: Any) -> None:
        answer = self._w3.provider.make_request(RPCEndpoint(method), list(arguments))
        assert "error" not in answer, answer


def run(database: Database, kills: int, seed: int) -> QueueTally:
    """Kills workers ``kills`` times, at every point in turn.

    Raises:
        AssertionError: A payment was lost or made twice, or a worker did not do its work.
    """
    chance, tally = random.Random(seed), QueueTally()
    with database() as url, _node() as (world, node), TemporaryDirectory() as folder:
        points = [each for each in (*POINTS, RANDOM) if _has(url, each)]
        orders = Path(folder) / "orders"
        job = Job(node, url, PAYER.key.to_0x_hex(), world.token.address, str(orders))
        before = world.w3.eth.get_transaction_count(PAYER.address)
        with Weather(connect(node), seed, tally.mishaps) as weather:
            for number in range(kills):
                point = points[number % len(points)]
                _kill(replace(job, point=point, passes=chance.randint(1, MAX_PASSES)), weather)
                tally.kills[point] += 1
            last = _context.Process(target=work, args=(job,))
            last.start()
            last.join(2 * PATIENCE)
            assert last.exitcode == 0, f"the last worker ended with {last.exitcode}"
        ordered = {int(line) for line in orders.read_text().split()}
        _check(world, url, ordered, before, tally)
    return tally


def _has(url: str, point: str) -> bool:
    return point != "before a commit" or not url.startswith("postgresql:")


def _kill(job: Job, weather: Weather) -> None:
    worker = _context.Process(target=work, args=(job,), daemon=True)
    worker.start()
    if job.point == RANDOM:
        weather.wait(job.passes * 5)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
    worker.join(PATIENCE)
    assert worker.exitcode == -signal.SIGKILL, f"ended with {worker.exitcode} at {job}"


@contextmanager
def _node() -> Iterator[tuple[World, str]]:
    with anvil() as url:
        world = World.build(connect(url), ANVIL_KEYS[0])
        # Coins for as many transactions as there may be.
        world.w3.provider.make_request(
            RPCEndpoint("anvil_setBalance"), [PAYER.address, hex(10**21)]
        )
        world.w3.provider.make_request(RPCEndpoint("evm_setAutomine"), [False])
        for _ in range(2 * CONFIRMATIONS):
            world.w3.provider.make_request(RPCEndpoint("evm_mine"), [])
        yield world, url


def _check(world: World, url: str, ordered: set[int], before: int, tally: QueueTally) -> None:
    """Holds the ledger against the orders, and both against the chain."""
    ledger = open_ledger(url)
    found: list[QueuedTransaction] = []
    while page := ledger.transactions(after=found[-1].id if found else 0):
        found += page
    attempts = {each.id: ledger.attempts(each.id) for each in found}
    ledger.close()
    payments = [each for each in found if each.kind == "pay"]
    paid = {
        int(each.subject): world.token.balance_of(nobody(int(each.subject))) for each in payments
    }
    sent = world.w3.eth.get_transaction_count(PAYER.address) - before
    tally.payments += len(payments)
    tally.replaced += sum(len(each) > 1 for each in attempts.values())
    tally.lost += len(ordered - {number for number, amount in paid.items() if amount})
    tally.double += sum(amount > 1 for amount in paid.values()) + sent - len(found)
    assert {each.state for each in found} == {"final"}
    for each in found:
        assert {attempt.nonce for attempt in attempts[each.id]} == {each.nonce}
    assert (tally.lost, tally.double) == (0, 0)


def main(kills: int = FULL) -> None:
    """Kills workers ``kills`` times with each database."""
    with cluster() as server:
        tallies = {
            "sqlite": run(sqlite, kills, kills),
            "postgresql": run(server.database, kills, kills),
        }
    print(json.dumps({name: vars(tally) for name, tally in tallies.items()}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
