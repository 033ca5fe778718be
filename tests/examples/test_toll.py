"""The toll road: each vehicle pays for what it passes, and stops where its money does."""

from __future__ import annotations

import httpx
import pytest

from examples import toll
from farthing.testing import Payer, Playground, Publisher
from tests.examples.example_kit import paid, run_example


@pytest.fixture
def road(play: Playground) -> Publisher:
    return play.publish(toll.app, toll.PRICES)


def pass_by(payer: Payer, road: Publisher, section: str, query: str) -> httpx.Response:
    return payer.http.post(f"{road.url}/barriers/{section}?{query}")


def test_toll__as_its_docstring_says() -> None:
    lines = run_example("toll")
    assert lines[:-2] == [
        "Ada's car is home, for 0.0648 TUSD",
        "Bo's motorcycle is home, for 0.02592 TUSD",
        "Cy's lorry is home, for 0.162 TUSD",
        "Di's car left after bridge, for 0.015 TUSD",
    ]
    assert lines[-2].startswith("20 passages, 1 redemption, ")
    assert paid(lines) == "0.26772"


def test_toll__by_section_and_vehicle__a_fifth_less_after_three(
    play: Playground, road: Publisher
) -> None:
    driver, costs = play.payer(), []
    for section, vehicle in (
        ("coast", "car"),
        ("hills", "lorry"),
        ("bridge", "motorcycle"),
        ("coast", "car"),
    ):
        before = driver.spent()
        answer = pass_by(driver, road, section, f"vehicle={vehicle}")
        assert answer.json() == {section: "open"}
        costs.append(driver.spent() - before)
    assert costs == [12_000, 52_500, 1_200, 9_600]


@pytest.mark.parametrize(
    ("section", "query"),
    [
        ("desert", "vehicle=car"),
        ("coast", "vehicle=tank"),
        ("coast", ""),
        ("coast", "vehicle=lorry&vehicle=motorcycle"),
    ],
)
def test_toll__what_has_no_price__stays_shut(
    play: Playground, road: Publisher, section: str, query: str
) -> None:
    driver = play.payer()
    assert pass_by(driver, road, section, query).status_code == 400
    assert driver.wallet.store.history() == []


def test_toll__no_money__the_barrier_stays_shut(play: Playground, road: Publisher) -> None:
    assert httpx.post(f"{road.url}/barriers/coast?vehicle=car").status_code == 402
    driver = play.payer(budget="0.02", top_up="0.02")
    assert toll.drive(driver, "car", road.url) == ["coast", "bridge"]
    assert driver.spent() == 15_000
