"""Servers that are asked to end while they are at work."""

import asyncio
import threading
from typing import Any

from farthing.ledger import open_ledger
from farthing.paywall import PaywallMiddleware
from farthing.paywall.asgi import Message, Receive, Scope, Send
from tests.crash.books import charges_of
from tests.crash.market import market
from tests.crash.payers import Payer
from tests.crash.shop import Order, paywall_on


def test_terminate__under_load_loses_nothing(ledger_url: str) -> None:
    with market(ledger_url, servers=2) as shop:
        with shop.load() as load:
            for _ in range(5):
                load.until_answers(20)
                shop.places[0].terminate()
                shop.places[0].start(shop.order)
        shop.settle()
        # Every handler that had begun was charged and its answer kept: none ran again.
        assert len(shop.served) == shop.answers


def test_close__answers_what_it_charged(ledger_url: str) -> None:
    ledger = open_ledger(ledger_url)
    payer = Payer(1, [])
    payer.open_channel(ledger)
    begun, may_end = asyncio.Event(), threading.Event()
    commit = ledger.commit

    async def pay_and_close() -> list[int]:
        loop = asyncio.get_running_loop()

        def committing(charges: Any) -> list[bool]:
            loop.call_soon_threadsafe(begun.set)
            assert may_end.wait(30)
            return commit(charges)

        ledger.commit = committing  # type: ignore[method-assign]
        # Also where there is one processor.
        ledger.commit_at_once = lambda charges: None  # type: ignore[method-assign]
        paywall = paywall_on(ledger, Order(ledger_url, ""))
        statuses: list[int] = []
        request = payer.next_request()
        header = (b"payment-signature", request.header.encode())
        scope = {"type": "http", "method": "GET", "path": request.path, "headers": [header]}

        async def send(message: Message) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        asked = PaywallMiddleware(_shop, paywall)(scope, _nothing, send)
        paying = asyncio.create_task(asked)
        await begun.wait()
        may_end.set()
        # The loop does not get to the charge's end before the ledger is closed.
        await paywall.close()
        await asyncio.wait_for(paying, 30)
        return statuses

    assert asyncio.run(pay_and_close()) == [200]
    again = open_ledger(ledger_url)
    assert len(charges_of(again)[payer.channel_id]) == 1
    again.close()


async def _shop(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"page"})


async def _nothing() -> Message:
    return {"type": "http.request"}
