"""One ledger, in each of the databases it can be kept in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_samples import Backdoor

from farthing.ledger import Ledger, open_ledger
from farthing.ledger.sqlite import SqliteLedger


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where there is no ledger yet."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    opened = open_ledger(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def another(ledger: Ledger, ledger_url: str) -> Iterator[Ledger]:
    """The same books, opened a second time."""
    opened = open_ledger(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a ledger of SQLite is, in tests of what only it does."""
    return tmp_path / "ledger.db"


@pytest.fixture
def file(path: Path) -> Iterator[SqliteLedger]:
    opened = open_ledger(str(path))
    assert isinstance(opened, SqliteLedger)
    yield opened
    opened.close()


@pytest.fixture
def backdoor(ledger: Ledger, ledger_url: str) -> Backdoor:
    return Backdoor(ledger_url)
