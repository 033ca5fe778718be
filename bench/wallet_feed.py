"""A feed that many listeners pay every tenth of a second, and how much of it is ever unpaid."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bench import paywall_books, paywall_farthing
from bench.paywall_load import generator
from bench.paywall_runs import LOAD_CORE, SERVER_CORE, offer_of, work_folder
from bench.paywall_server import busy_s, running
from bench.paywall_vouchers import prepare, spread

FEED = "bench.wallet_site:feed"
INTERVAL_MS = 100.0


# Tried from the left until the server keeps up.
LISTENERS = (300, 250, 200, 150, 100, 50)


@dataclass(frozen=True)
class Fed:
    """One run of the feed.

    Attributes:
        listeners: How many paid; all of their units came.
        max_unpaid_units: The most units of one listener that were made and not in the ledger.
        units: Paid for, each by a voucher of its own.
        seconds: How long it took, which is the time the units are for when it keeps up.
        late: Payments that had to wait for the answer before.
        p50_ms, p99_ms, max_ms: From when a payment was due to its answer.
        busy: The share of its core that the server needed, and ``others`` what other programs had.
    """

    listeners: int
    max_unpaid_units: int
    units: int
    seconds: float
    late: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    busy: float
    others: float

    @property
    def keeps_up(self) -> bool:
        """Whether the last units came in time, and all but one in a hundred before they did."""
        is_done = self.seconds * 1_000 <= (self.units // self.listeners + 1) * INTERVAL_MS
        return is_done and self.late * 100 <= self.units


def most_listeners(seconds: float) -> list[Fed]:
    """Runs with ever fewer listeners; the last is the one that keeps up, if any does."""
    runs: list[Fed] = []
    for listeners in LISTENERS:
        runs.append(feed(listeners, seconds))
        print(runs[-1], flush=True)
        if runs[-1].keeps_up:
            break
    return runs


def feed(listeners: int, seconds: float) -> Fed:
    """Feeds ``listeners`` for ``seconds`` from one core. Raises unless the books agree."""
    units = round(seconds * 1_000 / INTERVAL_MS)
    # Each has a channel and a connection of its own.
    lists = spread(listeners * units, listeners, range(listeners))
    with work_folder() as folder:
        ledger = str(folder / "ledger.db")
        paywall_books.open_channels(ledger, range(listeners))
        environment = {paywall_farthing.LEDGER: ledger}
        core = frozenset({SERVER_CORE})
        with running(FEED, folder / "log", environment=environment, cores=core) as server:
            prepared = prepare(folder / "vouchers", offer_of(server), lists)
            used, busy = server.cpu_s(), busy_s(core)
            with generator(
                server.port,
                "/paid",
                connections=listeners,
                core=LOAD_CORE,
                prepared=prepared,
                interval_ms=INTERVAL_MS,
            ) as loading:
                load = loading.turn(seconds)
            used, busy = server.cpu_s() - used, busy_s(core) - busy
            counts: dict[str, Any] = json.loads(server.get("/counts")[2])
        charges = paywall_books.charges(ledger)
    if not charges == counts["made"] == load.responses_200 == listeners * units:
        raise AssertionError(f"{charges} charges, {counts}, {load.responses_200} answers")
    return Fed(
        listeners=listeners,
        max_unpaid_units=counts["most_unpaid"],
        units=charges,
        seconds=round(load.seconds, 3),
        late=load.late,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        max_ms=load.max_ms,
        busy=round(used / load.seconds, 3),
        others=round((busy - used) / load.seconds, 3),
    )
