"""The tables of a SQLite ledger, and how older ones become the present ones.

An amount is 16 bytes, big-endian: exact to 128 bits, and in the right order when it is sorted.
Read one with ``hex(amount)``; `farthing` prints them in units of the token.
"""

from __future__ import annotations

import apsw

from farthing.ledger.errors import LedgerUnusable

# Marks a SQLite file as a ledger: "frth" in ASCII.
APPLICATION_ID = 1_718_776_936

# One entry per version, the statements that lead to it from the one before.
MIGRATIONS = [
    """
    PRAGMA application_id = 1718776936;

    CREATE TABLE channels (
        channel_id BLOB PRIMARY KEY CHECK (length(channel_id) = 32),
        payer TEXT NOT NULL,
        payer_authorizer TEXT NOT NULL,
        receiver TEXT NOT NULL,
        receiver_authorizer TEXT NOT NULL,
        token TEXT NOT NULL,
        withdraw_delay INTEGER NOT NULL,
        salt BLOB NOT NULL,
        charged BLOB NOT NULL,
        charges INTEGER NOT NULL,
        ceiling BLOB NOT NULL,
        signature BLOB NOT NULL,
        last_charge INTEGER NOT NULL,
        balance BLOB NOT NULL,
        total_claimed BLOB NOT NULL,
        withdraw_amount BLOB NOT NULL,
        withdraw_requested_at INTEGER NOT NULL,
        refund_nonce INTEGER NOT NULL,
        synced_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Append-only, and without an index: a channel's charges are found from its last one backwards.
    -- An index would cost every charge one more page, far from the last one.
    CREATE TABLE charges (
        id INTEGER PRIMARY KEY,
        channel_id BLOB NOT NULL,
        previous INTEGER NOT NULL,
        amount BLOB NOT NULL,
        total BLOB NOT NULL,
        price BLOB NOT NULL,
        route TEXT NOT NULL,
        request_id TEXT NOT NULL,
        time INTEGER NOT NULL
    ) STRICT;
    CREATE TRIGGER charges_never_change BEFORE UPDATE ON charges
        BEGIN SELECT RAISE(ABORT, 'a charge never changes'); END;
    CREATE TRIGGER charges_never_go BEFORE DELETE ON charges
        BEGIN SELECT RAISE(ABORT, 'a charge is never removed'); END;

    CREATE TABLE answers (
        charge INTEGER PRIMARY KEY,
        target BLOB NOT NULL,
        status INTEGER NOT NULL,
        -- Before the long ones: what comes after a long value is slow to reach.
        expires_at INTEGER NOT NULL,
        headers BLOB NOT NULL,
        body BLOB NOT NULL
    ) STRICT;

    CREATE TABLE deposits (
        authorization BLOB PRIMARY KEY,
        channel_id BLOB NOT NULL,
        amount BLOB NOT NULL,
        transaction_hash BLOB NOT NULL,
        raw BLOB NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'confirmed', 'failed')),
        time INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE texts (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
]
VERSION = len(MIGRATIONS)


def is_current(connection: apsw.Connection, path: str) -> bool:
    """Whether the tables are what this program knows. Changes nothing, whosever file it is.

    Raises:
        LedgerUnusable: The file is a newer program's, or somebody else's.
    """
    ((version,),) = connection.execute("PRAGMA user_version")
    ((application,),) = connection.execute("PRAGMA application_id")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
    if tables and application != APPLICATION_ID:
        raise LedgerUnusable(path, "it is another program's database")
    if version > VERSION:
        raise LedgerUnusable(
            path,
            f"its schema is version {version} and this program knows {VERSION}: "
            "install the newer farthing",
        )
    return bool(version == VERSION)


def migrate(connection: apsw.Connection) -> None:
    """Brings the tables up to date, within a transaction that the caller has begun."""
    ((version,),) = connection.execute("PRAGMA user_version")
    for statements in MIGRATIONS[version:]:
        connection.execute(statements)
    connection.execute(f"PRAGMA user_version = {VERSION}")
