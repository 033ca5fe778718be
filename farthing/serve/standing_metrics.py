"""How parts do and how things stand, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric

from farthing.operations.standing import Standing
from farthing.operations.supervisor import PartState

_WEI = 10**18


def part_families(states: Mapping[str, PartState]) -> Iterator[Metric]:
    """How the parts of this process do."""
    failures = GaugeMetricFamily(
        "farthing_part_failures",
        "Failures of a part in a row; 0 when it does well.",
        labels=["part"],
    )
    good_at = GaugeMetricFamily(
        "farthing_part_good_at_seconds",
        "When a part last did its step, unix seconds; 0 when it never did.",
        labels=["part"],
    )
    for name, state in sorted(states.items()):
        failures.add_metric([name], state.failures)
        good_at.add_metric([name], state.good_at)
    yield failures
    yield good_at


def standing_families(standing: Standing) -> Iterator[Metric]:
    """How things stood at the last look, in the one process that looks."""
    now, chain = standing.time, standing.chain
    owed, waiting = standing.unredeemed, standing.waiting
    gauges: list[tuple[str, str, float | None]] = [
        ("chain_up", "Whether the node answers, 1 or 0.", float(not chain.error)),
        ("key_coins", "Coins of the sending key, for gas.", _coins(chain.coins)),
        ("node_age_seconds", "Age of the node's latest block.", chain.age),
        ("watcher_lag_seconds", "Age of what the watcher has read, by the chain.", chain.lag),
        ("unredeemed_units", "Charged and not claimed: the exposure.", owed.value),
        ("unredeemed_channels", "Channels with something to redeem.", owed.channels),
        (
            "oldest_unredeemed_seconds",
            "Age of the oldest charge that is not redeemed; 0 without one.",
            now - owed.oldest_at if owed.oldest_at else 0,
        ),
        ("withdrawing_units", "What of it payers take back when they may.", owed.withdrawing),
        ("credited_units", "Claimed for the receiver and not paid out.", chain.credited),
        ("transactions_waiting", "Transactions ordered and not final.", waiting.count),
        (
            "oldest_transaction_seconds",
            "Age of the oldest of them; 0 without one.",
            now - waiting.oldest_at if waiting.oldest_at else 0,
        ),
        ("ledger_restored", "Whether the ledger still has to catch up.", standing.is_restored),
        ("differences", "What the watcher found that does not fit.", len(standing.differences)),
    ]
    for name, text, value in gauges:
        if value is not None:
            yield GaugeMetricFamily(f"farthing_{name}", text, float(value))


def _coins(wei: int | None) -> float | None:
    return None if wei is None else wei / _WEI
