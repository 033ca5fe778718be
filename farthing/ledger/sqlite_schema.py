"""The tables of a SQLite ledger, and how older ones become the present ones.

An amount is 16 bytes, big-endian: exact to 128 bits, and in the right order when it is sorted.
Read one with ``hex(amount)``; `farthing` prints them in units of the token.
"""

# One entry per version, the statements that lead to it from the one before.
MIGRATIONS = [
    """
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
        headers BLOB NOT NULL,
        body BLOB NOT NULL,
        expires_at INTEGER NOT NULL
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
