"""Music: a free quota, a discount by volume and cashback, one after the other."""

from __future__ import annotations

import pytest

from examples import music
from farthing.protocol.amounts import to_units
from farthing.testing import Payer, Playground, Publisher
from tests.examples.example_kit import paid, run_example

COSTS = [0, 0, 20_000, 18_000, 18_200, 8_180, 9_182]


@pytest.fixture
def site(play: Playground) -> Publisher:
    return play.publish(music.app, music.PRICES)


def listen(fan: Payer, site: Publisher) -> int:
    """What one more song costs."""
    before = fan.spent()
    fan.http.get(f"{site.url}/songs/wren").raise_for_status()
    return fan.spent() - before


def test_music__as_its_docstring_says() -> None:
    lines = run_example("music")
    told = [line.split(" TUSD ") for line in lines[:-1]]
    assert [title for title, _ in told] == [
        f"{title}: {cost / 10**6:g}" for title, cost in zip(music.ALBUM, COSTS, strict=True)
    ]
    assert all(why for _, why in told[:2] + told[3:])
    assert to_units(paid(lines), 6) == sum(COSTS)


def test_song__each_fan_has_its_own_free_ones_discount_and_cashback(
    play: Playground, site: Publisher
) -> None:
    ann, ben = play.payer(), play.payer()
    assert [listen(ann, site) for _ in COSTS] == COSTS
    assert [listen(ben, site) for _ in COSTS] == COSTS
