"""What of how things stand somebody has to see to: each in one sentence, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from farthing.operations.alerts import Problem
from farthing.operations.standing import Standing
from farthing.protocol.amounts import from_units, plural
from farthing.settings import COIN_DECIMALS, Settings, ThresholdSettings

# Failures in a row after which a part is told of.
FAILURES = 3
# What has to run somewhere.
NEEDED = ("watcher", "redeemer")
WHAT_THEY_DO = {
    "watcher": "withdrawals are not seen",
    "redeemer": "what is charged is not redeemed",
}


@dataclass(frozen=True)
class Bounds:
    """The thresholds, in smallest units, and the token they are in.

    Attributes:
        margin: Seconds before a withdrawal's end at which its channels should be redeemed.
        exposure: In smallest units; None for no bound.
        min_coins: In wei.
    """

    thresholds: ThresholdSettings
    margin: int
    exposure: int | None
    min_coins: int
    decimals: int
    symbol: str

    @classmethod
    def of(cls, settings: Settings, decimals: int, symbol: str) -> Bounds:
        """The bounds of these settings, for a token.

        Raises:
            SettingsInvalid: An amount cannot be.
        """
        wanted = settings.thresholds
        exposure = wanted.exposure
        margin = settings.redeemer.margin
        return cls(
            wanted,
            settings.terms.withdraw_delay // 2 if margin is None else margin,
            None if exposure is None else settings.units("thresholds.exposure", exposure, decimals),
            settings.units("thresholds.min_coins", wanted.min_coins, COIN_DECIMALS),
            decimals,
            symbol,
        )

    def show(self, units: int) -> str:
        """An amount as people write it."""
        return f"{from_units(units, self.decimals)} {self.symbol}"


def find_problems(standing: Standing, bounds: Bounds) -> list[Problem]:
    """Everything that is wrong, in the order in which to see to it."""
    found = [
        *_of_chain(standing, bounds),
        *_of_parts(standing, bounds),
        *_of_money(standing, bounds),
        *_of_transactions(standing, bounds),
        *_of_books(standing),
    ]
    return [Problem(name, sentence) for name, sentence in found]


def _of_chain(standing: Standing, bounds: Bounds) -> Iterator[tuple[str, str]]:
    chain, wanted = standing.chain, bounds.thresholds
    if chain.error:
        yield "chain_down", f"the chain cannot be asked: {chain.error}"
        return
    if chain.age > wanted.lag_seconds:
        yield (
            "node_behind",
            f"the node's latest block is {ago(chain.age)} old: see whether it follows its chain, "
            "or use another node.",
        )
    if chain.coins is not None and chain.coins < bounds.min_coins:
        coins = from_units(chain.coins, COIN_DECIMALS)
        yield (
            "gas_low",
            f"the key {standing.sender} has {coins} coins for gas, less than "
            f"{wanted.min_coins}: send it some.",
        )
    if chain.is_paused:
        yield (
            "token_paused",
            f"{bounds.symbol}'s issuer has stopped all its transfers: redemptions are credited in "
            "the contract and paid out once that is over; nothing is lost.",
        )


def _of_parts(standing: Standing, bounds: Bounds) -> Iterator[tuple[str, str]]:
    silent = bounds.thresholds.silent_seconds
    fresh = {
        name: beat for name, beat in standing.beats.items() if standing.time - beat.at < silent
    }
    for name in NEEDED:
        if not any(name in beat.parts for beat in fresh.values()):
            yield (
                f"{name}_stopped",
                f"no {name} has run for {silent} seconds, so {WHAT_THEY_DO[name]}: start "
                f"`farthing serve`, alone with --only {name} if you like.",
            )
    for process, beat in fresh.items():
        for name, state in beat.parts.items():
            if state.failures >= FAILURES:
                yield (
                    f"{name}_failing",
                    f"the {name} of {process} has failed {state.failures} times in a row "
                    f"({state.error.rstrip('.')}): it is tried again; see what it says.",
                )
            elif state.good_at and beat.at - state.good_at > silent:
                yield (
                    f"{name}_hangs",
                    f"the {name} of {process} has been at one step for "
                    f"{ago(beat.at - state.good_at)}: see whether node and database answer, and "
                    "restart it.",
                )
    if standing.chain.lag > bounds.thresholds.lag_seconds:
        yield (
            "watcher_behind",
            f"what the watcher has read of the chain is {ago(standing.chain.lag)} old: it works "
            "on that; if it does not get less, use a faster node.",
        )


def _of_money(standing: Standing, bounds: Bounds) -> Iterator[tuple[str, str]]:
    owed, wanted, now = standing.unredeemed, bounds.thresholds, standing.time
    if owed.deadline and now >= owed.deadline - bounds.margin // 2:
        yield (
            "withdrawal_at_risk",
            f"payers take back {bounds.show(owed.withdrawing)} that was charged, the first "
            f"{_when(owed.deadline)}: `farthing redeem --now`, and see why the redeemer has not.",
        )
    if owed.oldest_at and now - owed.oldest_at > wanted.unredeemed_seconds:
        yield (
            "redemption_stalled",
            f"the oldest charge that is not redeemed is {ago(now - owed.oldest_at)} old: "
            f"`farthing redeem --dry-run` says why.{_note(standing)}",
        )
    if bounds.exposure is not None and owed.value > bounds.exposure:
        yield (
            "exposure_high",
            f"{bounds.show(owed.value)} is charged and not redeemed, more than "
            f"{bounds.show(bounds.exposure)}: `farthing redeem --now`, or let it be more.",
        )
    if owed.foreign:
        yield (
            "wrong_key",
            f"{bounds.show(owed.foreign)} can only be claimed by {owed.foreign_key}, the "
            f"authorizer of {plural(owed.foreign_channels, 'channel')}, and the key here is "
            f"{standing.authorizer}: name the right one as keys.authorizer_keystore.",
        )


def _of_transactions(standing: Standing, bounds: Bounds) -> Iterator[tuple[str, str]]:
    waiting, now = standing.waiting, standing.time
    age = now - waiting.oldest_at
    if waiting.oldest_at and age > bounds.thresholds.stalled_seconds:
        why = f" ({waiting.reason.rstrip('.')})" if waiting.reason else ""
        yield (
            "transaction_stalled",
            f"a transaction has waited {ago(age)} to be final{why}: `farthing transactions` "
            "shows it; see to gas money, fees.cap and the node.",
        )
    if waiting.failed:
        yield (
            "transaction_failed",
            f"{waiting.failed.rstrip('.')}: it cost its gas and did nothing; what it was for is "
            "tried again where that helps.",
        )


def _of_books(standing: Standing) -> Iterator[tuple[str, str]]:
    if standing.is_restored:
        yield (
            "ledger_restored",
            "the ledger was restored from a backup, or was behind the chain for long, and nothing "
            "is charged on it until a watcher has compared it with the chain: run `farthing "
            "serve`, with the watcher in it.",
        )
    if standing.differences:
        more = len(standing.differences) - 1
        and_more = f", and {more} more" if more else ""
        yield (
            "books_differ",
            f"{standing.differences[-1].rstrip('.')}{and_more}: `farthing check` compares all, "
            "and `farthing check --forget` ends this alert.",
        )


def _note(standing: Standing) -> str:
    """What the redeemer says of why it waits."""
    states = (beat.parts.get("redeemer") for beat in standing.beats.values())
    note = next((state.note for state in states if state is not None and state.note), "")
    return f" {note}" if note else ""


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("at %Y-%m-%d %H:%M UTC")


def ago(seconds: int) -> str:
    """A span of time as people say it."""
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return f"{seconds} seconds"
