from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chain.queue_stage import Stage, stage_on
from tests.escrow_world import World


@pytest.fixture
def stage(node_world: World, node_url: str, tmp_path: Path) -> Iterator[Stage]:
    """A queue on a node that mines when the test says so."""
    with stage_on(node_world, node_url, tmp_path) as made:
        yield made
