"""The playground proves what it says, and says what is wrong."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx
import pytest

from farthing.chain.sender import Sender
from farthing.chain.settlement import Snapshot
from farthing.ledger.sqlite_file import connect
from farthing.testing import BooksDoNotBalance, Playground, SiteFailed, playground
from farthing.wallet import BudgetExceeded

PRICES = {"GET /cheap": "0.001", "GET /fails": "0.001"}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Knows no lifespan."""
    assert scope["type"] == "http"
    status = 500 if scope["path"] == "/fails" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"text"})


def test_prove__after_payments__says_what_was_paid(play: Playground) -> None:
    first, second = play.publish(app, PRICES), play.publish(app, PRICES)
    ann, ben = play.payer(), play.payer(top_up="0.01")
    for payer, site in ((ann, first), (ann, second), (ben, second), (ben, second)):
        assert payer.http.get(f"{site.url}/cheap").text == "text"
    assert ann.http.get(f"{first.url}/fails").status_code == 500
    assert (ann.spent(), ben.spent()) == (2_000, 2_000)
    said = (
        "The books balance: payers paid 0.004 TUSD and publishers received the same, to the unit."
    )
    assert play.prove() == said
    assert play.token.balance_of(second.receiver.address) == 3_000
    # And again, with more.
    ann.http.get(f"{first.url}/cheap")
    assert "payers paid 0.005 TUSD" in play.prove()


def test_prove__nothing_happened__balances(play: Playground) -> None:
    play.publish(app, PRICES)
    play.payer()
    assert "payers paid 0 TUSD" in play.prove()


def test_prove__money_that_went_elsewhere__is_told(play: Playground) -> None:
    site, payer = play.publish(app, PRICES), play.payer()
    payer.http.get(f"{site.url}/cheap")
    play.token.transfer(Sender(play.chain.w3, payer.account), site.keys.sender.address, 7)
    with pytest.raises(BooksDoNotBalance, match=r"lost 0\.001007 TUSD and publishers gain"):
        play.prove()


def test_prove__a_ledger_that_was_tampered_with__is_told(play: Playground) -> None:
    site, payer = play.publish(app, PRICES), play.payer()
    payer.http.get(f"{site.url}/cheap")
    # By the same SQLite: another in one process would take the ledger's locks away.
    with closing(connect(site.settings.beside("books.db"))) as books:
        books.execute("UPDATE channels SET charges = charges + 1")
    with pytest.raises(BooksDoNotBalance, match="has 1 charges, counts 2"):
        play.prove()


def test_prove__a_wallet_that_knows_of_less__is_told(
    play: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, payer = play.publish(app, PRICES), play.payer()
    payer.http.get(f"{site.url}/cheap")
    true = payer.wallet.snapshot

    def more(channel_id: bytes) -> Snapshot:
        found = true(channel_id)
        return replace(found, total_claimed=found.total_claimed + 1)

    monkeypatch.setattr(payer.wallet, "snapshot", more)
    with pytest.raises(BooksDoNotBalance, match=r"1001 are claimed .* knows of 1000 to 1000"):
        play.prove()


def test_prove__paid_back__is_counted(play: Playground) -> None:
    site, payer = play.publish(app, PRICES), play.payer()
    payer.http.get(f"{site.url}/cheap")
    site.redeem()
    site.pay_back(payer.address, 400)
    assert "payers paid 0.0006 TUSD" in play.prove()


def test_payer__above_its_budget__is_refused(play: Playground) -> None:
    site, payer = play.publish(app, PRICES), play.payer(budget="0.01", top_up="0.01")
    for _ in range(10):
        payer.http.get(f"{site.url}/cheap")
    with pytest.raises(BudgetExceeded):
        payer.http.get(f"{site.url}/cheap")
    assert payer.spent() == 10_000


def test_payer__in_coroutines__pays(play: Playground) -> None:
    site, payer = play.publish(app, PRICES), play.payer()

    async def several() -> list[int]:
        async with payer.http_async() as http:
            answers = [http.get(f"{site.url}/cheap") for _ in range(3)]
            return [answer.status_code for answer in await asyncio.gather(*answers)]

    assert asyncio.run(several()) == [200, 200, 200]
    assert payer.spent() == 3_000


def test_restart__goes_on_where_it_was(play: Playground) -> None:
    site, payer = play.publish(app, PRICES), play.payer()
    payer.http.get(f"{site.url}/cheap")
    site.restart()
    assert payer.http.get(f"{site.url}/cheap").text == "text"
    assert "payers paid 0.002 TUSD" in play.prove()


def test_publish__with_settings__they_hold(play: Playground) -> None:
    site = play.publish(app, PRICES, settings="[limits]\nanswer_seconds = 7")
    assert site.settings.limits.answer_seconds == 7


def test_publish__an_app_that_does_not_start__says_so(play: Playground) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the cellar is flooded"})

    with pytest.raises(SiteFailed, match="did not start"):
        play.publish(broken, PRICES)


def test_playground__after_it__nothing_answers() -> None:
    with playground() as play:
        site = play.publish(app, PRICES)
        with closing(httpx.Client()) as http:
            assert http.get(f"{site.url}/cheap").status_code == 402
    for url in (site.url, play.chain.url):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
