"""Payers and servers around one ledger, for tests that do more to them than kill them."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from farthing.ledger import Ledger, open_ledger
from tests.crash.books import check
from tests.crash.kill_points import PATIENCE
from tests.crash.payers import Payer
from tests.crash.servers import Slot, slots
from tests.crash.shop import Order


class Market:
    """Servers that sell and payers that pay at all of them.

    Attributes:
        order: How its servers run.
        places: Its servers' sockets.
        payers: Each with a channel.
    """

    def __init__(self, order: Order, places: list[Slot], payers: int) -> None:
        self.order = order
        self.places = places
        ports = [place.port for place in places]
        self.payers = [Payer(1 + number, ports) for number in range(payers)]
        with self.books() as ledger:
            for payer in self.payers:
                payer.open_channel(ledger)
        for place in places:
            place.start(order)

    def books(self) -> AbstractContextManager[Ledger]:
        """The tests' own way to the ledger, apart from the servers' connections."""
        return closing(open_ledger(self.order.ledger))

    @property
    def served(self) -> list[str]:
        """What handlers served, one entry for each time one ran."""
        return (Path(self.order.folder) / "served").read_text().splitlines()

    @property
    def answers(self) -> int:
        """How many 200s the payers have."""
        return sum(len(payer.record.paid) for payer in self.payers)

    @property
    def refusals(self) -> int:
        """How many requests were refused for the time being."""
        return sum(payer.record.refused for payer in self.payers)

    @contextmanager
    def load(self) -> Iterator["Load"]:
        """All payers pay as fast as they can while the block lasts."""
        with ThreadPoolExecutor(len(self.payers)) as pool:
            load = Load(self, pool)
            try:
                yield load
            finally:
                load.stop()

    def settle(self) -> None:
        """Every payer gets its answers, and then the books have to be right."""
        for payer in self.payers:
            payer.settle()
        with self.books() as ledger:
            check(ledger, self.payers)


class Load:
    """Payers at work."""

    def __init__(self, market: Market, pool: ThreadPoolExecutor) -> None:
        self._market = market
        self._is_over = False
        self._changed = threading.Condition()
        self._paying: list[Future[None]] = [
            pool.submit(self._pay, payer) for payer in market.payers
        ]

    def until_answers(self, number: int) -> None:
        """Waits for that many more 200s."""
        self._wait(lambda: self._market.answers, number)

    def until_refusals(self, number: int) -> None:
        """Waits until that many more requests were refused."""
        self._wait(lambda: self._market.refusals, number)

    def until_each_is_refused(self) -> None:
        """Waits until every payer was refused something: what it got was asked for before."""
        before = [payer.record.refused for payer in self._market.payers]

        def refused_since() -> int:
            now = [payer.record.refused for payer in self._market.payers]
            return sum(map(int.__gt__, now, before))

        self._wait(refused_since, len(before))

    def stop(self) -> None:
        """Lets every payer end what it does.

        Raises:
            AssertionError: One was told something that may not be.
        """
        self._is_over = True
        for each in self._paying:
            each.result()

    def _wait(self, count: Callable[[], int], number: int) -> None:
        until = count() + number

        def is_decided() -> bool:
            return count() >= until or any(each.done() for each in self._paying)

        with self._changed:
            assert self._changed.wait_for(is_decided, PATIENCE), f"{count()}, not {until}"
        assert count() >= until, "a payer gave up"

    def _pay(self, payer: Payer) -> None:
        try:
            while not self._is_over:
                payer.pay()
                with self._changed:
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._changed.notify_all()


@contextmanager
def market(ledger: str, *, servers: int = 1, payers: int = 8, **order: object) -> Iterator[Market]:
    """Servers on ``ledger``, and payers with channels in it. More ``order`` is of `Order`."""
    with TemporaryDirectory(prefix="farthing-market-") as folder, slots(servers) as places:
        made = Market(replace(Order(ledger, folder), **order), places, payers)  # type: ignore[arg-type]
        yield made
        for payer in made.payers:
            payer.close()
