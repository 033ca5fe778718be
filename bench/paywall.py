"""Paid requests per second through the paywall, beside the ``x402`` package's own middleware.

One server process on one core, the load generator on another, every voucher distinct and signed
before the run; after it the books must hold exactly one charge for every answer of status 200.

Run ``python -m bench.paywall``, with ``--quick`` for a first look. The last line is one JSON
object, also saved under bench/results.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench import paywall_sdk
from bench.paywall_load import BUILD, Load, run_load
from bench.paywall_server import Server, running
from bench.paywall_vouchers import Offer, check_like_x402, prepare, spread
from bench.result import save

SERVER_CORE, LOAD_CORE = 0, 1
CONNECTIONS = 20
CHANNELS = 1_000
WARM_UP = 500


@dataclass(frozen=True)
class Scale:
    """How much of everything: the full benchmark, or a quick look."""

    rounds: int
    sdk_requests: int
    unpaid_rounds: int
    unpaid_s: float


FULL = Scale(rounds=3, sdk_requests=5_000, unpaid_rounds=5, unpaid_s=2)
QUICK = Scale(rounds=1, sdk_requests=1_500, unpaid_rounds=2, unpaid_s=1)


class Target(Protocol):
    """A paywall to measure: a server, and its books."""

    app: str

    def open(self, channels: int, folder: Path) -> dict[str, str]:
        """Give channels 0 to ``channels`` their deposits; answer the server's environment."""

    def charged(self, server: Server) -> int:
        """How many charges the books hold."""


class Sdk:
    """The ``x402`` package with its books in memory."""

    app = "bench.paywall_sdk:app"

    def open(self, channels: int, folder: Path) -> dict[str, str]:
        return {paywall_sdk.CHANNELS: str(channels)}

    def charged(self, server: Server) -> int:
        return int(server.get("/charged")[2])


@dataclass(frozen=True)
class Paid:
    """One measured run. ``responses_200`` and ``charges`` count its warm-up too."""

    load: Load
    responses_200: int
    charges: int
    header_bytes: int
    start_s: float


def paid(
    target: Target,
    requests: int,
    *,
    connections: int = CONNECTIONS,
    channels: int = CHANNELS,
) -> Paid:
    """Pay for ``requests`` requests, spread over ``channels`` in random order."""
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder = Path(name)
        # The warm-up has channels of its own: it ends when a first connection is done, and the
        # others' next vouchers would not follow on their last.
        known = channels + connections
        environment = target.open(known, folder)
        with running(target.app, folder / "log", environment=environment) as server:
            offer = offer_of(server)
            header_bytes = check_like_x402(offer)
            warm_up = spread(max(WARM_UP, connections), connections, range(channels, known))
            measured = spread(requests, connections, range(channels))
            loads = [
                run_load(
                    server.port,
                    "/paid",
                    connections=connections,
                    core=LOAD_CORE,
                    prepared=prepare(folder / part, offer, lists),
                )
                for part, lists in (("warm-up", warm_up), ("measured", measured))
            ]
            charges = target.charged(server)
    answered = sum(load.responses_200 for load in loads)
    if charges != answered:
        raise AssertionError(f"{target.app} charged {charges} for {answered} answers")
    return Paid(loads[-1], answered, charges, header_bytes, server.start_s)


def offer_of(server: Server) -> Offer:
    status, headers, body = server.get("/paid")
    if status != 402:
        raise AssertionError(f"/paid without a payment answered {status}: {body!r}")
    return Offer(headers["payment-required"])


def unpaid(scale: Scale) -> dict[str, float]:
    """Requests per second of the free route, with each middleware and with none."""
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder = Path(name)
        sdk = Sdk().open(0, folder)
        with (
            running("bench.paywall_app:plain_app", folder / "bare") as bare,
            running(Sdk.app, folder / "sdk", environment=sdk) as with_sdk,
        ):
            servers = {"bare_rps": bare, "sdk_unpaid_rps": with_sdk}
            rates: dict[str, list[float]] = {name: [] for name in servers}
            # In turn, and the first round only warms up.
            for _ in range(1 + scale.unpaid_rounds):
                for name, server in servers.items():
                    rates[name].append(free_rps(server, scale.unpaid_s))
    return {name: statistics.median(each[1:]) for name, each in rates.items()}


def free_rps(server: Server, seconds: float) -> float:
    load = run_load(server.port, "/free", connections=CONNECTIONS, core=LOAD_CORE, seconds=seconds)
    return load.rps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute instead of ten")
    scale = QUICK if parser.parse_args().quick else FULL
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("This needs two processor cores: one for the server, one for the load.")
    BUILD.mkdir(exist_ok=True)

    sdk = [paid(Sdk(), scale.sdk_requests) for _ in range(scale.rounds)]
    for each in sdk:
        print(f"x402 package: {each.load.rps:9,.1f} paid requests/s, p99 {each.load.p99_ms} ms")
    result: dict[str, Any] = {
        "sdk_paid_rps": statistics.median(each.load.rps for each in sdk),
        "sdk_p50_ms": statistics.median(each.load.p50_ms for each in sdk),
        "sdk_p99_ms": statistics.median(each.load.p99_ms for each in sdk),
        "sdk_responses_200": sum(each.responses_200 for each in sdk),
        "sdk_charges": sum(each.charges for each in sdk),
        "header_bytes": sdk[0].header_bytes,
        **unpaid(scale),
    }
    save("paywall", result)


if __name__ == "__main__":
    main()
