"""The wallet pays `@x402/express` from npm, unmodified, with x402's own facilitator and books."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from farthing.chain.devnet import PAYER_FUNDS, Devnet, devnet
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.wallet import Budget, Home, Period, Place, Rules, Store, Wallet, session_of
from farthing.wallet.actions import get, refund
from farthing.wallet.httpx_client import AsyncPayingTransport
from farthing.wallet.onchain import recover

SERVER = ["node", str(Path(__file__).parent / "express_site.mjs")]
PRICE = 100
FOUND = 37
"""What a search costs in the end."""
DEPOSIT = 10_000
LIMIT = 100_000
RULES = Rules((Budget(LIMIT, Period.parse("R/2026-01-01T00:00Z/P1D")),), top_up=DEPOSIT)

OpenWallet: TypeAlias = Callable[..., Wallet]


@pytest.fixture(scope="module")
def net() -> Iterator[Devnet]:
    with devnet() as running:
        yield running


@pytest.fixture
def site(net: Devnet) -> Iterator[str]:
    """Its URL; a new server with empty books."""
    domain = Token(net.w3, net.token).domain
    arguments = [net.url, str(net.deployment.chain_id), net.token, domain.name, domain.version]
    key = "0x" + bytes(net.publisher.key).hex()
    with subprocess.Popen(
        [*SERVER, *arguments],
        env={**os.environ, "PUBLISHER_KEY": key},
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        assert port, "the server did not start"
        yield f"http://127.0.0.1:{port}"
        server.terminate()


@pytest.fixture
def open_wallet(net: Devnet, tmp_path: Path) -> Iterator[OpenWallet]:
    """Makes a wallet of the payer with this number."""
    wallets: list[Wallet] = []

    def open_one(number: int, name: str = "wallet.db") -> Wallet:
        main, places = net.payers[number], net.deployment
        settlement, token = Settlement(net.w3, places.settlement), Token(net.w3, net.token)
        session = session_of(main, settlement.domain)
        place = Place(settlement.domain, token.domain, places.erc3009_collector)
        home = Home(
            *(main.address, session.address, net.url, place.domain, token.address),
            collector=place.collector,
        )
        store = Store.create(tmp_path / name, main, home, RULES)
        wallets.append(Wallet(store, session, settlement, place, main=main))
        return wallets[-1]

    yield open_one
    for wallet in wallets:
        wallet.close()


def charged(site: str) -> list[int]:
    """What the server's books have of every channel."""
    return [int(each) for each in httpx.get(site + "/charged").json()]


def test_express__is_paid_and_the_books_agree(
    site: str, open_wallet: OpenWallet, net: Devnet
) -> None:
    wallet, token = open_wallet(0), Token(net.w3, net.token)
    earned = token.balance_of(net.publisher.address)
    for _ in range(20):
        assert get(wallet, site + "/article").json() == {"text": "All the news."}
    # Its answers cost less than their price.
    for _ in range(5):
        assert get(wallet, site + "/search").json() == {"found": 1}
    total = 20 * PRICE + 5 * FOUND
    (lane,) = wallet.store.lanes()
    assert charged(site) == [lane.charged] == [total]
    assert sum(each.charged or 0 for each in wallet.store.history()) == total
    # What the wallet signed the contract takes.
    assert httpx.get(site + "/collect", timeout=60).status_code == 200
    assert token.balance_of(net.publisher.address) - earned == total
    # The rest comes back.
    assert refund(wallet, site + "/article") == DEPOSIT - total
    assert token.balance_of(net.payers[0].address) == PAYER_FUNDS - total


def test_express__a_wallet_made_anew__is_told_where_it_stands(
    site: str, open_wallet: OpenWallet
) -> None:
    get(open_wallet(1), site + "/article")
    wallet = open_wallet(1, "anew.db")
    assert len(recover(wallet)) == 1
    assert get(wallet, site + "/article").status_code == 200
    assert charged(site) == [2 * PRICE]


def test_express__at_the_end_of_a_channel__is_given_more(
    site: str, open_wallet: OpenWallet, net: Devnet
) -> None:
    wallet = open_wallet(2)
    for _ in range(DEPOSIT // PRICE + 1):
        get(wallet, site + "/article")
    (lane,) = wallet.store.lanes()
    assert (lane.charged, lane.balance) == (DEPOSIT + PRICE, 2 * DEPOSIT)
    settlement = Settlement(net.w3, net.deployment.settlement)
    assert settlement.channel(lane.channel_id).balance == 2 * DEPOSIT


def test_express__a_burst__nobody_hears_of_busy(site: str, open_wallet: OpenWallet) -> None:
    wallet = open_wallet(2)

    async def burst() -> list[int]:
        transport = AsyncPayingTransport(wallet)
        async with httpx.AsyncClient(transport=transport, timeout=60) as client:
            answers = [client.get(site + "/article") for _ in range(20)]
            return [(await each).status_code for each in asyncio.as_completed(answers)]

    assert asyncio.run(burst()) == [200] * 20
    assert sum(charged(site)) == 20 * PRICE
    assert len(wallet.store.lanes()) > 1
