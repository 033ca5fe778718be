"""What it costs a program to pay; `make bench-wallet` prints it as one object and saves it.

Parts: requests in turn without and with a payment, from one wallet to one paywall on a development
chain; bursts of parallel requests; and the feed of `bench.wallet_feed`. The server is on one core,
this process on the other. ``--quick`` is for a first look.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import apsw
import httpx

from bench.paywall import sync_ms
from bench.paywall_farthing import LEDGER
from bench.paywall_load import BUILD
from bench.paywall_runs import LOAD_CORE, SERVER_CORE, work_folder
from bench.paywall_server import Server, running
from bench.result import save
from bench.wallet_feed import INTERVAL_MS, most_listeners
from bench.wallet_site import CHAIN, PRICE
from farthing.chain.devnet import Devnet, devnet
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.ledger import open_ledger
from farthing.protocol.payments import ErrorCode
from farthing.wallet import (
    Budget,
    Home,
    Period,
    Place,
    RefusedByServer,
    Rules,
    Store,
    Wallet,
    session_of,
)
from farthing.wallet.httpx_client import AsyncPayingTransport, PayingTransport

SITE = "bench.wallet_site:site"
BURST = 50
WARM_UP = 200
TOP_UP = 10_000_000
RULES = Rules((Budget(10**12, Period.parse("R/2026-01-01T00:00Z/P1D")),), top_up=TOP_UP)


@dataclass(frozen=True)
class Scale:
    """How much of everything: the full benchmark, or a quick look."""

    requests: int
    counted: int
    bursts: int
    feed_s: float


FULL = Scale(3_000, 500, 5, 20)
QUICK = Scale(500, 100, 1, 5)


# ---------------------------------------------------------------- overhead


class Timed(httpx.BaseTransport):
    """The network and the server behind it; ``seconds`` is what they have taken so far."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport()
        self.seconds = 0.0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        started = time.perf_counter()
        response = self._inner.handle_request(request)
        self.seconds += time.perf_counter() - started
        return response

    def close(self) -> None:
        self._inner.close()


@dataclass(frozen=True)
class Took:
    """One request, in milliseconds: all of it, what of it was the client, and its processor."""

    whole: float
    client: float
    cpu: float


def request(client: httpx.Client, timed: Timed, url: str) -> Took:
    waited, cpu, started = timed.seconds, time.thread_time(), time.perf_counter()
    response = client.get(url)
    whole, cpu = time.perf_counter() - started, time.thread_time() - cpu
    if response.status_code != 200:
        raise AssertionError(f"{url} answered {response.status_code}: {response.text}")
    waited = timed.seconds - waited
    return Took(1_000 * whole, 1_000 * (whole - waited), 1_000 * cpu)


def overhead(shop: Shop, scale: Scale) -> dict[str, Any]:
    """A paid request beside an unpaid one: of a page that was paid before, and of new ones."""
    took: dict[str, list[Took]] = {"unpaid": [], "paid": [], "new": []}
    with ExitStack() as stack:
        wallet = stack.enter_context(shop.wallet("overhead.db"))
        free, paying = Timed(), Timed()
        plain = stack.enter_context(httpx.Client(transport=free))
        payer = stack.enter_context(httpx.Client(transport=PayingTransport(wallet, paying)))
        for number in range(WARM_UP + scale.requests):
            # In turn, so that what the machine does meets all of them.
            took["unpaid"].append(request(plain, free, shop.url + "/free"))
            took["paid"].append(request(payer, paying, shop.url + "/paid"))
            took["new"].append(request(payer, paying, f"{shop.url}/paid?{number}"))
        charged = sum(lane.charged for lane in wallet.store.lanes())
    if charged != 2 * PRICE * (WARM_UP + scale.requests):
        raise AssertionError(f"the wallet knows of {charged}, which is not what was paid")

    def middle(kind: str, of: Callable[[Took], float]) -> float:
        return statistics.median(map(of, took[kind][WARM_UP:]))

    unpaid = middle("unpaid", _client), middle("unpaid", _cpu)
    return {
        "overhead_ms_p50": round(middle("paid", _client) - unpaid[0], 3),
        "overhead_cpu_ms_p50": round(middle("paid", _cpu) - unpaid[1], 3),
        "new_page_overhead_ms_p50": round(middle("new", _client) - unpaid[0], 3),
        "new_page_overhead_cpu_ms_p50": round(middle("new", _cpu) - unpaid[1], 3),
        "overhead_ms_p90": round(_p90(took["paid"]) - _p90(took["unpaid"]), 3),
        **{f"{kind}_ms_p50": round(middle(kind, _whole), 3) for kind in took},
    }


def _whole(took: Took) -> float:
    return took.whole


def _client(took: Took) -> float:
    return took.client


def _cpu(took: Took) -> float:
    return took.cpu


def _p90(took: list[Took]) -> float:
    return statistics.quantiles(map(_client, took[WARM_UP:]), n=10)[-1]


class CountingDisk(apsw.VFS):
    """The default way to files while it is there; it counts what is written and synced."""

    def __init__(self) -> None:
        self.syncs = self.writes = self.bytes = 0
        self.real = apsw.vfs_names()[0]
        super().__init__("counting", self.real, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> CountingFile:  # noqa: N802  # as apsw has it
        return CountingFile(self, name, flags)


class CountingFile(apsw.VFSFile):
    def __init__(self, disk: CountingDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(disk.real, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.writes += 1
        self._disk.bytes += len(data)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.syncs += 1
        super().xSync(flags)


def disk_use(shop: Shop, scale: Scale) -> dict[str, float]:
    """How often one payment writes to the disk, and waits for it, checkpoints included."""
    disk = CountingDisk()
    try:
        with (
            shop.wallet("counted.db") as wallet,
            httpx.Client(transport=PayingTransport(wallet)) as client,
        ):
            timed = Timed()
            request(client, timed, shop.url + "/paid")
            before = disk.syncs, disk.bytes
            for _ in range(scale.counted):
                request(client, timed, shop.url + "/paid")
            syncs, written = disk.syncs - before[0], disk.bytes - before[1]
    finally:
        disk.unregister()
    return {
        "syncs_per_payment": round(syncs / scale.counted, 3),
        "kib_per_payment": round(written / scale.counted / 1_024, 1),
    }


# ---------------------------------------------------------------- bursts


def bursts(shop: Shop, scale: Scale) -> dict[str, Any]:
    """Parallel requests, from a wallet that has no channel yet and from one that has."""
    times: dict[str, list[float]] = {"first": [], "next": []}
    busy = lanes = 0
    for number in range(scale.bursts):
        for name, burst in (("tasks", _burst_of_tasks), ("threads", _burst_of_threads)):
            with shop.wallet(f"{name}{number}.db") as wallet:
                for which in ("first", "next"):
                    started = time.perf_counter()
                    ends = burst(wallet, shop.url + "/paid")
                    times[which].append(1_000 * (time.perf_counter() - started))
                    busy += sum(map(_is_busy, ends))
                lanes = len(wallet.store.lanes())
    return {
        "burst_busy": busy,
        "burst_requests": BURST,
        "burst_ms": round(statistics.median(times["next"]), 1),
        "burst_first_ms": round(statistics.median(times["first"]), 1),
        "burst_channels": lanes,
    }


def _burst_of_tasks(wallet: Wallet, url: str) -> list[httpx.Response | BaseException]:
    async def all_at_once() -> list[httpx.Response | BaseException]:
        transport = AsyncPayingTransport(wallet)
        async with httpx.AsyncClient(transport=transport, timeout=60) as client:
            asked = (client.get(url) for _ in range(BURST))
            return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(all_at_once())


def _burst_of_threads(wallet: Wallet, url: str) -> list[httpx.Response | BaseException]:
    with (
        httpx.Client(transport=PayingTransport(wallet), timeout=60) as client,
        ThreadPoolExecutor(BURST) as pool,
    ):

        def ask(_: int) -> httpx.Response | BaseException:
            try:
                return client.get(url)
            except RefusedByServer as error:
                return error

        return list(pool.map(ask, range(BURST)))


def _is_busy(end: httpx.Response | BaseException) -> bool:
    if isinstance(end, RefusedByServer) and end.code == ErrorCode.CHANNEL_BUSY:
        return True
    if isinstance(end, BaseException):
        raise end
    if end.status_code not in (200, 402):
        raise AssertionError(f"a request of the burst was answered {end.status_code}: {end.text}")
    return end.status_code == 402


# ---------------------------------------------------------------- the shop and its readers


@dataclass(frozen=True)
class Shop:
    """A paywall that runs, and what a wallet needs to pay it."""

    net: Devnet
    server: Server
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @contextmanager
    def wallet(self, name: str) -> Iterator[Wallet]:
        """A new wallet without a channel, which deposits by itself."""
        net, main, places = self.net, self.net.payers[0], self.net.deployment
        settlement, token = Settlement(net.w3, places.settlement), Token(net.w3, net.token)
        session = session_of(main, settlement.domain)
        place = Place(settlement.domain, token.domain, places.erc3009_collector)
        home = Home(
            *(main.address, session.address, net.url, place.domain, token.address),
            collector=place.collector,
        )
        store = Store.create(self.folder / name, main, home, RULES)
        with closing(Wallet(store, session, settlement, place, main=main)) as wallet:
            yield wallet


@contextmanager
def open_shop() -> Iterator[Shop]:
    """A shop with its chain, on the project's disk. Its books are proved at the end."""
    with work_folder() as folder, devnet() as net:
        ledger = str(folder / "ledger.db")
        environment = {CHAIN: json.dumps(net.as_json()), LEDGER: ledger}
        core = frozenset({SERVER_CORE})
        with running(SITE, folder / "log", environment=environment, cores=core) as server:
            yield Shop(net, server, folder)
        with closing(open_ledger(ledger)) as books:
            differences = books.prove()
        if differences:
            raise AssertionError(f"the books are wrong: {differences[:3]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="half a minute, less exact")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise SystemExit("This needs processor cores 0 and 1: one for the server, one for clients.")
    BUILD.mkdir(exist_ok=True)

    # The feed first: it starts processes of its own, which take over where this one may run.
    feeds = most_listeners(scale.feed_s)
    os.sched_setaffinity(0, {LOAD_CORE})
    with open_shop() as shop:
        result = overhead(shop, scale) | disk_use(shop, scale) | bursts(shop, scale)
    result |= {
        "feed_listeners": feeds[-1].listeners if feeds[-1].keeps_up else 0,
        "feed_max_unpaid_units": max(each.max_unpaid_units for each in feeds),
        "feeds": [asdict(each) for each in feeds],
        "conditions": {
            "scale": "quick" if options.quick else "full",
            "requests": scale.requests,
            "overhead": "the client's own time, its network and server taken off, over that of an "
            "unpaid request; *_ms_p50 are whole requests",
            "client": "httpx, one thread, on core 1 beside the chain; the server on core 0",
            "wallet": "SQLite on the project's disk, synced before a voucher leaves",
            "burst": f"{2 * scale.bursts} wallets, half of them asyncio and half threads",
            "feed": f"a payment every {INTERVAL_MS:.0f} ms of each, vouchers signed before; the "
            "most listeners who are served in time: 99 units of 100 before the next one is due",
            "disk_sync_ms": sync_ms(),
        },
    }
    save("wallet", result)


if __name__ == "__main__":
    main()
