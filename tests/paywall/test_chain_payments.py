"""Deposits on a real chain: credited once confirmed, sent once, and refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.chain.checked_node import CheckedNode
from farthing.chain.fees import FeePolicy
from farthing.chain.settlement import Settlement
from farthing.paywall import Limits
from tests.escrow_world import FUNDS, STRANGER, World
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import (
    CHEAP,
    Payer,
    Shop,
    decoded,
    encoded,
    on_chain,
    run,
    terms_of,
)

AMOUNT = 5_000


def transactions(world: World) -> int:
    return world.w3.eth.get_transaction_count(world.operator.address)


def balance(world: World, payer: Payer) -> int:
    return world.settlement.channel(payer.channel_id).balance


def test_deposit__the_first_payment__credited_and_charged(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    got = run(chain_shop.get("/cheap", chain_payer.deposit(world, AMOUNT, CHEAP)))
    assert got.status == 200
    assert balance(world, chain_payer) == AMOUNT
    assert got.paid["amount"] == str(AMOUNT)
    receipt = world.w3.eth.get_transaction_receipt(got.paid["transaction"])
    assert receipt["status"] == 1
    assert got.paid["extra"]["channelState"]["balance"] == str(AMOUNT)
    assert got.paid["extra"]["chargedAmount"] == str(CHEAP)
    assert run(chain_shop.get("/cheap", chain_payer.header(2 * CHEAP))).status == 200
    assert chain_shop.charged(chain_payer) == 2 * CHEAP


def test_deposit__a_top_up__adds(chain_shop: Shop, chain_payer: Payer, world: World) -> None:
    assert run(chain_shop.get("/cheap", chain_payer.deposit(world, AMOUNT, CHEAP))).status == 200
    header = chain_payer.deposit(world, AMOUNT, 2 * CHEAP, salt=1)
    assert run(chain_shop.get("/cheap", header)).status == 200
    assert balance(world, chain_payer) == 2 * AMOUNT


def test_deposit__the_same_payload_again__sent_and_charged_once(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    header = chain_payer.deposit(world, AMOUNT, CHEAP)
    first = run(chain_shop.get("/cheap", header))
    sent = transactions(world)
    assert run(chain_shop.get("/cheap", header)) == first
    assert transactions(world) == sent
    assert (chain_shop.served, chain_shop.charged(chain_payer)) == (1, CHEAP)


def test_deposit__when_the_handler_fails__told_and_not_sent_again(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"sorry"})

    header = chain_payer.deposit(world, AMOUNT, CHEAP)
    chain_shop.handler.handler = failing
    got = run(chain_shop.get("/cheap", header))
    assert (got.status, got.body) == (500, b"sorry")
    assert got.paid["amount"] == str(AMOUNT) and got.paid["extra"]["chargedAmount"] == "0"
    sent = transactions(world)
    chain_shop.handler.handler = chain_shop.handler.answer
    assert run(chain_shop.get("/cheap", header)).status == 200
    assert transactions(world) == sent
    assert chain_shop.charged(chain_payer) == CHEAP


def test_deposit__with_a_voucher_that_does_not_fit__corrected_before_money_moves(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    got = run(chain_shop.get("/cheap", chain_payer.deposit(world, AMOUNT, CHEAP + 1)))
    assert (got.status, got.error) == (402, "cumulative_amount_mismatch")
    assert balance(world, chain_payer) == 0
    # Nor is a channel written down that cost nobody anything.
    assert chain_shop.ledger.totals().channels == 0


@pytest.mark.parametrize(
    ("cap", "status", "error"),
    [(None, 402, "cumulative_exceeds_balance"), (1_999, 503, "exposure_cap_reached")],
)
def test_deposit__that_would_not_be_served__is_not_sent(
    open_shop: OpenShop,
    chain_payer: Payer,
    world: World,
    cap: int | None,
    status: int,
    error: str,
) -> None:
    shop = open_shop(
        prices={"/dearer": "0.002"},
        chain=on_chain(world),
        terms=terms_of(world),
        domain=world.settlement.domain,
        limits=Limits(exposure_cap=cap),
    )
    amount = 1_999 if cap is None else AMOUNT
    header = chain_payer.deposit(world, amount, 2_000, price=2_000)
    sent = transactions(world)
    got = run(shop.get("/dearer", header))
    assert (got.status, got.error) == (status, error)
    assert transactions(world) == sent


def test_deposit__below_the_least__refused(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    got = run(chain_shop.get("/cheap", chain_payer.deposit(world, 999, CHEAP)))
    assert (got.status, got.error) == (402, "deposit_below_min_deposit")
    assert balance(world, chain_payer) == 0
    assert chain_shop.ledger.channel(chain_payer.channel_id) is None


def test_deposit__of_more_than_the_payer_has__refused(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    got = run(chain_shop.get("/cheap", chain_payer.deposit(world, FUNDS + 1, CHEAP)))
    assert (got.status, got.error) == (402, "deposit_simulation_failed")
    assert chain_shop.served == 0
    assert chain_shop.ledger.channel(chain_payer.channel_id) is None


def test_deposit__signed_by_another__refused(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    header = chain_payer.deposit(world, AMOUNT, CHEAP, signer=STRANGER)
    got = run(chain_shop.get("/cheap", header))
    assert (got.status, got.error) == (402, "deposit_simulation_failed")
    assert chain_shop.served == 0


@pytest.mark.parametrize(
    "authorization", [{}, {"erc3009Authorization": None}, {"permit2Authorization": {}}]
)
def test_deposit__without_an_authorization__refused(
    chain_shop: Shop, chain_payer: Payer, world: World, authorization: Any
) -> None:
    message = decoded(chain_payer.deposit(world, AMOUNT, CHEAP))
    message["payload"]["deposit"]["authorization"] = authorization
    got = run(chain_shop.get("/cheap", encoded(message)))
    assert got.status == 402
    assert chain_shop.served == 0


def test_deposit__with_a_permit2_nobody_takes__asked_for_the_other(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    message = decoded(chain_payer.deposit(world, AMOUNT, CHEAP))
    message["payload"]["deposit"]["authorization"] = {
        "permit2Authorization": {
            "permitted": {"token": world.token.address, "amount": str(AMOUNT)},
            "spender": world.deployment.permit2_collector,
            "nonce": "1",
            "deadline": str(2**40),
            "witness": {"channelId": "0x" + chain_payer.channel_id.hex()},
            "signature": "0x" + "11" * 65,
        }
    }
    got = run(chain_shop.get("/cheap", encoded(message)))
    assert (got.status, got.error) == (402, "erc3009_authorization_required")


def test_deposit__that_reverts_on_the_chain__refused_and_nothing_credited(
    chain_shop: Shop, chain_payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if somebody else had used the authorization after it was looked at.
    monkeypatch.setattr(Settlement, "check_deposit", lambda *arguments: None)
    header = chain_payer.deposit(world, AMOUNT, CHEAP, signer=STRANGER)
    got = run(chain_shop.get("/cheap", header))
    assert (got.status, got.error) == (402, "deposit_transaction_failed")
    assert balance(world, chain_payer) == 0
    assert chain_shop.served == 0
    channel = chain_shop.ledger.channel(chain_payer.channel_id)
    assert channel is not None and channel.state.mirror.balance == 0
    assert run(chain_shop.get("/cheap", chain_payer.header(CHEAP))).error == (
        "cumulative_exceeds_balance"
    )


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("step", ["before it is sent", "after it is sent"])
def test_deposit__crashed_around_the_broadcast__resumed_with_the_same_bytes(
    chain_shop: Shop,
    chain_payer: Payer,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    header = chain_payer.deposit(world, AMOUNT, CHEAP)
    send = CheckedNode.send

    def crash(node: CheckedNode, raw: bytes, expected: bytes) -> str:
        if step == "after it is sent":
            send(node, raw, expected)
        raise Crash

    sent = transactions(world)
    monkeypatch.setattr(CheckedNode, "send", crash)
    with pytest.raises(Crash):
        run(chain_shop.get("/cheap", header))
    monkeypatch.undo()
    assert chain_shop.served == 0
    got = run(chain_shop.get("/cheap", header))
    assert got.status == 200
    assert transactions(world) == sent + 1
    assert balance(world, chain_payer) == AMOUNT
    # Nothing was signed anew.
    (deposit,) = chain_shop.ledger.transactions()
    (attempt,) = chain_shop.ledger.attempts(deposit.id)
    assert got.paid["transaction"] == "0x" + attempt.hash.hex()


def test_deposit__crashed_and_its_nonce_went_to_another__sent_anew(
    open_shop: OpenShop, chain_payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: Any) -> str:
        raise Crash

    chain = on_chain(world, confirmations=0)
    shop = open_shop(chain=chain, terms=terms_of(world), domain=world.settlement.domain)
    header = chain_payer.deposit(world, AMOUNT, CHEAP)
    monkeypatch.setattr(CheckedNode, "send", crash)
    with pytest.raises(Crash):
        run(shop.get("/cheap", header))
    monkeypatch.undo()
    world.operator.forget_nonce()
    world.operator.transact(world.token.plan_mint([STRANGER.address], 1))
    assert run(shop.get("/cheap", header)).status == 200
    assert balance(world, chain_payer) == AMOUNT


def test_deposit__by_two_processes_with_one_key__each_sent_once(
    open_shop: OpenShop, world: World
) -> None:
    options: Any = {
        "chain": on_chain(world),
        "terms": terms_of(world),
        "domain": world.settlement.domain,
    }
    shops = [open_shop(**options), open_shop(**options)]
    sent = transactions(world)
    for number, shop in enumerate(shops * 2):
        payer = Payer(terms=terms_of(world), domain=world.settlement.domain, salt=number)
        header = payer.deposit(world, AMOUNT, CHEAP, salt=number)
        assert run(shop.get("/cheap", header)).status == 200
    assert transactions(world) == sent + 4


@pytest.mark.parametrize("cause", ["no coins", "a low cap"])
def test_deposit__that_cannot_be_sent_now__told_soon_and_sent_later(
    open_shop: OpenShop,
    chain_payer: Payer,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    cause: str,
) -> None:
    monkeypatch.setattr("farthing.paywall.onchain.HELD_UP_SECONDS", 0)
    fees = FeePolicy(cap=1) if cause == "a low cap" else FeePolicy()
    options: Any = {"terms": terms_of(world), "domain": world.settlement.domain}
    shop = open_shop(chain=on_chain(world, fees=fees), **options)
    header = chain_payer.deposit(world, AMOUNT, CHEAP)
    with monkeypatch.context() as patched:
        if cause == "no coins":
            patched.setattr(CheckedNode, "balance", lambda *arguments: 0)
        got = run(shop.get("/cheap", header))
    assert (got.status, got.error) == (503, "rpc_read_failed")
    (waiting,) = shop.ledger.transactions()
    assert waiting.state == "queued"
    assert ("raise the cap" if cause == "a low cap" else "send it coins") in waiting.reason
    shop = open_shop(chain=on_chain(world), **options)
    assert run(shop.get("/cheap", header)).status == 200
    assert balance(world, chain_payer) == AMOUNT


def test_deposit__the_payer_sent_it_itself__seen_when_it_is_needed(
    chain_shop: Shop, chain_payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(chain_shop.get("/cheap", chain_payer.deposit(world, 1_000, CHEAP))).status == 200
    assert run(chain_shop.get("/dear", chain_payer.header(1_100, 1_000))).error == (
        "cumulative_exceeds_balance"
    )
    world.operator.forget_nonce()
    world.deposit(chain_payer.account, AMOUNT, salt=9)
    monkeypatch.setattr("farthing.paywall.channels.LOOK_AGAIN", 0)
    assert run(chain_shop.get("/dear", chain_payer.header(1_100, 1_000))).status == 200


def test_voucher__of_a_channel_only_the_chain_knows__taken(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    world.deposit(chain_payer.account, AMOUNT)
    assert run(chain_shop.get("/cheap", chain_payer.header(CHEAP))).status == 200


def test_voucher__of_a_channel_nobody_knows__told_to_deposit(
    chain_shop: Shop, chain_payer: Payer
) -> None:
    got = run(chain_shop.get("/cheap", chain_payer.header(CHEAP)))
    assert (got.status, got.error) == (402, "channel_not_found")
    assert chain_shop.ledger.channel(chain_payer.channel_id) is None
