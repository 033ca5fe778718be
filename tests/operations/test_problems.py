"""What of how things stand is a problem: each in one sentence with what to do, and none without."""

from __future__ import annotations

from dataclasses import replace as dataclass_replace
from typing import Any

import pytest
from msgspec.structs import replace

from farthing.operations.beats import Beat
from farthing.operations.problems import Bounds, ago, find_problems, plural
from farthing.operations.standing import Chain, Standing, Unredeemed, Waiting
from farthing.operations.supervisor import PartState
from farthing.settings import ThresholdSettings

NOW = 1_700_000_000
WELL = PartState(good_at=NOW - 2)
BOUNDS = Bounds(ThresholdSettings(), 1_800, 5_000_000, 10**16, 6, "TUSD")
GOOD = Standing(
    time=NOW,
    sender="0xSender",
    authorizer="0xOurs",
    chain=Chain(head=100, coins=10**18),
    unredeemed=Unredeemed(),
    waiting=Waiting(),
    beats={"web1:1": Beat(NOW - 5, {"watcher": WELL, "redeemer": WELL})},
    differences=[],
    is_restored=False,
)


def found(standing: Standing, bounds: Bounds = BOUNDS) -> dict[str, str]:
    problems = find_problems(standing, bounds)
    for problem in problems:
        assert problem.sentence.endswith(".")
        assert "\n" not in problem.sentence
    names = [problem.name for problem in problems]
    assert len(set(names)) == len(names)
    return {problem.name: problem.sentence for problem in problems}


def with_chain(**changes: Any) -> Standing:
    return replace(GOOD, chain=replace(GOOD.chain, **changes))


def with_owed(**changes: Any) -> Standing:
    return replace(GOOD, unredeemed=Unredeemed(**changes))


def with_parts(at: int = NOW - 5, **parts: PartState) -> Standing:
    states = {"watcher": WELL, "redeemer": WELL, **parts}
    return replace(GOOD, beats={"web1:1": Beat(at, states)})


def test_find__all_is_well() -> None:
    assert found(GOOD) == {}


@pytest.mark.parametrize(
    ("name", "standing", "sentence"),
    [
        (
            "chain_down",
            with_chain(error="no node answers at http://x: check it.", coins=0),
            "the chain cannot be asked: no node answers at http://x: check it.",
        ),
        (
            "node_behind",
            with_chain(age=301),
            "the node's latest block is 5 minutes old: see whether it follows its chain, or use "
            "another node.",
        ),
        (
            "gas_low",
            with_chain(coins=10**16 - 1),
            "the key 0xSender has 0.009999999999999999 coins for gas, less than 0.01: send it "
            "some.",
        ),
        (
            "gas_low",
            with_chain(coins=0),
            "the key 0xSender has 0 coins for gas, less than 0.01: send it some.",
        ),
        (
            "token_paused",
            with_chain(is_paused=True),
            "TUSD's issuer has stopped all its transfers: redemptions are credited in the "
            "contract and paid out once that is over; nothing is lost.",
        ),
        (
            "watcher_behind",
            with_chain(lag=7_200),
            "what the watcher has read of the chain is 2 hours old: it works on that; if it does "
            "not get less, use a faster node.",
        ),
        (
            "watcher_failing",
            with_parts(watcher=PartState(NOW - 40, 3, "no node answers.")),
            "the watcher of web1:1 has failed 3 times in a row (no node answers): it is tried "
            "again; see what it says.",
        ),
        (
            "queue_hangs",
            with_parts(queue=PartState(NOW - 200)),
            "the queue of web1:1 has been at one step for 3 minutes: see whether node and "
            "database answer, and restart it.",
        ),
        (
            "withdrawal_at_risk",
            with_owed(value=9, channels=1, withdrawing=2_500_000, deadline=NOW + 900),
            "payers take back 2.5 TUSD that was charged, the first at 2023-11-14 22:28 UTC: "
            "`farthing redeem --now`, and see why the redeemer has not.",
        ),
        (
            "redemption_stalled",
            with_owed(value=9, channels=1, oldest_at=NOW - 172_801),
            "the oldest charge that is not redeemed is 2 days old: `farthing redeem --dry-run` "
            "says why.",
        ),
        (
            "exposure_high",
            with_owed(value=5_000_001, channels=1),
            "5.000001 TUSD is charged and not redeemed, more than 5 TUSD: `farthing redeem "
            "--now`, or let it be more.",
        ),
        (
            "wrong_key",
            with_owed(value=9, channels=1, foreign=9, foreign_channels=1, foreign_key="0xTheirs"),
            "0.000009 TUSD can only be claimed by 0xTheirs, the authorizer of 1 channel, and the "
            "key here is 0xOurs: name the right one as keys.authorizer_keystore.",
        ),
        (
            "transaction_stalled",
            replace(GOOD, waiting=Waiting(1, NOW - 1_801, "it waits: raise the cap.")),
            "a transaction has waited 30 minutes to be final (it waits: raise the cap): `farthing "
            "transactions` shows it; see to gas money, fees.cap and the node.",
        ),
        (
            "transaction_failed",
            replace(GOOD, waiting=Waiting(failed="transaction 7 (redeem) failed: out of gas.")),
            "transaction 7 (redeem) failed: out of gas: it cost its gas and did nothing; what it "
            "was for is tried again where that helps.",
        ),
        (
            "ledger_restored",
            replace(GOOD, is_restored=True),
            "the ledger was restored from a backup, or was behind the chain for long, and nothing "
            "is charged on it until a watcher has compared it with the chain: run `farthing "
            "serve`, with the watcher in it.",
        ),
        (
            "books_differ",
            replace(GOOD, differences=["channel 0x1: old", "channel 0x2: new."]),
            "channel 0x2: new, and 1 more: `farthing check` compares all, and `farthing check "
            "--forget` ends this alert.",
        ),
    ],
)
def test_find__one_problem(name: str, standing: Standing, sentence: str) -> None:
    assert found(standing) == {name: sentence}


@pytest.mark.parametrize(
    "standing",
    [
        with_chain(age=300, lag=300, coins=10**16),
        with_chain(coins=None),
        with_parts(watcher=PartState(NOW - 40, 2, "no node answers.")),
        with_parts(queue=PartState(NOW - 120)),
        # One that has never done a step fails, or is just starting.
        with_parts(queue=PartState()),
        with_owed(value=9, channels=1, withdrawing=9, deadline=NOW + 901),
        with_owed(value=5_000_000, channels=1, oldest_at=NOW - 172_800),
        replace(GOOD, waiting=Waiting(5, NOW - 1_800)),
    ],
)
def test_find__at_the_threshold_is_no_problem(standing: Standing) -> None:
    assert found(standing) == {}


@pytest.mark.parametrize("part", ["watcher", "redeemer"])
def test_find__a_part_that_nobody_runs(part: str) -> None:
    parts = {name: WELL for name in ("watcher", "redeemer", "queue") if name != part}
    (sentence,) = found(replace(GOOD, beats={"web1:1": Beat(NOW, parts)})).items()
    name, said = sentence
    assert name == f"{part}_stopped"
    assert f"--only {part}" in said


def test_find__a_process_that_says_nothing_more() -> None:
    assert set(found(with_parts(at=NOW - 121))) == {"watcher_stopped", "redeemer_stopped"}
    assert found(with_parts(at=NOW - 119)) == {}


def test_find__parts_of_several_processes() -> None:
    beats = {"web1:1": Beat(NOW, {"watcher": WELL}), "web2:1": Beat(NOW, {"redeemer": WELL})}
    assert found(replace(GOOD, beats=beats)) == {}


def test_find__says_why_the_redeemer_waits() -> None:
    parts = {"watcher": WELL, "redeemer": PartState(NOW, note="Waits for cheaper gas.")}
    beats = {"web1:1": Beat(NOW, parts)}
    owed = Unredeemed(value=9, channels=1, oldest_at=NOW - 864_000)
    said = found(replace(GOOD, beats=beats, unredeemed=owed))["redemption_stalled"]
    assert said.endswith(
        "10 days old: `farthing redeem --dry-run` says why. Waits for cheaper gas."
    )


def test_find__no_bound_for_exposure() -> None:
    bounds = dataclass_replace(BOUNDS, exposure=None)
    assert found(with_owed(value=10**30, channels=1), bounds) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds"), (119, "119 seconds"), (120, "2 minutes"), (7_199, "119 minutes")],
)
def test_ago__as_people_say_it(seconds: int, text: str) -> None:
    assert ago(seconds) == text


def test_plural__of_one_and_many() -> None:
    assert (plural(1, "channel"), plural(1_000, "channel")) == ("1 channel", "1,000 channels")
