"""A shop to pay at, whose books are proved after every test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from farthing.ledger import Ledger, open_ledger
from farthing.paywall import Paywall
from tests.escrow_world import World
from tests.paywall.paywall_kit import Payer, Shop, on_chain, run, terms_of
from tests.paywall.site import site_folder
from tests.paywall.wsgi_kit import LIMIT

OpenShop: TypeAlias = Callable[..., Shop]


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[OpenShop]:
    """Opens shops on SQLite ledgers; one ledger for all shops of a test unless it is named."""
    shops: list[Shop] = []

    def open_one(ledger: str = "ledger.db", chain: Any = None, **options: Any) -> Shop:
        url = str(tmp_path / ledger)
        at_chain = chain and chain(url)
        shops.append(Shop(open_ledger(url), chain=at_chain, **options))
        return shops[-1]

    yield open_one
    for shop in shops:
        assert shop.ledger.prove() == []
        run(shop.paywall.close())


@pytest.fixture(params=["sqlite", "postgresql"])
def any_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    """A ledger in the one database and the other; to be closed with the shop it is given to."""
    if request.param == "sqlite":
        return open_ledger(str(tmp_path / "ledger.db"))
    return open_ledger(request.getfixturevalue("postgres_url"))


@pytest.fixture
def any_shop(any_ledger: Ledger) -> Iterator[Shop]:
    """A shop on each kind of ledger, with one channel."""
    shop = Shop(any_ledger)
    shop.open_channel(Payer())
    yield shop
    assert shop.ledger.prove() == []
    run(shop.paywall.close())


@pytest.fixture
def shop(open_shop: OpenShop) -> Shop:
    """A shop without a chain, and with one channel."""
    shop = open_shop()
    shop.open_channel(Payer())
    return shop


@pytest.fixture
def chain_shop(open_shop: OpenShop, world: World) -> Shop:
    """A shop on the in-process chain; no channel is open."""
    return open_shop(chain=on_chain(world), terms=terms_of(world), domain=world.settlement.domain)


@pytest.fixture
def chain_payer(world: World) -> Payer:
    """The payer, for that shop."""
    return Payer(terms=terms_of(world), domain=world.settlement.domain)


@pytest.fixture
def folder(
    tmp_path: Path, node_world: World, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder in which everything is right."""
    return site_folder(tmp_path, node_world, node_url, monkeypatch)


@pytest.fixture
def settings(folder: Path) -> Path:
    """The settings of a publisher on the node, who holds back little of an answer."""
    path = folder / "farthing.toml"
    text = path.read_text().replace("[limits]\n", f"[limits]\nanswer_bytes = {LIMIT}\n")
    path.write_text(text.replace("[terms]\n", "[terms]\nannounce_receipts = true\n"))
    return path


@pytest.fixture
def opened() -> Iterator[list[Paywall]]:
    paywalls: list[Paywall] = []
    yield paywalls
    for paywall in paywalls:
        paywall.ledger.close()
