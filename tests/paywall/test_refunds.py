"""Refunds: what is left goes back, what was charged does not, and nothing goes twice."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hexbytes import HexBytes

from farthing.chain.sender import TransactionLost, TransactionRefused
from farthing.ledger import LedgerUnavailable
from farthing.paywall.onchain import ATTEMPTS
from tests.escrow_world import FUNDS, World
from tests.paywall.paywall_kit import CHEAP, Got, Payer, Shop, decoded, encoded, run

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

        def slow(channel_id: bytes) -> Any:
            found = real(channel_id)
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


def test_refund__whose_fate_is_unknown__counts_as_gone_until_its_nonce_is_used(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(signed: Any) -> None:
        raise TransactionLost(signed.hash, "nobody knows")

    monkeypatch.setattr("farthing.paywall.channels.LOOK_AGAIN", -1)
    monkeypatch.setattr(world.operator, "broadcast", lost)
    got = refund(chain_shop, payer.refund(0))
    assert (got.status, got.error) == (503, "rpc_read_failed")
    monkeypatch.setattr(
        world.operator, "broadcast", type(world.operator).broadcast.__get__(world.operator)
    )
    # The chain still shows all of the balance, and is asked: the refund may come any time.
    got = run(chain_shop.get("/cheap", payer.header(CHEAP)))
    assert (got.status, got.error) == (402, "cumulative_exceeds_balance")
    # A wrong wish does not make it forgotten.
    assert refund(chain_shop, payer.refund(0, AMOUNT + 1)).error == "refund_amount_invalid"
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 402
    # Asked for again it is sent, for the part that is wanted now.
    assert refund(chain_shop, payer.refund(0, 1_000)).status == 200
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    assert chain_shop.served == 1


def test_refund__that_the_node_refuses__leaves_the_channel_as_it_was(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(signed: Any) -> None:
        raise TransactionRefused(world.operator.address, "no funds")

    with monkeypatch.context() as patched:
        patched.setattr(world.operator, "broadcast", refused)
        got = refund(chain_shop, payer.refund(0))
    assert (got.status, got.error) == (402, "refund_transaction_failed")
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([TransactionRefused("0x", "no funds")] * ATTEMPTS, "refund_transaction_failed"),
        ([TransactionLost(HexBytes(bytes(32)), "nobody knows")], "rpc_read_failed"),
    ],
)
def test_refund__of_less__leaves_an_earlier_one_that_may_still_come(
    chain_shop: Shop,
    payer: Payer,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    errors: list[Exception],
    said: str,
) -> None:
    monkeypatch.setattr("farthing.paywall.channels.LOOK_AGAIN", -1)
    left = [TransactionLost(HexBytes(bytes(32)), "nobody knows"), *errors]

    def fail(signed: Any) -> None:
        raise left.pop(0)

    monkeypatch.setattr(world.operator, "broadcast", fail)
    assert refund(chain_shop, payer.refund(0)).error == "rpc_read_failed"
    assert refund(chain_shop, payer.refund(0, 1_000)).error == said
    assert left == []
    got = run(chain_shop.get("/cheap", payer.header(CHEAP)))
    assert (got.status, got.error) == (402, "cumulative_exceeds_balance")


def test_refund__whose_nonce_went_to_another_process__sent_with_the_next(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = world.operator.broadcast
    refusals = iter([TransactionRefused(world.operator.address, "nonce too low")])

    def refused_once(signed: Any) -> None:
        for refusal in refusals:
            raise refusal
        real(signed)

    monkeypatch.setattr(world.operator, "broadcast", refused_once)
    assert refund(chain_shop, payer.refund(0)).status == 200
    assert world.token.balance_of(payer.account.address) == FUNDS


@pytest.mark.parametrize("name", ["hold_refund", "mirror"])
def test_refund__that_cannot_be_written_down__is_not_sent(
    chain_shop: Shop, payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def unavailable(*arguments: Any) -> None:
        raise LedgerUnavailable("test", "disk full")

    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    with monkeypatch.context() as patched:
        patched.setattr(chain_shop.ledger, name, unavailable)
        got = refund(chain_shop, payer.refund(CHEAP))
    assert (got.status, got.json) == (503, {"error": "ledger_unavailable"})
    assert world.settlement.refund_nonce(payer.channel_id) == 0
    assert refund(chain_shop, payer.refund(CHEAP)).status == 200
