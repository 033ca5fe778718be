"""A redeemer behind a node that drops, delays, repeats, cuts and mixes up its answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from farthing.chain.connection import WrongChain, connect
from farthing.chain.settlement import Settlement
from farthing.protocol import FarthingError
from tests.conftest import rpc
from tests.escrow_world import World, party
from tests.faulty_node import Fault, FaultyNode, faulty_node
from tests.redeemer.shop import CONFIRMATIONS, FREE, Shop

ROUNDS = 4
STEPS = 6


@pytest.mark.parametrize("seed", range(3))
def test_step__behind_a_faulty_node_pays_every_row_once(
    node_world: World, node_url: str, tmp_path: Path, seed: int
) -> None:
    shop = Shop(node_world, str(tmp_path / "ledger.db"))
    configs = shop.open(1, 1, 1)
    with faulty_node(node_url) as faulty:
        w3 = connect(faulty.url)
        far = replace(node_world, w3=w3, settlement=Settlement(w3, node_world.settlement.address))
        assert far.settlement.has_redeem
        behind = shop.beside(world=far)
        for turn in range(ROUNDS):
            _struggle(behind, faulty, 31 * seed + turn)
            for number, config in enumerate(configs):
                shop.charge(party(f"customer {number}"), config, 1)
        assert faulty.faults.total() > STEPS
        faulty.calm()
        _work(behind)
    assert shop.claimed(*configs) == [ROUNDS + 1] * 3
    assert shop.received() == 3 * (ROUNDS + 1)
    redemptions = [each for each in shop.ledger.transactions() if each.kind == "redeem"]
    assert {each.state for each in redemptions} <= {"final", "refused"}
    rows = [
        (row.channel_id, row.total)
        for each in redemptions
        if each.state == "final"
        for row in shop.ledger.rows(each.id)
    ]
    assert len(rows) == len(set(rows))
    assert list(shop.ledger.redeemable()) == []


def _struggle(shop: Shop, faulty: FaultyNode, seed: int) -> None:
    """Some steps while one answer in ten is wrong, each a sentence or done."""
    faulty.at_random(0.1, seed)
    for _ in range(STEPS):
        try:
            shop.redeemer.step(now=True)
        except FarthingError as error:
            assert str(error)
        shop.queue.step()
    faulty.calm()
    rpc(shop.world.w3, "anvil_mine", hex(CONFIRMATIONS + 1))


def _work(shop: Shop) -> None:
    for _ in range(STEPS):
        shop.redeemer.step(now=True)
        shop.queue.step()
        rpc(shop.world.w3, "anvil_mine", hex(CONFIRMATIONS + 1))
    assert shop.redeemer.is_idle()


def test_step__a_node_of_another_chain_orders_nothing(
    node_world: World, node_url: str, tmp_path: Path
) -> None:
    shop = Shop(node_world, str(tmp_path / "ledger.db"), policy=FREE)
    shop.open(10)
    with faulty_node(node_url) as faulty:
        w3 = connect(faulty.url)
        far = replace(node_world, w3=w3, settlement=Settlement(w3, node_world.settlement.address))
        behind = shop.beside(world=far)
        faulty.always("*", Fault.OTHER_CHAIN)
        with pytest.raises(WrongChain):
            behind.redeemer.step(now=True)
    assert shop.ledger.transactions() == []
