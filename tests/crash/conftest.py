"""Both databases, for what has to hold with each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.crash.kills import Database
from tests.postgres import Cluster, cluster


@contextmanager
def sqlite() -> Iterator[str]:
    with TemporaryDirectory(prefix="farthing-ledger-") as folder:
        yield str(Path(folder) / "ledger.db")


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    with cluster() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """Makes an empty database of the one kind or the other."""
    if request.param == "sqlite":
        return sqlite
    server: Cluster = request.getfixturevalue("postgres_cluster")
    return server.database


@pytest.fixture
def ledger_url(database: Database) -> Iterator[str]:
    """An empty database of the one kind or the other."""
    with database() as url:
        yield url
