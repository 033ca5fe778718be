"""The database fails: a clear 503 and never a 200, and it goes on by itself when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from farthing.ledger import LedgerUnavailable
from tests.escrow_world import World
from tests.paywall.paywall_kit import CHEAP, Payer, Shop, run

PAYER = Payer()
HEADER = PAYER.header(CHEAP)


@contextmanager
def failing(shop: Shop, *names: str, after: bool = False) -> Iterator[None]:
    """These methods of the ledger fail; ``after``, when they have done what they were asked."""
    ledger = shop.ledger
    with pytest.MonkeyPatch.context() as patched:
        for name in names:
            real = getattr(ledger, name)

            def fail(*arguments: Any, real: Any = real) -> None:
                if after:
                    real(*arguments)
                raise LedgerUnavailable("test", "disk full")

            patched.setattr(ledger, name, fail)
        # Whichever way a commit would go here.
        patched.setattr(ledger, "commit_at_once", lambda charges: None)
        # What was made with the ledger keeps its own way to it.
        paywall = shop.paywall
        reservations = paywall.books.reservations
        patched.setattr(reservations, "_reserve_now", lambda names: ledger.reserve(names))
        patched.setattr(reservations._reserve, "_work", lambda names: ledger.reserve(names))
        yield


def unavailable(shop: Shop) -> None:
    got = run(shop.get("/cheap", HEADER))
    assert (got.status, got.json) == (503, {"error": "ledger_unavailable"})
    assert got.has("retry-after")
    assert not got.has("payment-response")


def test_reserve__fails__nothing_is_served(any_shop: Shop) -> None:
    with failing(any_shop, "reserve"):
        for _ in range(3):
            unavailable(any_shop)
    assert any_shop.served == 0
    assert run(any_shop.get("/cheap", HEADER)).status == 200
    assert any_shop.charged(PAYER) == CHEAP


def test_commit__fails__nothing_leaves(any_shop: Shop) -> None:
    with failing(any_shop, "commit"):
        for _ in range(3):
            unavailable(any_shop)
    assert any_shop.charged(PAYER) == 0
    assert run(any_shop.get("/cheap", HEADER)).status == 200
    assert any_shop.charged(PAYER) == CHEAP
    assert any_shop.paywall.counts == {"ledger_unavailable": 3, "paid": 1}


def test_commit__fails_to_say_that_it_was_made__the_answer_is_there_when_asked_again(
    any_shop: Shop,
) -> None:
    with failing(any_shop, "commit", after=True):
        unavailable(any_shop)
    got = run(any_shop.get("/cheap", HEADER))
    assert (got.status, got.body) == (200, b"answer 1")
    assert got.has("payment-response")
    assert any_shop.served == 1
    assert any_shop.charged(PAYER) == CHEAP


def test_commit__fails_in_the_middle_of_a_long_answer__nothing_leaves(any_shop: Shop) -> None:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            part = b"secret" * 100_000
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    any_shop.handler.handler = handler
    with failing(any_shop, "commit"):
        unavailable(any_shop)
    assert any_shop.charged(PAYER) == 0
    assert run(any_shop.get("/cheap", HEADER)).status == 200


def test_answer__fails__nothing_is_served_twice(any_shop: Shop) -> None:
    first = run(any_shop.get("/cheap", HEADER))
    with failing(any_shop, "answer"):
        unavailable(any_shop)
    assert run(any_shop.get("/cheap", HEADER)) == first
    assert any_shop.served == 1


def test_release__fails__the_answer_is_given_and_the_next_is_served(any_shop: Shop) -> None:
    any_shop.ledger.is_local = False
    with failing(any_shop, "release", after=True):
        for number in (1, 2):
            assert run(any_shop.get("/cheap", PAYER.header(number * CHEAP))).status == 200
    assert any_shop.charged(PAYER) == 2 * CHEAP


def test_meeting_a_channel__cannot_be_written_down__nothing_is_served(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    world.deposit(chain_payer.account, 5_000)
    header = chain_payer.header(CHEAP)
    with failing(chain_shop, "mirror"):
        got = run(chain_shop.get("/cheap", header))
        assert (got.status, got.json) == (503, {"error": "ledger_unavailable"})
    assert run(chain_shop.get("/cheap", header)).status == 200


@pytest.mark.parametrize("name", ["find_transaction", "mirror"])
def test_deposit__cannot_be_looked_up__not_sent_and_taken_later(
    chain_shop: Shop, chain_payer: Payer, world: World, name: str
) -> None:
    header = chain_payer.deposit(world, 5_000, CHEAP)
    sent = world.w3.eth.get_transaction_count(world.operator.address)
    with failing(chain_shop, name):
        got = run(chain_shop.get("/cheap", header))
    assert (got.status, got.json) == (503, {"error": "ledger_unavailable"})
    assert chain_shop.served == 0
    assert world.w3.eth.get_transaction_count(world.operator.address) == sent
    assert run(chain_shop.get("/cheap", header)).status == 200
    assert world.w3.eth.get_transaction_count(world.operator.address) == sent + 1


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("find_transaction", "ledger_unavailable"),
        ("enqueue", "ledger_unavailable"),
        ("transaction", "ledger_unavailable"),
        ("take_lease", "ledger_unavailable"),
        ("sign", "rpc_read_failed"),
    ],
)
def test_deposit__cannot_be_written_down__not_sent_and_taken_later(
    chain_shop: Shop,
    chain_payer: Payer,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: str,
) -> None:
    monkeypatch.setattr("farthing.paywall.onchain.WAIT_SECONDS", 0)
    header = chain_payer.deposit(world, 5_000, CHEAP)
    sent = world.w3.eth.get_transaction_count(world.operator.address)
    with monkeypatch.context() as patched:
        patched.setattr(journal(chain_shop), name, unwritable)
        got = run(chain_shop.get("/cheap", header))
    assert got.status == 503
    assert got.json["error"].endswith(error)
    assert chain_shop.served == 0
    assert world.w3.eth.get_transaction_count(world.operator.address) == sent
    monkeypatch.undo()
    assert run(chain_shop.get("/cheap", header)).status == 200
    assert world.w3.eth.get_transaction_count(world.operator.address) == sent + 1
    assert chain_shop.charged(chain_payer) == CHEAP


def test_deposit__confirmed_and_not_written_down__not_sent_again(
    chain_shop: Shop, chain_payer: Payer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = chain_payer.deposit(world, 5_000, CHEAP)
    with monkeypatch.context() as patched:
        patched.setattr("farthing.paywall.onchain.WAIT_SECONDS", 0.5)
        patched.setattr(journal(chain_shop), "move_transaction", unwritable)
        assert run(chain_shop.get("/cheap", header)).status == 503
    sent = world.w3.eth.get_transaction_count(world.operator.address)
    assert world.settlement.channel(chain_payer.channel_id).balance == 5_000
    assert run(chain_shop.get("/cheap", header)).status == 200
    assert world.w3.eth.get_transaction_count(world.operator.address) == sent


def journal(shop: Shop) -> Any:
    """The ledger as the queue of this shop writes to it."""
    chain = shop.paywall.channels.chain
    assert chain is not None
    return chain._ledger


def unwritable(*arguments: Any, **named: Any) -> None:
    raise LedgerUnavailable("test", "disk full")
