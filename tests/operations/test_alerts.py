"""Alerts: raised once, cleared once, kept across restarts, sent until they are taken."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from farthing.ledger import Ledger, LedgerUnavailable, open_ledger
from farthing.operations.alerts import (
    CLEAR_AFTER,
    LONGEST_RETRY,
    OUTBOX,
    Alert,
    Alerts,
    DeliveryFailed,
    Message,
    Problem,
    standing_alerts,
)

GAS = Problem("gas_low", "the key has no coins: send it some.")
LAG = Problem("watcher_behind", "the watcher is behind: see to the node.")


class Inbox:
    """A sink that takes messages, or does not."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.tries = 0
        self.is_down = False

    def send(self, message: Message) -> None:
        self.tries += 1
        if self.is_down:
            raise DeliveryFailed("the webhook does not answer: check it.")
        self.messages.append(message)

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(message.event, message.alert) for message in self.messages]


class Site:
    """A ledger, a clock, and alerts that are told to one inbox."""

    def __init__(self, path: Path) -> None:
        self.ledger: Ledger = open_ledger(str(path))
        self.now = 1_000_000
        self.inbox = Inbox()
        self.start()

    def start(self) -> None:
        self.alerts = Alerts(self.ledger, {"webhook": self.inbox}, lambda: self.now)

    def look(self, *problems: Problem, after: int = 0) -> None:
        self.now += after
        self.alerts.see(problems)
        self.alerts.deliver()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "books.db")


def test_see__raises_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        site.look(GAS, after=30)
    assert site.inbox.told == [("raised", "gas_low")]
    (message,) = site.inbox.messages
    assert message == Message(
        "gas_low-1000030-raised", "raised", "gas_low", GAS.sentence, 1_000_030
    )
    assert caplog.messages == [GAS.sentence]
    assert site.alerts.alerts == [Alert("gas_low", GAS.sentence, 1_000_030)]


def test_see__clears_once_when_it_is_over(site: Site) -> None:
    site.look(GAS)
    for _ in range(4):
        site.look(after=CLEAR_AFTER // 2)
    assert site.inbox.told == [("raised", "gas_low"), ("cleared", "gas_low")]
    assert site.alerts.alerts == []
    site.look(GAS, after=1)
    assert site.inbox.told[2:] == [("raised", "gas_low")]


def test_see__what_comes_and_goes_is_told_once(site: Site) -> None:
    for _ in range(5):
        site.look(GAS, after=CLEAR_AFTER // 2)
        site.look(after=CLEAR_AFTER // 2)
    assert site.inbox.told == [("raised", "gas_low")]


def test_see__two_at_a_time(site: Site) -> None:
    site.look(GAS, LAG)
    site.look(LAG, after=CLEAR_AFTER)
    assert site.inbox.told == [
        ("raised", "gas_low"),
        ("raised", "watcher_behind"),
        ("cleared", "gas_low"),
    ]
    assert [alert.name for alert in site.alerts.alerts] == ["watcher_behind"]


def test_see__shows_what_is_wrong_now(site: Site) -> None:
    site.look(GAS)
    site.look(Problem("gas_low", "0.001 coins are left: send more."))
    assert standing_alerts(site.ledger)[0].sentence == "0.001 coins are left: send more."
    assert len(site.inbox.messages) == 1


def test_restart__raises_nothing_again(site: Site) -> None:
    site.look(GAS)
    site.start()
    site.look(GAS)
    assert site.inbox.told == [("raised", "gas_low")]
    assert standing_alerts(site.ledger) == [Alert("gas_low", GAS.sentence, 1_000_000)]


def test_restart__clears_what_is_over_meanwhile(site: Site) -> None:
    site.look(GAS)
    site.start()
    site.look(after=CLEAR_AFTER)
    assert site.inbox.told == [("raised", "gas_low"), ("cleared", "gas_low")]


def test_restart__sends_what_nobody_took_before(site: Site) -> None:
    site.inbox.is_down = True
    site.look(GAS)
    site.start()
    site.inbox.is_down = False
    site.look(GAS, after=3_600)
    assert site.inbox.told == [("raised", "gas_low")]
    site.start()
    site.look(GAS, after=3_600)
    assert len(site.inbox.messages) == 1


def test_deliver__tries_again_later_each_time(site: Site) -> None:
    site.inbox.is_down = True
    tried = []
    for _ in range(100):
        before = site.inbox.tries
        site.look(GAS, after=5)
        if site.inbox.tries > before:
            tried.append(site.now)
    pauses = [later - sooner for sooner, later in pairwise(tried)]
    assert pauses == [10, 20, 40, 80, 160]
    site.look(GAS, after=LONGEST_RETRY)
    tries = site.inbox.tries
    site.inbox.is_down = False
    site.look(GAS, after=LONGEST_RETRY)
    assert site.inbox.tries == tries + 1
    assert site.inbox.told == [("raised", "gas_low")]


def test_deliver__raised_before_cleared(site: Site) -> None:
    site.inbox.is_down = True
    site.look(GAS)
    site.look(after=CLEAR_AFTER)
    site.inbox.is_down = False
    site.look(after=LONGEST_RETRY)
    assert site.inbox.told == [("raised", "gas_low"), ("cleared", "gas_low")]


def test_deliver__one_sink_does_not_hold_up_another(site: Site) -> None:
    mail = Inbox()
    site.alerts = Alerts(site.ledger, {"webhook": site.inbox, "mail": mail}, lambda: site.now)
    site.inbox.is_down = True
    site.look(GAS)
    assert site.inbox.messages == []
    assert mail.told == [("raised", "gas_low")]


def test_deliver__forgets_what_was_for_a_sink_that_is_gone(site: Site) -> None:
    site.inbox.is_down = True
    site.look(GAS)
    site.alerts = Alerts(site.ledger, {}, lambda: site.now)
    site.look(GAS)
    site.inbox.is_down = False
    site.start()
    site.look(GAS, after=LONGEST_RETRY)
    assert site.inbox.messages == []


def test_deliver__keeps_no_more_than_it_should(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.inbox.is_down = True
    site.look(*(Problem(f"alert_{number}", "see to it.") for number in range(OUTBOX + 5)))
    (dropped,) = (said for said in caplog.messages if "dropped" in said)
    assert dropped.startswith("5 messages that nobody took are dropped")
    site.inbox.is_down = False
    site.now += 10
    site.alerts.deliver()
    assert site.inbox.told[0] == ("raised", "alert_5")
    assert len(site.inbox.told) == OUTBOX


def test_see__without_the_database(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str, value: str) -> None:
        raise LedgerUnavailable("books.db", "disk full")

    monkeypatch.setattr(site.ledger, "remember", fails)
    site.look(Problem("ledger_down", "the ledger is down: see to it."))
    site.look(Problem("ledger_down", "the ledger is down: see to it."), after=30)
    assert site.inbox.told == [("raised", "ledger_down")]


def test_see__with_two_processes_that_take_turns(site: Site) -> None:
    other = Alerts(site.ledger, {"webhook": site.inbox}, lambda: site.now)
    site.look(GAS)
    site.now += 30
    other.see([GAS])
    other.deliver()
    site.now += CLEAR_AFTER
    other.see([])
    other.deliver()
    site.look(after=30)
    assert site.inbox.told == [("raised", "gas_low"), ("cleared", "gas_low")]


def test_see__writes_down_what_it_could_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str, value: str) -> None:
        raise LedgerUnavailable("books.db", "disk full")

    with monkeypatch.context() as patch:
        patch.setattr(site.ledger, "remember", fails)
        site.look(GAS)
    site.look(GAS, after=30)
    assert [alert.name for alert in standing_alerts(site.ledger)] == ["gas_low"]
    assert site.inbox.told == [("raised", "gas_low")]
