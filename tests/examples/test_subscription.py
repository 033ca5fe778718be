"""The subscription: what the pass covers costs nothing, as often as it says, and for its owner."""

from __future__ import annotations

import httpx
import pytest

from examples import subscription
from farthing.testing import Playground, Publisher
from tests.examples.example_kit import paid, run_example


@pytest.fixture
def site(play: Playground) -> Publisher:
    return play.publish(subscription.app, subscription.PRICES)


def test_subscription__as_its_docstring_says() -> None:
    lines = run_example("subscription")
    assert lines[:6] == [
        "The pass cost 3 TUSD.",
        *(
            f"articles/{slug}: 0 TUSD with the pass, 0.05 TUSD without"
            for slug in ("pennies", "wrens", "mints")
        ),
        "articles/scales: 0.05 TUSD with the pass, 0.05 TUSD without",
        "archive/farthings: 0.25 TUSD with the pass, 0.25 TUSD without",
    ]
    assert lines[6].startswith("POST /subscription: 3 TUSD bought pass monthly")
    assert lines[-2].startswith("Pass monthly: 3 used, until ")
    assert paid(lines) == "3.75"


def test_pass__covers_three_articles__and_no_extras(play: Playground, site: Publisher) -> None:
    reader = play.payer()
    reader.http.post(f"{site.url}/subscription").raise_for_status()
    visits = [f"{site.url}/archive/a", *[f"{site.url}/articles/a"] * 4]
    assert [subscription.visit(reader, url) for url in visits] == [250_000, 0, 0, 0, 50_000]


def test_pass__bought_twice__covers_twice_as_many(play: Playground, site: Publisher) -> None:
    reader = play.payer()
    for _ in range(2):
        reader.http.post(f"{site.url}/subscription").raise_for_status()
    costs = [subscription.visit(reader, f"{site.url}/articles/a") for _ in range(7)]
    assert costs == [0] * 6 + [50_000]
    (owned,) = (each.entitlement for each in site.ledger.entitlements(reader.address))
    assert (owned.item, owned.bought, owned.used) == ("monthly", 2, 6)


def test_pass__is_its_buyers(play: Playground, site: Publisher) -> None:
    buyer, other = play.payer(), play.payer()
    buyer.http.post(f"{site.url}/subscription").raise_for_status()
    assert subscription.visit(other, f"{site.url}/articles/a") == 50_000
    assert site.ledger.entitlements(other.address) == []


def test_article__without_a_voucher__is_given_to_nobody(play: Playground, site: Publisher) -> None:
    play.payer().http.post(f"{site.url}/subscription").raise_for_status()
    assert httpx.get(f"{site.url}/articles/a").status_code == 402
