"""Game items: owned for good, or used up one by one."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from examples import items
from farthing.testing import Playground, Publisher
from tests.examples.example_kit import paid, run_example


@pytest.fixture
def game(play: Playground, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(items, "health", Counter())
    return play.publish(items.app, items.PRICES)


def test_items__as_its_docstring_says() -> None:
    lines = run_example("items")
    assert lines[:-1] == [
        "/skins/wren: 200 {'worn': 'wren'}, 0.5 TUSD",
        "/skins/robin: 200 {'worn': 'robin'}, 0.5 TUSD",
        "/skins/wren: 200 {'worn': 'wren'}, 0 TUSD",
        "/skins/dodo: 404 {'detail': 'Not Found'}, 0 TUSD",
        "/potions: 200 {'potions': 3}, 0.3 TUSD",
        "/drink: 200 {'health': 1}, 0 TUSD",
        "/drink: 200 {'health': 2}, 0 TUSD",
        "/drink: 200 {'health': 3}, 0 TUSD",
        "/drink: 200 {'health': 4}, 0.15 TUSD",
        "/drink: 409 {'detail': 'you are in good health'}, 0 TUSD",
        "/potions: 200 {'potions': 3}, 0.3 TUSD",
        "In the ledger: own robin, bought 1, used 0",
        "In the ledger: own wren, bought 1, used 0",
        "In the ledger: pass potions, bought 2, used 3",
    ]
    assert paid(lines) == "1.75"


def test_items__two_drinks_at_once__never_take_one_potion(
    play: Playground, game: Publisher
) -> None:
    player = play.payer()
    player.http.post(f"{game.url}/potions")
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: player.http.post(f"{game.url}/drink"), range(4))
        assert [answer.status_code for answer in answers] == [200] * 4
    # A pack has three: one of the four was paid.
    assert player.spent() == play.units("0.30") + play.units("0.15")


def test_items__of_one_player__are_not_anothers(play: Playground, game: Publisher) -> None:
    first, second = play.payer(), play.payer()
    for player in (first, second):
        player.http.post(f"{game.url}/skins/wren")
        assert player.spent() == play.units("0.50")
