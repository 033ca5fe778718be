"""The paid feed: heard as long as it is paid, and not a second longer."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Page, expect

from examples import feed
from farthing.testing import Playground, Publisher
from tests.examples.example_kit import paid, run_example, staying


@pytest.fixture
def site(play: Playground, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(feed, "credit", type(feed.credit)())
    return play.publish(feed.app, feed.PRICES)


def heard(site: Publisher, listener: str) -> int:
    """The seconds that come until the feed ends."""
    count = 0
    with httpx.stream("GET", f"{site.url}/feed/{listener}") as answer:
        for line in answer.iter_lines():
            count += line.startswith("data: ")
            assert count < 10, "it does not end"
    return count


def test_feed__as_its_docstring_says() -> None:
    lines = run_example("feed")
    assert lines[:-1] == [
        "The kitchen heard 30 seconds for 0.03 TUSD, and then nothing.",
        "The cellar heard 10 seconds for 0.01 TUSD, and then nothing.",
    ]
    assert paid(lines) == "0.04"


def test_feed__nobody_pays__nothing_is_heard(
    site: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PATIENCE", 1)
    assert heard(site, "cellar") == 0


def test_feed__paid_by_another__is_heard_by_whom_it_is_for(
    play: Playground, site: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PATIENCE", 1)
    payer = play.payer()
    payer.http.post(f"{site.url}/feed/kitchen").raise_for_status()
    assert heard(site, "cellar") == 0
    assert heard(site, "kitchen") == 1
    assert heard(site, "kitchen") == 0


def test_feed__more_than_two_ahead__not_sold(play: Playground, site: Publisher) -> None:
    payer = play.payer()
    paid_ahead = [payer.http.post(f"{site.url}/feed/kitchen").json() for _ in range(4)]
    assert paid_ahead == [{"paid": 1}, {"paid": 2}, {"paid": 2}, {"paid": 2}]
    assert payer.spent() == 2_000


def test_feed__without_a_payment__sells_nothing(site: Publisher) -> None:
    assert httpx.post(f"{site.url}/feed/kitchen").status_code == 402
    assert feed.credit == {}


def test_feed__in_a_browser__live_until_the_money_stops(
    play: Playground, site: Publisher, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PATIENCE", 10**6)
    payer, state = play.payer(), page.locator("#state")
    page.goto(f"{site.url}/?listener=kitchen")
    expect(state).to_have_text("waits for money")
    for count in ("1", "2", "3"):
        payer.http.post(f"{site.url}/feed/kitchen").raise_for_status()
        expect(page.locator("#heard")).to_have_text(count)
    expect(state).to_have_text("live")
    assert page.locator("#bars > li").count() == 3
    monkeypatch.setattr(feed, "PATIENCE", 1)
    expect(state).to_have_text("nobody pays")
    expect(page.locator("#heard")).to_have_text("3")
    monkeypatch.setattr(feed, "PATIENCE", 10**6)
    payer.http.post(f"{site.url}/feed/kitchen").raise_for_status()
    expect(state).to_have_text("live")
    expect(page.locator("#heard")).to_have_text("4")


def test_feed__stays__and_is_paid_for_who_looks(page: Page) -> None:
    with staying("feed") as url:
        page.goto(url)
        expect(page.locator("#state")).to_have_text("live")
