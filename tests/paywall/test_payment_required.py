"""The 402: what it costs and how to pay, for programs and for people."""

import re
import shlex
from dataclasses import replace
from html import unescape

import pytest

from farthing.protocol.receipts import extension
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import (
    CHEAP,
    DOMAIN,
    TERMS,
    Payer,
    Shop,
    call,
    decoded,
    http_scope,
    run,
)

BROWSER = [(b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8")]


def test_ask__without_payment__the_header_and_the_body_say_the_same(shop: Shop) -> None:
    got = run(shop.get("/cheap", query=b"a=1&b=%20"))
    assert got.status == 402
    assert got.header("content-type") == "application/json"
    assert got.header("cache-control") == "no-store"
    assert decoded(got.header("payment-required")) == got.json
    assert got.json == {
        "x402Version": 2,
        "error": "Payment required",
        "resource": {"url": "http://test/cheap?a=1&b=%20"},
        "accepts": [
            {
                "scheme": "batch-settlement",
                "network": f"eip155:{DOMAIN.chain_id}",
                "amount": str(CHEAP),
                "asset": TERMS.token,
                "payTo": TERMS.receiver,
                "maxTimeoutSeconds": 60,
                "extra": {
                    "receiverAuthorizer": TERMS.receiver_authorizer,
                    "withdrawDelay": TERMS.withdraw_delay,
                    "name": "USD Coin",
                    "version": "2",
                    "assetTransferMethod": "eip3009",
                    "minDeposit": "1000",
                },
            }
        ],
        "extensions": extension({}),
    }
    assert shop.served == 0
    assert shop.paywall.counts == {"unpaid": 1}


def test_ask__two_ways_to_deposit__one_entry_for_each(open_shop: OpenShop) -> None:
    shop = open_shop(terms=replace(TERMS, transfer_methods=("eip3009", "permit2")))
    entries = run(shop.get("/cheap")).json["accepts"]
    assert [each["extra"].pop("assetTransferMethod") for each in entries] == ["eip3009", "permit2"]
    assert entries[0] == entries[1]


def test_ask__by_a_browser__a_page_with_the_price(shop: Shop) -> None:
    got = run(shop.get("/cheap", headers=BROWSER))
    assert got.status == 402
    assert got.header("content-type") == "text/html; charset=utf-8"
    page = got.body.decode()
    for shown in ("0.0001 USDC", "http://test/cheap", TERMS.receiver, TERMS.network, TERMS.token):
        assert shown in page
    assert decoded(got.header("payment-required"))["accepts"]
    assert shop.served == 0


@pytest.mark.parametrize(
    ("path", "deposit"),
    # A deposit has to hold the price too.
    [("/cheap", "0.001 USDC"), ("/dear", "0.001 USDC"), ("/dearest", "0.25 USDC")],
)
def test_page__says_how_much_is_deposited_at_least(
    open_shop: OpenShop, path: str, deposit: str
) -> None:
    shop = open_shop(prices={"/cheap": "0.0001", "/dear": "0.001", "/dearest": "0.25"})
    page = run(shop.get(path, headers=BROWSER)).body.decode()
    assert f"into escrow once, {deposit} or more," in page
    assert f"<dt>Minimum deposit</dt><dd>{deposit}</dd>" in page


@pytest.mark.parametrize("query", [b"", b"a=1&b=%20", b"a=';reboot;$(reboot)`reboot`\"<b>&$url"])
def test_page__has_a_command_that_pays(shop: Shop, query: bytes) -> None:
    """The shell takes the address for one word, whatever is in it."""
    page = run(shop.get("/cheap", headers=BROWSER, query=query)).body.decode()
    (command,) = re.findall("<pre>(farthing .*?)</pre>", page)
    assert not re.search("[<>'\"]", command)
    url = "http://test/cheap" + (f"?{query.decode()}" if query else "")
    assert shlex.split(unescape(command)) == ["farthing", "wallet", "get", url]


def test_page__with_markup_in_the_address__it_is_escaped(shop: Shop) -> None:
    query = b"q=<script>alert('1')</script>\"&$url"
    got = run(shop.get("/cheap", headers=BROWSER, query=query))
    page = got.body.decode()
    assert "<script" not in page and "'1'" not in page
    assert "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&quot;&amp;$url" in page


def test_page__with_a_hostile_host__it_is_escaped(shop: Shop) -> None:
    scope = http_scope("/cheap", headers=BROWSER)
    scope["headers"][0] = (b"host", b"<b>\xff")
    page = run(call(shop.app, scope)).body.decode()
    assert "<b>" not in page and "&lt;b&gt;\xff" in page


def test_ask__head__the_status_without_a_body(shop: Shop) -> None:
    got = run(shop.get("/cheap", method="HEAD"))
    assert (got.status, got.body) == (402, b"")
    assert int(got.header("content-length")) > 0


def test_ask__for_what_costs_nothing__it_is_served(shop: Shop) -> None:
    got = run(shop.get("/about"))
    assert (got.status, got.body) == (200, b"answer 1")
    assert not got.has("payment-response")
    assert shop.charges(Payer()) == []


@pytest.mark.parametrize("price", [0, "free", "0"])
def test_ask__when_the_function_says_free__it_is_served(open_shop: OpenShop, price: object) -> None:
    shop = open_shop(prices={"/x": lambda request: price})
    assert run(shop.get("/x")).status == 200


@pytest.mark.parametrize("price", [-1, 2**128, True, None, 0.5, "1e3", "0.0000001", b"1"])
def test_ask__when_the_function_gives_no_price__nothing_is_given_away(
    open_shop: OpenShop, price: object
) -> None:
    shop = open_shop(prices={"/x": lambda request: price})
    got = run(shop.get("/x"))
    assert (got.status, got.json) == (500, {"error": "price_unavailable"})
    assert shop.served == 0


def test_ask__when_the_function_raises__nothing_is_given_away(open_shop: OpenShop) -> None:
    shop = open_shop(prices={"/x": lambda request: 1 // 0})
    assert run(shop.get("/x", Payer().header(CHEAP))).status == 500
    assert shop.served == 0


def test_price_function__sees_the_request(open_shop: OpenShop) -> None:
    seen = []

    def price(request: object) -> str:
        seen.append(request)
        return "0.0001"

    shop = open_shop(prices={"GET /a/{b}": price})
    assert run(shop.get("/a/x", query=b"n=2", headers=[(b"x-size", b"big")])).status == 402
    (request,) = seen
    assert (request.method, request.path, request.query) == ("GET", "/a/x", b"n=2")  # type: ignore[attr-defined]
    assert request.headers["x-size"] == "big"  # type: ignore[attr-defined]
    assert request.parameters == {"b": "x"}  # type: ignore[attr-defined]
