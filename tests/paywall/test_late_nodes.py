"""Many nodes behind one URL: one has the transaction, and the next that is asked does not yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from farthing.chain.checked_node import Receipt
from farthing.chain.connection import connect
from farthing.chain.settlement import Settlement, Snapshot
from tests.conftest import rpc
from tests.escrow_world import World
from tests.faulty_node import FaultyNode, faulty_node
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, DEAR, Payer, Shop, on_chain, run, terms_of

AMOUNT = 5_000


@dataclass
class Pool:
    """A shop whose node is late as soon as it has told of a transaction's receipt.

    Attributes:
        views: The blocks of what was read of channels since.
        stays_late: Whether the nodes that are asked for channels never catch up.
    """

    shop: Shop
    node: FaultyNode
    views: list[int]
    stays_late: bool = False


@pytest.fixture
def pool(
    open_shop: OpenShop, node_world: World, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pool]:
    with faulty_node(node_url) as node:
        settlement = Settlement(connect(node.url), node_world.settlement.address)
        world = replace(node_world, settlement=settlement)
        shop = open_shop(
            chain=on_chain(world), terms=terms_of(world), domain=world.settlement.domain
        )
        pool = Pool(shop, node, [])
        chain = shop.paywall.channels.chain
        assert chain is not None
        receipt, snapshot = chain.queue.receipt, settlement.snapshot

        def told(number: int) -> Receipt | None:
            node.late_by = 0
            found = receipt(number)
            node.late_by = 1
            pool.views.clear()
            return found

        def seen(channel_id: bytes) -> Snapshot:
            found = snapshot(channel_id)
            pool.views.append(found.block)
            if not pool.stays_late:
                node.late_by = 0
            return found

        monkeypatch.setattr(chain.queue, "receipt", told)
        monkeypatch.setattr(settlement, "snapshot", seen)
        yield pool


@pytest.fixture
def payer(node_world: World) -> Payer:
    return Payer(terms=terms_of(node_world), domain=node_world.settlement.domain)


def head(world: World) -> int:
    return int(world.w3.eth.block_number)


def test_deposit__the_next_node_is_late__served_when_it_has_caught_up(
    pool: Pool, payer: Payer, node_world: World
) -> None:
    got = run(pool.shop.get("/cheap", payer.deposit(node_world, AMOUNT, CHEAP)))
    assert got.status == 200
    assert got.paid["extra"]["channelState"]["balance"] == str(AMOUNT)
    assert pool.views == [head(node_world) - 1, head(node_world)]


def test_deposit__the_next_node_stays_late__told_to_come_back_and_not_sent_again(
    pool: Pool, payer: Payer, node_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farthing.paywall.onchain.CATCH_UP_SECONDS", 0)
    header = payer.deposit(node_world, AMOUNT, CHEAP)
    pool.stays_late = True
    for _ in range(2):
        got = run(pool.shop.get("/cheap", header))
        assert (got.status, got.error) == (503, "rpc_read_failed")
        assert got.has("retry-after")
    sent = head(node_world)
    # Its deposit is known by what was signed for it, and so it is served once it is seen.
    rpc(node_world.w3, "anvil_mine", "0x1")
    got = run(pool.shop.get("/cheap", header))
    assert (got.status, got.paid["amount"]) == (200, str(AMOUNT))
    assert pool.views == [sent]
    assert pool.shop.served == 1
    assert len(pool.shop.ledger.transactions()) == 1


def test_deposit__the_late_node_refuses_the_block_another_told_of__asked_again(
    pool: Pool, payer: Payer, node_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, refused = Settlement._read, []

    def reading(settlement: Settlement, function: str, *asked: bytes, block: int) -> object:
        # The number is of a node that has it all, and the first word is asked of one that has not.
        if pool.node.late_by and not refused:
            refused.append(block)
            return read(settlement, function, *asked, block=block + 2)
        return read(settlement, function, *asked, block=block)

    monkeypatch.setattr(Settlement, "_read", reading)
    got = run(pool.shop.get("/cheap", payer.deposit(node_world, AMOUNT, CHEAP)))
    assert (got.status, len(refused)) == (200, 1)


def test_refund__the_next_node_is_late__told_as_it_is_after_it(
    pool: Pool, payer: Payer, node_world: World
) -> None:
    assert run(pool.shop.get("/cheap", payer.deposit(node_world, AMOUNT, CHEAP))).status == 200
    got = run(pool.shop.get("/cheap", payer.refund(CHEAP)))
    assert got.status == 200
    state = got.paid["extra"]["channelState"]
    assert (state["balance"], state["refundNonce"]) == (str(CHEAP), "1")
    assert pool.views == [head(node_world) - 1, head(node_world)]


def test_look__by_a_node_before_the_deposit__what_is_known_stays(
    pool: Pool, payer: Payer, node_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(pool.shop.get("/cheap", payer.deposit(node_world, 1_000, CHEAP))).status == 200
    monkeypatch.setattr("farthing.paywall.channels.LOOK_AGAIN", 0)
    pool.node.late_by, pool.stays_late = 1, True
    # It has no room for this, so the chain is asked whether there is more.
    got = run(pool.shop.get("/dear", payer.header(CHEAP + DEAR, DEAR)))
    assert (got.status, got.error) == (402, "cumulative_exceeds_balance")
    assert pool.views[-1] == head(node_world) - 1
    assert run(pool.shop.get("/cheap", payer.header(2 * CHEAP))).status == 200
