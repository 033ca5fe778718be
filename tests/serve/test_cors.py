"""Pages of other sites: a browser lets their scripts pay where the settings name them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from tests.escrow_world import PAYER, World
from tests.paywall.site import Reader
from tests.real_server import served
from tests.serve.running import running

# What a client in a page does: it asks, reads what it costs, pays, and reads what it was charged.
ASK = """async ([url, headers]) => {
    try {
        const answer = await fetch(url, {headers})
        return [answer.status, await answer.text(), answer.headers.get("PAYMENT-REQUIRED"),
                answer.headers.get("PAYMENT-RESPONSE")]
    } catch (error) {
        return [0, String(error), null, null]
    }
}"""


async def blank(scope: Any, receive: Any, send: Any) -> None:
    """Another site's page."""
    headers = [(b"content-type", b"text/html"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def allow(folder: Path, origin: str) -> None:
    settings = folder / "farthing.toml"
    table = f'[cors]\nallow_origins = ["{origin}"]\n[limits]'
    settings.write_text(re.sub(r"^\[limits\]", table, settings.read_text(), flags=re.MULTILINE))


def test_cors__a_page_of_a_site_that_is_named__pays(
    folder: Path, node_world: World, page: Page
) -> None:
    with served(blank, "auto") as port:
        allow(folder, f"http://127.0.0.1:{port}")
        with running(folder) as server:
            page.goto(f"http://127.0.0.1:{port}/")
            url = f"{server.url}/articles/one"
            status, _, required, _ = page.evaluate(ASK, [url, {}])
            assert status == 402
            reader = Reader(node_world, PAYER, required)
            header = reader.pay(required, deposit=50_000)
            status, text, _, response = page.evaluate(ASK, [url, header])
            assert (status, text) == (200, "text of /articles/one")
            assert reader.note(response) == 2_000
            # To the browser, localhost is another site.
            page.goto(f"http://localhost:{port}/")
            assert page.evaluate(ASK, [url, {}])[0] == 0


@pytest.mark.parametrize("is_named", [False, True])
def test_cors__leave_to_pay__costs_nothing_and_reaches_no_handler(
    folder: Path, is_named: bool
) -> None:
    if is_named:
        allow(folder, "https://reader.example")
    asking = {
        "origin": "https://reader.example",
        "access-control-request-method": "GET",
        "access-control-request-headers": "payment-signature",
    }
    with running(folder) as server:
        answer = httpx.options(f"{server.url}/articles/one", headers=asking)
        assert answer.status_code == (200 if is_named else 404)
        assert ("access-control-allow-origin" in answer.headers) is is_named
        assert "text of" not in answer.text
