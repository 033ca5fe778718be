"""One run of the paywall benchmark: which server, on what books, paid how often.

After each run the books must hold exactly one charge for every answer of status 200, or there is
no figure.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol

from bench import paywall_books, paywall_farthing, paywall_sdk
from bench.paywall_load import BUILD, Load, run_load
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
    """One measured run. ``responses_200`` and ``charges`` count its warm-up too.

    ``cpu_us`` is the server's processor time per request, which other programs on the machine
    change far less than they change the rate, and ``others`` the share of the server's cores that
    such programs had.
    """

    load: Load
    responses_200: int
    charges: int
    header_bytes: int
    start_s: float
    cpu_us: float
    others: float
    memory_mib: list[float]


def paid(
    target: Target,
    requests: int,
    *,
    connections: int = CONNECTIONS,
    channels: int = CHANNELS,
    workers: int = 1,
    cores: frozenset[int] = frozenset({SERVER_CORE}),
    load_core: int | None = LOAD_CORE,
) -> Paid:
    """Pay for ``requests`` requests, spread over ``channels`` in random order."""
    # The warm-up has channels of its own: it ends when a first connection is done, and the others'
    # next vouchers would not follow on their last.
    warm_up = spread(max(WARM_UP, connections), connections, range(connections))
    measured = spread(requests, connections, range(connections, connections + channels))
    numbers = sorted({number for each in (*warm_up, *measured) for number, _ in each})
    with work_folder() as folder:
        environment = target.open(numbers, folder)
        with running(
            target.app, folder / "log", environment=environment, workers=workers, cores=cores
        ) as server:
            offer = offer_of(server)
            header_bytes = check_like_x402(offer)
            memory: list[float] = []
            loads = []
            for name, lists in (("warm-up", warm_up), ("measured", measured)):
                prepared = prepare(folder / name, offer, lists)
                used, busy = server.cpu_s(), busy_s(cores)
                with watched(server, memory):
                    loads.append(
                        run_load(
                            server.port,
                            "/paid",
                            connections=connections,
                            core=load_core,
                            prepared=prepared,
                        )
                    )
                used = server.cpu_s() - used
                busy = busy_s(cores) - busy
            charges = target.charges(server, environment)
    answered = sum(load.responses_200 for load in loads)
    if charges != answered:
        raise AssertionError(f"{target.app} charged {charges} for {answered} answers")
    load = loads[-1]
    return Paid(
        load=load,
        responses_200=answered,
        charges=charges,
        header_bytes=header_bytes,
        start_s=server.start_s,
        cpu_us=round(used / load.responses_200 * 1e6, 1),
        others=round((busy - used) / load.seconds / len(cores), 3),
        memory_mib=memory,
    )


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
