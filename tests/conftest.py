"""What tests share: chains, deployed once and taken back to that state after every test; a
browser.

Contract tests have their own chain, on titanoboa; these are behind web3, as users have them.
"""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from web3 import Web3

from farthing.chain.anvil import ANVIL_KEYS, anvil
from farthing.chain.connection import connect
from farthing.chain.in_process import in_process_chain
from farthing.testing import Playground, playground
from tests.escrow_world import World
from tests.postgres import Cluster, cluster

BROWSERS = ("chromium", "google-chrome")
# How long a page may take to show what is expected, in milliseconds: a loaded machine takes long.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def deployed_world() -> World:
    return World.build(*in_process_chain())


@pytest.fixture
def world(deployed_world: World) -> Iterator[World]:
    """The in-process chain with everything deployed."""
    provider: Any = deployed_world.w3.provider
    snapshot = provider.ethereum_tester.take_snapshot()
    yield deployed_world.fresh()
    provider.ethereum_tester.revert_to_snapshot(snapshot)


@pytest.fixture(scope="session")
def node_url() -> Iterator[str]:
    with anvil() as url:
        yield url


@pytest.fixture(scope="session")
def deployed_node_world(node_url: str) -> World:
    return World.build(connect(node_url), ANVIL_KEYS[0])


@pytest.fixture
def node_world(deployed_node_world: World) -> Iterator[World]:
    """The same on an anvil node, whose URL is `node_url`."""
    snapshot = rpc(deployed_node_world.w3, "evm_snapshot")
    yield deployed_node_world.fresh()
    assert rpc(deployed_node_world.w3, "evm_revert", snapshot) is True


@pytest.fixture(params=["in-process", "anvil"])
def any_world(request: pytest.FixtureRequest, world: World, node_world: World) -> World:
    """The one and the other: what a test says of both."""
    return world if request.param == "in-process" else node_world


@pytest.fixture
def play() -> Iterator[Playground]:
    """A market of its own for a test: a chain, and whoever the test has on it."""
    with playground() as market:
        yield market


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server for the whole run; a test that stops it starts it again."""
    with cluster() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_database(postgres_cluster: Cluster) -> Iterator[str]:
    with postgres_cluster.database() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_cluster: Cluster, postgres_database: str) -> Iterator[str]:
    """An empty PostgreSQL database; tests use it one after another."""
    yield postgres_database
    postgres_cluster.empty(postgres_database)


def rpc(w3: Web3, method: str, *arguments: Any) -> Any:
    return w3.provider.make_request(method, list(arguments))["result"]  # type: ignore[arg-type]


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a headless Chromium; a test that uses it fails when the page has an error."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail("Chromium was not found: install it (apt-get install chromium).", pytrace=False)
    # Its sandbox does not work for root, as whom containers run.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    errors: list[object] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        opened = browser.new_page()
        opened.on("pageerror", lambda error: errors.append(error))
        yield opened
        browser.close()
    assert errors == []
