"""Prices with rules, through the paywall: what one payer is charged, and what is left behind."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account

from farthing.ledger import Ledger
from farthing.ledger import Payer as Known
from farthing.paywall import (
    Cap,
    Cashback,
    EarlyAccess,
    FreeQuota,
    Own,
    Pass,
    PayWhatYouWant,
    PerUnit,
    Price,
    RateLimit,
    Tiers,
    VolumeDiscount,
    payment_of,
)
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import Got, Payer, Shop, run

PAYER, LANE, OTHER = Payer(), Payer(salt=1), Payer(Account.from_key("0x" + "5" * 64))
SOON = Pass("monthly", "P30D")
POTIONS = Pass("potions")
PRICES: dict[str, Any] = {
    "/fixed": "0.0001",
    "/quota": Price("0.0001", FreeQuota(2, "P1Y")),
    "/volume": Price("0.000101", VolumeDiscount({2: 10, 4: 25}, "P1Y")),
    "/back": Price("0.0001", Cashback(5)),
    "/ep/{series}/{number}": Price("0.0001", Own("{series}/{number}")),
    "/new/{series}/{number}": Price(
        "0.0003", EarlyAccess(lambda request: 2**40, then="0.0001"), Own("{series}/{number}")
    ),
    "/old": Price("0.0003", EarlyAccess(0, then="0.0001")),
    "/subscribe": Price("0.001", SOON.sold()),
    "/covered": Price("0.0001", SOON.covers(uses=2)),
    "/all": Price("0.0001", SOON.covers()),
    "/shop/potions": Price("0.0005", POTIONS.sold()),
    "/use/potion": Price("0.001", POTIONS.covers(uses=3)),
    "/chat": Price(Tiers("tier", {"bronze": "0.0001", "gold": "0.001"})),
    "/tip": Price(PayWhatYouWant("0.0001", most="0.001")),
    "/metered": Price(PerUnit("0.0000005", most=400), FreeQuota(1, "P1Y")),
    "/capped": Price("0.0001", Cap("0.00025", "P1Y")),
    "/rated": Price("0.0001", RateLimit(2, "P1Y")),
}


@pytest.fixture
def shop(any_ledger: Ledger) -> Any:
    shop = Shop(any_ledger, prices=PRICES)
    for payer in (PAYER, LANE, OTHER):
        shop.open_channel(payer)
    yield shop
    assert shop.ledger.prove() == []
    run(shop.paywall.close())


def pay(shop: Shop, path: str, price: int, payer: Payer = PAYER, query: bytes = b"") -> Got:
    """One paid request."""
    return run(shop.get(path, payer.header(shop.charged(payer) + price, price), query=query))


def amounts(shop: Shop, path: str, price: int, times: int) -> list[int]:
    """What each of several payments is charged."""
    found = []
    for _ in range(times):
        got = pay(shop, path, price)
        assert got.status == 200
        found.append(int(got.paid["extra"]["chargedAmount"]))
    return found


def reasons(shop: Shop, payer: Payer = PAYER) -> list[str]:
    return [charge.reason for charge in shop.charges(payer)]


def settle(shop: Shop) -> None:
    """Waits for what is written beside the requests: one thread at a time may use a ledger."""

    async def settled() -> None:
        shop.paywall.payers.close()
        await shop.paywall.books.settle()

    run(settled())


# ---------------------------------------------------------------- each rule


def test_free_quota__then_the_price(shop: Shop) -> None:
    assert amounts(shop, "/quota", 100, 4) == [0, 0, 100, 100]
    assert reasons(shop) == ["free, 1 of 2", "free, 2 of 2", "", ""]


def test_free_quota__of_another_payer__is_its_own(shop: Shop) -> None:
    assert amounts(shop, "/quota", 100, 3) == [0, 0, 100]
    assert pay(shop, "/quota", 100, OTHER).status == 200
    assert shop.charged(OTHER) == 0


def test_free_quota__over_another_channel__is_the_same(shop: Shop) -> None:
    amounts(shop, "/quota", 100, 2)
    pay(shop, "/quota", 100, LANE)
    assert shop.charged(LANE) == 100


def test_volume_discount__more_for_more__rounded_down(shop: Shop) -> None:
    assert amounts(shop, "/volume", 101, 6) == [101, 101, 90, 90, 75, 75]
    assert reasons(shop)[1:4] == ["", "10 % off", "10 % off"]


def test_cashback__lowers_what_comes_later(shop: Shop) -> None:
    # 5 % of what was charged in money, kept to a hundredth of the smallest unit.
    assert amounts(shop, "/back", 100, 4) == [100, 95, 96, 95]
    assert reasons(shop)[1] == "5 of it from cashback"


def test_own__bought_once__never_charged_again(shop: Shop) -> None:
    assert amounts(shop, "/ep/a/1", 100, 3) == [100, 0, 0]
    assert amounts(shop, "/ep/a/2", 100, 1) == [100]
    assert reasons(shop) == ["bought a/1", "owned", "owned", "bought a/2"]
    found = shop.ledger.entitlements(PAYER.account.address)
    assert [each.entitlement.item for each in found] == ["a/1", "a/2"]
    assert found[0].payer == Known(PAYER.account.address, PAYER.account.address)
    assert found[0].charge == shop.charges(PAYER)[0].id


def test_own__bought_early__is_owned_later(shop: Shop) -> None:
    assert amounts(shop, "/new/a/1", 300, 2) == [300, 0]
    assert amounts(shop, "/ep/a/1", 100, 1) == [0]


def test_own__a_channel_in_anothers_name__owns_nothing_of_it(shop: Shop) -> None:
    """Anybody may open a channel for anybody, with a signer of their own."""
    pay(shop, "/ep/a/1", 100)
    thief = OTHER.with_config(payer=PAYER.account.address)
    shop.open_channel(thief)
    pay(shop, "/ep/a/1", 100, thief)
    assert shop.charged(thief) == 100


def test_own__after_the_program_starts_again(open_shop: OpenShop) -> None:
    first = open_shop(prices=PRICES)
    first.open_channel(PAYER)
    pay(first, "/ep/a/1", 100)
    second = open_shop(prices=PRICES)
    assert amounts(second, "/ep/a/1", 100, 1) == [0]


def test_early_access__costs_what_it_costs_then(shop: Shop) -> None:
    assert run(shop.get("/old")).json["accepts"][0]["amount"] == "100"
    assert run(shop.get("/new/a/1")).json["accepts"][0]["amount"] == "300"


def test_pass__covers_its_uses__then_the_price(shop: Shop) -> None:
    assert amounts(shop, "/covered", 100, 1) == [100]
    assert amounts(shop, "/subscribe", 1_000, 1) == [1_000]
    assert amounts(shop, "/covered", 100, 3) == [0, 0, 100]
    assert amounts(shop, "/all", 100, 2) == [0, 0]
    assert reasons(shop)[1:4] == [
        "bought pass monthly",
        "pass monthly, 1 of 2",
        "pass monthly, 2 of 2",
    ]


def test_pass__bought_again__lasts_longer_and_covers_more(shop: Shop) -> None:
    amounts(shop, "/subscribe", 1_000, 2)
    (found,) = shop.ledger.entitlements(PAYER.account.address)
    assert found.entitlement.until == found.entitlement.since + 60 * 86_400
    assert amounts(shop, "/covered", 100, 5) == [0, 0, 0, 0, 100]


def test_pass__without_end__is_a_stock_to_consume(shop: Shop) -> None:
    amounts(shop, "/shop/potions", 500, 1)
    assert amounts(shop, "/use/potion", 1_000, 4) == [0, 0, 0, 1_000]
    amounts(shop, "/shop/potions", 500, 1)
    assert amounts(shop, "/use/potion", 1_000, 1) == [0]


def test_tiers__the_query_chooses(shop: Shop) -> None:
    assert run(shop.get("/chat", query=b"tier=gold")).json["accepts"][0]["amount"] == "1000"
    pay(shop, "/chat", 100, query=b"tier=bronze")
    assert (shop.charged(PAYER), reasons(shop)) == (100, ["tier bronze"])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (b"", "give 'tier' in the query, one of bronze, gold"),
        (b"tier=lead", "give 'tier' in the query, one of bronze, gold"),
        (b"tier=", "give 'tier' in the query, one of bronze, gold"),
        (b"tier=gold&tier=bronze", "the query has 'tier' twice: give it once"),
        (b"a&" * 100 + b"tier=gold", "the query has more than 100 fields: give fewer"),
    ],
)
def test_tiers__none_of_them__is_said(shop: Shop, query: bytes, said: str) -> None:
    got = run(shop.get("/chat", query=query))
    assert (got.status, got.error, got.json["reason"]) == (400, "request_invalid", said)


@pytest.mark.parametrize(
    ("query", "price"), [(b"", 100), (b"amount=0.0005", 500), (b"amount=0.001", 1_000)]
)
def test_pay_what_you_want__is_what_is_asked(shop: Shop, query: bytes, price: int) -> None:
    assert run(shop.get("/tip", query=query)).json["accepts"][0]["amount"] == str(price)
    pay(shop, "/tip", price, query=query)
    assert shop.charged(PAYER) == price


@pytest.mark.parametrize(
    "amount", [b"0.00009", b"0.0011", b"-1", b"1e3", b"", b"0.0000001", b"0.0005&amount=0.0001"]
)
def test_pay_what_you_want__out_of_bounds__is_said(shop: Shop, amount: bytes) -> None:
    got = run(shop.get("/tip", query=b"amount=" + amount))
    assert (got.status, got.error) == (400, "request_invalid")


def test_per_unit__what_was_used__rounded_down(shop: Shop) -> None:
    async def used(scope: Any, receive: Any, send: Any) -> None:
        payment_of(scope).use(301)
        await shop.handler.answer(scope, receive, send)

    shop.handler.handler = used
    # The first is free, whatever it used.
    assert amounts(shop, "/metered", 200, 2) == [0, 150]
    assert reasons(shop) == ["301 units; free, 1 of 1", "301 units"]


@pytest.mark.parametrize("units", [401, -1, 1.5, True])
def test_per_unit__more_than_the_most__is_the_handlers_fault(shop: Shop, units: Any) -> None:
    async def used(scope: Any, receive: Any, send: Any) -> None:
        payment_of(scope).use(units)

    shop.handler.handler = used
    with pytest.raises(Exception, match="a request uses 0 to 400 units"):
        pay(shop, "/metered", 200)
    assert shop.charges(PAYER) == []


def test_cap__what_would_be_more__is_refused_before_the_handler(shop: Shop) -> None:
    assert amounts(shop, "/capped", 100, 2) == [100, 100]
    got = pay(shop, "/capped", 100)
    assert (got.status, got.error) == (429, "payer_cap_reached")
    assert "0.00005 is left and this may cost 0.0001" in got.json["reason"]
    assert int(got.header("retry-after")) > 0
    settle(shop)
    assert (shop.served, shop.charged(PAYER)) == (2, 200)


def test_rate_limit__too_often__is_refused(shop: Shop) -> None:
    assert amounts(shop, "/rated", 100, 2) == [100, 100]
    got = pay(shop, "/rated", 100)
    assert (got.status, got.error) == (429, "payer_rate_limited")
    settle(shop)
    assert pay(shop, "/rated", 100, OTHER).status == 200
