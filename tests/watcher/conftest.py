"""A publisher's shop on a node of its own, with a ledger in a file.

Not the node that other tests share: after many blocks were undone and made again, anvil may no
longer know the state of one that it needs for a reorganisation.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farthing.chain.anvil import ANVIL_KEYS, anvil
from farthing.chain.connection import connect
from farthing.chain.sender import Sender
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.ledger import open_ledger
from tests.conftest import rpc
from tests.escrow_world import SECOND_PAYER, World, fund
from tests.follower_kit import CONFIRMATIONS, Shop


@pytest.fixture(scope="session")
def dumped_world() -> tuple[World, str]:
    """A world whose node is gone, and the state it had."""
    with anvil() as url:
        world = World.build(connect(url), ANVIL_KEYS[0])
        fund(world.w3, world.operator, SECOND_PAYER.address)
        return world, rpc(world.w3, "anvil_dumpState")


@pytest.fixture
def node_url() -> Iterator[str]:
    with anvil() as url:
        yield url


@pytest.fixture
def shop(dumped_world: tuple[World, str], node_url: str, tmp_path: Path) -> Iterator[Shop]:
    world, state = dumped_world
    w3 = connect(node_url)
    assert rpc(w3, "anvil_loadState", state) is True
    world = replace(
        world,
        w3=w3,
        operator=Sender(w3, world.operator.account),
        settlement=Settlement(w3, world.settlement.address),
        token=Token(w3, world.token.address),
    )
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    made = Shop(world, ledger)
    # No reorganisation of a test goes below these.
    made.mine(2 * CONFIRMATIONS + 4)
    yield made
    ledger.close()
