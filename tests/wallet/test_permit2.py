"""The wallet at publishers that take deposits through Permit2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farthing.chain.accounts import KEY_VARIABLE, PASSWORD_VARIABLE
from farthing.chain.artifacts import artifact
from farthing.ledger import open_ledger
from farthing.paywall.onchain import Collectors, OnChain
from farthing.protocol import PERMIT2
from farthing.protocol.payments import Terms, write_header
from farthing.wallet import (
    Budget,
    Home,
    NoFunds,
    OfferRefused,
    Place,
    Rules,
    Store,
    Wallet,
    session_of,
)
from farthing.wallet.actions import allow_permit2, fund, get
from farthing.wallet.offers import read_demand
from tests.commands.conftest import Farthing, farthing  # noqa: F401  # a fixture
from tests.conftest import rpc
from tests.escrow_world import AUTHORIZER, PAYER, World
from tests.paywall.paywall_kit import CHEAP, TERMS, Shop, terms_of
from tests.wallet.loopback import serving
from tests.wallet.test_wallet_folder import PASSWORD, fast_keystores  # noqa: F401  # a fixture
from tests.wallet.wallet_kit import DAILY, demand, home_of, place_of

RULES = Rules((Budget(100_000, DAILY),), top_up=10_000)


@pytest.fixture
def terms(node_world: World) -> Terms:
    rpc(node_world.w3, "anvil_setCode", PERMIT2, "0x" + artifact("Permit2").runtime.hex())
    return terms_of(node_world, transfer_methods=("permit2",))


@pytest.fixture
def site(node_world: World, terms: Terms, tmp_path: Path) -> Iterator[tuple[Shop, str]]:
    """A shop that takes deposits through Permit2 only."""

    def chain(ledger: str) -> OnChain:
        return OnChain(
            node_world.settlement,
            node_world.operator.account,
            AUTHORIZER,
            Collectors(None, node_world.deployment.permit2_collector),
            TERMS.min_deposit,
            open_ledger(ledger),
        )

    domain = node_world.settlement.domain
    with serving(tmp_path / "ledger.db", chain=chain, terms=terms, domain=domain) as running:
        yield running


@pytest.fixture
def home(node_world: World, node_url: str) -> Home:
    collector = node_world.deployment.permit2_collector
    return replace(home_of(node_world, node_url), permit2_collector=collector)


@pytest.fixture
def place(node_world: World, home: Home) -> Place:
    return replace(place_of(node_world), permit2_collector=home.permit2_collector)


@pytest.fixture
def wallet(node_world: World, home: Home, place: Place, tmp_path: Path) -> Iterator[Wallet]:
    store = Store.create(tmp_path / "wallet.db", PAYER, home, RULES)
    session = session_of(PAYER, node_world.settlement.domain)
    made = Wallet(store, session, node_world.settlement, place, main=PAYER)
    yield made
    made.close()


def test_deposit__before_permit2_is_allowed__refused_and_nothing_signed(
    wallet: Wallet, site: tuple[Shop, str]
) -> None:
    with pytest.raises(NoFunds, match="farthing wallet permit2"):
        get(wallet, site[1] + "/cheap")
    with pytest.raises(NoFunds, match="farthing wallet permit2"):
        fund(wallet, PAYER, None, site[1] + "/cheap", 5_000)  # type: ignore[arg-type]
    assert wallet.store.history() == [] and wallet.store.used()[0][1:3] == (0, 0)


def test_deposit__through_permit2__pays_and_tops_up(
    wallet: Wallet, site: tuple[Shop, str], node_world: World
) -> None:
    shop, url = site
    allow_permit2(wallet, node_world.sender(PAYER))
    for _ in range(10_000 // CHEAP + 1):
        assert get(wallet, url + "/cheap").status_code == 200
    (lane,) = wallet.store.lanes()
    assert (lane.charged, lane.balance, lane.deposit) == (10_000 + CHEAP, 20_000, None)
    assert node_world.settlement.channel(lane.channel_id).balance == 20_000
    assert shop.served == 10_000 // CHEAP + 1


def test_deposit__by_hand_through_permit2__in_escrow(
    wallet: Wallet, site: tuple[Shop, str], node_world: World
) -> None:
    sender = node_world.sender(PAYER)
    allow_permit2(wallet, sender)
    assert fund(wallet, PAYER, sender, site[1] + "/cheap", 5_000).balance == 5_000
    assert get(wallet, site[1] + "/cheap").status_code == 200
    assert [each.balance for each in wallet.store.lanes()] == [5_000]


def test_offers__of_both_ways__the_tokens_own_is_taken(terms: Terms, place: Place) -> None:
    both = replace(terms, transfer_methods=("permit2", "eip3009"))
    first, second = both.requirements(CHEAP)
    required = {"x402Version": 2, "error": "", "accepts": [first, second]}
    assert read_demand(write_header(required).decode(), place).offer.method == "eip3009"


def test_offers__of_permit2__to_a_wallet_without_its_collector__refused(
    terms: Terms, node_world: World
) -> None:
    offer = terms.requirements(CHEAP)[0]
    header = demand(**offer, price=CHEAP).header("PAYMENT-REQUIRED")
    with pytest.raises(OfferRefused, match="another way than eip3009"):
        read_demand(str(header), place_of(node_world))


def test_command__allows_permit2_and_pays(
    farthing: Farthing,  # noqa: F811
    site: tuple[Shop, str],
    node_world: World,
    node_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = node_world.deployment
    monkeypatch.setenv("FARTHING_WALLET", str(tmp_path / "wallet"))
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv(KEY_VARIABLE, "0x" + bytes(PAYER.key).hex())
    made = farthing(
        *("wallet", "create", "--rpc", node_url, "--token", node_world.token.address),
        *("--settlement", places.settlement, "--collector", places.erc3009_collector),
        *("--permit2-collector", str(places.permit2_collector)),
        *("--budget", "0.05 P1D", "--top-up", "0.01"),
    )
    assert made.code == 0, made.err
    refused = farthing("wallet", "get", site[1] + "/cheap")
    assert refused.code == 3 and "0.0001 TUSD" in refused.err
    assert farthing("wallet", "permit2").code == 0
    assert farthing("wallet", "get", site[1] + "/cheap").out == "answer 1"
