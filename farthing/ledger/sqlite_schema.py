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
    """
    -- When the oldest charge was made that is not claimed on chain; 0 when there is none.
    ALTER TABLE channels ADD COLUMN unredeemed_since INTEGER NOT NULL DEFAULT 0;
    UPDATE channels SET unredeemed_since = oldest FROM (
        SELECT charges.channel_id AS channel, min(time) AS oldest
        FROM charges JOIN channels USING (channel_id)
        WHERE charged > total_claimed AND total > total_claimed
        GROUP BY 1
    ) WHERE channel_id = channel;
    -- A charge changes neither column of it, and so not the index.
    CREATE INDEX channels_withdrawing ON channels (channel_id) WHERE withdraw_requested_at > 0;

    CREATE TABLE refunds (
        channel_id BLOB PRIMARY KEY,
        nonce INTEGER NOT NULL,
        amount BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE leases (
        name TEXT PRIMARY KEY,
        holder TEXT NOT NULL,
        -- Unix milliseconds.
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE transactions (
        id INTEGER PRIMARY KEY,
        sender TEXT NOT NULL,
        kind TEXT NOT NULL,
        subject BLOB NOT NULL,
        target TEXT NOT NULL,
        data BLOB NOT NULL,
        gas INTEGER NOT NULL,
        state TEXT NOT NULL
            CHECK (state IN ('queued', 'signed', 'mined', 'final', 'failed', 'refused')),
        nonce INTEGER,
        block INTEGER NOT NULL DEFAULT 0,
        block_hash BLOB NOT NULL DEFAULT x'',
        succeeded INTEGER NOT NULL DEFAULT 0,
        gas_used INTEGER NOT NULL DEFAULT 0,
        fee BLOB NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX transactions_state ON transactions (state);
    CREATE INDEX transactions_subject ON transactions (kind, subject);
    CREATE UNIQUE INDEX transactions_once ON transactions (kind, subject)
        WHERE subject != x'' AND state NOT IN ('failed', 'refused');
    CREATE UNIQUE INDEX transactions_nonce ON transactions (sender, nonce)
        WHERE state IN ('signed', 'mined');

    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        transaction_id INTEGER NOT NULL,
        hash BLOB NOT NULL UNIQUE,
        raw BLOB NOT NULL,
        nonce INTEGER NOT NULL,
        max_fee INTEGER NOT NULL,
        tip INTEGER NOT NULL,
        time INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX attempts_transaction ON attempts (transaction_id);

    -- A deposit is a transaction now. One whose end is not known is not among them: the chain tells
    -- if it comes.
    INSERT INTO transactions (sender, kind, subject, target, data, gas, state, nonce, succeeded,
        fee, created_at, updated_at)
        SELECT '', 'deposit', authorization, '', x'', 0, 'final', 0, 1, zeroblob(16), time, time
        FROM deposits WHERE state = 'confirmed';
    INSERT INTO attempts (transaction_id, hash, raw, nonce, max_fee, tip, time)
        SELECT id, transaction_hash, raw, 0, 0, 0, time
        FROM transactions JOIN deposits ON subject = authorization;
    DROP TABLE deposits;

    CREATE TABLE transaction_rows (
        transaction_id INTEGER NOT NULL,
        channel_id BLOB NOT NULL,
        total BLOB NOT NULL,
        PRIMARY KEY (transaction_id, channel_id)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    ALTER TABLE transactions ADD COLUMN fee_limit INTEGER;
    ALTER TABLE charges ADD COLUMN reason TEXT NOT NULL DEFAULT '';

    -- Whom prices have rules for. The version moves with every charge that changes what stands
    -- below, and fences the next.
    CREATE TABLE payers (
        payer_id BLOB PRIMARY KEY CHECK (length(payer_id) = 32),
        payer TEXT NOT NULL,
        signer TEXT NOT NULL,
        version INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX payers_payer ON payers (payer, signer);

    CREATE TABLE tallies (
        payer_id BLOB NOT NULL,
        name TEXT NOT NULL,
        since INTEGER NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (payer_id, name)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE entitlements (
        payer_id BLOB NOT NULL,
        kind TEXT NOT NULL,
        item TEXT NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER NOT NULL,
        bought INTEGER NOT NULL,
        used INTEGER NOT NULL,
        charge INTEGER NOT NULL,
        PRIMARY KEY (payer_id, kind, item)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE refusals (
        day INTEGER NOT NULL,
        payer TEXT NOT NULL,
        signer TEXT NOT NULL,
        route TEXT NOT NULL,
        code TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (day, payer, signer, route, code)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    -- What is held is held by a transaction. A refund that was never ordered holds nothing: what
    -- would send it was given to nobody.
    ALTER TABLE refunds RENAME TO held;
    CREATE TABLE refunds (
        transaction_id INTEGER PRIMARY KEY,
        channel_id BLOB NOT NULL,
        nonce INTEGER NOT NULL,
        amount BLOB NOT NULL
    ) STRICT;
    CREATE INDEX refunds_channel ON refunds (channel_id, nonce);
    INSERT INTO refunds SELECT id, channel_id, held.nonce, amount FROM held JOIN transactions
        ON kind = 'refund' AND hex(subject) = hex(channel_id) || format('%032X', held.nonce);
    DROP TABLE held;
    """,
    """
    -- The block a mirror is of. It is not known of those that are there.
    ALTER TABLE channels ADD COLUMN block INTEGER NOT NULL DEFAULT 0;
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
