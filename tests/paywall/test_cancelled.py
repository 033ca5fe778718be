"""A client that goes away at any moment: charged with its answer kept, or not charged at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from farthing.chain.checked_node import CheckedNode
from farthing.ledger import Charge, open_ledger
from tests.escrow_world import World
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, Payer, Shop, on_chain, run, terms_of

# More turns of the loop than a payment takes; the walk ends by itself when it was not cut short.
MOST = 200
SETTLED = 60


class InTurn(Executor):
    """Does what it is asked at once, so that every run takes the same turns of the loop."""

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*arguments, **named))
        except BaseException as error:
            future.set_exception(error)
        return future


async def cut_short(shop: Shop, header: str, turns: int) -> bool:
    """Asks, and goes away after so many turns; whether it was still waiting."""
    task = asyncio.create_task(shop.get("/cheap", header))
    for _ in range(turns):
        await asyncio.sleep(0)
    is_waiting = not task.done()
    task.cancel()
    await asyncio.wait({task})
    for _ in range(SETTLED):
        await asyncio.sleep(0)
    return is_waiting


def check(shop: Shop, payer: Payer, header: str, before: list[Charge]) -> None:
    """Charged once or not at all; and the same voucher buys exactly one answer after all."""
    made = shop.charges(payer)[len(before) :]
    assert len(made) <= 1
    assert not shop.paywall.books.reservations._held
    assert not shop.paywall.books.reservations._waiting
    served = shop.served
    assert run(shop.get("/cheap", header)).status == 200
    # A charge was kept with its answer: it is not served again.
    assert shop.served == served + (0 if made else 1)
    assert len(shop.charges(payer)) == len(before) + 1


@pytest.mark.parametrize("is_local", [True, False], ids=["local", "remote"])
def test_voucher__its_client_goes_at_every_await__one_charge_or_none(
    open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    for module in ("books", "channels"):
        executor = f"farthing.paywall.{module}.ThreadPoolExecutor"
        monkeypatch.setattr(executor, lambda *_: InTurn())
    shop = open_shop()
    shop.ledger.is_local = is_local
    payer = Payer()
    shop.open_channel(payer, 10**9)

    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        await receive()
        await asyncio.sleep(0)
        await shop.handler.answer(scope, receive, send)

    shop.handler.handler = handler
    outcomes = []
    for turns in range(MOST):
        before = shop.charges(payer)
        header = payer.header(shop.charged(payer) + CHEAP)
        is_waiting = run(cut_short(shop, header, turns))
        outcomes.append(len(shop.charges(payer)) - len(before))
        check(shop, payer, header, before)
        if not is_waiting:
            break
    else:
        pytest.fail("it never ended")
    # It was cut short before the charge, and after.
    assert outcomes[0] == 0 and outcomes[-1] == 1
    assert outcomes == sorted(outcomes)
    assert len(outcomes) > 5


def test_waiting__its_client_goes_at_every_await__the_line_goes_on(
    open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("books", "channels"):
        executor = f"farthing.paywall.{module}.ThreadPoolExecutor"
        monkeypatch.setattr(executor, lambda *_: InTurn())
    shop = open_shop()
    payer = Payer()
    shop.open_channel(payer, 10**9)

    async def scenario(header: str, turns: int) -> bool:
        first = asyncio.create_task(shop.get("/cheap", header))
        gone = asyncio.create_task(shop.get("/cheap", header))
        last = asyncio.create_task(shop.get("/cheap", header))
        for _ in range(turns):
            await asyncio.sleep(0)
        is_waiting = not gone.done()
        gone.cancel()
        answers = await asyncio.gather(first, last)
        assert answers[0].status == 200
        assert answers[0] == answers[1]
        await asyncio.wait({gone})
        return is_waiting

    for turns in range(MOST):
        header = payer.header(shop.charged(payer) + CHEAP)
        served = shop.served
        is_waiting = run(scenario(header, turns))
        assert shop.served == served + 1
        assert not shop.paywall.books.reservations._held
        assert not shop.paywall.books.reservations._waiting
        if not is_waiting:
            return
    pytest.fail("it never ended")


@pytest.mark.parametrize("turns", [*range(0, 12), 15, 20, 40])
def test_deposit__its_client_goes__sent_once_and_usable(
    open_shop: OpenShop, world: World, turns: int
) -> None:
    shop = open_shop(chain=on_chain(world), terms=terms_of(world), domain=world.settlement.domain)
    payer = Payer(terms=terms_of(world), domain=world.settlement.domain)
    header = payer.deposit(world, 5_000, CHEAP)
    nonce = world.w3.eth.get_transaction_count(world.operator.address)

    async def scenario() -> None:
        await cut_short(shop, header, turns)
        # What was begun goes to its end.
        await asyncio.gather(*shop.paywall.books.tasks, return_exceptions=True)
        await asyncio.sleep(0)

    run(scenario())
    check(shop, payer, header, [])
    assert world.settlement.channel(payer.channel_id).balance == 5_000
    assert world.w3.eth.get_transaction_count(world.operator.address) == nonce + 1


def test_close__with_a_deposit_under_way__waits_for_it(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "ledger.db")
    shop = Shop(
        open_ledger(url),
        chain=on_chain(world)(url),
        terms=terms_of(world),
        domain=world.settlement.domain,
    )
    payer = Payer(terms=terms_of(world), domain=world.settlement.domain)

    async def scenario() -> None:
        entered = asyncio.Event()
        loop = asyncio.get_running_loop()
        send = CheckedNode.send

        def sending(node: CheckedNode, raw: bytes, expected: bytes) -> str:
            loop.call_soon_threadsafe(entered.set)
            return send(node, raw, expected)

        monkeypatch.setattr(CheckedNode, "send", sending)
        asked = asyncio.create_task(shop.get("/cheap", payer.deposit(world, 5_000, CHEAP)))
        await entered.wait()
        asked.cancel()
        # The thread that sends still has to write down what became of it.
        await shop.paywall.close()

    run(scenario())
    assert world.settlement.channel(payer.channel_id).balance == 5_000
