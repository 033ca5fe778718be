"""The news site: paid by the article, with a threshold above which the reader is asked."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from examples import news
from farthing.testing import Playground
from farthing.wallet import NotApproved
from tests.examples.example_kit import paid, run_example, staying
from tests.serve.running import running


def test_news__as_its_docstring_says() -> None:
    lines = run_example("news")
    assert [line.split(" ")[0] for line in lines] == [
        *("200", "200", "200", "404"),
        *("May", "Not", "May", "200"),
        "The",
    ]
    assert lines[3].endswith("0.006 TUSD spent")
    assert lines[5].startswith("Not paid: 127.0.0.1 asks for ")
    assert lines[7].endswith("0.606 TUSD spent")
    assert paid(lines) == "0.606"


def test_news__nobody_to_ask__a_report_is_not_paid(play: Playground) -> None:
    site = play.publish(news.app, news.PRICES)
    reader = play.payer(approve_above="0.05")
    with pytest.raises(NotApproved):
        reader.http.get(f"{site.url}/reports/mint")
    assert reader.wallet.store.history() == []
    assert reader.http.get(f"{site.url}/articles/wrens").status_code == 200
    assert reader.spent() == 2_000


def test_news__in_earnest__by_farthing_serve(folder: Path) -> None:
    settings = folder / "farthing.toml"
    before, _ = settings.read_text().split("[prices]")
    settings.write_text(f"{before}[prices]\n")
    prices = ("--prices", "examples.news:PRICES")
    with running(folder, *prices, app="examples.news:app") as server:
        assert "The Quarter Penny" in httpx.get(server.url).text
        for path in ("/articles/wrens", "/reports/mint"):
            assert httpx.get(server.url + path).status_code == 402
        assert httpx.get(f"{server.url}/articles/").status_code == 404


def test_news__in_a_browser__says_what_an_article_costs(page: Page) -> None:
    with staying("news") as url:
        page.goto(url)
        expect(page.get_by_role("heading")).to_have_text("The Quarter Penny")
        page.get_by_role("link", name="/articles/farthing").click()
        expect(page.get_by_role("heading")).to_have_text("This page costs 0.002 TUSD")
