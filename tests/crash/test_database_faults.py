"""A database that fails: no 200 without a charge, a clear 503, and all is well when it is back."""

import resource
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import psycopg
import pytest

from tests.crash.conftest import sqlite
from tests.crash.market import market
from tests.postgres import Cluster


@pytest.fixture
def ledger_file() -> Iterator[str]:
    with sqlite() as path:
        yield path


@pytest.mark.parametrize("fault", ["full", "write", "sync", "read"])
def test_sqlite__disk_fails_and_works_again(ledger_file: str, fault: str) -> None:
    with market(ledger_file, has_faulty_disk=True) as shop:
        (server,) = shop.places
        with shop.load() as load:
            load.until_answers(50)
            server.ask(f"/fault/{fault}")
            load.until_refusals(50)
            server.ask("/fault/")
            load.until_answers(50)
        shop.settle()


@pytest.mark.parametrize("fault", ["full", "write", "sync", "read"])
def test_sqlite__server_dies_while_the_disk_fails(ledger_file: str, fault: str) -> None:
    with market(ledger_file, has_faulty_disk=True) as shop:
        (server,) = shop.places
        with shop.load() as load:
            load.until_answers(50)
            server.ask(f"/fault/{fault}")
            load.until_refusals(50)
            server.kill()
            server.wait_for_death()
            server.start(shop.order)
            load.until_answers(50)
        shop.settle()


def test_sqlite__file_may_not_grow_and_then_may(ledger_file: str) -> None:
    # What a user of a full disk, or one at its quota, gets from the system.
    with market(ledger_file) as shop:
        (server,) = shop.places
        with shop.load() as load:
            load.until_answers(50)
            _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
            room = Path(ledger_file + "-wal").stat().st_size
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (room, hard))
            load.until_refusals(50)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
            load.until_answers(50)
        shop.settle()


def test_sqlite__file_is_moved_away_and_back(ledger_file: str) -> None:
    with market(ledger_file) as shop:
        with shop.load() as load:
            for _ in range(5):
                load.until_answers(20)
                Path(ledger_file).rename(ledger_file + ".away")
                load.until_refusals(50)
                Path(ledger_file + ".away").rename(ledger_file)
            load.until_answers(20)
        shop.settle()


def test_sqlite__removed_file_ends_the_answers(ledger_file: str) -> None:
    # There is nothing left to hold the records against: what matters is that no more is sold.
    with market(ledger_file) as shop, shop.load() as load:
        load.until_answers(20)
        Path(ledger_file).unlink()
        load.until_each_is_refused()
        answers = shop.answers
        load.until_refusals(50)
        # Another in its place is another ledger.
        Path(ledger_file).touch()
        load.until_refusals(50)
        assert shop.answers == answers


def test_sqlite__locked_by_another_program_and_free_again(ledger_file: str) -> None:
    with market(ledger_file) as shop, shop.load() as load:
        load.until_answers(50)
        with closing(apsw.Connection(ledger_file)) as other:
            other.set_busy_timeout(1_000)
            other.execute("BEGIN IMMEDIATE")
            load.until_refusals(1)
            other.execute("ROLLBACK")
        load.until_answers(50)
        load.stop()
        shop.settle()


def test_postgresql__sessions_are_ended_under_load(postgres_cluster: Cluster) -> None:
    with postgres_cluster.database() as url, market(url, servers=2) as shop:
        with shop.load() as load, psycopg.connect(url, autocommit=True) as administrator:
            for _ in range(20):
                load.until_answers(20)
                administrator.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            load.until_answers(20)
        shop.settle()
        assert shop.refusals > 0


def test_postgresql__server_crashes_and_comes_back_under_load(postgres_cluster: Cluster) -> None:
    with postgres_cluster.database() as url, market(url, servers=2) as shop:
        with shop.load() as load:
            for _ in range(3):
                load.until_answers(50)
                postgres_cluster.stop()
                load.until_refusals(50)
                postgres_cluster.start()
            load.until_answers(50)
        shop.settle()


def test_postgresql__tables_are_locked_and_free_again(postgres_cluster: Cluster) -> None:
    with postgres_cluster.database() as url, market(url) as shop:
        with shop.load() as load, psycopg.connect(url) as administrator:
            load.until_answers(50)
            # Until the transaction ends.
            administrator.execute("LOCK TABLE farthing.channels IN ACCESS EXCLUSIVE MODE")
            load.until_refusals(1)
            administrator.rollback()
            load.until_answers(50)
        shop.settle()


def test_postgresql__connections_are_not_let_in_and_then_are(postgres_cluster: Cluster) -> None:
    with postgres_cluster.database() as url, market(url) as shop:
        name = url.rpartition("/")[2]
        with (
            shop.load() as load,
            psycopg.connect(postgres_cluster.url("postgres"), autocommit=True) as administrator,
        ):
            load.until_answers(50)
            administrator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            load.until_each_is_refused()
            administrator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            load.until_answers(50)
        shop.settle()


def test_postgresql__disk_is_full_and_then_is_not(postgres_cluster: Cluster) -> None:
    with postgres_cluster.database() as url, market(url, servers=2) as shop:
        with shop.load() as load, psycopg.connect(url, autocommit=True) as administrator:
            load.until_answers(50)
            # The error that the database gives then, in the middle of the transaction.
            administrator.execute(
                "CREATE FUNCTION farthing.disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE disk_full; END $$"
            )
            administrator.execute(
                "CREATE TRIGGER disk BEFORE INSERT ON farthing.answers "
                "FOR EACH ROW EXECUTE FUNCTION farthing.disk()"
            )
            load.until_refusals(50)
            administrator.execute("DROP TRIGGER disk ON farthing.answers")
            load.until_answers(50)
        shop.settle()
