"""What a handler does: only an answer that succeeded is charged, and it leaves after the charge."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.ledger import NotReserved
from farthing.paywall import Limits
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, Got, Payer, Shop, http_scope, run

PAYER = Payer()
HEADER = PAYER.header(CHEAP)


class Oops(Exception):
    """A handler's own failure."""


def answering(status: int = 200, *parts: bytes, headers: Any = ()) -> Any:
    """A handler that sends its body in these parts, and one at least."""

    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [*headers]})
        for number, part in enumerate(parts or (b"",), 1):
            more = number < len(parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})

    return handler


async def raises_at_once(scope: Any, receive: Any, send: Any) -> None:
    raise Oops


async def raises_after_the_start(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise Oops


async def raises_midway(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise Oops


async def says_nothing(scope: Any, receive: Any, send: Any) -> None:
    """No answer at all."""


async def stops_after_the_start(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def stops_midway(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


def assert_unspent(shop: Shop) -> None:
    """Nothing was charged, and the same voucher buys an answer now."""
    assert shop.charged(PAYER) == 0
    shop.handler.handler = shop.handler.answer
    assert run(shop.get("/cheap", HEADER)).status == 200
    assert shop.charged(PAYER) == CHEAP


@pytest.mark.parametrize("status", [400, 401, 402, 404, 422, 500, 503])
def test_handler__that_answers_with_a_failure__is_not_charged(any_shop: Shop, status: int) -> None:
    any_shop.handler.handler = answering(status, b"sor", b"ry", headers=[(b"x-a", b"b")])
    got = run(any_shop.get("/cheap", HEADER))
    assert (got.status, got.body, got.header("x-a")) == (status, b"sorry", "b")
    assert not got.has("payment-response")
    assert_unspent(any_shop)


@pytest.mark.parametrize("handler", [raises_at_once, raises_after_the_start, raises_midway])
def test_handler__that_raises__is_not_charged_and_nothing_was_sent(
    shop: Shop, handler: Any
) -> None:
    shop.handler.handler = handler
    sent: list[Any] = []

    async def go() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        scope = http_scope("/cheap", headers=[(b"payment-signature", HEADER.encode())])
        await shop.app(scope, None, send)

    with pytest.raises(Oops):
        run(go())
    assert sent == []
    assert_unspent(shop)


def test_answer__that_cannot_be_told__is_not_charged_and_holds_nobody(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any) -> None:
        raise Oops

    with monkeypatch.context() as patched:
        patched.setattr(shop.paywall._outcomes, "told", fails)
        with pytest.raises(Oops):
            run(shop.get("/cheap", HEADER))
    assert_unspent(shop)


@pytest.mark.parametrize(
    ("handler", "status"),
    [(says_nothing, 0), (stops_after_the_start, 500), (stops_midway, 500)],
)
def test_handler__without_a_whole_answer__is_not_charged(
    shop: Shop, handler: Any, status: int
) -> None:
    shop.handler.handler = handler
    got = run(shop.get("/cheap", HEADER))
    assert (got.status, b"half" in got.body) == (status, False)
    assert_unspent(shop)


@pytest.mark.parametrize("status", [200, 201, 204, 302, 304])
def test_handler__that_succeeds__is_charged(shop: Shop, status: int) -> None:
    shop.handler.handler = answering(status)
    got = run(shop.get("/cheap", HEADER))
    assert got.status == status
    assert got.has("content-length") == (status not in (204, 304))
    assert shop.charged(PAYER) == CHEAP


def test_handler__in_many_parts__one_answer(shop: Shop) -> None:
    shop.handler.handler = answering(200, *[b"x"] * 100)
    got = run(shop.get("/cheap", HEADER))
    assert (got.body, got.header("content-length")) == (b"x" * 100, "100")
    assert run(shop.get("/cheap", HEADER)) == got


def test_handler__with_headers_for_caches__they_are_replaced(shop: Shop) -> None:
    headers = [
        (b"Cache-Control", b"public"),
        (b"CDN-Cache-Control", b"max-age=60"),
        (b"Surrogate-Control", b"max-age=60"),
        (b"Payment-Response", b"mine"),
        (b"x-kept", b"1"),
    ]
    shop.handler.handler = answering(200, b"a", headers=headers)
    got = run(shop.get("/cheap", HEADER))
    names = [name for name, _ in got.headers]
    assert names == ["x-kept", "payment-response", "cache-control", "content-length"]
    assert got.header("cache-control") == "private, no-store"
    assert got.paid["success"] is True


def test_handler__is_not_offered_what_cannot_be_held_back(shop: Shop) -> None:
    seen: list[Any] = []

    async def handler(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["extensions"])
        await shop.handler.answer(scope, receive, send)

    shop.handler.handler = handler
    assert run(shop.get("/cheap", HEADER)).status == 200
    assert seen == [{"tls": {}}]


def test_handler__sends_hints_before_the_answer__they_are_held_back(shop: Shop) -> None:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": []})
        await shop.handler.answer(scope, receive, send)

    shop.handler.handler = handler
    assert run(shop.get("/cheap", HEADER)).status == 200


def test_head__of_an_app_that_sends_a_body__it_is_charged_and_left_out(shop: Shop) -> None:
    got = run(shop.get("/cheap", HEADER, method="HEAD"))
    assert (got.status, got.body, got.header("content-length")) == (200, b"", "8")
    assert shop.charged(PAYER) == CHEAP
    assert run(shop.get("/cheap", HEADER, method="HEAD")) == got


# ---------------------------------------------------------------- longer than is kept


def test_stream__beyond_the_limit__charged_before_the_first_byte_leaves(
    open_shop: OpenShop,
) -> None:
    shop = open_shop(limits=Limits(answer_bytes=10))
    shop.open_channel(PAYER)
    charged: list[int] = []

    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(5):
            part = {"type": "http.response.body", "body": b"12345", "more_body": number < 4}
            await send(part)
            charged.append(shop.charged(PAYER))

    shop.handler.handler = handler
    got = run(shop.get("/cheap", HEADER))
    assert got.body == b"12345" * 5
    assert got.paid["extra"]["chargedAmount"] == str(CHEAP)
    assert charged == [0, 0, CHEAP, CHEAP, CHEAP]
    # It is not kept.
    assert run(shop.get("/cheap", HEADER)).error == "cumulative_amount_mismatch"


@pytest.mark.parametrize("length", [9, 10, 11])
def test_stream__around_the_limit__charged_once(open_shop: OpenShop, length: int) -> None:
    shop = open_shop(limits=Limits(answer_bytes=10))
    shop.open_channel(PAYER)
    shop.handler.handler = answering(200, b"x" * length, b"")
    assert run(shop.get("/cheap", HEADER)).body == b"x" * length
    assert shop.charged(PAYER) == CHEAP
    again: Got = run(shop.get("/cheap", HEADER))
    assert again.status == (200 if length <= 10 else 402)
    assert shop.charged(PAYER) == CHEAP


def test_stream__that_breaks_after_the_charge__stays_charged_and_frees_the_channel(
    open_shop: OpenShop,
) -> None:
    shop = open_shop(limits=Limits(answer_bytes=3))
    shop.open_channel(PAYER)
    shop.handler.handler = raises_midway
    with pytest.raises(Oops):
        run(shop.get("/cheap", HEADER))
    assert shop.charged(PAYER) == CHEAP
    assert shop.ledger.reserve([PAYER.channel_id]) != [NotReserved.BUSY]
