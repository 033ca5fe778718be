"""Deposits through Permit2, on a node that has its code at its own address."""

from __future__ import annotations

import pytest

from farthing.paywall.onchain import Collectors
from tests.escrow_world import PAYER, World
from tests.paywall.chain_payers import approve_permit2, permit2_deposit, place_permit2
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, Payer, Shop, encoded, on_chain, run, terms_of

AMOUNT = 5_000


@pytest.fixture
def shop(open_shop: OpenShop, node_world: World) -> Shop:
    """A shop that takes deposits through Permit2 only."""
    place_permit2(node_world)
    collectors = Collectors(None, node_world.deployment.permit2_collector)
    terms = terms_of(node_world, transfer_methods=("permit2",))
    chain = on_chain(node_world, collectors)
    return open_shop(chain=chain, terms=terms, domain=node_world.settlement.domain)


@pytest.fixture
def payer(node_world: World) -> Payer:
    """The payer, whose tokens Permit2 may take."""
    approve_permit2(node_world, PAYER.address)
    return Payer(
        terms=terms_of(node_world, transfer_methods=("permit2",)),
        domain=node_world.settlement.domain,
    )


def header(world: World, payer: Payer, **changes: int) -> str:
    return encoded(permit2_deposit(world, payer, AMOUNT, **changes))


def test_deposit__through_permit2__credited_and_charged(
    shop: Shop, payer: Payer, node_world: World
) -> None:
    got = run(shop.get("/cheap", header(node_world, payer)))
    assert got.status == 200
    assert node_world.settlement.channel(payer.channel_id).balance == AMOUNT
    # Again it is the same deposit, though the channel has more to pay for.
    assert run(shop.get("/cheap", header(node_world, payer))) == got
    assert node_world.settlement.channel(payer.channel_id).balance == AMOUNT


def test_deposit__permitted_for_another_amount__refused(
    shop: Shop, payer: Payer, node_world: World
) -> None:
    got = run(shop.get("/cheap", header(node_world, payer, permitted=AMOUNT + 1)))
    assert (got.status, got.error) == (402, "deposit_payload")


def test_deposit__signed_for_another_amount__refused(
    shop: Shop, payer: Payer, node_world: World
) -> None:
    got = run(shop.get("/cheap", header(node_world, payer, signed=AMOUNT - 1)))
    assert (got.status, got.error) == (402, "deposit_simulation_failed")
    assert shop.served == 0


def test_deposit__with_an_erc3009_nobody_takes__asked_for_the_other(
    shop: Shop, payer: Payer, node_world: World
) -> None:
    got = run(shop.get("/cheap", payer.deposit(node_world, AMOUNT, CHEAP)))
    assert (got.status, got.error) == (402, "permit2_authorization_required")
