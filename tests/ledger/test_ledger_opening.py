"""What is told, in one sentence, about a ledger that cannot be opened."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from ledger_samples import Backdoor, known, pay

from farthing.ledger import Ledger, LedgerUnavailable, LedgerUnusable, open_ledger
from tests.postgres import PASSWORD, Cluster


def test_open__again_finds_what_was_written(ledger: Ledger, ledger_url: str) -> None:
    pay(ledger, known(ledger, 1))
    before = ledger.charges(), ledger.totals()
    ledger.close()
    again = open_ledger(ledger_url)
    assert (again.charges(), again.totals()) == before
    again.close()


def test_close__twice(ledger: Ledger) -> None:
    ledger.close()
    ledger.close()


def test_close__then_used(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    ledger.close()
    for use in (lambda: ledger.reserve([channel]), lambda: ledger.remember("a", "b")):
        with pytest.raises(LedgerUnavailable):
            use()


def test_open__a_newer_schema(ledger: Ledger, ledger_url: str, backdoor: Backdoor) -> None:
    ledger.close()
    newer = (
        "PRAGMA user_version = 9" if backdoor.is_local else "UPDATE schema_version SET version=9"
    )
    backdoor.run(newer)
    with pytest.raises(LedgerUnusable, match="version 9 and this program knows 5: install the new"):
        open_ledger(ledger_url)


@pytest.mark.parametrize("url", ["mysql://me:hidden@host/db", "sqlite:///hidden"])
def test_open__another_kind_of_url(url: str) -> None:
    with pytest.raises(LedgerUnusable, match="give a file's path, or postgresql://") as caught:
        open_ledger(url)
    assert "hidden" not in str(caught.value)


# ---------------------------------------------------------------- SQLite


def test_open_sqlite__no_folder(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnusable, match=r"there is no folder .*/missing: make it\.$"):
        open_ledger(str(tmp_path / "missing" / "ledger.db"))
    assert list(tmp_path.iterdir()) == []


def test_open_sqlite__a_folder(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnusable, match="it is a folder: give the path of a file in it"):
        open_ledger(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_open_sqlite__a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Remember the milk. " * 500)
    with pytest.raises(LedgerUnusable, match="it is not a SQLite database"):
        open_ledger(str(path))
    assert path.read_text() == "Remember the milk. " * 500


@pytest.mark.parametrize("version", [0, 1])
def test_open_sqlite__another_programs_database(tmp_path: Path, version: int) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE channels (name TEXT)")
        theirs.execute(f"PRAGMA user_version = {version}")
    theirs.close()
    before = path.read_bytes()
    with pytest.raises(LedgerUnusable, match="it is another program's database"):
        open_ledger(str(path))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_open_sqlite__read_only() -> None:
    # Not below the folders of pytest, which root keeps to itself.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "ledger.db"
        open_ledger(str(path)).close()
        path.chmod(0o444)
        with ordinary_user(), pytest.raises(LedgerUnusable, match="read-only: make it writable"):
            open_ledger(str(path))


def test_open_sqlite__a_folder_one_may_not_write_to() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with ordinary_user(), pytest.raises(LedgerUnavailable, match="Permission denied"):
            open_ledger(str(Path(folder) / "ledger.db"))


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may write everywhere: as root, become somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_open_sqlite__files_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ledger = open_ledger(str(tmp_path / "ledger.db"))
        pay(ledger, known(ledger, 1))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    ledger.close()
    names = ["ledger.db", "ledger.db-reserved", "ledger.db-shm", "ledger.db-wal"]
    assert modes == dict.fromkeys(names, 0o600)


# ---------------------------------------------------------------- PostgreSQL


def test_open_postgresql__without_psycopg() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "import farthing.ledger\n"
        "try: farthing.ledger.open_ledger('postgresql://me:hidden@host/db')\n"
        "except farthing.ledger.LedgerUnusable as error: print(error)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert "pip install 'farthing[postgresql]'" in printed
    assert "hidden" not in printed


def test_open_postgresql__psycopg_is_not_imported_for_sqlite() -> None:
    code = "import sys, farthing.ledger; print('psycopg' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert printed == b"False\n"


def test_open_postgresql__a_wrong_password(postgres_url: str) -> None:
    wrong = postgres_url.replace(PASSWORD, "hidden")
    with pytest.raises(LedgerUnavailable, match="password authentication failed") as caught:
        open_ledger(wrong)
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_open_postgresql__no_such_database(postgres_cluster: Cluster) -> None:
    url = postgres_cluster.url("missing", tcp=True)
    with pytest.raises(LedgerUnavailable, match='database "missing" does not exist') as caught:
        open_ledger(url)
    assert f"the ledger postgresql://postgres@127.0.0.1:{postgres_cluster.port}/missing is" in str(
        caught.value
    )


def test_open_postgresql__nobody_listens() -> None:
    with pytest.raises(LedgerUnavailable, match="Connection refused") as caught:
        open_ledger("postgresql://me:hidden@127.0.0.1:1/db")
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hid@den@host/db",
        "postgresql://me:hid/den@host/db",
        "postgresql://me:12/den@host/db",
        "postgresql://me:den%zz@host/db",
        "postgresql://me:den%00@host/db",
        "postgresql://me:den@host/db?no=such",
        "postgresql:// me:den@host/db/db",
    ],
)
def test_open_postgresql__a_url_that_cannot_be_read(url: str) -> None:
    """What libpq says of such a URL can have a piece of the password in it; ours never has."""
    with pytest.raises(LedgerUnusable, match="percent-encoding for what is") as caught:
        open_ledger(url)
    assert "den" not in str(caught.value)


def test_open_postgresql__another_programs_schema(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as theirs:
        theirs.execute("CREATE SCHEMA farthing CREATE TABLE channels (name text)")
    with pytest.raises(LedgerUnusable, match="its schema farthing is another program's"):
        open_ledger(postgres_url)


def test_open_postgresql__a_schema_made_for_it(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as administrator:
        administrator.execute("CREATE SCHEMA farthing")
    ledger = open_ledger(postgres_url)
    pay(ledger, known(ledger, 1))
    ledger.close()


def test_open_postgresql__beside_other_tables(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as theirs:
        theirs.execute("CREATE TABLE channels (name text)")
    ledger = open_ledger(postgres_url)
    pay(ledger, known(ledger, 1))
    ledger.close()


def test_open_postgresql__commits_are_durable_whatever_is_configured(
    postgres_cluster: Cluster,
) -> None:
    with postgres_cluster.database() as url:
        with psycopg.connect(url, autocommit=True) as administrator:
            name = administrator.info.dbname
            for setting in (
                "synchronous_commit = off",
                "default_transaction_isolation = 'serializable'",
                "search_path = nowhere",
            ):
                administrator.execute(f"ALTER DATABASE {name} SET {setting}")
        ledger = open_ledger(url)
        pay(ledger, known(ledger, 1))
        for link in (ledger._link, ledger._commits):  # type: ignore[attr-defined]
            with link.session() as connection:
                for setting, value in (
                    ("synchronous_commit", "on"),
                    ("default_transaction_isolation", "read committed"),
                ):
                    assert connection.execute(f"SHOW {setting}").fetchone() == (value,)
        ledger.close()
