"""A publisher's shop on a node, with a ledger in a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from farthing.ledger import open_ledger
from tests.escrow_world import SECOND_PAYER, World, fund
from tests.follower_kit import CONFIRMATIONS, Shop


@pytest.fixture
def shop(node_world: World, tmp_path: Path) -> Iterator[Shop]:
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    made = Shop(node_world, ledger)
    fund(node_world.w3, node_world.operator, SECOND_PAYER.address)
    # No reorganisation goes below what the other tests share.
    made.mine(2 * CONFIRMATIONS + 4)
    yield made
    ledger.close()
