"""The wallet pays the `x402` package's own server, which has its own facilitator and books."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farthing.chain.devnet import Devnet, devnet
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.wallet import Budget, Home, Place, Rules, Store, Wallet, session_of
from farthing.wallet.actions import get, refund
from farthing.wallet.onchain import recover
from tests.wallet.loopback import served
from tests.wallet.wallet_kit import DAILY
from tests.wallet.x402_site import PRICE, Site

RULES = Rules((Budget(100_000, DAILY),), top_up=10_000)


@pytest.fixture
def net() -> Iterator[Devnet]:
    with devnet() as running:
        yield running


@pytest.fixture
def site(net: Devnet) -> Iterator[tuple[Site, str]]:
    site = Site(net)
    with served(site.app) as url:
        yield site, url


@pytest.fixture
def open_wallet(net: Devnet, tmp_path: Path) -> Iterator[Any]:
    wallets: list[Wallet] = []

    def open_one(name: str = "wallet.db") -> Wallet:
        main, places = net.payers[0], net.deployment
        settlement, token = Settlement(net.w3, places.settlement), Token(net.w3, net.token)
        session = session_of(main, settlement.domain)
        place = Place(settlement.domain, token.domain, places.erc3009_collector)
        home = Home(
            main.address, session.address, net.url, place.domain, token.address, place.collector
        )
        store = Store.create(tmp_path / name, main, home, RULES)
        wallets.append(Wallet(store, session, settlement, place, main=main))
        return wallets[-1]

    yield open_one
    for wallet in wallets:
        wallet.close()


def test_x402_server__is_paid_from_one_channel(site: tuple[Site, str], open_wallet: Any) -> None:
    shop, url = site
    wallet = open_wallet()
    for _ in range(3):
        assert get(wallet, url + "/paid").json() == {"text": "All the news."}
    assert shop.charged() == [3 * PRICE]
    (lane,) = wallet.store.lanes()
    assert (lane.charged, lane.signed, lane.balance) == (3 * PRICE, 3 * PRICE, 10_000)
    assert [each.charged for each in wallet.store.history()] == [PRICE] * 3


def test_x402_server__proves_to_a_wallet_made_anew(
    site: tuple[Site, str], open_wallet: Any
) -> None:
    shop, url = site
    get(open_wallet(), url + "/paid")
    get(open_wallet("second.db"), url + "/paid")
    wallet = open_wallet("third.db")
    assert len(recover(wallet)) == 2
    assert get(wallet, url + "/paid").status_code == 200
    assert sorted(shop.charged()) == [PRICE, 2 * PRICE]


def test_x402_server__gives_back_what_is_left(
    site: tuple[Site, str], open_wallet: Any, net: Devnet
) -> None:
    _, url = site
    wallet = open_wallet()
    token, payer = Token(net.w3, net.token), net.payers[0].address
    before = token.balance_of(payer)
    get(wallet, url + "/paid")
    assert refund(wallet, url + "/paid") == 10_000 - PRICE
    assert token.balance_of(payer) == before - PRICE
