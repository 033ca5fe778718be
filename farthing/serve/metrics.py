"""What Prometheus is told."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from farthing.operations.start import Operations
from farthing.paywall import Paywall
from farthing.paywall.admission import Charged
from farthing.serve.standing_metrics import part_families, standing_families

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Upper bounds in seconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Timings:
    """A histogram that one thread writes, so that it needs no lock."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Counts one."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def family(self, name: str, text: str) -> Metric:
        """What was counted."""
        bounds = [*map(str, BUCKETS), "+Inf"]
        counts = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        family = HistogramMetricFamily(name, text)
        family.add_metric([], buckets=counts, sum_value=self._sum)
        return family


class Metrics:
    """Counts charges as they are made, and puts all there is to tell into Prometheus's form."""

    def __init__(self, paywall: Paywall | None, operations: Operations) -> None:
        self._paywall = paywall
        self._operations = operations
        self._charged = 0
        self._requests = Timings()
        self._commits = Timings()
        self._process = ProcessCollector(registry=None)

    def count(self, charged: Charged) -> None:
        """Counts one charge."""
        self._charged += charged.amount
        self._requests.add(charged.seconds)
        self._commits.add(charged.commit_seconds)

    def text(self, health: Mapping[str, str], requests: int, connections: int) -> bytes:
        """All of it.

        Args:
            health: What `Paywall.health` says.
            requests: How many are under way.
            connections: How many clients have one open.
        """
        return generate_latest(_Moment(self._families(health, requests, connections)))

    def _families(
        self, health: Mapping[str, str], requests: int, connections: int
    ) -> Iterable[Metric]:
        if self._paywall is not None:
            yield from self._of_paywall(self._paywall, health, requests, connections)
        yield from part_families(self._operations.states())
        if self._operations.standing is not None:
            yield from standing_families(self._operations.standing)
        yield from self._process.collect()

    def _of_paywall(
        self, paywall: Paywall, health: Mapping[str, str], requests: int, connections: int
    ) -> Iterable[Metric]:
        outcomes = CounterMetricFamily(
            "farthing_requests",
            "Priced requests by what became of them; `paid` ones are charged.",
            labels=["outcome"],
        )
        for outcome, count in sorted(paywall.counts.items()):
            outcomes.add_metric([outcome], count)
        yield outcomes
        yield CounterMetricFamily(
            "farthing_charged_units", "Charged, in the token's smallest unit.", self._charged
        )
        yield self._requests.family(
            "farthing_request_seconds", "From a paid request to its charge on the disk."
        )
        yield self._commits.family(
            "farthing_commit_seconds", "What of that the ledger took to write the charge."
        )
        yield GaugeMetricFamily(
            "farthing_requests_in_progress", "Requests under way, free ones too.", requests
        )
        yield GaugeMetricFamily("farthing_connections", "Open connections.", connections)
        up = GaugeMetricFamily("farthing_up", "Whether a part answers, 1 or 0.", labels=["part"])
        for part in ("ledger", "chain"):
            up.add_metric([part], float(part not in health))
        yield up


class _Moment(CollectorRegistry):
    """The families of one moment, as the registry that `generate_latest` asks for."""

    def __init__(self, families: Iterable[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
