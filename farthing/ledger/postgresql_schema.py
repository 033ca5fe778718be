"""The tables of a PostgreSQL ledger, and how older ones become the present ones.

They have the names and columns of the SQLite ledger's, in a schema named ``farthing``.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from farthing.ledger.errors import LedgerUnusable
from farthing.ledger.ledger import RESTORED

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
    """
    -- When the oldest charge was made that is not claimed on chain; 0 when there is none.
    ALTER TABLE farthing.channels ADD COLUMN unredeemed_since bigint NOT NULL DEFAULT 0;
    UPDATE farthing.channels SET unredeemed_since = oldest FROM (
        SELECT charges.channel_id AS channel, min(time) AS oldest
        FROM farthing.charges JOIN farthing.channels USING (channel_id)
        WHERE charged > total_claimed AND total > total_claimed
        GROUP BY 1
    ) AS found WHERE channel_id = channel;
    -- A charge changes neither column of it, and so not the index.
    CREATE INDEX channels_withdrawing ON farthing.channels (channel_id)
        WHERE withdraw_requested_at > 0;

    CREATE TABLE farthing.refunds (
        channel_id bytea PRIMARY KEY,
        nonce bigint NOT NULL,
        amount farthing.amount NOT NULL
    );

    CREATE TABLE farthing.leases (
        name text PRIMARY KEY,
        holder text NOT NULL,
        -- Unix milliseconds.
        expires_at bigint NOT NULL
    );

    CREATE TABLE farthing.transactions (
        id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        sender text NOT NULL,
        kind text NOT NULL,
        subject bytea NOT NULL,
        target text NOT NULL,
        data bytea NOT NULL,
        gas bigint NOT NULL,
        state text NOT NULL
            CHECK (state IN ('queued', 'signed', 'mined', 'final', 'failed', 'refused')),
        nonce bigint,
        block bigint NOT NULL DEFAULT 0,
        block_hash bytea NOT NULL DEFAULT '',
        succeeded boolean NOT NULL DEFAULT false,
        gas_used bigint NOT NULL DEFAULT 0,
        fee farthing.amount NOT NULL DEFAULT 0,
        reason text NOT NULL DEFAULT '',
        created_at bigint NOT NULL,
        updated_at bigint NOT NULL
    );
    CREATE INDEX transactions_state ON farthing.transactions (state, id);
    CREATE INDEX transactions_subject ON farthing.transactions (kind, subject, id);
    CREATE UNIQUE INDEX transactions_once ON farthing.transactions (kind, subject)
        WHERE subject != '' AND state NOT IN ('failed', 'refused');
    CREATE UNIQUE INDEX transactions_nonce ON farthing.transactions (sender, nonce)
        WHERE state IN ('signed', 'mined');

    CREATE TABLE farthing.attempts (
        id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        transaction_id bigint NOT NULL,
        hash bytea NOT NULL UNIQUE,
        raw bytea NOT NULL,
        nonce bigint NOT NULL,
        max_fee bigint NOT NULL,
        tip bigint NOT NULL,
        time bigint NOT NULL
    );
    CREATE INDEX attempts_transaction ON farthing.attempts (transaction_id, id);

    -- A deposit is a transaction now. One whose end is not known is not among them: the chain tells
    -- if it comes.
    INSERT INTO farthing.transactions (sender, kind, subject, target, data, gas, state, nonce,
        succeeded, created_at, updated_at)
        SELECT '', 'deposit', "authorization", '', '', 0, 'final', 0, true, time, time
        FROM farthing.deposits WHERE state = 'confirmed';
    INSERT INTO farthing.attempts (transaction_id, hash, raw, nonce, max_fee, tip, time)
        SELECT id, transaction_hash, raw, 0, 0, 0, time
        FROM farthing.transactions JOIN farthing.deposits ON subject = "authorization";
    DROP TABLE farthing.deposits;

    CREATE TABLE farthing.transaction_rows (
        transaction_id bigint NOT NULL,
        channel_id bytea NOT NULL,
        total farthing.amount NOT NULL,
        PRIMARY KEY (transaction_id, channel_id)
    );
    """,
    """
    ALTER TABLE farthing.transactions ADD COLUMN fee_limit bigint;
    ALTER TABLE farthing.charges ADD COLUMN reason text NOT NULL DEFAULT '';

    -- Whom prices have rules for. The version moves with every charge that changes what stands
    -- below, and fences the next.
    CREATE TABLE farthing.payers (
        payer_id bytea PRIMARY KEY CHECK (length(payer_id) = 32),
        payer text NOT NULL,
        signer text NOT NULL,
        version bigint NOT NULL
    ) WITH (fillfactor = 60);
    CREATE INDEX payers_payer ON farthing.payers (payer, signer);

    CREATE TABLE farthing.tallies (
        payer_id bytea NOT NULL,
        name text NOT NULL,
        since bigint NOT NULL,
        value farthing.amount NOT NULL,
        PRIMARY KEY (payer_id, name)
    ) WITH (fillfactor = 60);

    CREATE TABLE farthing.entitlements (
        payer_id bytea NOT NULL,
        kind text NOT NULL,
        item text NOT NULL,
        since bigint NOT NULL,
        until bigint NOT NULL,
        bought bigint NOT NULL,
        used bigint NOT NULL,
        charge bigint NOT NULL,
        PRIMARY KEY (payer_id, kind, item)
    );

    CREATE TABLE farthing.refusals (
        day bigint NOT NULL,
        payer text NOT NULL,
        signer text NOT NULL,
        route text NOT NULL,
        code text NOT NULL,
        count bigint NOT NULL,
        PRIMARY KEY (day, payer, signer, route, code)
    );

    -- It has one argument more now.
    DROP FUNCTION IF EXISTS farthing.make_charges(bytea[], json, bigint);
    """,
    """
    -- What is held is held by a transaction. A refund that was never ordered holds nothing: what
    -- would send it was given to nobody.
    ALTER TABLE farthing.refunds RENAME TO held;
    CREATE TABLE farthing.refunds (
        transaction_id bigint PRIMARY KEY,
        channel_id bytea NOT NULL,
        nonce bigint NOT NULL,
        amount farthing.amount NOT NULL
    );
    CREATE INDEX refunds_channel ON farthing.refunds (channel_id, nonce);
    INSERT INTO farthing.refunds
        SELECT id, channel_id, held.nonce, amount
        FROM farthing.held JOIN farthing.transactions ON kind = 'refund'
            AND subject = channel_id || decode(lpad(to_hex(held.nonce), 32, '0'), 'hex');
    DROP TABLE farthing.held;
    """,
    """
    -- The block a mirror is of. It is not known of those that are there.
    ALTER TABLE farthing.channels ADD COLUMN block bigint NOT NULL DEFAULT 0;
    """,
]
VERSION = len(MIGRATIONS)

# Of the present version alone: whatever the tables were before, these take the older ones' place.
FUNCTIONS = """
-- Makes charges; the places in the batch of those that are made, or were made before. As a
-- function it takes one round trip, and each statement in it sees what others have committed.
-- ``changes`` has what some of them change in their payers' books, and is NULL if none does.
CREATE OR REPLACE FUNCTION farthing.make_charges(
    channel_ids bytea[], batch json, turns bigint, changes json DEFAULT NULL
)
RETURNS SETOF bigint LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    passed bigint[];
BEGIN
    -- In one order for everybody, so that two batches never wait for each other.
    PERFORM FROM farthing.channels WHERE channel_id = ANY (channel_ids)
        ORDER BY channel_id FOR NO KEY UPDATE;
    IF changes IS NOT NULL THEN
        -- Channels first, then payers, each in one order for everybody.
        INSERT INTO farthing.payers
            SELECT DISTINCT decode(id, 'base64'), address, signer, 0
            FROM json_to_recordset(changes) AS asked (id text, address text, signer text)
            ORDER BY 1
            ON CONFLICT DO NOTHING;
        PERFORM FROM farthing.payers WHERE payer_id IN (
            SELECT decode(id, 'base64') FROM json_to_recordset(changes) AS asked (id text)
        ) ORDER BY payer_id FOR NO KEY UPDATE;
    END IF;
    -- Shared by all who make charges, from before they draw ids until these can be seen; taken
    -- alone by who lists charges, so that no lower id appears after a higher one was seen.
    PERFORM pg_advisory_xact_lock_shared(1718776936, 1);
    FOR now IN 1..turns LOOP
        IF changes IS NOT NULL THEN
            -- Nothing of it moves until the end: it is locked.
            passed := ARRAY(
                SELECT place
                FROM json_to_recordset(changes) AS asked (
                    place bigint, turn bigint, channel text, fence bigint, before numeric,
                    id text, version bigint
                )
                JOIN farthing.channels ON channel_id = decode(channel, 'base64')
                    AND channels.charges = fence AND channels.charged = before
                JOIN farthing.payers ON payer_id = decode(id, 'base64')
                    AND payers.version = asked.version
                WHERE turn = now
            );
        END IF;
        RETURN QUERY
        WITH asked AS MATERIALIZED (
            SELECT
                asked.*,
                last_charge AS previous,
                channels.charges = fence AND channels.charged = before
                    AND (NOT changes_payer OR place = ANY (passed)) AS fits
            FROM json_to_recordset(batch) AS asked (
                place bigint, turn bigint, channel text, fence bigint, before numeric,
                amount numeric, price numeric, ceiling numeric, signature text,
                route text, request_id text, time bigint, reason text, changes_payer boolean,
                target text, status bigint, expires_at bigint, headers text, body text
            )
            JOIN farthing.channels ON channel_id = decode(channel, 'base64')
            WHERE turn = now
        ),
        made AS MATERIALIZED (
            SELECT
                nextval('farthing.charge_ids') AS id,
                decode(channel, 'base64') AS channel_id,
                before + amount AS total,
                *
            FROM (SELECT * FROM asked WHERE fits ORDER BY place) AS in_order
        ),
        moved AS (
            UPDATE farthing.channels SET
                charged = total, charges = fence + 1, ceiling = made.ceiling,
                signature = decode(made.signature, 'base64'), last_charge = id,
                unredeemed_since = CASE
                    WHEN channels.charged > total_claimed THEN unredeemed_since ELSE made.time
                END
            FROM made WHERE channels.channel_id = made.channel_id
        ),
        written AS (
            INSERT INTO farthing.charges (
                id, channel_id, previous, amount, total, price, route, request_id, time, reason
            )
            SELECT id, channel_id, previous, amount, total, price, route, request_id, time, reason
            FROM made
        ),
        kept AS (
            INSERT INTO farthing.answers (charge, target, status, headers, body, expires_at)
            SELECT
                id, decode(target, 'base64'), status, decode(headers, 'base64'),
                decode(body, 'base64'), expires_at
            FROM made WHERE target IS NOT NULL
        )
        SELECT place FROM made
        UNION ALL
        SELECT place FROM asked JOIN farthing.charges ON id = asked.previous
        WHERE NOT fits AND charges.request_id = asked.request_id;
        CONTINUE WHEN changes IS NULL OR passed = '{}';
        -- What passed was charged just now.
        UPDATE farthing.payers SET version = payers.version + 1
        FROM json_to_recordset(changes) AS asked (place bigint, id text)
        WHERE place = ANY (passed) AND payer_id = decode(id, 'base64');
        INSERT INTO farthing.tallies
            SELECT decode(id, 'base64'), name, since, value
            FROM json_to_recordset(changes) AS asked (place bigint, id text, tallies json),
                json_to_recordset(tallies) AS tally (name text, since bigint, value numeric)
            WHERE place = ANY (passed)
            ON CONFLICT (payer_id, name) DO UPDATE
                SET since = excluded.since, value = excluded.value;
        INSERT INTO farthing.entitlements
            SELECT decode(id, 'base64'), kind, item, since, until, bought, used, last_charge
            FROM json_to_recordset(changes) AS asked (
                    place bigint, channel text, id text, entitlements json
                )
                JOIN farthing.channels ON channel_id = decode(channel, 'base64'),
                json_to_recordset(entitlements) AS bought (
                    kind text, item text, since bigint, until bigint, bought bigint, used bigint
                )
            WHERE place = ANY (passed)
            ON CONFLICT (payer_id, kind, item) DO UPDATE SET
                since = excluded.since, until = excluded.until, bought = excluded.bought,
                used = excluded.used, charge = excluded.charge;
    END LOOP;
END $$;
"""

# Advisory locks with two numbers; reservations have one and are apart from them. "frth" in ASCII.
MIGRATION_LOCK = "1718776936, 0"
CHARGE_IDS_LOCK = "1718776936, 1"


def migrate(connection: Connection[Any], url: str) -> None:
    """Brings the tables up to date; of several programs that start at once, one does it.

    Notices also if they were restored from a dump, and then leaves word in the text `RESTORED`.

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
            connection.execute(FUNCTIONS, prepare=False)
            connection.execute("UPDATE farthing.schema_version SET version = %s", (VERSION,))
        _notice_restore(connection)


def _notice_restore(connection: Connection[Any]) -> None:
    # A row knows the transaction that wrote it. One that names another was written again by whoever
    # restored it.
    row = connection.execute(
        "SELECT value = xmin::text FROM farthing.texts WHERE name = 'written by'"
    ).fetchone()
    if row == (True,):
        return
    texts = "('written by', (txid_current() & 4294967295)::text)"
    if row is not None:
        texts += f", ('{RESTORED}', extract(epoch FROM now())::bigint::text)"
    connection.execute(
        f"INSERT INTO farthing.texts VALUES {texts} "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )


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
