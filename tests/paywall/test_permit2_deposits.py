"""Deposits through Permit2, on a node that has its code at its own address."""

from __future__ import annotations

import pytest

from farthing.chain.artifacts import artifact
from farthing.chain.sender import Transaction
from farthing.ledger import open_ledger
from farthing.paywall.onchain import Collectors, OnChain
from farthing.protocol import PERMIT2, Permit2Deposit, Permit2Domain, sign
from tests.conftest import rpc
from tests.escrow_world import AUTHORIZER, PAYER, World
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, TERMS, Payer, Shop, encoded, run, terms_of

AMOUNT = 5_000


@pytest.fixture
def shop(open_shop: OpenShop, node_world: World) -> Shop:
    """A shop that takes deposits through Permit2 only."""
    rpc(node_world.w3, "anvil_setCode", PERMIT2, "0x" + artifact("Permit2").runtime.hex())

    def chain(ledger: str) -> OnChain:
        return OnChain(
            node_world.settlement,
            node_world.operator.account,
            AUTHORIZER,
            Collectors(None, node_world.deployment.permit2_collector),
            TERMS.min_deposit,
            open_ledger(ledger),
        )

    terms = terms_of(node_world, transfer_methods=("permit2",))
    return open_shop(chain=chain, terms=terms, domain=node_world.settlement.domain)


@pytest.fixture
def payer(node_world: World) -> Payer:
    """The payer, whose tokens Permit2 may take."""
    token = node_world.w3.eth.contract(
        node_world.w3.to_checksum_address(node_world.token.address), abi=artifact("TestUSD").abi
    )
    data = bytes.fromhex(token.encode_abi("approve", args=[PERMIT2, 2**256 - 1])[2:])
    node_world.sender(PAYER).transact(Transaction(node_world.token.address, data))
    return Payer(
        terms=terms_of(node_world, transfer_methods=("permit2",)),
        domain=node_world.settlement.domain,
    )


def header(world: World, payer: Payer, *, permitted: int = AMOUNT, signed: int = AMOUNT) -> str:
    transfer = Permit2Deposit(
        token=world.token.address,
        amount=signed,
        collector=world.deployment.permit2_collector,
        nonce=7,
        deadline=2**40,
        channel_id=payer.channel_id,
    )
    domain = Permit2Domain(world.settlement.domain.chain_id)
    authorization = {
        "permitted": {"token": world.token.address, "amount": str(permitted)},
        "spender": transfer.collector,
        "nonce": "7",
        "deadline": str(2**40),
        "witness": {"channelId": "0x" + payer.channel_id.hex()},
        "signature": "0x" + sign(payer.account, transfer, domain).hex(),
    }
    deposit = {"amount": str(AMOUNT), "authorization": {"permit2Authorization": authorization}}
    return encoded(payer.message(CHEAP, CHEAP, "deposit", deposit=deposit))


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
