"""The tables of a PostgreSQL ledger, and how older ones become the present ones.

They have the names and columns of the SQLite ledger's, in a schema named ``farthing``.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from farthing.ledger.errors import LedgerUnusable

# One entry per version, the statements that lead to it from the one before.
MIGRATIONS = [
    """
    CREATE SCHEMA IF NOT EXISTS farthing;

    CREATE DOMAIN farthing.amount AS numeric(39, 0)
        CHECK (VALUE BETWEEN 0 AND 340282366920938463463374607431768211455);

    -- Room is left in each page, so that a charge finds place beside the row it replaces and no
    -- index has to change.
    CREATE TABLE farthing.channels (
        channel_id bytea PRIMARY KEY CHECK (length(channel_id) = 32),
        payer text NOT NULL,
        payer_authorizer text NOT NULL,
        receiver text NOT NULL,
        receiver_authorizer text NOT NULL,
        token text NOT NULL,
        withdraw_delay bigint NOT NULL,
        salt bytea NOT NULL,
        charged farthing.amount NOT NULL,
        charges bigint NOT NULL,
        ceiling farthing.amount NOT NULL,
        signature bytea NOT NULL,
        last_charge bigint NOT NULL,
        balance farthing.amount NOT NULL,
        total_claimed farthing.amount NOT NULL,
        withdraw_amount farthing.amount NOT NULL,
        withdraw_requested_at bigint NOT NULL,
        refund_nonce bigint NOT NULL,
        synced_at bigint NOT NULL
    ) WITH (fillfactor = 60);

    -- Append-only, and without a second index: a channel's charges are found from its last one
    -- backwards.
    CREATE TABLE farthing.charges (
        id bigint PRIMARY KEY,
        channel_id bytea NOT NULL,
        previous bigint NOT NULL,
        amount farthing.amount NOT NULL,
        total farthing.amount NOT NULL,
        price farthing.amount NOT NULL,
        route text NOT NULL,
        request_id text NOT NULL,
        time bigint NOT NULL
    );
    CREATE SEQUENCE farthing.charge_ids OWNED BY farthing.charges.id;
    CREATE FUNCTION farthing.refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'a charge is never changed or removed'; END $$;
    CREATE TRIGGER charges_never_change BEFORE UPDATE OR DELETE ON farthing.charges
        FOR EACH ROW EXECUTE FUNCTION farthing.refuse();
    CREATE TRIGGER charges_never_go BEFORE TRUNCATE ON farthing.charges
        EXECUTE FUNCTION farthing.refuse();

    CREATE TABLE farthing.answers (
        charge bigint PRIMARY KEY,
        target bytea NOT NULL,
        status bigint NOT NULL,
        expires_at bigint NOT NULL,
        headers bytea NOT NULL,
        body bytea NOT NULL
    );

    CREATE TABLE farthing.deposits (
        "authorization" bytea PRIMARY KEY,
        channel_id bytea NOT NULL,
        amount farthing.amount NOT NULL,
        transaction_hash bytea NOT NULL,
        raw bytea NOT NULL,
        state text NOT NULL CHECK (state IN ('open', 'confirmed', 'failed')),
        time bigint NOT NULL
    );

    CREATE TABLE farthing.texts (
        name text PRIMARY KEY,
        value text NOT NULL
    );

    CREATE TABLE farthing.schema_version (version bigint NOT NULL);
    INSERT INTO farthing.schema_version VALUES (0);
    """,
]
VERSION = len(MIGRATIONS)

# Advisory locks with two numbers; reservations have one and are apart from them. "frth" in ASCII.
MIGRATION_LOCK = "1718776936, 0"
CHARGE_IDS_LOCK = "1718776936, 1"


def migrate(connection: Connection[Any], url: str) -> None:
    """Brings the tables up to date; of several programs that start at once, one does it.

    Raises:
        LedgerUnusable: The schema is a newer program's, or somebody else's.
    """
    with connection.transaction():
        connection.execute(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        version = _version(connection, url)
        if version > VERSION:
            raise LedgerUnusable(
                url,
                f"its schema is version {version} and this program knows {VERSION}: "
                "install the newer farthing",
            )
        if version < VERSION:
            for statements in MIGRATIONS[version:]:
                connection.execute(statements, prepare=False)
            connection.execute("UPDATE farthing.schema_version SET version = %s", (VERSION,))


def _version(connection: Connection[Any], url: str) -> int:
    rows = connection.execute(
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname = 'farthing'"
    ).fetchall()
    names = {name for (name,) in rows}
    if not names:
        return 0
    if "schema_version" not in names:
        raise LedgerUnusable(url, "its schema farthing is another program's: give a database")
    row = connection.execute("SELECT version FROM farthing.schema_version").fetchone()
    assert row is not None
    version: int = row[0]
    return version
