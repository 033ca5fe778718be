"""Wallets for tests: on a file of their own, each closed after its test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from farthing.wallet import Rules, Store, Wallet
from tests.escrow_world import PAYER, World
from tests.paywall.conftest import chain_shop, open_shop  # noqa: F401  # fixtures
from tests.wallet.wallet_kit import Clock, home_of, new_store, open_on

OpenStore: TypeAlias = Callable[..., Store]
OpenWallet: TypeAlias = Callable[..., Wallet]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock) -> Iterator[OpenStore]:
    """Makes a store with the given rules, or opens the one there is."""
    stores: list[Store] = []

    def open_one(rules: Rules | None = None, name: str = "wallet.db") -> Store:
        path = tmp_path / name
        stores.append(Store(path, clock) if rules is None else new_store(path, rules, clock))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def open_wallet(tmp_path: Path, world: World) -> Iterator[OpenWallet]:
    """Makes a wallet on the in-process chain with the given rules, or opens the one there is."""
    wallets: list[Wallet] = []

    def open_one(rules: Rules | None = None, name: str = "wallet.db", **options: Any) -> Wallet:
        path = tmp_path / name
        if rules is not None:
            Store.create(path, PAYER, home_of(world), rules).close()
        store = Store(path)
        wallets.append(open_on(world, store, **options))
        return wallets[-1]

    yield open_one
    for wallet in wallets:
        wallet.close()
