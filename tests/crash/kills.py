"""Kills servers under load, again and again, and holds the books against the payers' records."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory

from farthing.ledger import open_ledger
from tests.crash.books import check, compare
from tests.crash.kill_points import DISK_POINTS, POINTS, add_gates
from tests.crash.payers import Payer
from tests.crash.servers import PATIENCE, Slot, slots
from tests.crash.shop import Order

RANDOM = "random"
PAYERS = 12
# A point is passed this many times at most before the server dies there.
MAX_PASSES = 30
# Kills after which the next one has a new ledger.
KILLS_PER_LEDGER = 20

# Makes an empty database, for as long as its block lasts, and gives its URL.
Database = Callable[[], AbstractContextManager[str]]


@dataclass
class Tally:
    """What came of a run.

    Attributes:
        kills: How many servers were killed, by the point.
        answers: 200s that payers got, each voucher counted once.
        unanswered: Requests that payers sent and had to repeat.
        torn: Answers of which a part had come.
        repeated: Answers asked for once more after a restart, all of them the same again.
        lost: 200s without a charge.
        double: Charges without a 200, when every payer has repeated what was not answered.
    """

    kills: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    unanswered: int = 0
    torn: int = 0
    repeated: int = 0
    lost: int = 0
    double: int = 0

    def add(self, payers: list[Payer]) -> None:
        for payer in payers:
            self.answers += len(payer.record.paid)
            self.unanswered += payer.record.lost
            self.torn += payer.record.torn
            self.repeated += payer.record.repeated


def points_of(url: str) -> tuple[str, ...]:
    """Where a server with that ledger can be killed."""
    return (*POINTS, RANDOM) if url.startswith("postgresql:") else (*POINTS, *DISK_POINTS, RANDOM)


def run(database: Database, kills: int, seed: int) -> Tally:
    """Kills servers ``kills`` times, at every point in turn, with one worker and with two.

    Raises:
        AssertionError: Something did not agree after one of them.
    """
    chance = random.Random(seed)
    tally = Tally()
    while (done := tally.kills.total()) < kills:
        with database() as url, TemporaryDirectory(prefix="farthing-kills-") as folder:
            points = points_of(url)
            number = min(KILLS_PER_LEDGER, kills - done)
            turns = [points[(done + turn) % len(points)] for turn in range(number)]
            with slots(1 + done // KILLS_PER_LEDGER % 2) as places:
                _run_on(url, folder, places, turns, chance, tally)
    return tally


def _run_on(
    url: str,
    folder: str,
    places: list[Slot],
    turns: list[str],
    chance: random.Random,
    tally: Tally,
) -> None:
    ledger = open_ledger(url)
    payers = [Payer(1 + number, [place.port for place in places]) for number in range(PAYERS)]
    for payer in payers:
        payer.open_channel(ledger)
    if url.startswith("postgresql:"):
        add_gates(url)
    for place in places[1:]:
        place.start(Order(url, folder))
    mortal = places[0]
    with ThreadPoolExecutor(PAYERS) as pool:
        mortal.start(_order(url, folder, turns[0], chance))
        for turn, point in enumerate(turns):
            if point != RANDOM:
                mortal.ask("/arm")
            is_over = threading.Event()
            served = threading.Semaphore(0)
            paying = [pool.submit(_pay, payer, is_over, served) for payer in payers]
            try:
                if point == RANDOM:
                    for _ in range(chance.randrange(1, 2 * PAYERS)):
                        assert served.acquire(timeout=PATIENCE)
                    mortal.kill()
                mortal.wait_for_death()
            finally:
                is_over.set()
                following = turns[(turn + 1) % len(turns)]
                # Not armed yet: a payer that waits for an answer now gets it from this one.
                mortal.start(_order(url, folder, following, chance))
                for each in paying:
                    each.result()
            tally.kills[point] += 1
            for each in [pool.submit(payer.settle) for payer in payers]:
                each.result()
            lost, double = compare(ledger, payers)
            tally.lost += lost
            tally.double += double
            check(ledger, payers)
    tally.add(payers)
    for payer in payers:
        payer.close()
    ledger.close()


def _order(url: str, folder: str, point: str, chance: random.Random) -> Order:
    where = None if point == RANDOM else point
    return Order(url, folder, point=where, passes=chance.randrange(1, MAX_PASSES))


def _pay(payer: Payer, is_over: threading.Event, served: threading.Semaphore) -> None:
    while not is_over.is_set():
        if payer.pay():
            served.release()
