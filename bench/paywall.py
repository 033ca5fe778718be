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
from bench.paywall_load import BUILD, generator
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
    Floor,
    Paid,
    Postgres,
    Sdk,
    Side,
    Sqlite,
    paid,
    paid_in_turn,
    work_folder,
)
from bench.paywall_server import running
from bench.result import save

LIBRARIES = ("apsw", "fastapi", "httptools", "psycopg", "starlette", "uvicorn", "uvloop")


@dataclass(frozen=True)
class Scale:
    """How much of everything: the full benchmark, or a quick look."""

    turns: int
    requests: int
    fastapi_requests: int
    sdk_requests: int
    side_requests: int
    unpaid_turns: int
    unpaid_s: float
    few_channels: int
    many_channels: int
    memory_requests: int


FULL = Scale(25, 6_000, 4_000, 600, 20_000, 40, 0.25, 10_000, 1_000_000, 1_000_000)
QUICK = Scale(3, 5_000, 3_000, 500, 5_000, 8, 0.25, 1_000, 20_000, 50_000)


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
        loads = {}
        for name, app in apps.items():
            server = stack.enter_context(running(app, folder / name, environment=environment))
            loads[name] = stack.enter_context(
                generator(server.port, "/free", connections=CONNECTIONS, core=LOAD_CORE)
            )
        # In turn and often, for the machine's speed changes; the first turn only warms up.
        for _ in range(1 + scale.unpaid_turns):
            for name, loading in loads.items():
                rates[name].append(loading.turn(scale.unpaid_s).rps)
    return {name: round(statistics.median(each[1:]), 1) for name, each in rates.items()}


def beside_the_sdk(scale: Scale) -> dict[str, Any]:
    """The main figure: turn by turn with the SDK."""
    sides = {
        "sdk": Side(Sdk(), scale.sdk_requests),
        "fastapi": Side(Sqlite(ON_FASTAPI), scale.fastapi_requests),
        "ours": Side(Sqlite(), scale.requests),
        "floor": Side(Floor(), scale.requests),
    }
    runs = paid_in_turn(sides, scale.turns)
    names = ("x402 package", "Farthing, FastAPI", "Farthing", "no paywall at all")
    for name, each in zip(sides, names, strict=True):
        show(each, runs[name])
    ours, fastapi, theirs, floor = (runs[name] for name in ("ours", "fastapi", "sdk", "floor"))
    return {
        "paid_rps": ours.rps,
        "sdk_paid_rps": theirs.rps,
        "ratio": round(ours.rps / theirs.rps, 2),
        "fastapi_paid_rps": fastapi.rps,
        "fastapi_ratio": round(fastapi.rps / theirs.rps, 2),
        "p50_ms": ours.p50_ms,
        "p99_ms": ours.p99_ms,
        "responses_200": ours.responses_200,
        "charges": ours.charges,
        "sdk_p50_ms": theirs.p50_ms,
        "sdk_p99_ms": theirs.p99_ms,
        "sdk_responses_200": theirs.responses_200,
        "sdk_charges": theirs.charges,
        "fastapi_p99_ms": fastapi.p99_ms,
        "floor_rps": floor.rps,
        "cpu_us": ours.cpu_us,
        "floor_cpu_us": floor.cpu_us,
        "sdk_cpu_us": theirs.cpu_us,
        "fastapi_cpu_us": fastapi.cpu_us,
        "others": max(each.others for each in runs.values()),
        "load_busy": ours.load_busy,
        "recover_us": statistics.median(ours.recover_us_of_turns),
        "header_bytes": ours.header_bytes,
        "start_s": ours.start_s,
        "turns": {
            "paid_rps": ours.rps_of_turns,
            "recover_us": ours.recover_us_of_turns,
            "sdk_paid_rps": theirs.rps_of_turns,
            "fastapi_paid_rps": fastapi.rps_of_turns,
            "floor_rps": floor.rps_of_turns,
        },
    }


def receipts(scale: Scale) -> dict[str, Any]:
    """With two signatures of the publisher's for each charge, as its clients ask for them."""
    run = show("with receipts", paid(Sqlite(WITH_RECEIPTS), scale.side_requests))
    return {"rps_with_receipts": run.rps, "cpu_us_with_receipts": run.cpu_us}


def connections(scale: Scale) -> dict[str, Any]:
    """One client alone, which waits for every sync of the disk, and many at once."""
    result = {}
    for number in (1, 200):
        requests = scale.side_requests if number > 1 else scale.side_requests // 5
        run = show(f"connections: {number}", paid(Sqlite(), requests, connections=number))
        result[f"rps_{number}_connections"] = run.rps
        result[f"p99_ms_{number}_connections"] = run.p99_ms
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
            result[f"postgres_rps_{number}"] = run.rps
            result[f"postgres_p99_ms_{number}"] = run.p99_ms
    return result


def growth(scale: Scale) -> dict[str, Any]:
    """The same requests of the same payers where the ledger has few channels and where it has many,
    turn by turn; and beside it, what no cache helps with: payers drawn from all of the many."""
    few, many = scale.few_channels, scale.many_channels
    sides = {
        "10k_channels": Side(Sqlite(in_all=few), scale.requests, few),
        "1m_channels": Side(Sqlite(in_all=many), scale.requests, few),
        "1m_payers": Side(Sqlite(in_all=many), scale.requests, many),
    }
    runs = paid_in_turn(sides, scale.turns)
    result: dict[str, Any] = {"channels": [few, many]}
    for name, run in runs.items():
        show(name, run)
        result |= {
            f"rps_{name}": run.rps,
            f"p50_ms_{name}": run.p50_ms,
            f"p99_ms_{name}": run.p99_ms,
            f"cpu_us_{name}": run.cpu_us,
            f"rps_{name}_turns": run.rps_of_turns,
            f"p99_ms_{name}_turns": run.p99_ms_of_turns,
        }
    return result | {"start_1m_s": max(runs[name].start_s for name in list(sides)[1:])}


def memory(scale: Scale) -> dict[str, Any]:
    """The server's memory over a million requests, at every tenth of the time, in MiB."""
    run = show("a million requests", paid(Sqlite(), scale.memory_requests, channels=10_000))
    noted = run.memory_mib
    tenths = [noted[min(len(noted) * tenth // 10, len(noted) - 1)] for tenth in range(11)]
    return {"memory_requests": run.responses_200, "memory_mib": tenths}


def show(name: str, run: Paid) -> Paid:
    print(
        f"{name:24} {run.rps:9,.1f} paid requests/s   p50 {run.p50_ms:7.2f} ms   "
        f"p99 {run.p99_ms:7.2f} ms   {run.cpu_us:7.1f} us of processor each   "
        f"others {run.others:4.0%}   {run.charges:,} charges",
        flush=True,
    )
    return run


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
        "http": "uvicorn, uvloop, httptools, each answer in one write, start frozen, no access log",
        "server": "one worker on core 0; load generator on core 1 (bench/paywall_load.c)",
        "figure": "medians of turns: *paid_rps, *_channels, *_payers, unpaid routes; others: one",
        "payers": "10k_channels and 1m_channels: the same 10,000; 1m_payers: drawn from all",
        "turns": scale.turns,
        "vouchers": "distinct, signed before the run, in the x402 client's own form",
        "ledger": "SQLite on the project's disk, WAL, synchronous FULL",
        "floor": "same server, one signature recovered and one row synced a request, no paywall",
        "sdk_storage": "in memory, chain state fresh, facilitator never asked",
        "disk_sync_ms": sync_ms(),
        "seconds": round(time.monotonic() - started),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    save("paywall", result)


if __name__ == "__main__":
    main()
