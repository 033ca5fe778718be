-- The same in PostgreSQL.

SELECT pg_catalog.set_config('search_path', '', false);

CREATE SCHEMA farthing;

CREATE DOMAIN farthing.amount AS numeric(39,0)
	CONSTRAINT amount_check CHECK (((VALUE >= (0)::numeric) AND (VALUE <= '340282366920938463463374607431768211455'::numeric)));

CREATE FUNCTION farthing.make_charges(channel_ids bytea[], batch json, turns bigint, changes json DEFAULT NULL::json) RETURNS SETOF bigint
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION farthing.refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'a charge is never changed or removed'; END $$;

CREATE TABLE farthing.answers (
    charge bigint NOT NULL,
    target bytea NOT NULL,
    status bigint NOT NULL,
    expires_at bigint NOT NULL,
    headers bytea NOT NULL,
    body bytea NOT NULL
);

CREATE TABLE farthing.attempts (
    id bigint NOT NULL,
    transaction_id bigint NOT NULL,
    hash bytea NOT NULL,
    raw bytea NOT NULL,
    nonce bigint NOT NULL,
    max_fee bigint NOT NULL,
    tip bigint NOT NULL,
    "time" bigint NOT NULL
);

ALTER TABLE farthing.attempts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME farthing.attempts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE farthing.channels (
    channel_id bytea NOT NULL,
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
    synced_at bigint NOT NULL,
    unredeemed_since bigint DEFAULT 0 NOT NULL,
    CONSTRAINT channels_channel_id_check CHECK ((length(channel_id) = 32))
)
WITH (fillfactor='60');

CREATE TABLE farthing.charges (
    id bigint NOT NULL,
    channel_id bytea NOT NULL,
    previous bigint NOT NULL,
    amount farthing.amount NOT NULL,
    total farthing.amount NOT NULL,
    price farthing.amount NOT NULL,
    route text NOT NULL,
    request_id text NOT NULL,
    "time" bigint NOT NULL,
    reason text DEFAULT ''::text NOT NULL
);

CREATE SEQUENCE farthing.charge_ids
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE farthing.charge_ids OWNED BY farthing.charges.id;

CREATE TABLE farthing.entitlements (
    payer_id bytea NOT NULL,
    kind text NOT NULL,
    item text NOT NULL,
    since bigint NOT NULL,
    until bigint NOT NULL,
    bought bigint NOT NULL,
    used bigint NOT NULL,
    charge bigint NOT NULL
);

CREATE TABLE farthing.leases (
    name text NOT NULL,
    holder text NOT NULL,
    expires_at bigint NOT NULL
);

CREATE TABLE farthing.payers (
    payer_id bytea NOT NULL,
    payer text NOT NULL,
    signer text NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT payers_payer_id_check CHECK ((length(payer_id) = 32))
)
WITH (fillfactor='60');

CREATE TABLE farthing.refunds (
    channel_id bytea NOT NULL,
    nonce bigint NOT NULL,
    amount farthing.amount NOT NULL
);

CREATE TABLE farthing.refusals (
    day bigint NOT NULL,
    payer text NOT NULL,
    signer text NOT NULL,
    route text NOT NULL,
    code text NOT NULL,
    count bigint NOT NULL
);

CREATE TABLE farthing.schema_version (
    version bigint NOT NULL
);

CREATE TABLE farthing.tallies (
    payer_id bytea NOT NULL,
    name text NOT NULL,
    since bigint NOT NULL,
    value farthing.amount NOT NULL
)
WITH (fillfactor='60');

CREATE TABLE farthing.texts (
    name text NOT NULL,
    value text NOT NULL
);

CREATE TABLE farthing.transaction_rows (
    transaction_id bigint NOT NULL,
    channel_id bytea NOT NULL,
    total farthing.amount NOT NULL
);

CREATE TABLE farthing.transactions (
    id bigint NOT NULL,
    sender text NOT NULL,
    kind text NOT NULL,
    subject bytea NOT NULL,
    target text NOT NULL,
    data bytea NOT NULL,
    gas bigint NOT NULL,
    state text NOT NULL,
    nonce bigint,
    block bigint DEFAULT 0 NOT NULL,
    block_hash bytea DEFAULT '\x'::bytea NOT NULL,
    succeeded boolean DEFAULT false NOT NULL,
    gas_used bigint DEFAULT 0 NOT NULL,
    fee farthing.amount DEFAULT 0 NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    fee_limit bigint,
    CONSTRAINT transactions_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'signed'::text, 'mined'::text, 'final'::text, 'failed'::text, 'refused'::text])))
);

ALTER TABLE farthing.transactions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME farthing.transactions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

INSERT INTO farthing.answers VALUES (2, '\x6666666666666666666666666666666666666666666666666666666666666666', 203, 1000, '\x9292c40c636f6e74656e742d74797065c40a746578742f706c61696e92c40178c40280ff', '\x00626f6479');

INSERT INTO farthing.attempts OVERRIDING SYSTEM VALUE VALUES (1, 1, '\x0402020202020202020202020202020202020202020202020202020202020202', '\x00726177', 0, 0, 0, 6);

INSERT INTO farthing.channels VALUES ('\x9e3779b97f4a7c15000000000000000000000000000000000000000000000001', '0x1111111111111111111111111111111111111111', '0x0000000000000000000000000000000000000000', '0x2222222222222222222222222222222222222222', '0x3333333333333333333333333333333333333333', '0x4444444444444444444444444444444444444444', 3600, '\x5555555555555555555555555555555555555555555555555555555555555555', 12, 3, 19, '\x7777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777', 3, 1000000, 7, 0, 0, 0, 200, 1010);
INSERT INTO farthing.channels VALUES ('\x3c6ef372fe94f82a000000000000000000000000000000000000000000000002', '0x1111111111111111111111111111111111111111', '0x0000000000000000000000000000000000000000', '0x2222222222222222222222222222222222222222', '0x3333333333333333333333333333333333333333', '0x4444444444444444444444444444444444444444', 3600, '\x5555555555555555555555555555555555555555555555555555555555555555', 5, 1, 5, '\x7777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777', 4, 1000000, 5, 40, 0, 0, 200, 0);
INSERT INTO farthing.channels VALUES ('\xdaa66d2c7ddf743f000000000000000000000000000000000000000000000003', '0x1111111111111111111111111111111111111111', '0x0000000000000000000000000000000000000000', '0x2222222222222222222222222222222222222222', '0x3333333333333333333333333333333333333333', '0x4444444444444444444444444444444444444444', 3600, '\x5555555555555555555555555555555555555555555555555555555555555555', 4, 0, 0, '\x', 0, 1000000, 4, 50, 0, 0, 100, 0);
INSERT INTO farthing.channels VALUES ('\x78dde6e5fd29f054000000000000000000000000000000000000000000000004', '0x1111111111111111111111111111111111111111', '0x0000000000000000000000000000000000000000', '0x2222222222222222222222222222222222222222', '0x3333333333333333333333333333333333333333', '0x4444444444444444444444444444444444444444', 3600, '\x5555555555555555555555555555555555555555555555555555555555555555', 52, 2, 61, '\x7777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777', 6, 1000000, 50, 69, 77, 0, 100, 1003);

INSERT INTO farthing.charges VALUES (1, '\x9e3779b97f4a7c15000000000000000000000000000000000000000000000001', 0, 7, 7, 10, 'GET /priced', 'request-9e3779b9-0', 1000, '');
INSERT INTO farthing.charges VALUES (2, '\x9e3779b97f4a7c15000000000000000000000000000000000000000000000001', 1, 2, 9, 10, 'GET /priced', 'request-9e3779b9-1', 1010, '');
INSERT INTO farthing.charges VALUES (3, '\x9e3779b97f4a7c15000000000000000000000000000000000000000000000001', 2, 3, 12, 10, 'GET /priced', 'request-9e3779b9-2', 1020, '');
INSERT INTO farthing.charges VALUES (4, '\x3c6ef372fe94f82a000000000000000000000000000000000000000000000002', 0, 5, 5, 5, 'GET /priced', 'request-3c6ef372-0', 1005, '');
INSERT INTO farthing.charges VALUES (5, '\x78dde6e5fd29f054000000000000000000000000000000000000000000000004', 0, 1, 51, 10, 'GET /priced', 'request-78dde6e5-0', 1003, '');
INSERT INTO farthing.charges VALUES (6, '\x78dde6e5fd29f054000000000000000000000000000000000000000000000004', 5, 1, 52, 10, 'GET /priced', 'request-78dde6e5-1', 1030, '');

INSERT INTO farthing.refunds VALUES ('\x3c6ef372fe94f82a000000000000000000000000000000000000000000000002', 300, 40);
INSERT INTO farthing.refunds VALUES ('\xdaa66d2c7ddf743f000000000000000000000000000000000000000000000003', 0, 50);
INSERT INTO farthing.refunds VALUES ('\x78dde6e5fd29f054000000000000000000000000000000000000000000000004', 0, 60);

INSERT INTO farthing.schema_version VALUES (3);

INSERT INTO farthing.texts VALUES ('owner', 'somebody');
INSERT INTO farthing.texts VALUES ('written by', '755');

INSERT INTO farthing.transactions OVERRIDING SYSTEM VALUE VALUES (1, '', 'deposit', '\x0301010101010101010101010101010101010101010101010101010101010101', '', '\x', 0, 'final', 0, 0, '\x', true, 0, 0, '', 6, 6, NULL);
INSERT INTO farthing.transactions OVERRIDING SYSTEM VALUE VALUES (2, '0xaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaB', 'refund', '\x3c6ef372fe94f82a0000000000000000000000000000000000000000000000020000000000000000000000000000012c', '0x1111111111111111111111111111111111111111', '\x0063616c6c', 21000, 'queued', NULL, 0, '\x', false, 0, 0, '', 1100, 1100, NULL);
INSERT INTO farthing.transactions OVERRIDING SYSTEM VALUE VALUES (3, '0xaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaBaB', 'refund', '\x78dde6e5fd29f05400000000000000000000000000000000000000000000000400000000000000000000000000000000', '0x1111111111111111111111111111111111111111', '\x0063616c6c', 21000, 'refused', NULL, 0, '\x', false, 0, 0, '', 1100, 1101, NULL);

SELECT pg_catalog.setval('farthing.attempts_id_seq', 1, true);

SELECT pg_catalog.setval('farthing.charge_ids', 6, true);

SELECT pg_catalog.setval('farthing.transactions_id_seq', 3, true);

ALTER TABLE ONLY farthing.answers
    ADD CONSTRAINT answers_pkey PRIMARY KEY (charge);

ALTER TABLE ONLY farthing.attempts
    ADD CONSTRAINT attempts_hash_key UNIQUE (hash);

ALTER TABLE ONLY farthing.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY farthing.channels
    ADD CONSTRAINT channels_pkey PRIMARY KEY (channel_id);

ALTER TABLE ONLY farthing.charges
    ADD CONSTRAINT charges_pkey PRIMARY KEY (id);

ALTER TABLE ONLY farthing.entitlements
    ADD CONSTRAINT entitlements_pkey PRIMARY KEY (payer_id, kind, item);

ALTER TABLE ONLY farthing.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);

ALTER TABLE ONLY farthing.payers
    ADD CONSTRAINT payers_pkey PRIMARY KEY (payer_id);

ALTER TABLE ONLY farthing.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (channel_id);

ALTER TABLE ONLY farthing.refusals
    ADD CONSTRAINT refusals_pkey PRIMARY KEY (day, payer, signer, route, code);

ALTER TABLE ONLY farthing.tallies
    ADD CONSTRAINT tallies_pkey PRIMARY KEY (payer_id, name);

ALTER TABLE ONLY farthing.texts
    ADD CONSTRAINT texts_pkey PRIMARY KEY (name);

ALTER TABLE ONLY farthing.transaction_rows
    ADD CONSTRAINT transaction_rows_pkey PRIMARY KEY (transaction_id, channel_id);

ALTER TABLE ONLY farthing.transactions
    ADD CONSTRAINT transactions_pkey PRIMARY KEY (id);

CREATE INDEX attempts_transaction ON farthing.attempts USING btree (transaction_id, id);

CREATE INDEX channels_withdrawing ON farthing.channels USING btree (channel_id) WHERE (withdraw_requested_at > 0);

CREATE INDEX payers_payer ON farthing.payers USING btree (payer, signer);

CREATE UNIQUE INDEX transactions_nonce ON farthing.transactions USING btree (sender, nonce) WHERE (state = ANY (ARRAY['signed'::text, 'mined'::text]));

CREATE UNIQUE INDEX transactions_once ON farthing.transactions USING btree (kind, subject) WHERE ((subject <> '\x'::bytea) AND (state <> ALL (ARRAY['failed'::text, 'refused'::text])));

CREATE INDEX transactions_state ON farthing.transactions USING btree (state, id);

CREATE INDEX transactions_subject ON farthing.transactions USING btree (kind, subject, id);

CREATE TRIGGER charges_never_change BEFORE DELETE OR UPDATE ON farthing.charges FOR EACH ROW EXECUTE FUNCTION farthing.refuse();

CREATE TRIGGER charges_never_go BEFORE TRUNCATE ON farthing.charges FOR EACH STATEMENT EXECUTE FUNCTION farthing.refuse();
