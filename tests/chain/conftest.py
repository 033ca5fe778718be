from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farthing.chain.anvil import ANVIL_KEYS, anvil
from farthing.chain.connection import connect
from farthing.chain.deployment import Deployment
from tests.chain.queue_stage import Stage, rpc, stage_on
from tests.escrow_world import World


@pytest.fixture(scope="session")
def deployed() -> tuple[Any, Deployment]:
    """The state of a chain with everything deployed, and where that is."""
    with anvil() as url:
        world = World.build(connect(url), ANVIL_KEYS[0])
        return rpc(world.w3, "anvil_dumpState"), world.deployment


@pytest.fixture
def stage(deployed: tuple[Any, Deployment], tmp_path: Path) -> Iterator[Stage]:
    """A queue on a node of its own, which mines when the test says so.

    What is done to the node here, no snapshot takes back.
    """
    state, deployment = deployed
    with anvil("--no-mining") as url:
        w3 = connect(url)
        assert rpc(w3, "anvil_loadState", state) is True
        with stage_on(World.at(w3, ANVIL_KEYS[0], deployment), url, tmp_path) as made:
            yield made
