"""Payers that are contracts: ERC-1271 on a node, for only a node answers as the contract asks."""

from __future__ import annotations

import pytest

from farthing.paywall import Limits
from tests.conftest import rpc
from tests.escrow_world import World
from tests.paywall.chain_payers import NO, NOBODY, YES, answers, wallet
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, Payer, Shop, encoded, on_chain, run, terms_of


@pytest.fixture
def node_shop(open_shop: OpenShop, node_world: World) -> Shop:
    return open_shop(
        chain=on_chain(node_world),
        terms=terms_of(node_world),
        domain=node_world.settlement.domain,
    )


@pytest.fixture
def payer(node_world: World) -> Payer:
    payer = Payer(terms=terms_of(node_world), domain=node_world.settlement.domain)
    return payer.with_config(payer_authorizer=NOBODY)


@pytest.mark.parametrize("who", ["wallet", "key"])
def test_voucher__without_an_authorizer__not_taken_unless_it_is_said(
    open_shop: OpenShop, node_world: World, payer: Payer, who: str
) -> None:
    shop = open_shop(
        chain=on_chain(node_world),
        terms=terms_of(node_world),
        domain=node_world.settlement.domain,
        limits=Limits(),
    )
    if who == "wallet":
        payer = payer.with_config(payer=wallet(node_world, answers(YES)))
    shop.open_channel(payer)
    got = run(shop.get("/cheap", payer.header(CHEAP)))
    assert (got.status, got.error) == (402, "voucher_signature")
    assert "set a payerAuthorizer" in got.json["reason"]
    assert shop.served == 0


@pytest.mark.parametrize(("answer", "status"), [(YES, 200), (NO, 402)])
def test_voucher__of_a_contract_wallet__the_wallet_decides(
    node_shop: Shop, payer: Payer, node_world: World, answer: str, status: int
) -> None:
    payer = payer.with_config(payer=wallet(node_world, answers(answer)), payer_authorizer=NOBODY)
    node_shop.open_channel(payer)
    got = run(node_shop.get("/cheap", payer.header(CHEAP)))
    assert got.status == status
    if status == 402:
        assert got.error == "voucher_signature"
        assert node_shop.served == 0


def test_voucher__of_a_contract_wallet__the_wallet_is_asked_each_time(
    node_shop: Shop, payer: Payer, node_world: World
) -> None:
    address = wallet(node_world, answers(YES))
    payer = payer.with_config(payer=address, payer_authorizer=NOBODY)
    node_shop.open_channel(payer)
    assert run(node_shop.get("/cheap", payer.header(CHEAP))).status == 200
    rpc(node_world.w3, "anvil_setCode", address, "0x" + answers(NO))
    got = run(node_shop.get("/cheap", payer.header(2 * CHEAP)))
    assert (got.status, got.error) == (402, "voucher_signature")


def test_voucher__of_a_wallet_with_an_authorizer__only_that_key_counts(
    node_shop: Shop, payer: Payer, node_world: World
) -> None:
    stranger = node_world.config().receiver
    payer = payer.with_config(payer=wallet(node_world, answers(YES)), payer_authorizer=stranger)
    node_shop.open_channel(payer)
    assert run(node_shop.get("/cheap", payer.header(CHEAP))).error == "voucher_signature"


def test_voucher__of_a_payer_without_an_authorizer__its_own_key_counts(
    node_shop: Shop, payer: Payer
) -> None:
    node_shop.open_channel(payer)
    assert run(node_shop.get("/cheap", payer.header(CHEAP))).status == 200
    message = payer.message(2 * CHEAP, CHEAP)
    message["payload"]["voucher"]["signature"] = "0x" + "11" * 65
    assert run(node_shop.get("/cheap", encoded(message))).error == "voucher_signature"


def test_voucher__without_an_authorizer_and_without_a_chain__refused(shop: Shop) -> None:
    payer = Payer().with_config(payer_authorizer=NOBODY)
    shop.open_channel(payer)
    assert run(shop.get("/cheap", payer.header(CHEAP))).error == "voucher_signature"
