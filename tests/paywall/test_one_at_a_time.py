"""One request at a time for each channel, and none twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from farthing.ledger import NotReserved
from farthing.paywall import Limits
from farthing.paywall.reservations import MAX_WAITING, Reservations
from tests.escrow_world import SECOND_PAYER
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, Got, Payer, Shop, decoded, run

PAYER = Payer()
HEADER = PAYER.header(CHEAP)


class Gate:
    """A handler that waits, and tells how many are in it."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.inside = self.most = 0
        shop.handler.handler = self.handler

    async def handler(self, scope: Any, receive: Any, send: Any) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.entered.set()
        await self.open.wait()
        self.inside -= 1
        await self._shop.handler.answer(scope, receive, send)


async def turns(number: int = 50) -> None:
    """Lets everything that is ready go on."""
    for _ in range(number):
        await asyncio.sleep(0)


def test_identical_requests__at_once__served_once_and_answered_alike(any_shop: Shop) -> None:
    async def scenario() -> list[Got]:
        gate = Gate(any_shop)
        asked = [asyncio.create_task(any_shop.get("/cheap", HEADER)) for _ in range(60)]
        await gate.entered.wait()
        await turns()
        assert gate.inside == 1
        gate.open.set()
        return await asyncio.gather(*asked)

    first, *others = run(scenario())
    assert first.status == 200
    assert all(other == first for other in others)
    assert any_shop.served == 1
    assert any_shop.charged(PAYER) == CHEAP


def test_requests_of_one_channel__at_once__one_after_the_other(any_shop: Shop) -> None:
    async def scenario() -> list[Got]:
        gate = Gate(any_shop)
        headers = [PAYER.header(number * CHEAP) for number in range(1, 6)]
        asked = []
        for header in headers:
            asked.append(asyncio.create_task(any_shop.get("/cheap", header)))
            await turns(1)
        gate.open.set()
        answers = await asyncio.gather(*asked)
        assert gate.most == 1
        return answers

    assert [got.status for got in run(scenario())] == [200] * 5
    assert any_shop.charged(PAYER) == 5 * CHEAP


def test_requests_of_two_channels__at_once__side_by_side(any_shop: Shop) -> None:
    other = Payer(SECOND_PAYER)
    any_shop.open_channel(other)

    async def scenario() -> list[Got]:
        gate = Gate(any_shop)
        asked = [
            asyncio.create_task(any_shop.get("/cheap", payer.header(CHEAP)))
            for payer in (PAYER, other)
        ]
        while gate.inside < 2:
            await asyncio.sleep(0)
        gate.open.set()
        return await asyncio.gather(*asked)

    assert [got.status for got in run(scenario())] == [200, 200]


def test_request__that_waited_too_long__told_that_the_channel_is_busy(open_shop: OpenShop) -> None:
    shop = open_shop(limits=Limits(wait_seconds=0))
    shop.open_channel(PAYER)

    async def scenario() -> tuple[Got, Got]:
        gate = Gate(shop)
        asked = asyncio.create_task(shop.get("/cheap", HEADER))
        await gate.entered.wait()
        refused = await shop.get("/cheap", HEADER)
        gate.open.set()
        return await asked, refused

    served, refused = run(scenario())
    assert served.status == 200
    assert (refused.status, refused.error) == (402, "channel_busy")
    assert (shop.served, shop.charged(PAYER)) == (1, CHEAP)


def test_requests__more_than_may_wait__the_rest_is_told_at_once(shop: Shop) -> None:
    async def scenario() -> list[Got]:
        gate = Gate(shop)
        asked = [asyncio.create_task(shop.get("/cheap", HEADER)) for _ in range(MAX_WAITING + 6)]
        await gate.entered.wait()
        await turns()
        assert sum(each.done() for each in asked) == 5
        gate.open.set()
        return await asyncio.gather(*asked)

    answers = run(scenario())
    assert sorted(got.status for got in answers) == [200] * (MAX_WAITING + 1) + [402] * 5
    assert (shop.served, shop.charged(PAYER)) == (1, CHEAP)


def test_requests__that_gave_up_waiting__take_no_place_in_the_line(any_shop: Shop) -> None:
    async def scenario() -> Got:
        gate = Gate(any_shop)
        first = asyncio.create_task(any_shop.get("/cheap", HEADER))
        await gate.entered.wait()
        gone = [asyncio.create_task(any_shop.get("/cheap", HEADER)) for _ in range(MAX_WAITING)]
        await turns()
        for each in gone:
            each.cancel()
        await asyncio.wait(gone)
        last = asyncio.create_task(any_shop.get("/cheap", HEADER))
        await turns()
        assert not last.done()
        gate.open.set()
        assert (await first) == (await last)
        return await last

    assert run(scenario()).status == 200


def test_handler__slower_than_its_reservation__whoever_is_first_is_charged(
    any_ledger_shop: Shop,
) -> None:
    shop = any_ledger_shop

    async def scenario() -> tuple[Got, Got]:
        gate = Gate(shop)
        slow = asyncio.create_task(shop.get("/cheap", HEADER))
        await gate.entered.wait()
        # The sweep finds it expired, and the next request goes on.
        shop.handler.handler = shop.handler.answer
        fast = await shop.get("/cheap", HEADER)
        gate.open.set()
        return await slow, fast

    unpaid = run(shop.get("/cheap"))
    slow, fast = run(scenario())
    assert fast.status == 200
    assert (slow.status, slow.error) == (402, "channel_busy")
    assert slow.json["reason"] == "another request of this channel went first: retry"
    assert slow.header("retry-after") == "1"
    # It is asked for the same once more.
    required = decoded(unpaid.header("payment-required"))
    required["error"] = slow.json["error"]
    assert decoded(slow.header("payment-required")) == required
    assert not slow.has("payment-response")
    assert shop.charged(PAYER) == CHEAP
    assert shop.paywall.counts["overtaken"] == 1
    # And repeated it gets what the other got.
    assert run(shop.get("/cheap", HEADER)) == fast


@pytest.fixture
def any_ledger_shop(any_shop: Shop) -> Shop:
    """A shop whose reservations expire at the next sweep."""
    any_shop.paywall.books.reservations._hold = 0
    return any_shop


def test_two_shops__on_one_ledger__keep_each_other_out(open_shop: OpenShop) -> None:
    one, other = (open_shop(limits=Limits(wait_seconds=0)) for _ in range(2))
    one.open_channel(PAYER)

    async def scenario() -> tuple[Got, Got, Got]:
        gate = Gate(one)
        asked = asyncio.create_task(one.get("/cheap", HEADER))
        await gate.entered.wait()
        refused = await other.get("/cheap", HEADER)
        gate.open.set()
        return await asked, refused, await other.get("/cheap", HEADER)

    served, refused, repeated = run(scenario())
    assert refused.error == "channel_busy"
    assert repeated == served
    assert (one.served, other.served) == (1, 0)


def test_reservation__remote_and_declined__nobody_elses_is_given_back(any_shop: Shop) -> None:
    """A client goes while the ledger says that another worker has the channel."""

    async def scenario() -> None:
        paywall, ledger = any_shop.paywall, any_shop.ledger
        released: list[bytes] = []
        busy = {"left": 1}

        def reserve(channel_ids: Any) -> list[NotReserved]:
            busy["left"] -= 1
            return [NotReserved.BUSY for _ in channel_ids]

        ledger.is_local = False
        reservations = Reservations(ledger, reserve, paywall.books._thread, 5, 60)
        reservations._release._work = lambda ids: [released.extend(ids) for _ in ids]
        asked = asyncio.create_task(reservations.take(PAYER.channel_id))
        await turns(3)
        asked.cancel()
        await asyncio.wait({asked})
        while busy["left"] > 0:
            await asyncio.sleep(0)
        await turns()
        await asyncio.get_running_loop().run_in_executor(paywall.books._thread, int)
        await turns()
        assert released == []

    is_local = any_shop.ledger.is_local
    run(scenario())
    any_shop.ledger.is_local = is_local
