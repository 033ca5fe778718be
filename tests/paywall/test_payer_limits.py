"""What bounds each payer on all routes, and what is left of a request that is refused or fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from eth_account import Account

from farthing.ledger import ChannelState, Ledger
from farthing.ledger import Payer as Known
from farthing.paywall import (
    Cap,
    FreeQuota,
    Limits,
    Own,
    PayerLimits,
    PayerRule,
    Price,
    Quote,
    RateLimit,
    payers,
    payment_of,
)
from farthing.protocol import ZERO_ADDRESS
from tests.escrow_world import World
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import (
    CHEAP,
    DECIMALS,
    Got,
    Payer,
    Shop,
    on_chain,
    run,
    terms_of,
)

PAYER, OTHER = Payer(), Payer(Account.from_key("0x" + "5" * 64))
LANES = [Payer(salt=salt) for salt in range(8)]
DAY = Cap("0.00025", "P1Y").bind("", DECIMALS)
PRICES: dict[str, Any] = {
    "/cheap": "0.0001",
    "/quota": Price("0.0001", FreeQuota(3, "P1Y")),
    "/own": Price("0.0001", Own("it")),
}


def limited(ledger: Ledger, **limits: Any) -> Shop:
    shop = Shop(ledger, prices=PRICES, limits=Limits(payers=PayerLimits(**limits)))
    for payer in (*LANES, OTHER):
        shop.open_channel(payer)
    return shop


def closed(shop: Shop) -> None:
    """Ends a shop, so that everything is written, and proves its books."""
    shop.paywall.payers.close()
    run(shop.paywall.books.settle())
    assert shop.ledger.prove() == []


def pay(shop: Shop, path: str, payer: Payer = PAYER, charged: int = 0) -> Got:
    return run(shop.get(path, payer.header(charged + CHEAP)))


@pytest.fixture
def ledger(any_ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Any:
    # So that a paywall which does not hurry when it is closed is noticed.
    monkeypatch.setattr(payers, "WRITE_SECONDS", 3_600)
    yield any_ledger
    any_ledger.close()


# ---------------------------------------------------------------- who is denied


@pytest.mark.parametrize("listed", ["payer", "signer"])
def test_deny__whoever_pays_or_signs__is_not_served(ledger: Ledger, listed: str) -> None:
    payer = PAYER.with_config(payer=OTHER.account.address) if listed == "signer" else PAYER
    shop = limited(ledger, denied=frozenset([PAYER.account.address]))
    shop.open_channel(payer)
    for _ in range(3):
        got = pay(shop, "/cheap", payer)
        assert (got.status, got.error) == (403, "payer_denied")
        assert not got.has("payment-response")
    assert pay(shop, "/cheap", OTHER).status == 200
    closed(shop)
    assert (shop.served, shop.charged(payer)) == (1, 0)
    # However many others it pays for, or has sign for it.
    denied = PAYER.account.address
    (row,) = ledger.refusals()
    assert (row.payer, row.route, row.code, row.count) == (
        Known(denied, denied),
        "/cheap",
        "payer_denied",
        3,
    )
    assert shop.paywall.counts["payer_denied"] == 3
    # Its channel is not held.
    assert isinstance(ledger.reserve([payer.channel_id])[0], ChannelState)


def test_deny__a_forged_voucher__counts_for_nobody(ledger: Ledger) -> None:
    shop = limited(ledger, denied=frozenset([PAYER.account.address]))
    forged = Payer(OTHER.account).with_config(
        payer=PAYER.account.address, payer_authorizer=PAYER.account.address
    )
    assert pay(shop, "/cheap", forged).status == 402
    closed(shop)
    assert ledger.refusals() == []


def test_deny__without_an_authorizer__the_payer_is_asked(open_shop: OpenShop, world: Any) -> None:
    terms, domain = terms_of(world), world.settlement.domain
    denied = PayerLimits(frozenset([PAYER.account.address]))
    limits = Limits(contract_payers=True, payers=denied)
    shop = open_shop(chain=on_chain(world), terms=terms, domain=domain, limits=limits)
    payer = Payer(terms=terms, domain=domain).with_config(payer_authorizer=ZERO_ADDRESS)
    shop.open_channel(payer)
    assert run(shop.get("/cheap", payer.header(CHEAP))).status == 403


def test_deny__who_asks_for_a_refund__gets_it(open_shop: OpenShop, world: World) -> None:
    terms, domain = terms_of(world), world.settlement.domain
    payer = Payer(terms=terms, domain=domain)
    first = open_shop(chain=on_chain(world), terms=terms, domain=domain)
    assert run(first.get("/cheap", payer.deposit(world, 5_000, CHEAP))).status == 200
    limits = Limits(payers=PayerLimits(frozenset([PAYER.account.address])))
    shop = open_shop(chain=on_chain(world), terms=terms, domain=domain, limits=limits)
    assert run(shop.get("/cheap", payer.header(2 * CHEAP))).status == 403
    assert run(shop.get("/cheap", payer.refund(CHEAP))).status == 200
    assert world.settlement.channel(payer.channel_id).balance == CHEAP


# ---------------------------------------------------------------- caps on all routes


def test_cap__over_all_routes_and_channels(ledger: Ledger) -> None:
    shop = limited(ledger, rules=(DAY,))
    assert pay(shop, "/cheap").status == 200
    assert pay(shop, "/quota").status == 402
    assert pay(shop, "/own", LANES[1]).status == 200
    got = pay(shop, "/cheap", LANES[2])
    assert (got.status, got.error) == (429, "payer_cap_reached")
    # What costs nothing is within any cap.
    assert pay(shop, "/own", LANES[2]).status == 200
    assert pay(shop, "/cheap", OTHER).status == 200
    closed(shop)
    assert [each.code for each in ledger.refusals()] == ["payer_cap_reached"]


def test_rate_limit__over_all_routes__counts_what_is_free_too(ledger: Ledger) -> None:
    shop = limited(ledger, rules=(RateLimit(2, "P1Y"),))
    assert pay(shop, "/quota").status == 200
    assert pay(shop, "/quota").status == 200
    assert pay(shop, "/cheap", LANES[1]).status == 429
    closed(shop)


def test_cap__of_a_payer_that_has_just_deposited__it_is_told_that_it_did(
    open_shop: OpenShop, world: World
) -> None:
    terms, domain = terms_of(world), world.settlement.domain
    limits = Limits(payers=PayerLimits(rules=(Cap("0.00005", "P1D").bind("", DECIMALS),)))
    shop = open_shop(chain=on_chain(world), terms=terms, domain=domain, limits=limits)
    payer = Payer(terms=terms, domain=domain)
    got = run(shop.get("/cheap", payer.deposit(world, 5_000, CHEAP)))
    assert (got.status, got.error, shop.served) == (429, "payer_cap_reached", 0)
    assert got.paid["extra"]["chargedAmount"] == "0"
    assert got.paid["extra"]["channelState"]["balance"] == "5000"
    closed(shop)
    assert shop.charged(payer) == 0


# ---------------------------------------------------------------- what changes nothing


def test_handler__that_fails__changes_nothing(ledger: Ledger) -> None:
    shop = limited(ledger)

    async def fail(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    shop.handler.handler = fail
    assert pay(shop, "/quota").status == pay(shop, "/own").status == 500
    assert ledger.entitlements() == []
    shop.handler.handler = shop.handler.answer
    for _ in range(3):
        assert pay(shop, "/quota").paid["extra"]["chargedAmount"] == "0"
    closed(shop)


def test_handler__that_charges_nothing__sells_nothing(ledger: Ledger) -> None:
    shop = limited(ledger)

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        payment_of(scope).charge(0)
        await shop.handler.answer(scope, receive, send)

    shop.handler.handler = nothing
    assert pay(shop, "/own").status == 200
    assert ledger.entitlements() == []
    assert [each.reason for each in shop.charges(PAYER)] == ["as used"]
    closed(shop)


def test_voucher__sent_again__changes_nothing(ledger: Ledger) -> None:
    shop = limited(ledger, rules=(RateLimit(2, "P1Y"),))
    first = pay(shop, "/own")
    for _ in range(3):
        assert pay(shop, "/own") == first
    assert shop.served == 1
    assert pay(shop, "/own", charged=CHEAP).paid["extra"]["chargedAmount"] == "0"
    assert pay(shop, "/own", charged=CHEAP).status == 429
    closed(shop)


def test_voucher__that_cost_nothing_and_has_a_name__sent_again_changes_nothing(
    ledger: Ledger,
) -> None:
    shop = limited(ledger)
    first = run(shop.get("/quota", PAYER.header(CHEAP, name="payment-number-1")))
    assert run(shop.get("/quota", PAYER.header(CHEAP, name="payment-number-1"))) == first
    assert (shop.served, len(shop.charges(PAYER))) == (1, 1)
    # For something else it is no repetition, and under another name it is the next one.
    assert (
        run(shop.get("/quota", PAYER.header(CHEAP, name="payment-number-1"), query=b"a")) != first
    )
    assert run(shop.get("/quota", PAYER.header(CHEAP, name="payment-number-2"))) != first
    assert [each.reason for each in shop.charges(PAYER)] == [
        f"free, {number} of 3" for number in (1, 2, 3)
    ]
    closed(shop)


@pytest.mark.parametrize("name", ["too short", "x" * 129, "with blanks and more", 7, None, {}])
def test_voucher__with_a_name_that_is_none__is_as_if_it_had_none(ledger: Ledger, name: Any) -> None:
    shop = limited(ledger)
    header = PAYER.header(CHEAP, name=name) if name else PAYER.header(CHEAP)
    for _ in range(2):
        assert run(shop.get("/quota", header)).status == 200
    assert shop.served == 2
    closed(shop)


def test_voucher__that_was_charged__is_known_whatever_its_name(ledger: Ledger) -> None:
    shop = limited(ledger)
    first = run(shop.get("/cheap", PAYER.header(CHEAP, name="payment-number-1")))
    assert run(shop.get("/cheap", PAYER.header(CHEAP, name="payment-number-2"))) == first
    assert run(shop.get("/cheap", PAYER.header(CHEAP))) == first
    assert shop.served == 1
    closed(shop)


def test_payer__of_a_handler__is_told_with_who_signs(ledger: Ledger) -> None:
    shop = limited(ledger)
    seen: list[tuple[str, str, str]] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        payment = payment_of(scope)
        seen.append((payment.payer, payment.signer, payment.reason))
        await shop.handler.answer(scope, receive, send)

    shop.handler.handler = look
    payer = PAYER.with_config(payer=OTHER.account.address)
    shop.open_channel(payer)
    pay(shop, "/quota", payer)
    assert seen == [(OTHER.account.address, PAYER.account.address, "free, 1 of 3")]
    closed(shop)


def test_rule__that_fails__serves_nothing_and_holds_nobody(ledger: Ledger) -> None:
    class Broken(PayerRule):
        def apply(self, quote: Quote) -> None:
            raise ZeroDivisionError

    shop = Shop(ledger, prices={**PRICES, "/broken": Price("0.0001", Broken())})
    shop.open_channel(PAYER)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            pay(shop, "/broken")
    assert shop.served == 0
    assert pay(shop, "/own").status == 200
    closed(shop)


# ---------------------------------------------------------------- at once


def at_once(shop: Shop, path: str) -> list[Got]:
    async def scenario() -> list[Got]:
        return await asyncio.gather(*(shop.get(path, lane.header(CHEAP)) for lane in LANES))

    return run(scenario())


def test_quota__all_channels_at_once__no_free_use_twice(ledger: Ledger) -> None:
    shop = limited(ledger)
    assert {got.status for got in at_once(shop, "/quota")} == {200}
    assert sum(shop.charged(lane) for lane in LANES) == (len(LANES) - 3) * CHEAP
    closed(shop)


def test_own__all_channels_at_once__is_bought_once(ledger: Ledger) -> None:
    shop = limited(ledger)
    assert {got.status for got in at_once(shop, "/own")} == {200}
    assert sum(shop.charged(lane) for lane in LANES) == CHEAP
    closed(shop)


def test_cap__all_channels_at_once__is_not_exceeded(ledger: Ledger) -> None:
    shop = limited(ledger, rules=(DAY,))
    assert sorted(got.status for got in at_once(shop, "/cheap")) == [200] * 2 + [429] * 6
    closed(shop)
    assert sum(shop.charged(lane) for lane in LANES) == 2 * CHEAP


def test_quota__a_reservation_that_is_lost__the_ledger_decides(ledger: Ledger) -> None:
    """A handler that takes longer than it may loses its payer to another of its requests."""
    shop = limited(ledger)
    for _ in range(2):
        pay(shop, "/quota")
    slow = asyncio.Event()

    async def scenario() -> tuple[Got, Got]:
        async def wait(scope: Any, receive: Any, send: Any) -> None:
            shop.handler.handler = shop.handler.answer
            for held in list(shop.paywall.books.payers._held):
                shop.paywall.books.payers.give(held)
            await slow.wait()
            await shop.handler.answer(scope, receive, send)

        shop.handler.handler = wait
        first = asyncio.create_task(shop.get("/quota", LANES[1].header(CHEAP)))
        while shop.served < 3:
            await asyncio.sleep(0)
        second = await shop.get("/quota", LANES[2].header(CHEAP))
        slow.set()
        return await first, second

    first, second = run(scenario())
    assert (second.status, second.paid["extra"]["chargedAmount"]) == (200, "0")
    assert (first.status, first.error) == (402, "channel_busy")
    assert shop.charges(LANES[1]) == []
    closed(shop)
