"""The overseer: it tells how parts do, and raises alerts where no other process does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from farthing.ledger import Ledger, LedgerUnavailable, open_ledger
from farthing.operations.alerts import Alerts, Message, standing_alerts
from farthing.operations.beats import FORGOTTEN, Beat, beat, leave, read_beats
from farthing.operations.overseer import Overseer
from farthing.operations.problems import Bounds
from farthing.operations.standing import Chain, Standing, Unredeemed, Waiting
from farthing.operations.supervisor import PartState
from farthing.settings import ThresholdSettings

NOW = 1_700_000_000
WELL = PartState(good_at=NOW)
BOTH = {"watcher": WELL, "redeemer": WELL}


class Process:
    """A process with an overseer, whose look at the chain is made up.

    Attributes:
        standings: What it told.
        coins: What the key has.
    """

    def __init__(self, path: Path, name: str, parts: Mapping[str, PartState]) -> None:
        self.now = NOW
        self.coins = 10**18
        self.looks = 0
        self.standings: list[Standing | None] = []
        self.messages: list[Message] = []
        self.ledger: Ledger = open_ledger(str(path))
        look: Any = self
        self.overseer = Overseer(
            self.ledger,
            look,
            Bounds(ThresholdSettings(), 1_800, None, 10**16, 6, "TUSD"),
            Alerts(self.ledger, {"webhook": self}, lambda: self.now),
            lambda: parts,
            process=name,
            told=self.standings.append,
            clock=lambda: self.now,
        )

    def take(self) -> Standing:
        self.looks += 1
        return Standing(
            time=self.now,
            sender="0xSender",
            authorizer="0xOurs",
            chain=Chain(head=1, coins=self.coins),
            unredeemed=Unredeemed(),
            waiting=Waiting(),
            beats=read_beats(self.ledger),
            differences=[],
            is_restored=False,
        )

    def send(self, message: Message) -> None:
        self.messages.append(message)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "books.db"


def test_step__tells_how_its_parts_do(path: Path) -> None:
    process = Process(path, "web1:1", BOTH)
    assert process.overseer.step() >= 15
    assert read_beats(process.ledger) == {"web1:1": Beat(NOW, dict(BOTH))}
    assert process.messages == []
    assert process.standings == [process.take()]


def test_step__raises_what_is_wrong(path: Path) -> None:
    process = Process(path, "web1:1", BOTH)
    process.coins = 0
    for _ in range(3):
        process.overseer.step()
        process.now += 15
    assert [(each.event, each.alert) for each in process.messages] == [("raised", "gas_low")]
    assert [each.name for each in standing_alerts(process.ledger)] == ["gas_low"]
    assert process.overseer.note == "1 problem"


def test_step__one_process_looks_at_a_time(path: Path) -> None:
    first, second = Process(path, "web1:1", BOTH), Process(path, "web2:1", BOTH)
    first.coins = second.coins = 0
    first.overseer.step()
    second.overseer.step()
    assert (first.looks, second.looks) == (1, 0)
    assert second.standings == [None]
    assert second.messages == []
    assert set(read_beats(first.ledger)) == {"web1:1", "web2:1"}


def test_close__another_process_goes_on(path: Path) -> None:
    first, second = Process(path, "web1:1", BOTH), Process(path, "web2:1", BOTH)
    first.coins = second.coins = 0
    first.overseer.step()
    first.overseer.close()
    second.overseer.step()
    assert second.looks == 1
    assert set(read_beats(second.ledger)) == {"web2:1"}
    # What the first has raised is not raised again.
    assert second.messages == []


def test_step__a_paywall_alone_leaves_looking_to_the_others(path: Path) -> None:
    paywall = Process(path, "web1:1", {"paywall": PartState(good_at=NOW + 121)})
    redeemer = Process(path, "web2:1", BOTH)
    redeemer.overseer.step()
    redeemer.overseer._ledger.give_lease(("overseer", "web2:1"))
    paywall.overseer.step()
    assert paywall.looks == 0
    # And notices when they are gone.
    paywall.now += 121
    paywall.overseer.step()
    assert paywall.looks == 1
    assert {each.alert for each in paywall.messages} == {"watcher_stopped", "redeemer_stopped"}


def test_step__without_the_database(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(path, "web1:1", BOTH)

    def fails(*_: object) -> None:
        raise LedgerUnavailable("books.db", "disk full")

    with monkeypatch.context() as patch:
        for name in ("remember", "recall", "take_lease"):
            patch.setattr(process.ledger, name, fails)
        process.overseer.step()
        process.overseer.step()
    assert [(each.event, each.alert) for each in process.messages] == [("raised", "ledger_down")]
    assert process.messages[0].sentence == (
        "nothing can be charged: the ledger books.db is not available (disk full): see to the "
        "database."
    )


def test_beat__forgets_processes_that_ended_long_ago(path: Path) -> None:
    ledger = open_ledger(str(path))
    beat(ledger, "old:1", BOTH, NOW)
    beat(ledger, "new:1", BOTH, NOW + FORGOTTEN - 1)
    assert set(read_beats(ledger)) == {"old:1", "new:1"}
    beat(ledger, "new:1", BOTH, NOW + FORGOTTEN)
    assert read_beats(ledger) == {"new:1": Beat(NOW + FORGOTTEN, dict(BOTH))}
    leave(ledger, "new:1")
    leave(ledger, "never:1")
    assert read_beats(ledger) == {}


def test_beat__keeps_what_failed(path: Path) -> None:
    ledger = open_ledger(str(path))
    failed = replace(WELL, failures=3, error="no node answers.")
    beat(ledger, "web1:1", {"watcher": failed}, NOW)
    assert read_beats(ledger)["web1:1"].parts["watcher"] == failed
