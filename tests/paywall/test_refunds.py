"""Refunds: what is left goes back, what was charged does not, and nothing goes twice."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from farthing.chain.checked_node import CheckedNode
from farthing.chain.connection import NodeUnreachable
from farthing.chain.reverts import InvalidRefundNonce
from farthing.ledger import LedgerUnavailable
from tests.escrow_world import FUNDS, World
from tests.ledger.ledger_samples import next_charge
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import (
    CHEAP,
    Got,
    Payer,
    Shop,
    decoded,
    encoded,
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


def refund(shop: Shop, header: str) -> Got:
    return run(shop.get("/cheap", header))


def test_refund__after_a_payment__the_rest_goes_back(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    got = refund(chain_shop, payer.refund(CHEAP))
    assert got.status == 200
    assert got.json["refunded"] == str(AMOUNT - CHEAP)
    assert got.header("cache-control") == "private, no-store"
    assert got.paid["amount"] == str(AMOUNT - CHEAP)
    assert got.paid["transaction"] == got.json["transaction"]
    assert got.paid["extra"]["channelState"]["refundNonce"] == "1"
    assert world.token.balance_of(payer.account.address) == FUNDS - CHEAP
    # What was charged is claimed in the same transaction.
    assert world.settlement.channel(payer.channel_id).total_claimed == CHEAP
    assert chain_shop.served == 1
    assert chain_shop.charged(payer) == CHEAP


def test_refund__of_a_part__the_rest_can_be_spent(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    assert refund(chain_shop, payer.refund(CHEAP, AMOUNT - 2 * CHEAP)).status == 200
    assert world.settlement.channel(payer.channel_id).balance == 2 * CHEAP
    assert run(chain_shop.get("/cheap", payer.header(2 * CHEAP))).status == 200
    got = run(chain_shop.get("/cheap", payer.header(3 * CHEAP)))
    assert (got.status, got.error) == (402, "cumulative_exceeds_balance")


def test_refund__before_any_payment__all_of_it(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    assert refund(chain_shop, payer.refund(0)).status == 200
    assert world.token.balance_of(payer.account.address) == FUNDS
    got = run(chain_shop.get("/cheap", payer.header(CHEAP)))
    assert (got.status, got.error) == (402, "cumulative_exceeds_balance")


@pytest.mark.parametrize(
    ("amount", "error"),
    [(AMOUNT + 1, "refund_amount_invalid"), (2**128 - 1, "refund_amount_invalid")],
)
def test_refund__of_too_much__refused(
    chain_shop: Shop, payer: Payer, world: World, amount: int, error: str
) -> None:
    got = refund(chain_shop, payer.refund(0, amount))
    assert (got.status, got.error) == (402, error)
    assert world.settlement.refund_nonce(payer.channel_id) == 0
    # The channel is as good as before.
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200


@pytest.mark.parametrize("amount", ["0", "-1", "1e3", "", "\uff11", "1" * 40, 5, None])
def test_refund__of_no_amount__refused(
    chain_shop: Shop, payer: Payer, world: World, amount: Any
) -> None:
    message = payer.message(0, CHEAP, "refund", amount=amount)
    got = refund(chain_shop, encoded(message))
    if amount is None:
        assert got.status == 200
        return
    assert got.status == 402
    assert world.settlement.refund_nonce(payer.channel_id) == 0


def test_refund__when_all_is_spent_or_gone__refused(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    assert refund(chain_shop, payer.refund(0)).status == 200
    got = refund(chain_shop, payer.refund(0))
    assert (got.status, got.error) == (402, "refund_no_balance")
    assert world.settlement.refund_nonce(payer.channel_id) == 1


@pytest.mark.parametrize("ceiling", [0, CHEAP - 1, CHEAP + 1, 2 * CHEAP])
def test_refund__with_a_voucher_of_another_amount__corrected_with_the_routes_price(
    chain_shop: Shop, payer: Payer, world: World, ceiling: int
) -> None:
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    got = refund(chain_shop, payer.refund(ceiling, price=7))
    assert (got.status, got.error) == (402, "cumulative_amount_mismatch")
    (entry,) = decoded(got.header("payment-required"))["accepts"]
    assert entry["amount"] == str(CHEAP)
    assert got.json["reason"] == f"the voucher must be for {CHEAP}"
    assert world.settlement.refund_nonce(payer.channel_id) == 0


def test_refund__by_somebody_else__refused(chain_shop: Shop, payer: Payer, world: World) -> None:
    message = payer.message(0, CHEAP, "refund")
    message["payload"]["voucher"]["signature"] = "0x" + "11" * 65
    assert refund(chain_shop, encoded(message)).error == "voucher_signature"
    assert world.settlement.refund_nonce(payer.channel_id) == 0


def test_refund__without_a_chain__refused(shop: Shop) -> None:
    got = refund(shop, Payer().refund(0))
    assert (got.status, got.error) == (402, "refund_payload")


# ---------------------------------------------------------------- nothing is spent that goes back


def test_refund__while_a_slow_request_is_under_way__that_request_is_not_served(
    chain_shop: Shop, payer: Payer, world: World
) -> None:
    """A request outlives its reservation, a refund gives all back, the request ends."""

    async def scenario() -> Got:
        entered, go_on = asyncio.Event(), asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            entered.set()
            await go_on.wait()
            await chain_shop.handler.answer(scope, receive, send)

        chain_shop.handler.handler = slow
        request = asyncio.create_task(chain_shop.get("/cheap", payer.header(CHEAP)))
        await entered.wait()
        reservations = chain_shop.paywall.books.reservations
        (held,) = reservations._held
        reservations.give(held)  # as the sweep does
        assert (await chain_shop.get("/cheap", payer.refund(0))).status == 200
        go_on.set()
        return await request

    got = run(scenario())
    assert (got.status, got.error) == (402, "channel_busy")
    assert chain_shop.charged(payer) == 0
    assert world.token.balance_of(payer.account.address) == FUNDS


def test_refund__whose_client_goes_away__keeps_the_channel_until_it_is_done(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> Got:
        loop = asyncio.get_running_loop()
        entered = asyncio.Event()
        chain = chain_shop.paywall.channels.chain
        assert chain is not None
        real = chain.mirror
        go_on = threading.Event()

        def slow(*asked: Any) -> Any:
            found = real(*asked)
            loop.call_soon_threadsafe(entered.set)
            go_on.wait()
            return found

        assert (await chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
        monkeypatch.setattr(chain, "mirror", slow)
        going = asyncio.create_task(chain_shop.get("/cheap", payer.refund(CHEAP)))
        await entered.wait()
        going.cancel()
        await asyncio.wait({going})
        paying = asyncio.create_task(chain_shop.get("/cheap", payer.header(2 * CHEAP)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not paying.done()
        go_on.set()
        return await paying

    got = run(scenario())
    assert (got.status, got.error) == (402, "cumulative_exceeds_balance")
    assert world.settlement.channel(payer.channel_id).balance == CHEAP
    assert chain_shop.charged(payer) == CHEAP


def test_refund__whose_fate_is_unknown__counts_as_gone_and_comes(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farthing.paywall.channels.LOOK_AGAIN", -1)
    with monkeypatch.context() as patched:
        patched.setattr("farthing.paywall.onchain.WAIT_SECONDS", 0)
        patched.setattr(CheckedNode, "send", lost)
        for amount in (None, 1_000):
            # As often as it is asked for: there is only one, and nobody knows of it.
            got = refund(chain_shop, payer.refund(0, amount))
            assert (got.status, got.error) == (503, "rpc_read_failed")
        # The chain still shows all of the balance, and is asked: the refund may come any time.
        got = run(chain_shop.get("/cheap", payer.header(CHEAP)))
        assert (got.status, got.error) == (402, "cumulative_exceeds_balance")
    # Asked for again it is seen to its end, as it was signed.
    got = refund(chain_shop, payer.refund(0, 1_000))
    assert (got.status, got.json["refunded"]) == (200, str(AMOUNT))
    assert world.settlement.refund_nonce(payer.channel_id) == 1
    got = run(chain_shop.get("/cheap", payer.header(CHEAP)))
    assert (got.status, got.error) == (402, "cumulative_exceeds_balance")
    assert world.token.balance_of(payer.account.address) == FUNDS
    assert chain_shop.served == 0


def test_refund__on_its_way__no_redeemer_plans_what_it_claims(
    chain_shop: Shop, payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = chain_shop.ledger
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    with monkeypatch.context() as patched:
        patched.setattr("farthing.paywall.onchain.WAIT_SECONDS", 0)
        patched.setattr(CheckedNode, "send", lost)
        assert refund(chain_shop, payer.refund(CHEAP, 1_000)).status == 503
    assert ledger.in_flight() == {payer.channel_id: CHEAP}
    assert refund(chain_shop, payer.refund(CHEAP, 1_000)).status == 200
    # The second one has nothing left to claim, and carries nothing.
    assert refund(chain_shop, payer.refund(CHEAP)).status == 200
    assert [len(ledger.rows(each.id)) for each in ledger.transactions()] == [1, 0]


def lost(*arguments: Any) -> str:
    raise NodeUnreachable("http://127.0.0.1:1", "test")


@pytest.mark.parametrize("step", ["when it is ordered", "before it is signed"])
def test_refund__that_the_chain_would_refuse__leaves_the_channel_as_it_was(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def refused(*arguments: Any) -> None:
        raise InvalidRefundNonce

    name = "estimate" if step == "when it is ordered" else "simulate"
    with monkeypatch.context() as patched:
        patched.setattr(CheckedNode, name, refused)
        got = refund(chain_shop, payer.refund(0))
    assert (got.status, got.error) == (402, "refund_transaction_failed")
    assert world.settlement.refund_nonce(payer.channel_id) == 0
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200


def test_refund__that_failed_on_the_chain__leaves_the_channel_as_it_was(
    open_shop: OpenShop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = on_chain(world, confirmations=0)
    shop = open_shop(chain=chain, terms=terms_of(world), domain=world.settlement.domain)
    with monkeypatch.context() as patched:
        # Too little gas, and nobody finds out before.
        patched.setattr(CheckedNode, "estimate", lambda *arguments: 60_000)
        patched.setattr(CheckedNode, "simulate", lambda *arguments: None)
        got = refund(shop, payer.refund(0))
    assert (got.status, got.error) == (402, "refund_transaction_failed")
    assert run(shop.get("/cheap", payer.header(CHEAP))).status == 200
    # The next has the same nonce.
    assert refund(shop, payer.refund(CHEAP)).status == 200
    assert world.settlement.refund_nonce(payer.channel_id) == 1


def test_refund__that_the_node_fails_before_it_is_ordered__leaves_the_channel_as_it_was(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(CheckedNode, "estimate", lost)
        assert refund(chain_shop, payer.refund(0)).error == "rpc_read_failed"
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    assert refund(chain_shop, payer.refund(CHEAP)).status == 200
    assert world.token.balance_of(payer.account.address) == FUNDS - CHEAP


def test_refund__when_a_charge_went_first__is_not_ordered(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process took the channel while this one had lost its connection."""
    estimate = CheckedNode.estimate

    def late(node: CheckedNode, *arguments: Any) -> int:
        channel = chain_shop.ledger.channel(payer.channel_id)
        assert channel is not None
        assert chain_shop.ledger.commit([next_charge(payer.channel_id, channel.state)]) == [True]
        return estimate(node, *arguments)

    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    with monkeypatch.context() as patched:
        patched.setattr(CheckedNode, "estimate", late)
        got = refund(chain_shop, payer.refund(CHEAP))
    assert (got.status, got.error) == (402, "channel_busy")
    assert chain_shop.ledger.transactions() == []
    assert world.settlement.refund_nonce(payer.channel_id) == 0


@pytest.mark.parametrize("name", ["enqueue", "mirror"])
def test_refund__that_cannot_be_written_down__is_not_sent(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def unavailable(*arguments: Any, **more: Any) -> None:
        raise LedgerUnavailable("test", "disk full")

    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    with monkeypatch.context() as patched:
        patched.setattr(type(chain_shop.ledger), name, unavailable)
        got = refund(chain_shop, payer.refund(CHEAP))
    assert (got.status, got.json) == (503, {"error": "ledger_unavailable"})
    assert world.settlement.refund_nonce(payer.channel_id) == 0
    assert refund(chain_shop, payer.refund(CHEAP)).status == 200
