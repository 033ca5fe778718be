"""Paid requests per second through the paywall, beside the ``x402`` package's own middleware.

One server process on one core, the load generator on another, every voucher distinct and signed
before the run.

Run ``python -m bench.paywall``; ``--quick`` for a first look, ``--memory`` for a million requests
more. The last line is one JSON object, also saved under bench/results.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from bench import paywall_books
from bench.paywall_load import BUILD, run_load
from bench.paywall_runs import (
    BARE_APP,
    CHANNELS,
    CONNECTIONS,
    FASTAPI_APP,
    LOAD_CORE,
    ON_ASGI,
    ON_FASTAPI,
    SERVER_CORE,
    WITH_RECEIPTS,
    Paid,
    Postgres,
    Sdk,
    Sqlite,
    paid,
    work_folder,
)
from bench.paywall_server import running
from bench.result import save

LIBRARIES = ("apsw", "fastapi", "httptools", "psycopg", "starlette", "uvicorn", "uvloop")


@dataclass(frozen=True)
class Scale:
    """How much of everything: the full benchmark, or a quick look."""

    rounds: int
    requests: int
    sdk_requests: int
    side_requests: int
    unpaid_rounds: int
    unpaid_s: float
    growth_rounds: int
    few_channels: int
    many_channels: int
    memory_requests: int


FULL = Scale(9, 24_000, 2_400, 20_000, 40, 0.25, 5, 10_000, 1_000_000, 1_000_000)
QUICK = Scale(1, 10_000, 1_500, 5_000, 8, 0.25, 1, 1_000, 20_000, 50_000)


def unpaid(scale: Scale) -> dict[str, float]:
    """Requests per second of the free route, with each middleware and with none."""
    apps = {
        "bare_rps": BARE_APP,
        "unpaid_rps": ON_ASGI,
        "fastapi_bare_rps": FASTAPI_APP,
        "fastapi_unpaid_rps": ON_FASTAPI,
        "sdk_unpaid_rps": Sdk.app,
    }
    rates: dict[str, list[float]] = {name: [] for name in apps}
    with work_folder() as folder, ExitStack() as stack:
        environment = Sqlite().open([0], folder) | Sdk().open([0], folder)
        servers = {
            name: stack.enter_context(running(app, folder / name, environment=environment))
            for name, app in apps.items()
        }
        # In turn and often, for the machine's speed changes; the first round only warms up.
        for _ in range(1 + scale.unpaid_rounds):
            for name, server in servers.items():
                load = run_load(
                    server.port,
                    "/free",
                    connections=CONNECTIONS,
                    core=LOAD_CORE,
                    seconds=scale.unpaid_s,
                )
                rates[name].append(load.rps)
    return {name: round(statistics.median(each[1:]), 1) for name, each in rates.items()}


def beside_the_sdk(scale: Scale) -> dict[str, Any]:
    """The main figure: round by round in turn with the SDK."""
    ours, fastapi, theirs = [], [], []
    for _ in range(scale.rounds):
        theirs.append(show("x402 package, FastAPI", paid(Sdk(), scale.sdk_requests)))
        fastapi.append(show("Farthing, FastAPI", paid(Sqlite(ON_FASTAPI), scale.requests)))
        ours.append(show("Farthing, bare app", paid(Sqlite(), scale.requests)))
    return {
        "paid_rps": rate(ours),
        "sdk_paid_rps": rate(theirs),
        "ratio": round(rate(ours) / rate(theirs), 2),
        "fastapi_paid_rps": rate(fastapi),
        "fastapi_ratio": round(rate(fastapi) / rate(theirs), 2),
        "p50_ms": statistics.median(each.load.p50_ms for each in ours),
        "p99_ms": statistics.median(each.load.p99_ms for each in ours),
        "responses_200": sum(each.responses_200 for each in ours),
        "charges": sum(each.charges for each in ours),
        "sdk_p50_ms": statistics.median(each.load.p50_ms for each in theirs),
        "sdk_p99_ms": statistics.median(each.load.p99_ms for each in theirs),
        "sdk_responses_200": sum(each.responses_200 for each in theirs),
        "sdk_charges": sum(each.charges for each in theirs),
        "fastapi_p99_ms": statistics.median(each.load.p99_ms for each in fastapi),
        "cpu_us": statistics.median(each.cpu_us for each in ours),
        "sdk_cpu_us": statistics.median(each.cpu_us for each in theirs),
        "fastapi_cpu_us": statistics.median(each.cpu_us for each in fastapi),
        "others": max(each.others for each in ours + fastapi + theirs),
        "load_busy": max(each.load.busy for each in ours),
        "header_bytes": ours[0].header_bytes,
        "start_s": ours[0].start_s,
        "rounds": {
            "paid_rps": [each.load.rps for each in ours],
            "sdk_paid_rps": [each.load.rps for each in theirs],
            "fastapi_paid_rps": [each.load.rps for each in fastapi],
        },
    }


def receipts(scale: Scale) -> dict[str, Any]:
    """With two signatures of the publisher's for each charge, as its clients ask for them."""
    run = show("with receipts", paid(Sqlite(WITH_RECEIPTS), scale.side_requests))
    return {"rps_with_receipts": run.load.rps, "cpu_us_with_receipts": run.cpu_us}


def connections(scale: Scale) -> dict[str, Any]:
    """One client alone, which waits for every sync of the disk, and many at once."""
    result = {}
    for number in (1, 200):
        requests = scale.side_requests if number > 1 else scale.side_requests // 5
        run = show(f"connections: {number}", paid(Sqlite(), requests, connections=number))
        result[f"rps_{number}_connections"] = run.load.rps
        result[f"p99_ms_{number}_connections"] = run.load.p99_ms
    return result


def postgres(scale: Scale) -> dict[str, Any]:
    """With one worker on its core as before, and with two, which share both with everything."""
    result = {}
    with work_folder() as folder, paywall_books.postgres(folder / "cluster") as url:
        target = Postgres(url)
        one = show("PostgreSQL, 1 worker", paid(target, scale.side_requests))
        everywhere = frozenset({SERVER_CORE, LOAD_CORE})
        two = show(
            "PostgreSQL, 2 workers",
            paid(target, scale.side_requests, workers=2, cores=everywhere, load_core=None),
        )
        for number, run in ((1, one), (2, two)):
            result[f"postgres_rps_{number}"] = run.load.rps
            result[f"postgres_p99_ms_{number}"] = run.load.p99_ms
    return result


def growth(scale: Scale) -> dict[str, Any]:
    """As many requests on few channels and on many, in turn: the disk has its moods."""
    sizes = {"10k": scale.few_channels, "1m": scale.many_channels}
    runs: dict[str, list[Paid]] = {name: [] for name in sizes}
    for _ in range(scale.growth_rounds):
        for name, channels in sizes.items():
            run = paid(Sqlite(in_all=channels), scale.requests, channels=channels)
            runs[name].append(show(f"channels: {channels:,}", run))
    result: dict[str, Any] = {"channels": list(sizes.values())}
    for name, each in runs.items():
        result |= {
            f"rps_{name}_channels": rate(each),
            f"p99_ms_{name}_channels": statistics.median(run.load.p99_ms for run in each),
            f"rps_{name}_rounds": [run.load.rps for run in each],
            f"p99_ms_{name}_rounds": [run.load.p99_ms for run in each],
        }
    return result | {"start_1m_s": max(run.start_s for run in runs["1m"])}


def memory(scale: Scale) -> dict[str, Any]:
    """The server's memory over a million requests, at every tenth of the time, in MiB."""
    run = show("a million requests", paid(Sqlite(), scale.memory_requests, channels=10_000))
    noted = run.memory_mib
    tenths = [noted[min(len(noted) * tenth // 10, len(noted) - 1)] for tenth in range(11)]
    return {"memory_requests": run.responses_200, "memory_mib": tenths}


def show(name: str, run: Paid) -> Paid:
    load = run.load
    print(
        f"{name:24} {load.rps:9,.1f} paid requests/s   p50 {load.p50_ms:7.2f} ms   "
        f"p99 {load.p99_ms:7.2f} ms   {run.cpu_us:7.1f} us of processor each   "
        f"others {run.others:4.0%}   {run.charges:,} charges",
        flush=True,
    )
    return run


def rate(runs: list[Paid]) -> float:
    return statistics.median(each.load.rps for each in runs)


def sync_ms() -> float:
    """How long the disk takes to sync a page, which no durable charge can go below."""
    with work_folder() as folder, (folder / "page").open("wb", buffering=0) as file:
        times = []
        for _ in range(200):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return round(statistics.median(times) * 1_000, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute or two, less exact")
    parser.add_argument("--memory", action="store_true", help="a million requests more")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise SystemExit(
            "This needs processor cores 0 and 1: one for the server, one for the load."
        )
    BUILD.mkdir(exist_ok=True)

    started = time.monotonic()
    result = beside_the_sdk(scale)
    result |= unpaid(scale)
    result |= receipts(scale)
    result |= connections(scale)
    result |= postgres(scale)
    result |= growth(scale)
    if options.memory:
        result |= memory(scale)
    result["conditions"] = {
        "scale": "quick" if options.quick else "full",
        "requests": scale.requests,
        "connections": CONNECTIONS,
        "channels": CHANNELS,
        "app": "two routes; an ASGI function, or FastAPI for fastapi_* and sdk_*",
        "http": "uvicorn, uvloop, httptools, no access log",
        "server": "one worker on core 0; load generator on core 1 (bench/paywall_load.c)",
        "figure": "paid_rps, sdk_paid_rps and *_channels: median of rounds in turn; others: one",
        "vouchers": "distinct, signed before the run, in the x402 client's own form",
        "ledger": "SQLite on the project's disk, WAL, synchronous FULL",
        "sdk_storage": "in memory, chain state fresh, facilitator never asked",
        "disk_sync_ms": sync_ms(),
        "seconds": round(time.monotonic() - started),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    save("paywall", result)


if __name__ == "__main__":
    main()
