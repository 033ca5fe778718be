"""Tips: as one likes, and a monthly sum split by use."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.tips import MONTHLY, PRICES, make_site, split
from farthing.testing import Playground
from farthing.wallet import BudgetExceeded
from tests.examples.example_kit import paid, run_example


def test_tips__as_its_docstring_says() -> None:
    lines = run_example("tips")
    assert lines[:-1] == [
        "music is tipped 1.50: 200",
        "music is tipped 0.25: 200",
        "music is tipped 0.001: 400",
        "In a month it read {'news': 4, 'music': 2, 'maps': 1}",
        "news is tipped 1.142857: 200",
        "music is tipped 0.571428: 200",
        "maps is tipped 0.285715: 200",
        "The month cost 2 TUSD",
    ]
    assert paid(lines) == "3.75"


def test_tip__out_of_bounds__is_not_taken(play: Playground) -> None:
    site, fan = play.publish(make_site("music"), PRICES), play.payer()
    for amount in ("0.009", "100.01", "-1", "much"):
        assert fan.http.post(f"{site.url}/tip?amount={amount}").status_code == 400
    assert fan.spent() == 0
    assert fan.http.post(f"{site.url}/tip").status_code == 200
    assert fan.spent() == 10_000


def test_tip__more_than_the_month_has__is_not_given(play: Playground) -> None:
    site = play.publish(make_site("music"), PRICES)
    reader = play.payer(budget=MONTHLY, top_up="0.01")
    assert reader.http.post(f"{site.url}/tip?amount=1.50").status_code == 200
    with pytest.raises(BudgetExceeded):
        reader.http.post(f"{site.url}/tip?amount=0.500001")
    assert reader.http.post(f"{site.url}/tip?amount=0.50").status_code == 200


@settings(deadline=None)
@given(
    st.integers(0, 10**9),
    st.dictionaries(st.text(max_size=3), st.integers(0, 1_000), max_size=8),
    st.integers(1, 10**6),
)
def test_split__adds_up_and_leaves_out_what_is_too_little(
    total: int, visits: dict[str, int], least: int
) -> None:
    shares = split(total, visits, least)
    if any(visits.values()) and total >= least:
        assert sum(shares.values()) == total
    else:
        assert shares == {}
    assert all(share >= least for share in shares.values())
    seen = sum(visits[site] for site in shares)
    assert all(abs(share - total * visits[site] / seen) <= 1 for site, share in shares.items())
