"""What the command does: fund, get, balance, refund; and the live feed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farthing.chain.reverts import ContractReverted
from farthing.wallet import (
    Budget,
    NotAnswered,
    OfferRefused,
    PriceTooHigh,
    Rules,
    Store,
    Wallet,
)
from farthing.wallet.actions import balance, fund, get, refund
from farthing.wallet.records import Payment
from farthing.wallet.watch import Alert, Watch
from tests.escrow_world import FUNDS, PAYER, World
from tests.paywall.paywall_kit import CHEAP, on_chain, terms_of
from tests.wallet.conftest import OpenStore
from tests.wallet.loopback import serving
from tests.wallet.wallet_kit import DAILY, budget, home_of, lane, open_on, sign_off

RULES = Rules((Budget(100_000, DAILY),), per_request=CHEAP)
DEAD = "http://127.0.0.1:1/"


@pytest.fixture
def site(node_world: World, tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "ledger.db"
    chain, terms = on_chain(node_world), terms_of(node_world)
    with serving(path, chain=chain, terms=terms, domain=node_world.settlement.domain) as running:
        yield running[1]


@pytest.fixture
def wallet(node_world: World, tmp_path: Path) -> Iterator[Wallet]:
    """A wallet without its main key."""
    path = tmp_path / "wallet.db"
    made = open_on(node_world, Store.create(path, PAYER, home_of(node_world), RULES), main=None)
    yield made
    made.close()


def test_fund__then_get__without_the_main_key(site: str, wallet: Wallet, node_world: World) -> None:
    lane = fund(wallet, PAYER, node_world.operator, site + "/cheap", 5_000)
    assert (lane.balance, lane.charged) == (5_000, 0)
    assert get(wallet, site + "/cheap").content == b"answer 1"
    # The same channel gets more.
    again = fund(wallet, PAYER, node_world.operator, site + "/cheap", 1_000)
    assert (again.channel_id, again.balance) == (lane.channel_id, 6_000)
    found = balance(wallet)
    assert (found.free, found.unspent) == (FUNDS - 6_000, 6_000 - CHEAP)


def test_fund__what_cannot_be__refused(site: str, wallet: Wallet, node_world: World) -> None:
    sender = node_world.operator
    with pytest.raises(OfferRefused, match="no price"):
        fund(wallet, PAYER, sender, site + "/free", 5_000)
    with pytest.raises(NotAnswered):
        fund(wallet, PAYER, sender, DEAD, 5_000)
    with pytest.raises(ContractReverted):
        fund(wallet, PAYER, sender, site + "/cheap", FUNDS + 1)
    assert balance(wallet).unspent == 0
    # The channel it would have been is not held any more.
    assert fund(wallet, PAYER, sender, site + "/cheap", 5_000).balance == 5_000


def test_get__refused_by_rules_or_unanswered__each_its_exit_code(site: str, wallet: Wallet) -> None:
    with pytest.raises(PriceTooHigh) as refused:
        get(wallet, site + "/dear")
    with pytest.raises(NotAnswered) as unanswered:
        get(wallet, DEAD)
    with pytest.raises(NotAnswered):
        get(wallet, "no url")
    codes = [refused.value.exit_code, OfferRefused.exit_code, unanswered.value.exit_code]
    assert codes == [3, 4, 5]


def test_refund__of_all_and_of_a_part(site: str, wallet: Wallet, node_world: World) -> None:
    fund(wallet, PAYER, node_world.operator, site + "/cheap", 5_000)
    get(wallet, site + "/cheap")
    assert refund(wallet, site + "/cheap", 1_000) == 1_000
    assert refund(wallet, site + "/cheap") == 4_000 - CHEAP
    assert refund(wallet, site + "/cheap") == 0
    assert balance(wallet).free == FUNDS - CHEAP


def test_watch__tells_of_each_payment_and_alert_once(open_store: OpenStore) -> None:
    store = open_store(budget(1_000))
    store.add_lane(lane())
    watch = Watch(store)
    assert watch.look() == []
    first = sign_off(store, lane(), 700)
    (told,) = watch.look()
    assert isinstance(told, Payment) and told.charged is None
    assert watch.look() == []
    store.charged(first, 300, None)
    (told,) = watch.look()
    assert isinstance(told, Payment) and told.charged == 300
    store.charged(sign_off(store, lane(), 500), 500, None)
    told, alert = watch.look()
    assert isinstance(told, Payment) and told.charged == 500
    assert isinstance(alert, Alert) and alert.subject.startswith("budget")
    store.set_problem(lane().channel_id, "it lies")
    (alert,) = watch.look()
    assert isinstance(alert, Alert) and "it lies" in alert.text
    assert watch.look() == []


def test_watch__from_the_last_that_is_known(open_store: OpenStore) -> None:
    store = open_store(budget(1_000))
    store.add_lane(lane())
    first = sign_off(store, lane(), 10)
    store.charged(first, 10, None)
    sign_off(store, lane(), 10)
    (told,) = Watch(store, after=first.payment_id).look()
    assert isinstance(told, Payment) and told.id == first.payment_id + 1
