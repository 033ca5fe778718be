"""Episodes: bought once, never charged again, and dearer before they are released."""

from __future__ import annotations

import time

import pytest

from examples import episodes
from farthing.testing import Payer, Playground
from tests.examples.example_kit import paid, run_example


def cost(reader: Payer, url: str) -> int:
    before = reader.spent()
    assert reader.http.get(url).status_code == 200
    return reader.spent() - before


def test_episodes__as_its_docstring_says() -> None:
    lines = run_example("episodes")
    assert lines[:-1] == [
        "Ann reads tides/1: 200, 0.1 TUSD",
        "Ann reads tides/2: 200, 0.1 TUSD",
        "Ann reads tides/1: 200, 0 TUSD",
        "Ann reads tides/3: 200, 0.3 TUSD",
        "Ann reads tides/3: 200, 0 TUSD",
        "Ann reads tides/9: 404, 0 TUSD",
        "Ben reads tides/1: 200, 0.1 TUSD",
        "Ben reads lamps/1: 200, 0.1 TUSD",
        "Ben reads lamps/1: 200, 0 TUSD",
        "Ann owns tides/1, tides/2, tides/3",
        "Ben owns lamps/1, tides/1",
    ]
    assert paid(lines) == "0.7"


def test_episodes__once_released__the_early_price_is_over(
    play: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(episodes.RELEASES, "tides", {"3": int(time.time()) + 3_600})
    site = play.publish(episodes.app, episodes.PRICES)
    early, late = play.payer(), play.payer()
    assert cost(early, f"{site.url}/episodes/tides/3") == 300_000
    monkeypatch.setitem(episodes.RELEASES, "tides", {"3": 0})
    assert cost(late, f"{site.url}/episodes/tides/3") == 100_000
    # What was bought early is not bought again.
    assert cost(early, f"{site.url}/episodes/tides/3") == 0


def test_episodes__after_a_restart__what_was_bought_is_still_owned(play: Playground) -> None:
    site, reader = play.publish(episodes.app, episodes.PRICES), play.payer()
    assert cost(reader, f"{site.url}/episodes/tides/1") == 100_000
    site.restart()
    assert cost(reader, f"{site.url}/episodes/tides/1") == 0


def test_episodes__one_that_is_not_there__is_not_owned(play: Playground) -> None:
    site, reader = play.publish(episodes.app, episodes.PRICES), play.payer()
    assert reader.http.get(f"{site.url}/episodes/tides/9").status_code == 404
    assert list(site.ledger.entitlements(reader.address)) == []
    assert reader.spent() == 0
