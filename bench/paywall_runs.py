"""One run of the paywall benchmark: which server, on what books, paid how often.

After each run the books must hold exactly one charge for every answer of status 200, or there is
no figure.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from bench import paywall_books, paywall_farthing, paywall_floor, paywall_sdk
from bench.core_speed import recover_us
from bench.paywall_load import BUILD, Generator, Load, generator
from bench.paywall_server import Server, busy_s, running
from bench.paywall_vouchers import Offer, check_like_x402, prepare, spread

SERVER_CORE, LOAD_CORE = 0, 1
# The paywall itself is measured on an app that costs nothing; beside it, on the SDK's FastAPI app.
BARE_APP, FASTAPI_APP = "bench.paywall_app:bare_app", "bench.paywall_app:fastapi_app"
ON_ASGI, ON_FASTAPI = "bench.paywall_farthing:on_asgi", "bench.paywall_farthing:on_fastapi"
WITH_RECEIPTS = "bench.paywall_farthing:with_receipts"
CONNECTIONS = 20
CHANNELS = 1_000
WARM_UP = 500


class Target(Protocol):
    """A paywall to measure: a server, and its books."""

    @property
    def app(self) -> str:
        """The app factory, as uvicorn takes it."""

    def open(self, channels: Collection[int], folder: Path) -> dict[str, str]:
        """Give new books these channels with their deposits; answer the server's environment."""

    def charges(self, server: Server, environment: dict[str, str]) -> int:
        """How many charges the books hold."""


@dataclass(frozen=True)
class Sdk:
    """The ``x402`` package, with its books in memory."""

    app: str = "bench.paywall_sdk:app"

    def open(self, channels: Collection[int], folder: Path) -> dict[str, str]:
        return {paywall_sdk.CHANNELS: str(max(channels, default=-1) + 1)}

    def charges(self, server: Server, environment: dict[str, str]) -> int:
        return int(server.get("/charged")[2])


@dataclass(frozen=True)
class Sqlite:
    """Ours, with its ledger in a file that has ``in_all`` channels, or those that pay."""

    app: str = ON_ASGI
    in_all: int = 0

    def open(self, channels: Collection[int], folder: Path) -> dict[str, str]:
        file = folder / "ledger.db"
        paywall_books.open_many_channels(file, channels, self.in_all)
        return {paywall_farthing.LEDGER: str(file)}

    def charges(self, server: Server, environment: dict[str, str]) -> int:
        return paywall_books.charges(environment[paywall_farthing.LEDGER])


@dataclass(frozen=True)
class Floor(Sqlite):
    """What is below ours: a synced row and a signature for each request, and no paywall."""

    app: str = "bench.paywall_floor:app"

    def charges(self, server: Server, environment: dict[str, str]) -> int:
        return paywall_floor.rows(environment[paywall_farthing.LEDGER])


@dataclass(frozen=True)
class Postgres:
    """Ours, with each run's ledger in a new database of the PostgreSQL at ``url``."""

    url: str
    app: str = ON_ASGI
    numbers: Iterator[int] = field(default_factory=count)

    def open(self, channels: Collection[int], folder: Path) -> dict[str, str]:
        url = paywall_books.new_database(self.url, f"run{next(self.numbers)}")
        paywall_books.open_channels(url, channels)
        return {paywall_farthing.LEDGER: url}

    def charges(self, server: Server, environment: dict[str, str]) -> int:
        return paywall_books.charges(environment[paywall_farthing.LEDGER])


@dataclass(frozen=True)
class Paid:
    """What was measured of one server, in one turn or in many.

    ``responses_200`` and ``charges`` count its warm-up too. ``cpu_us`` is the server's processor
    time per request, which other programs on the machine change far less than they change the
    rate, and ``others`` the share of the server's cores that such programs had.
    ``recover_us_of_turns`` says how fast the server's first core was, just before and after each.
    """

    turns: list[Load]
    recover_us_of_turns: list[float]
    responses_200: int
    charges: int
    header_bytes: int
    start_s: float
    cpu_us: float
    others: float
    memory_mib: list[float]

    @property
    def rps(self) -> float:
        """Of the turn in the middle, as the latencies below."""
        return round(statistics.median(self.rps_of_turns), 1)

    @property
    def rps_of_turns(self) -> list[float]:
        return [turn.rps for turn in self.turns]

    @property
    def p50_ms(self) -> float:
        return round(statistics.median(turn.p50_ms for turn in self.turns), 3)

    @property
    def p99_ms(self) -> float:
        return round(statistics.median(self.p99_ms_of_turns), 3)

    @property
    def p99_ms_of_turns(self) -> list[float]:
        return [turn.p99_ms for turn in self.turns]

    @property
    def load_busy(self) -> float:
        return max(turn.busy for turn in self.turns)


class Measured:
    """A server that is paid in turns, for as long as its block lasts."""

    def __init__(
        self,
        target: Target,
        environment: dict[str, str],
        server: Server,
        cores: frozenset[int],
        header_bytes: int,
        loading: Generator,
    ) -> None:
        self._target = target
        self._environment = environment
        self._server = server
        self._cores = cores
        self._header_bytes = header_bytes
        self._loading = loading
        self._turns: list[Load] = []
        self._recover_us: list[float] = []
        self._used = self._busy = 0.0
        self._memory: list[float] = []
        self._warm_up = loading.turn(requests=WARM_UP)

    def turn(self, requests: int = 0) -> None:
        """Pay for so many requests, or for all that are left."""
        core = min(self._cores)
        before = recover_us(core)
        used, busy = self._server.cpu_s(), busy_s(self._cores)
        with watched(self._server, self._memory):
            self._turns.append(self._loading.turn(requests=requests))
        self._used += self._server.cpu_s() - used
        self._busy += busy_s(self._cores) - busy
        self._recover_us.append(round((before + recover_us(core)) / 2, 1))
        self._server.settle()

    def paid(self) -> Paid:
        """What was measured. Raises unless the books hold one charge for each answer of 200."""
        charges = self._target.charges(self._server, self._environment)
        measured = sum(turn.responses_200 for turn in self._turns)
        answered = measured + self._warm_up.responses_200
        if charges != answered:
            raise AssertionError(f"{self._target.app} charged {charges} for {answered} answers")
        seconds = sum(turn.seconds for turn in self._turns)
        return Paid(
            turns=self._turns,
            recover_us_of_turns=self._recover_us,
            responses_200=answered,
            charges=charges,
            header_bytes=self._header_bytes,
            start_s=self._server.start_s,
            cpu_us=round(self._used / measured * 1e6, 1),
            others=round((self._busy - self._used) / seconds / len(self._cores), 3),
            memory_mib=self._memory,
        )


@contextmanager
def measured(
    target: Target,
    requests: int,
    *,
    connections: int = CONNECTIONS,
    channels: int = CHANNELS,
    workers: int = 1,
    cores: frozenset[int] = frozenset({SERVER_CORE}),
    load_core: int | None = LOAD_CORE,
) -> Iterator[Measured]:
    """A warm server, with payments for ``requests`` prepared, over ``channels`` in random order."""
    lists = spread(WARM_UP + requests, connections, range(channels))
    numbers = sorted({number for each in lists for number, _ in each})
    with work_folder() as folder:
        environment = target.open(numbers, folder)
        with running(
            target.app, folder / "log", environment=environment, workers=workers, cores=cores
        ) as server:
            offer = offer_of(server)
            header_bytes = check_like_x402(offer)
            with generator(
                server.port,
                "/paid",
                connections=connections,
                core=load_core,
                prepared=prepare(folder / "vouchers", offer, lists),
            ) as loading:
                yield Measured(target, environment, server, cores, header_bytes, loading)


def paid(target: Target, requests: int, **conditions: Any) -> Paid:
    """Pay a server for ``requests`` requests, all in one turn; under conditions of `measured`."""
    with measured(target, requests, **conditions) as site:
        site.turn()
        return site.paid()


@dataclass(frozen=True)
class Side:
    """One of several servers that are measured in turn: ``requests`` of each turn."""

    target: Target
    requests: int
    channels: int = CHANNELS


def paid_in_turn(sides: Mapping[str, Side], turns: int) -> dict[str, Paid]:
    """Pay several servers turn by turn, so that the moods of the machine are everybody's."""
    with ExitStack() as stack:
        # More is prepared than is used: no connection may be done before the last turn.
        sites = {
            name: stack.enter_context(
                measured(side.target, turns * side.requests * 11 // 10, channels=side.channels)
            )
            for name, side in sides.items()
        }
        for _ in range(turns):
            for name, site in sites.items():
                site.turn(sides[name].requests)
        return {name: site.paid() for name, site in sites.items()}


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder on the disk the project is on: /tmp may be memory, and sync in no time."""
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        yield Path(name)


@contextmanager
def watched(server: Server, memory: list[float]) -> Iterator[None]:
    """Note the server's memory once a second, until the block is left."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1):
            memory.append(server.memory_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        memory.append(server.memory_mib())


def offer_of(server: Server) -> Offer:
    status, headers, body = server.get("/paid")
    if status != 402:
        raise AssertionError(f"/paid without a payment answered {status}: {body!r}")
    return Offer(headers["payment-required"])
