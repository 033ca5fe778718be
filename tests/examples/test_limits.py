"""A publisher's limits: what is refused is neither served nor charged, and is counted."""

from __future__ import annotations

import pytest

from examples import limits
from farthing.testing import Playground
from tests.examples.example_kit import paid, run_example


@pytest.fixture(autouse=True)
def games(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    played: list[str] = []
    monkeypatch.setattr(limits, "games", played)
    return played


def test_limits__as_its_docstring_says() -> None:
    lines = run_example("limits")
    assert [line.split(",")[0] for line in lines[:7]] == [
        *("Ann: 429", "Ann spent 0.05 TUSD"),
        *("Ben: 429", "Ben spent 0.003 TUSD"),
        *("The cheat: 403", "The cheat spent 0 TUSD"),
        "8 charges",
    ]
    assert sorted(lines[7:-1]) == [
        "Ann at POST /games: payer_cap_reached, 1 times",
        "Ben at GET /scores: payer_rate_limited, 1 times",
        "the cheat at POST /games: payer_denied, 1 times",
    ]
    assert paid(lines) == "0.053"


def test_cap__is_for_all_routes_and_each_payer(play: Playground, games: list[str]) -> None:
    ann, ben = play.payer(), play.payer()
    site = play.publish(
        limits.app, limits.PRICES, settings=limits.SETTINGS.format("0x" + "11" * 20)
    )
    assert ann.http.get(f"{site.url}/scores").status_code == 200
    statuses = [ann.http.post(f"{site.url}/games?player=Ann").status_code for _ in range(6)]
    # The scores have taken a tenth of a cent, and a game costs a whole one.
    assert statuses == [200] * 4 + [429] * 2
    assert ben.http.post(f"{site.url}/games?player=Ben").status_code == 200
    assert games == ["Ann"] * 4 + ["Ben"]
    assert (ann.spent(), ben.spent()) == (41_000, 10_000)


def test_deny__sells_nothing_and_takes_no_deposit(play: Playground, games: list[str]) -> None:
    cheat = play.payer()
    site = play.publish(limits.app, limits.PRICES, settings=limits.SETTINGS.format(cheat.address))
    assert cheat.http.post(f"{site.url}/games?player=cheat").status_code == 403
    assert games == []
    assert play.token.balance_of(cheat.address) == play.units("1000")
