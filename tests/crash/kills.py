"""Kills servers under load, again and again, and holds the books against the payers' records."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from tempfile import TemporaryDirectory

from farthing.ledger import open_ledger
from tests.crash.books import check, compare
from tests.crash.kill_points import DISK_POINTS, PATIENCE, POINTS, add_gates
from tests.crash.payers import Payer
from tests.crash.servers import Slot, slots
from tests.crash.shop import Order

RANDOM = "random"
PAYERS = 12
# A point is passed this many times at most before the server dies there.
MAX_PASSES = 30
# Kills after which the next one has a new ledger.
KILLS_PER_LEDGER = 20
# Kills in a row before the payers can settle; a second one hits them while they recover.
VOLLEYS = (1, 1, 1, 1, 2, 3)

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
                world = _World(url, folder, places, chance)
                while turns:
                    length = chance.choice(VOLLEYS)
                    world.volley(turns[:length], tally)
                    turns = turns[length:]
                world.close(tally)
    return tally


class _World:
    """One ledger, its servers, of which the first dies, and its payers."""

    def __init__(self, url: str, folder: str, places: list[Slot], chance: random.Random) -> None:
        self._order = Order(url, folder)
        self._chance = chance
        self._ledger = open_ledger(url)
        self._payers = [
            Payer(1 + number, [each.port for each in places]) for number in range(PAYERS)
        ]
        for payer in self._payers:
            payer.open_channel(self._ledger)
        if url.startswith("postgresql:"):
            add_gates(url)
        self._mortal, *others = places
        for place in others:
            place.start(self._order)

    def volley(self, points: list[str], tally: Tally) -> None:
        """Kills one server after the other under load, then settles and looks at the books."""
        is_over = threading.Event()
        served = threading.Semaphore(0)

        def pay(payer: Payer) -> None:
            while not is_over.is_set():
                if payer.pay():
                    served.release()

        with ThreadPoolExecutor(PAYERS) as pool:
            paying = [pool.submit(pay, payer) for payer in self._payers]
            try:
                for point in points:
                    self._start_and_kill(point, served)
                    tally.kills[point] += 1
            finally:
                is_over.set()
                # Whoever still waits for an answer gets it from this one.
                self._mortal.start(self._order)
                for each in paying:
                    each.result()
            for each in [pool.submit(payer.settle) for payer in self._payers]:
                each.result()
        lost, double = compare(self._ledger, self._payers)
        tally.lost += lost
        tally.double += double
        check(self._ledger, self._payers)
        self._mortal.kill()
        self._mortal.wait_for_death()

    def _start_and_kill(self, point: str, served: threading.Semaphore) -> None:
        passes = self._chance.randrange(MAX_PASSES)
        if point == RANDOM:
            self._mortal.start(self._order)
            for _ in range(passes):
                assert served.acquire(timeout=PATIENCE)
            self._mortal.kill()
        else:
            self._mortal.start(replace(self._order, point=point, passes=1 + passes))
        self._mortal.wait_for_death()

    def close(self, tally: Tally) -> None:
        """Adds what payers know to the tally."""
        tally.add(self._payers)
        for payer in self._payers:
            payer.close()
        self._ledger.close()
