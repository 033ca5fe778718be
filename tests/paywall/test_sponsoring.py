"""What the publisher's key sends for payers, and pays the gas for: so much, and no more."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from farthing.paywall.channels import STRANGERS
from farthing.paywall.pricing.rules import RuleRefused
from farthing.paywall.sponsoring import Sponsoring, SponsorLimits
from farthing.protocol.payments import PaymentRefused
from tests.escrow_world import FUNDS, PAYER, SECOND_PAYER, World
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, Got, Payer, Shop, on_chain, run, terms_of
from tests.paywall.test_chain_view import ago

ALICE, BOB = PAYER.address, SECOND_PAYER.address
AMOUNT = 5_000


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def open_with(open_shop: OpenShop, world: World, **sponsored: int) -> Shop:
    return open_shop(
        chain=on_chain(world, sponsored=SponsorLimits(**sponsored)),
        terms=terms_of(world),
        domain=world.settlement.domain,
    )


def payer_of(world: World, salt: int) -> Payer:
    return Payer(terms=terms_of(world), domain=world.settlement.domain, salt=salt)


def spent(world: World) -> int:
    """Transactions that the publisher's key has sent."""
    return world.w3.eth.get_transaction_count(world.w3.to_checksum_address(world.operator.address))


# ---------------------------------------------------------------- so many an hour


def test_count__more_than_the_hour_allows__told_when(clock: Clock) -> None:
    sponsoring = Sponsoring(SponsorLimits(per_hour=2), clock)
    sponsoring.count(ALICE)
    clock.now += 600
    sponsoring.count(ALICE)
    sponsoring.count(BOB)
    with pytest.raises(RuleRefused) as refused:
        sponsoring.count(ALICE)
    assert (refused.value.code, refused.value.retry_after) == ("too_many_transactions", 3_001)
    clock.now += 3_000
    sponsoring.count(ALICE)
    with pytest.raises(RuleRefused):
        sponsoring.count(ALICE)


def test_count__payers_of_long_ago__are_forgotten(clock: Clock) -> None:
    sponsoring = Sponsoring(SponsorLimits(), clock)
    for number in range(100):
        sponsoring.count(f"payer {number}")
    clock.now += 3_601
    sponsoring.count(ALICE)
    assert list(sponsoring._sent) == [ALICE]


def test_deposits_and_refunds__of_one_payer__counted_together_over_its_channels(
    open_shop: OpenShop, world: World
) -> None:
    shop = open_with(open_shop, world, per_hour=3)
    first, second = payer_of(world, 1), payer_of(world, 2)
    opening = first.deposit(world, AMOUNT, CHEAP)
    assert run(shop.get("/cheap", opening)).status == 200
    assert run(shop.get("/cheap", first.refund(CHEAP))).status == 200
    opened = second.deposit(world, AMOUNT, CHEAP, salt=1)
    assert run(shop.get("/cheap", opened)).status == 200
    before = spent(world)
    for header in (second.refund(CHEAP), payer_of(world, 3).deposit(world, AMOUNT, CHEAP, salt=2)):
        got = run(shop.get("/cheap", header))
        assert (got.status, got.json["error"]) == (429, "too_many_transactions")
        assert int(got.header("retry-after")) > 0
    assert spent(world) == before
    assert shop.ledger.totals().channels == 2
    # What it has in its channel it can still spend, and what was sent is not sent or counted again.
    assert run(shop.get("/cheap", second.header(2 * CHEAP))).status == 200
    assert run(shop.get("/cheap", opening)).status != 429
    other = Payer(SECOND_PAYER, terms_of(world), world.settlement.domain)
    assert run(shop.get("/cheap", other.deposit(world, AMOUNT, CHEAP))).status == 200


# ---------------------------------------------------------------- one balance, many deposits


def test_deposit__more_at_once_than_the_payer_has__one_of_them() -> None:
    sponsoring = Sponsoring(SponsorLimits())
    with ExitStack() as under_way:
        under_way.enter_context(sponsoring.deposit(ALICE, 70, lambda _: 100))
        with (
            pytest.raises(PaymentRefused, match="under way"),
            sponsoring.deposit(ALICE, 31, lambda _: 100),
        ):
            pass
        # Those that do fit go on, and so do others'.
        under_way.enter_context(sponsoring.deposit(ALICE, 30, lambda _: 100))
        under_way.enter_context(sponsoring.deposit(BOB, 100, lambda _: 0))
    with sponsoring.deposit(ALICE, 100, lambda _: 100):
        pass
    assert not sponsoring._depositing


def test_deposits__many_at_once_of_one_balance__none_fails_on_the_chain(
    open_shop: OpenShop, world: World
) -> None:
    shop = open_with(open_shop, world)
    payers = [payer_of(world, number) for number in range(6)]
    before = spent(world)

    async def scenario() -> list[Got]:
        return await asyncio.gather(
            *(
                shop.get("/cheap", payer.deposit(world, FUNDS, CHEAP, salt=payer.salt))
                for payer in payers
            )
        )

    got = run(scenario())
    assert sorted(each.status for each in got) == [200, 402, 402, 402, 402, 402]
    assert spent(world) == before + 1
    assert sum(world.settlement.channel(each.channel_id).balance for each in payers) == FUNDS


# ---------------------------------------------------------------- the last coins


def test_spent__only_where_gas_costs_something() -> None:
    sponsoring = Sponsoring(SponsorLimits(reserve=10))
    assert sponsoring.is_spent(9, lambda: 1)
    assert not sponsoring.is_spent(9, lambda: 0)
    assert not sponsoring.is_spent(10, lambda: 1)


def test_key__with_its_last_coins__sends_nothing_for_payers(
    open_shop: OpenShop, world: World
) -> None:
    shop = open_with(open_shop, world, reserve=2**200)
    payer = payer_of(world, 0)
    before = spent(world)
    got = run(shop.get("/cheap", payer.deposit(world, AMOUNT, CHEAP)))
    assert (got.status, got.error) == (503, "rpc_read_failed")
    assert got.has("retry-after")
    assert shop.ledger.totals().channels == 0
    world.deposit(payer.account, AMOUNT)
    assert run(shop.get("/cheap", payer.header(CHEAP))).status == 200
    got = run(shop.get("/cheap", payer.refund(CHEAP)))
    assert got.status == 503
    assert spent(world) == before + 1, "the deposit beside the shop"


# ---------------------------------------------------------------- who asks without end


def test_strangers__in_any_number__keep_nobody_else_from_the_chain(
    chain_shop: Shop, chain_payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = chain_payer
    world.deposit(known.account, AMOUNT)
    # Its look at the chain has to be waited for.
    chain_shop.open_channel(known, CHEAP - 1, synced_at=ago(10))
    chain: Any = chain_shop.paywall.channels.chain
    real, go_on = chain.mirror, threading.Event()

    def slow(channel_id: bytes, *more: Any) -> Any:
        if channel_id != known.channel_id:
            go_on.wait(60)
        return real(channel_id, *more)

    monkeypatch.setattr(chain, "mirror", slow)
    number = STRANGERS + 20

    async def scenario() -> tuple[Got, list[Got]]:
        asked = [
            asyncio.create_task(chain_shop.get("/cheap", payer_of(world, salt).header(CHEAP)))
            for salt in range(1, 1 + number)
        ]
        try:
            # Who comes when all places are taken is told at once.
            await asyncio.wait_for(asyncio.gather(*asked[STRANGERS:]), 20)
            served = await chain_shop.get("/cheap", known.header(CHEAP))
        finally:
            # Clients that go take their places with them only when the chain has answered.
            for each in asked[:5]:
                each.cancel()
            go_on.set()
        ended = await asyncio.gather(*asked, return_exceptions=True)
        return served, [each for each in ended if isinstance(each, Got)]

    served, strangers = run(scenario())
    assert served.status == 200
    statuses = [each.status for each in strangers]
    assert (statuses.count(503), set(statuses)) == (20, {402, 503})
    # All places are free again.
    assert chain_shop.paywall.channels._asking == 0
    assert run(chain_shop.get("/cheap", payer_of(world, 999).header(CHEAP))).status == 402
