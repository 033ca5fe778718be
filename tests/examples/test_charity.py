"""The charity: any gift counts once, and the page says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from playwright.sync_api import Page, expect

from examples import charity
from farthing.opening import open_books
from farthing.testing import Payer, Playground, Publisher
from tests.examples.example_kit import paid, run_example, staying


@pytest.fixture
def site(play: Playground) -> Iterator[Publisher]:
    published = play.publish(charity.app, charity.PRICES)
    with closing(open_books(published.settings)) as ledger:
        charity.app.state.campaign = charity.Campaign(ledger)
        yield published


def give(giver: Payer, site: Publisher, amount: str, line: str = "") -> httpx.Response:
    return giver.http.post(f"{site.url}/gifts", params={"amount": amount, "line": line})


def total(site: Publisher) -> tuple[str, int, list[str]]:
    told = httpx.get(f"{site.url}/total").json()
    return told["total"], told["gifts"], told["lines"]


def test_charity__as_its_docstring_says() -> None:
    lines = run_example("charity")
    assert lines[:-1] == [
        "5.25 of 5 dollars in 53 gifts",
        "3.75: <b>Drink!</b>",
        "0.5: For the old well.",
        "0.5: For the old well.",
    ]
    assert paid(lines) == "5.25"


def test_total__counts_what_was_given_once(play: Playground, site: Publisher) -> None:
    ann, ben = play.payer(), play.payer()
    assert total(site) == ("0", 0, [])
    give(ann, site, "0.01", "first")
    give(ann, site, "0.02", "second")
    give(ben, site, "0.03")
    give(ben, site, "0.04", "third")
    lines = ["0.04: third", "0.02: second", "0.01: first"]
    assert total(site) == total(site) == ("0.1", 4, lines)


def test_total__of_a_site_that_starts_again__is_the_same(play: Playground, site: Publisher) -> None:
    ann = play.payer()
    give(ann, site, "0.50", "before")
    charity.app.state.campaign = charity.Campaign(charity.app.state.campaign.ledger)
    assert total(site) == ("0.5", 1, [])
    give(ann, site, "0.25", "after")
    assert total(site) == ("0.75", 2, ["0.25: after"])


@pytest.mark.parametrize(
    ("amount", "line"),
    [("0.009", ""), ("101", ""), ("much", ""), ("0.01", "x" * 141)],
    ids=["too little", "too much", "no number", "too long a line"],
)
def test_gift__that_cannot_be__is_neither_charged_nor_counted(
    play: Playground, site: Publisher, amount: str, line: str
) -> None:
    giver = play.payer()
    assert give(giver, site, amount, line).status_code in (400, 422)
    assert (giver.spent(), total(site)) == (0, ("0", 0, []))


def test_charity__in_a_browser__grows_until_the_goal(
    play: Playground, site: Publisher, page: Page
) -> None:
    giver = play.payer()
    page.goto(site.url)
    sum_of_all, reached = page.locator("#total"), page.locator("#reached")
    expect(sum_of_all).to_have_text("0")
    give(giver, site, "1.25", "<img src=x onerror=alert(1)>")
    expect(sum_of_all).to_have_text("1.25")
    expect(page.get_by_role("listitem")).to_have_text(["1.25: <img src=x onerror=alert(1)>"])
    expect(page.locator("#part")).to_have_js_property("value", 0.25)
    expect(reached).to_be_hidden()
    give(giver, site, "3.75")
    expect(reached).to_be_visible()
    expect(sum_of_all).to_have_text("5")


def test_charity__stays__for_people_to_look(page: Page) -> None:
    with staying("charity") as url:
        page.goto(url)
        expect(page.locator("#total")).to_have_text("5.25")
        expect(page.locator("#gifts")).to_have_text("53")
