"""What the chain says of a channel, and what the paywall makes of it when it cannot be asked."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from farthing.paywall import Limits
from tests.escrow_world import DELAY, PAYER, RECEIVER, World
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import (
    CHEAP,
    DEAR,
    Got,
    Payer,
    Shop,
    break_chain,
    on_chain,
    run,
    terms_of,
)

AMOUNT = 5_000


@pytest.fixture
def payer(chain_payer: Payer, world: World) -> Payer:
    """The payer, with a channel on chain."""
    world.deposit(chain_payer.account, AMOUNT)
    world.operator.forget_nonce()
    return chain_payer


def ago(seconds: float) -> int:
    """A time in unix milliseconds."""
    return time.time_ns() // 1_000_000 - int(seconds * 1000)


def withdraw(world: World, payer: Payer, amount: int = AMOUNT) -> None:
    world.settlement.initiate_withdraw(world.sender(PAYER), payer.config, amount)


def take(world: World, payer: Payer) -> None:
    """The payer gets what it asked back."""
    world.travel(DELAY + 1)
    world.settlement.finalize_withdraw(world.sender(PAYER), payer.config)


async def looked(shop: Shop) -> None:
    """The looks at the chain that are under way are over."""
    await asyncio.gather(*shop.paywall.channels._looking.values())


# ---------------------------------------------------------------- withdrawals


def test_withdrawal__pending_when_the_channel_is_met__counts_as_gone(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    withdraw(world, payer, AMOUNT - CHEAP)
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    got = run(chain_shop.get("/cheap", payer.header(2 * CHEAP)))
    assert (got.status, got.error) == (402, "cumulative_exceeds_balance")


def test_withdrawal__since_the_last_look__seen_in_the_background(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    withdraw(world, payer)
    limits = chain_shop.paywall.limits
    chain_shop.open_channel(payer, AMOUNT, synced_at=ago(limits.sync_seconds + 1))

    async def scenario() -> tuple[Got, Got]:
        first = await chain_shop.get("/cheap", payer.header(CHEAP))
        assert chain_shop.paywall.channels._looking
        await looked(chain_shop)
        return first, await chain_shop.get("/cheap", payer.header(2 * CHEAP))

    first, second = run(scenario())
    # The withdrawal cannot be through yet, so what was served can be redeemed.
    assert first.status == 200
    assert (second.status, second.error) == (402, "cumulative_exceeds_balance")


def test_mirror__that_is_fresh__nobody_asks_the_chain(
    chain_shop: Shop, payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain_shop.open_channel(payer, AMOUNT)
    break_chain(chain_shop, monkeypatch)
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    assert chain_shop.paywall.counts == {"paid": 1}


def test_withdrawal__that_may_be_through__looked_for_before_anything_is_served(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    withdraw(world, payer)
    take(world, payer)
    chain_shop.open_channel(payer, AMOUNT, synced_at=ago(DELAY))
    got = run(chain_shop.get("/cheap", payer.header(CHEAP)))
    assert (got.status, got.error) == (402, "cumulative_exceeds_balance")
    assert chain_shop.served == 0


def test_many_requests__of_an_old_mirror__one_look_at_the_chain(
    chain_shop: Shop, payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain_shop.open_channel(payer, AMOUNT, synced_at=ago(400))
    chain: Any = chain_shop.paywall.channels.chain
    looks: list[bytes] = []
    real = chain.mirror
    monkeypatch.setattr(chain, "mirror", lambda name: (looks.append(name), real(name))[1])

    async def scenario() -> None:
        for number in range(1, 4):
            got = await chain_shop.get("/cheap", payer.header(number * CHEAP))
            assert got.status == 200
        await looked(chain_shop)

    run(scenario())
    assert len(looks) == 1


def test_look__a_reservation_that_is_lost_meanwhile__nothing_above_the_ceiling(
    chain_shop: Shop, payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The chain has more, so the dear page waits for a look.
    chain_shop.open_channel(payer, DEAR - 1, synced_at=ago(10))
    chain: Any = chain_shop.paywall.channels.chain
    real, looking, go_on = chain.mirror, threading.Event(), threading.Event()

    def slow(*asked: Any) -> Any:
        looking.set()
        go_on.wait(60)
        return real(*asked)

    monkeypatch.setattr(chain, "mirror", slow)

    async def scenario() -> tuple[Got, Got]:
        dear = asyncio.create_task(chain_shop.get("/dear", payer.header(DEAR, DEAR)))
        await asyncio.to_thread(looking.wait, 60)
        reservations = chain_shop.paywall.books.reservations
        # As when it is held too long, or its connection breaks.
        (held,) = reservations._held
        reservations.give(held)
        cheap = await chain_shop.get("/cheap", payer.header(CHEAP))
        go_on.set()
        return cheap, await dear

    cheap, dear = run(scenario())
    assert cheap.status == 200
    assert (dear.status, dear.error) == (402, "channel_busy")
    assert chain_shop.charged(payer) == CHEAP
    # In its turn it is served.
    assert run(chain_shop.get("/dear", payer.header(CHEAP + DEAR, DEAR))).status == 200


# ---------------------------------------------------------------- no node


def test_node_down__within_the_known_balance__served(
    chain_shop: Shop, payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain_shop.open_channel(payer, 2 * CHEAP, synced_at=0)
    break_chain(chain_shop, monkeypatch)
    for number in (1, 2):
        assert run(chain_shop.get("/cheap", payer.header(number * CHEAP))).status == 200
    got = run(chain_shop.get("/cheap", payer.header(3 * CHEAP)))
    assert (got.status, got.error) == (402, "cumulative_exceeds_balance")
    # One look told that the chain does not answer; the others did not wait for it.
    assert chain_shop.paywall.counts["refresh_failed"] == 1


def test_node_back__after_a_while__it_is_asked_again(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdraw(world, payer)
    chain_shop.open_channel(payer, AMOUNT, synced_at=0)
    with monkeypatch.context() as patched:
        break_chain(chain_shop, patched)
        assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    assert run(chain_shop.get("/cheap", payer.header(2 * CHEAP))).status == 200
    chain_shop.paywall.channels._blind_until = 0.0
    assert run(chain_shop.get("/cheap", payer.header(3 * CHEAP))).status == 402


def test_node_down__up_to_the_exposure_cap__served(
    open_shop: OpenShop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = open_shop(
        chain=on_chain(world),
        terms=terms_of(world),
        domain=world.settlement.domain,
        limits=Limits(exposure_cap=2 * CHEAP),
    )
    shop.open_channel(payer, AMOUNT, synced_at=0)
    break_chain(shop, monkeypatch)
    for number in (1, 2):
        assert run(shop.get("/cheap", payer.header(number * CHEAP))).status == 200
    got = run(shop.get("/cheap", payer.header(3 * CHEAP)))
    assert (got.status, got.error) == (503, "exposure_cap_reached")
    assert got.has("retry-after")
    assert shop.charged(payer) == 2 * CHEAP


def test_exposure_cap__after_a_redemption__there_is_room_again(
    open_shop: OpenShop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = open_shop(
        chain=on_chain(world),
        terms=terms_of(world),
        domain=world.settlement.domain,
        limits=Limits(exposure_cap=CHEAP),
    )
    assert run(shop.get("/cheap", payer.header(CHEAP))).status == 200
    assert run(shop.get("/cheap", payer.header(2 * CHEAP))).status == 503
    claim(world, payer, CHEAP)
    monkeypatch.setattr("farthing.paywall.channels.LOOK_AGAIN", 0)
    assert run(shop.get("/cheap", payer.header(2 * CHEAP))).status == 200


@pytest.mark.parametrize("kind", ["deposit", "refund", "unknown"])
def test_node_down__what_needs_the_chain__told_to_come_back(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "unknown":
        header = payer.header(CHEAP)
    else:
        chain_shop.open_channel(payer, AMOUNT)
        deposit = payer.deposit(world, AMOUNT, CHEAP, salt=1)
        header = deposit if kind == "deposit" else payer.refund(0)
    with monkeypatch.context() as patched:
        break_chain(chain_shop, patched)
        got = run(chain_shop.get("/cheap", header))
    assert (got.status, got.error) == (503, "rpc_read_failed")
    assert got.has("retry-after")
    assert chain_shop.served == 0
    # By itself it goes on when the node is back.
    assert run(chain_shop.get("/cheap", header)).status == 200


def test_node_hangs__an_old_mirror_is_good_enough_after_a_while(
    open_shop: OpenShop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = open_shop(
        chain=on_chain(world),
        terms=terms_of(world),
        domain=world.settlement.domain,
        limits=Limits(wait_seconds=0.01),
    )
    shop.open_channel(payer, AMOUNT, synced_at=0)
    answers = threading.Event()
    chain: Any = shop.paywall.channels.chain
    real = chain.mirror
    monkeypatch.setattr(chain, "mirror", lambda name: (answers.wait(), real(name))[1])

    async def scenario() -> Got:
        got = await shop.get("/cheap", payer.header(CHEAP))
        answers.set()
        await looked(shop)
        return got

    assert run(scenario()).status == 200


# ---------------------------------------------------------------- a ledger from an old copy


def claim(world: World, payer: Payer, amount: int) -> None:
    world.settlement.claim(world.sender(RECEIVER), [world.row(PAYER, payer.config, amount)])


def test_restored_ledger__the_chain_claimed_more__refused_until_they_agree(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    claim(world, payer, 3 * CHEAP)
    set_back(chain_shop, payer)
    for header in (payer.header(2 * CHEAP), payer.header(4 * CHEAP), payer.refund(CHEAP)):
        got = run(chain_shop.get("/cheap", header))
        assert (got.status, got.json) == (503, {"error": "ledger_behind"})
    assert chain_shop.served == 1
    assert chain_shop.paywall.counts["ledger_behind"] == 3
    assert world.settlement.refund_nonce(payer.channel_id) == 0


def test_restored_ledger__with_a_mirror_not_that_old__refused_after_the_look(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    claim(world, payer, 3 * CHEAP)
    chain_shop.open_channel(payer, AMOUNT, synced_at=ago(400))

    async def scenario() -> tuple[Got, Got]:
        first = await chain_shop.get("/cheap", payer.header(CHEAP))
        await looked(chain_shop)
        return first, await chain_shop.get("/cheap", payer.header(2 * CHEAP))

    first, second = run(scenario())
    assert first.status == 200
    assert (second.status, second.json) == (503, {"error": "ledger_behind"})


def test_restored_ledger__a_refund__is_not_given(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    claim(world, payer, 3 * CHEAP)
    chain_shop.open_channel(payer, AMOUNT)
    got = run(chain_shop.get("/cheap", payer.refund(0)))
    assert (got.status, got.json) == (503, {"error": "ledger_behind"})
    assert world.settlement.refund_nonce(payer.channel_id) == 0


def test_lost_ledger__a_channel_with_claims__goes_on_from_what_was_claimed(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    claim(world, payer, 3 * CHEAP)
    got = run(chain_shop.get("/cheap", payer.header(CHEAP)))
    assert (got.status, got.error) == (402, "cumulative_amount_mismatch")
    assert run(chain_shop.get("/cheap", payer.header(4 * CHEAP))).status == 200
    (charge,) = chain_shop.charges(payer)
    assert (charge.amount, charge.total) == (CHEAP, 4 * CHEAP)


def set_back(shop: Shop, payer: Payer) -> None:
    """The mirror as an old copy of the ledger has it."""
    writer = shop.ledger._writer  # type: ignore[attr-defined]
    writer.execute("UPDATE channels SET synced_at = ? WHERE channel_id = ?", (0, payer.channel_id))
