"""The clients on real sockets: at our paywall, with a node, and on lines that break."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
import requests

from farthing.protocol.payments import SIGNATURE_HEADER
from farthing.wallet import Budget, BudgetExceeded, OfferRefused, Rules, Store, Wallet
from farthing.wallet.httpx_client import AsyncPayingTransport, PayingTransport
from farthing.wallet.requests_client import BodyNotKept, PayingAdapter
from tests.escrow_world import FUNDS, PAYER, World
from tests.paywall.paywall_kit import CHEAP, Shop, on_chain, terms_of
from tests.wallet.loopback import breaking, serving
from tests.wallet.wallet_kit import DAILY, demand, home_of, open_on

Got: TypeAlias = tuple[int, bytes]
Get: TypeAlias = Callable[[Wallet, str], Got]
RULES = Rules((Budget(100_000, DAILY),), top_up=10_000, lanes=4)


@pytest.fixture
def site(node_world: World, tmp_path: Path) -> Iterator[tuple[Shop, str]]:
    path = tmp_path / "ledger.db"
    chain, terms = on_chain(node_world), terms_of(node_world)
    with serving(path, chain=chain, terms=terms, domain=node_world.settlement.domain) as running:
        yield running


@pytest.fixture
def wallet(node_world: World, node_url: str, tmp_path: Path) -> Iterator[Wallet]:
    home = home_of(node_world, node_url)
    made = open_on(node_world, Store.create(tmp_path / "wallet.db", PAYER, home, RULES))
    yield made
    made.close()


def get_httpx(wallet: Wallet, url: str) -> Got:
    with httpx.Client(transport=PayingTransport(wallet), follow_redirects=True) as client:
        response = client.get(url)
        return response.status_code, response.content


def get_async(wallet: Wallet, url: str) -> Got:
    async def run() -> Got:
        transport = AsyncPayingTransport(wallet)
        async with httpx.AsyncClient(transport=transport, follow_redirects=True) as client:
            response = await client.get(url)
            return response.status_code, response.content

    return asyncio.run(run())


def get_requests(wallet: Wallet, url: str) -> Got:
    with requests.Session() as session:
        session.mount("http://", PayingAdapter(wallet))
        response = session.get(url, timeout=60)
        return response.status_code, response.content


clients = pytest.mark.parametrize("get", [get_httpx, get_async, get_requests])


@clients
def test_get__pays_by_itself(
    site: tuple[Shop, str], wallet: Wallet, node_world: World, get: Get
) -> None:
    _, url = site
    for number in (1, 2, 3):
        assert get(wallet, f"{url}/cheap?{number}") == (200, b"answer %d" % number)
    (lane,) = wallet.store.lanes()
    assert lane.charged == 3 * CHEAP
    assert [payment.charged for payment in wallet.store.history()] == [CHEAP] * 3
    assert node_world.token.balance_of(PAYER.address) == FUNDS - 10_000


@clients
def test_get__what_is_not_priced__as_without_a_wallet(
    site: tuple[Shop, str], wallet: Wallet, get: Get
) -> None:
    assert get(wallet, site[1] + "/free") == (200, b"answer 1")
    assert wallet.store.history() == []


@clients
def test_get__an_answer_that_breaks_off__asked_for_again(
    site: tuple[Shop, str], wallet: Wallet, get: Get
) -> None:
    shop, url = site
    with breaking(url, lambda count: count == 1) as (line, paid):
        assert get(wallet, line + "/cheap") == (200, b"answer 1")
    first, second = map(payment_of, paid)
    assert first == second
    assert (shop.served, wallet.store.lanes()[0].charged) == (1, CHEAP)


@clients
def test_get__a_line_that_stays_broken__the_clients_own_error(
    site: tuple[Shop, str], wallet: Wallet, get: Get
) -> None:
    shop, url = site
    with (
        breaking(url, lambda count: True) as (line, paid),
        pytest.raises((httpx.TransportError, requests.RequestException)),
    ):
        get(wallet, line + "/cheap")
    assert len({payment_of(each) for each in paid}) == 1 and shop.served == 1
    (lane,) = wallet.store.lanes()
    assert (lane.charged, lane.upper) == (0, CHEAP)
    # The lane is free again.
    assert wallet.locks.take(lane.channel_id)


@clients
def test_get__above_the_budget__raises_and_sends_nothing(
    site: tuple[Shop, str], wallet: Wallet, get: Get
) -> None:
    shop, url = site
    wallet.store.set_rules(PAYER, Rules((Budget(99, DAILY),), top_up=10_000))
    with pytest.raises(BudgetExceeded):
        get(wallet, url + "/cheap")
    assert shop.served == 0


def payment_of(request: bytes) -> bytes:
    (line,) = [
        line
        for line in request.split(b"\r\n")
        if line.lower().startswith(SIGNATURE_HEADER.lower().encode())
    ]
    return line.partition(b":")[2].strip()


def test_burst__of_fifty__from_four_lanes_and_nobody_hears_of_busy(
    site: tuple[Shop, str], wallet: Wallet
) -> None:
    shop, url = site

    async def run() -> list[int]:
        transport = AsyncPayingTransport(wallet)
        async with httpx.AsyncClient(transport=transport, timeout=120) as client:
            asked = [client.get(f"{url}/cheap?{number}") for number in range(50)]
            return [each.status_code for each in await asyncio.gather(*asked)]

    assert asyncio.run(run()) == [200] * 50
    assert shop.served == 50
    lanes = wallet.store.lanes()
    assert 1 <= len(lanes) <= 4 and sum(lane.charged for lane in lanes) == 50 * CHEAP
    assert wallet.store.used()[0][1] == 50 * CHEAP


def test_burst__with_a_budget_for_one_deposit__waits_for_that_channel(
    site: tuple[Shop, str], wallet: Wallet
) -> None:
    _, url = site
    wallet.store.set_rules(PAYER, Rules((Budget(10_000, DAILY),), top_up=10_000, lanes=4))

    async def run() -> list[int]:
        transport = AsyncPayingTransport(wallet)
        async with httpx.AsyncClient(transport=transport, timeout=120) as client:
            assert (await client.get(f"{url}/cheap")).status_code == 200
            asked = [client.get(f"{url}/cheap?{number}") for number in range(10)]
            return [each.status_code for each in await asyncio.gather(*asked)]

    assert asyncio.run(run()) == [200] * 10
    assert [lane.charged for lane in wallet.store.lanes() if lane.charged] == [11 * CHEAP]


def test_cancelled__in_the_middle__gives_its_channel_back(
    site: tuple[Shop, str], wallet: Wallet
) -> None:
    shop, url = site
    reached, go_on = threading.Event(), threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        reached.set()
        await asyncio.to_thread(go_on.wait, 60)

    shop.handler.handler = slow

    async def run() -> None:
        async with httpx.AsyncClient(transport=AsyncPayingTransport(wallet)) as client:
            asking = asyncio.create_task(client.get(f"{url}/cheap"))
            await asyncio.to_thread(reached.wait, 60)
            asking.cancel()
            await asyncio.wait({asking})
            assert asking.cancelled()

    try:
        asyncio.run(run())
    finally:
        go_on.set()
    (lane,) = wallet.store.lanes()
    assert wallet.locks.take(lane.channel_id)
    assert (lane.charged, lane.upper) == (0, CHEAP)


# ---------------------------------------------------------------- redirects and bodies


class Endless(httpx.SyncByteStream):
    """A body without an end. It counts what was read of it."""

    def __init__(self) -> None:
        self.read = 0
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.read += 1
            yield b"pay!" * 1_000

    def close(self) -> None:
        self.is_closed = True


def test_402__with_a_body_without_end__is_not_read(wallet: Wallet) -> None:
    body = Endless()
    header = {"PAYMENT-REQUIRED": "x" * 20_000}
    server = httpx.MockTransport(lambda request: httpx.Response(402, headers=header, stream=body))
    with (
        httpx.Client(transport=PayingTransport(wallet, server)) as client,
        pytest.raises(OfferRefused, match="longer"),
    ):
        client.get("http://news.example/")
    assert (body.read, body.is_closed) == (0, True)


class Redirecting(httpx.BaseTransport):
    """Once it is paid it sends to another host, and remembers what that is asked."""

    def __init__(self, required: str) -> None:
        self.required = required
        self.asked: list[tuple[str, bool]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        is_paid = SIGNATURE_HEADER in request.headers
        self.asked.append((request.url.host, is_paid))
        if request.url.host == "other.example":
            return httpx.Response(200)
        if not is_paid:
            return httpx.Response(402, headers={"PAYMENT-REQUIRED": self.required})
        return httpx.Response(302, headers={"Location": "http://other.example/"})


def test_get__through_a_transport_that_reads_by_itself__paid(
    wallet: Wallet, node_world: World
) -> None:
    offer = terms_of(node_world).requirements(CHEAP)[0]
    required = str(demand(**offer, price=CHEAP).header("PAYMENT-REQUIRED"))
    paid: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        if SIGNATURE_HEADER not in request.headers:
            return httpx.Response(402, headers={"PAYMENT-REQUIRED": required}, json={})
        paid.append(request.headers[SIGNATURE_HEADER])
        return httpx.Response(200, json={"text": "All the news."})

    transport = PayingTransport(wallet, httpx.MockTransport(server))
    with httpx.Client(transport=transport) as client:
        assert client.get("http://news.example/").json() == {"text": "All the news."}
    assert len(paid) == 1


def test_redirect__to_another_host__carries_no_payment(wallet: Wallet, node_world: World) -> None:
    terms = terms_of(node_world)
    offer = terms.requirements(CHEAP)[0]
    required = demand(**offer, price=CHEAP).header("PAYMENT-REQUIRED")
    server = Redirecting(str(required))
    with httpx.Client(transport=PayingTransport(wallet, server), follow_redirects=True) as client:
        assert client.get("http://news.example/").status_code == 200
    assert server.asked == [
        ("news.example", False),
        ("news.example", True),
        ("other.example", False),
    ]


def test_redirect__with_requests__carries_no_payment(
    site: tuple[Shop, str], wallet: Wallet
) -> None:
    shop, url = site
    headers: list[dict[bytes, bytes]] = []

    async def elsewhere(scope: Any, receive: Any, send: Any) -> None:
        headers.append(dict(scope["headers"]))
        location = [(b"location", url.replace("127.0.0.1", "localhost").encode() + b"/free")]
        status, sent = (302, location) if scope["path"] == "/cheap" else (200, [])
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": b"moved"})

    shop.handler.handler = elsewhere
    assert get_requests(wallet, url + "/cheap") == (200, b"moved")
    first, second = headers
    assert b"payment-signature" in first and b"payment-signature" not in second
    assert second[b"host"].startswith(b"localhost")


def test_post__its_body_is_sent_again_with_the_payment(
    site: tuple[Shop, str], wallet: Wallet
) -> None:
    shop, url = site
    bodies: list[bytes] = []

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    shop.handler.handler = echo
    with httpx.Client(transport=PayingTransport(wallet)) as client:
        assert client.post(url + "/cheap", content=iter([b"one ", b"two"])).status_code == 200
    with requests.Session() as session:
        session.mount("http://", PayingAdapter(wallet))
        assert session.post(url + "/cheap", data=b"three", timeout=60).status_code == 200
        with pytest.raises(BodyNotKept):
            session.post(url + "/cheap", data=iter([b"four"]), timeout=60)
    assert bodies == [b"one two", b"three"]
