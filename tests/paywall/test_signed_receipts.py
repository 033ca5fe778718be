"""Receipts from the paywall: for who asks, right to the unit, and only for what was charged."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from farthing.ledger import Ledger
from farthing.paywall.receipts import LONGEST_REQUEST
from farthing.protocol.proofs import read_given
from farthing.protocol.receipts import EXTENSION, Given, extension
from tests.escrow_world import AUTHORIZER, World
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import BALANCE, CHEAP, TERMS, Got, Payer, Shop, decoded, encoded, run

ASKING = {"extensions": extension({})}
"""As published clients do: what was announced, sent back."""


def asking(payer: Payer, ceiling: int, price: int = CHEAP, **more: Any) -> str:
    return encoded({**payer.message(ceiling, price), **ASKING, **more})


def given(got: Got) -> Given:
    return read_given(base64.b64decode(got.header("payment-response")))


def check(got: Got, shop: Shop, payer: Payer, url: str, method: str = "GET") -> None:
    """The latest charge is what was signed for."""
    found = given(got)
    charge = shop.charges(payer)[-1]
    assert found.signer() == AUTHORIZER.address
    assert found.receipt is not None and found.charge is not None
    receipt, said = found.receipt.said, found.charge.said
    assert (receipt.network, receipt.payer) == (TERMS.network, payer.account.address)
    assert (receipt.url, receipt.issued_at, receipt.transaction) == (url, charge.time, "")
    assert (said.channel_id, said.amount) == (charge.channel_id, charge.amount)
    assert said.total == shop.charged(payer)
    assert (said.method, said.url, said.time) == (method, url, charge.time)
    assert said.request_id == charge.request_id


def test_pay__asking__the_charge_is_signed(shop: Shop) -> None:
    payer = Payer()
    for count in (1, 2):
        got = run(shop.get("/cheap", asking(payer, count * CHEAP), query=b"a=%20"))
        assert got.status == 200
        check(got, shop, payer, "http://test/cheap?a=%20")
    got = run(shop.get("/dear", asking(payer, 2 * CHEAP + 1_000, 1_000), method="HEAD"))
    check(got, shop, payer, "http://test/dear", "HEAD")


def test_pay__without_asking__no_receipt(shop: Shop) -> None:
    got = run(shop.get("/cheap", Payer().header(CHEAP)))
    assert got.status == 200 and "extensions" not in got.paid


def test_pay__at_a_shop_that_gives_none__no_receipt(open_shop: OpenShop) -> None:
    shop = open_shop(receipts="")
    shop.open_channel(Payer())
    assert "extensions" not in run(shop.get("/cheap")).json
    got = run(shop.get("/cheap", asking(Payer(), CHEAP)))
    assert got.status == 200 and "extensions" not in got.paid


@pytest.mark.parametrize("extensions", [None, {}, {"other": 1}, {EXTENSION: None}])
def test_pay__with_other_extensions__no_receipt(shop: Shop, extensions: Any) -> None:
    got = run(shop.get("/cheap", asking(Payer(), CHEAP, extensions=extensions)))
    assert got.status == 200 and "extensions" not in got.paid


@pytest.mark.parametrize("asked", [True, {}, "yes", [1], {"info": {"offers": []}}])
def test_pay__asking_in_whatever_words__a_receipt(shop: Shop, asked: Any) -> None:
    got = run(shop.get("/cheap", asking(Payer(), CHEAP, extensions={EXTENSION: asked})))
    check(got, shop, Payer(), "http://test/cheap")


@pytest.mark.parametrize("extensions", [[], "x", 5])
def test_pay__with_extensions_that_are_none__refused(shop: Shop, extensions: Any) -> None:
    got = run(shop.get("/cheap", asking(Payer(), CHEAP, extensions=extensions)))
    assert (got.status, got.error, shop.served) == (402, "voucher_payload", 0)


def test_pay__again_with_the_same_voucher__the_same_receipt(shop: Shop) -> None:
    header = asking(Payer(), CHEAP)
    first = run(shop.get("/cheap", header))
    again = run(shop.get("/cheap", header))
    assert again.headers == first.headers and again.body == first.body
    check(again, shop, Payer(), "http://test/cheap")
    assert len(shop.charges(Payer())) == 1


@pytest.mark.parametrize("amount", [0, 37, CHEAP])
def test_pay__less_than_the_price__what_was_charged_is_signed(shop: Shop, amount: int) -> None:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        scope["farthing.payment"].charge(amount)
        await shop.handler.answer(scope, receive, send)

    shop.handler.handler = handler
    got = run(shop.get("/cheap", asking(Payer(), CHEAP)))
    check(got, shop, Payer(), "http://test/cheap")
    assert shop.charged(Payer()) == amount


def test_pay__for_a_long_answer__signed_too(shop: Shop) -> None:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            body = bytes(shop.paywall.limits.answer_bytes)
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body"})

    shop.handler.handler = handler
    check(run(shop.get("/cheap", asking(Payer(), CHEAP))), shop, Payer(), "http://test/cheap")


def test_pay__a_handler_that_fails__no_receipt(shop: Shop) -> None:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body"})

    shop.handler.handler = handler
    got = run(shop.get("/cheap", asking(Payer(), CHEAP)))
    assert got.status == 500 and not got.has("payment-response")


def test_pay__overtaken_by_another_charge__no_receipt_leaves(shop: Shop) -> None:
    payer = Payer()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        # The hold is over, and another request of this channel was charged meanwhile.
        for reservation in list(shop.paywall.books.reservations._held):
            shop.paywall.books.reservations.give(reservation)
        shop.handler.handler = shop.handler.answer
        assert (await shop.get("/dear", asking(payer, 1_000, 1_000))).status == 200
        await shop.handler.answer(scope, receive, send)

    shop.handler.handler = slow
    got = run(shop.get("/cheap", asking(payer, CHEAP)))
    assert (got.status, got.error) == (402, "channel_busy")
    assert not got.has("payment-response")


def test_pay__a_request_longer_than_a_header_carries__paid_without_receipt(shop: Shop) -> None:
    base = len("GET" + "http://test/cheap?")
    for length, has_receipt in ((LONGEST_REQUEST, True), (LONGEST_REQUEST + 1, False)):
        query = b"a" * (length - base)
        ceiling = shop.charged(Payer()) + CHEAP
        got = run(shop.get("/cheap", asking(Payer(), ceiling), query=query))
        assert got.status == 200
        assert ("extensions" in got.paid) is has_receipt
        assert len(got.header("payment-response")) < 16_384


def test_refuse__an_announcement_too(shop: Shop) -> None:
    """What a client sends back is what it was told last."""
    got = run(shop.get("/cheap", asking(Payer(), 2 * CHEAP)))
    assert got.status == 402
    assert decoded(got.header("payment-required"))["extensions"] == extension({})


@pytest.mark.parametrize(
    ("methods", "is_announced"),
    [(("eip3009", "permit2"), True), (("permit2", "eip3009"), False), (("permit2",), False)],
)
def test_announce__not_where_permit2_comes_first_and_given_all_the_same(
    open_shop: OpenShop, methods: tuple[str, ...], is_announced: bool
) -> None:
    """A published client would break there; see `Offers`."""
    terms = replace(TERMS, transfer_methods=methods)
    shop = open_shop(terms=terms)
    shop.open_channel(Payer())
    assert ("extensions" in run(shop.get("/cheap")).json) is is_announced
    check(run(shop.get("/cheap", asking(Payer(), CHEAP))), shop, Payer(), "http://test/cheap")


def test_announce__not_unless_it_is_wished_and_given_all_the_same(open_shop: OpenShop) -> None:
    shop = open_shop(receipts="to who asks")
    shop.open_channel(Payer())
    assert "extensions" not in run(shop.get("/cheap")).json
    check(run(shop.get("/cheap", asking(Payer(), CHEAP))), shop, Payer(), "http://test/cheap")


def test_refund__no_receipt(chain_shop: Shop, chain_payer: Payer, world: World) -> None:
    paid = run(chain_shop.get("/cheap", chain_payer.deposit(world, BALANCE, CHEAP)))
    assert paid.status == 200
    wish = {**chain_payer.message(CHEAP, CHEAP, "refund"), **ASKING}
    got = run(chain_shop.get("/cheap", encoded(wish)))
    assert got.status == 200 and "extensions" not in got.paid


def test_deposit__asking__the_charge_is_signed_with_it(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    wish = {**decoded(chain_payer.deposit(world, BALANCE, CHEAP)), **ASKING}
    got = run(chain_shop.get("/cheap", encoded(wish)))
    assert got.status == 200 and got.paid["transaction"]
    found = given(got)
    assert found.signer() == AUTHORIZER.address
    assert found.charge is not None and found.charge.said.total == CHEAP


def test_receipts__in_either_database(any_shop: Shop, any_ledger: Ledger) -> None:
    header = asking(Payer(), CHEAP)
    first = run(any_shop.get("/cheap", header))
    check(first, any_shop, Payer(), "http://test/cheap")
    assert run(any_shop.get("/cheap", header)).headers == first.headers
