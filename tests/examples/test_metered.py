"""The metered API: what was used is charged, and nothing else."""

from __future__ import annotations

import re

import httpx
import pytest

from examples import metered
from farthing.protocol.amounts import to_units
from farthing.testing import Payer, Playground, Publisher
from tests.examples.example_kit import paid, run_example


@pytest.fixture
def site(play: Playground) -> Publisher:
    return play.publish(metered.app, metered.PRICES)


def complete(payer: Payer, site: Publisher, prompt: str) -> httpx.Response:
    return payer.http.post(f"{site.url}/v1/complete", json={"prompt": prompt})


def test_metered__as_its_docstring_says() -> None:
    lines = run_example("metered")
    bill = re.compile(r"  (\d+) tokens: (\S+) TUSD of at most 0\.008 TUSD")
    bills = [found for found in map(bill.fullmatch, lines) if found]
    assert len(bills) == 2 * len(metered.PROMPTS)
    assert all(to_units(found[2], 6) == 2 * int(found[1]) for found in bills)
    assert len({found[1] for found in bills}) > 2
    assert to_units(paid(lines), 6) == sum(2 * int(found[1]) for found in bills)


def test_complete__signed_for_the_most__charged_for_the_tokens(
    play: Playground, site: Publisher
) -> None:
    caller = play.payer()
    tokens = complete(caller, site, "The publisher").json()["tokens"]
    (payment,) = caller.wallet.store.history()
    assert 0 < tokens < metered.MOST
    assert (payment.price, payment.charged) == (2 * metered.MOST, 2 * tokens)
    (charge,) = site.ledger.charges()
    assert (charge.price, charge.amount) == (2 * metered.MOST, 2 * tokens)


def test_complete__without_an_end__stops_at_what_was_signed_for(
    play: Playground, site: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metered, "model", metered.Model("on and on"))
    caller = play.payer()
    assert complete(caller, site, "on").json()["tokens"] == metered.MOST
    assert caller.spent() == 2 * metered.MOST


@pytest.mark.parametrize("prompt", ["Xyzzy", "", "   "])
def test_complete__nothing_to_go_on_from__costs_nothing(
    play: Playground, site: Publisher, prompt: str
) -> None:
    caller = play.payer()
    assert complete(caller, site, prompt).status_code == 422
    assert (caller.spent(), site.ledger.charges()) == (0, [])
