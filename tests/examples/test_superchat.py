"""Super chat: tiers, a live page, moderation, and money back."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Page, expect

from examples import superchat
from farthing.testing import Payer, Playground, Publisher
from tests.examples.example_kit import paid, run_example, staying


@pytest.fixture
def stream(play: Playground, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(superchat, "chat", [])
    return play.publish(superchat.app, superchat.PRICES)


def say(viewer: Payer, stream: Publisher, tier: str, text: str) -> httpx.Response:
    return viewer.http.post(f"{stream.url}/chat?tier={tier}", json={"text": text})


def take_down(stream: Publisher, number: int, key: str = superchat.MODERATOR) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.delete(f"{stream.url}/messages/{number}", headers=headers)


def test_superchat__as_its_docstring_says() -> None:
    lines = run_example("superchat")
    assert lines[:-1] == [
        "bronze: 200 {'number': 0}",
        "gold: 200 {'number': 1}",
        "silver: 200 {'number': 2}",
        "bronze: 422 {'detail': 'a bronze message has 1 to 40 characters'}",
        "Taken down, and 5 TUSD paid back.",
    ]
    assert paid(lines) == "21"


def test_superchat__what_is_not_shown__is_not_paid(play: Playground, stream: Publisher) -> None:
    viewer = play.payer(budget="50")
    assert say(viewer, stream, "bronze", "x" * 41).status_code == 422
    assert say(viewer, stream, "platinum", "hello").status_code == 400
    assert (viewer.spent(), superchat.chat) == (0, [])
    assert say(viewer, stream, "silver", "x" * 41).status_code == 200
    assert viewer.spent() == 5_000_000


def test_superchat__taken_down__by_moderators_and_once(play: Playground, stream: Publisher) -> None:
    viewer = play.payer(budget="50")
    say(viewer, stream, "bronze", "hello")
    assert take_down(stream, 0, "somebody else").status_code == 403
    assert take_down(stream, -1).status_code == 404
    assert take_down(stream, 0).json() == {"payer": viewer.address, "amount": 1_000_000}
    # Nobody is paid back twice.
    assert take_down(stream, 0).status_code == 404


def test_superchat__paid_back__the_payer_has_it(play: Playground, stream: Publisher) -> None:
    viewer = play.payer(budget="50", top_up="1")
    say(viewer, stream, "silver", "hello")
    taken = take_down(stream, 0).json()
    stream.redeem()
    stream.pay_back(taken["payer"], taken["amount"])
    assert play.token.balance_of(viewer.address) == play.units("1000")
    assert "payers paid 0 TUSD" in play.prove()


def test_superchat__in_a_browser__live_and_dearest_first(
    play: Playground, stream: Publisher, page: Page
) -> None:
    viewer = play.payer(budget="50")
    page.goto(stream.url)
    shown = page.get_by_role("listitem")
    say(viewer, stream, "bronze", "<img src=x onerror=alert(1)>")
    expect(shown).to_have_text(["<img src=x onerror=alert(1)>"])
    say(viewer, stream, "gold", "Play the one about the wren!")
    expect(shown).to_have_text(["Play the one about the wren!", "<img src=x onerror=alert(1)>"])
    expect(shown.first).to_have_class("gold")
    take_down(stream, 1)
    expect(shown).to_have_text(["<img src=x onerror=alert(1)>"])


def test_superchat__stays__for_people_to_look(page: Page) -> None:
    with staying("superchat") as url:
        page.goto(url)
        expect(page.get_by_role("listitem")).to_have_text(
            ["Play the one about the wren!", "Hello from the harbour!"]
        )
