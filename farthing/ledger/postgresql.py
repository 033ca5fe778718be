"""The ledger in PostgreSQL, for many workers or machines."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import IsolationLevel

from farthing.ledger.columns import (
    ANSWER,
    CHARGE,
    STATE,
    pack_headers,
    unpack_headers,
)
from farthing.ledger.errors import BackupRefused
from farthing.ledger.ledger import LARGE
from farthing.ledger.listings import charges_query
from farthing.ledger.postgresql_channels import PostgresChannels
from farthing.ledger.postgresql_link import Link, PostgresConnection
from farthing.ledger.postgresql_part import mark, to_state
from farthing.ledger.postgresql_payers import PostgresPayers
from farthing.ledger.postgresql_schema import CHARGE_IDS_LOCK, migrate
from farthing.ledger.postgresql_transactions import PostgresTransactions
from farthing.ledger.proof import UNPROVEN, prove_books, prove_payers
from farthing.ledger.records import (
    Answer,
    ChannelState,
    Charge,
    Difference,
    Entitlement,
    NewCharge,
    NotReserved,
    Tally,
    Totals,
)

# Answers forgotten in one transaction.
FORGET = 10_000
# Rows fetched at a time where all are read.
FETCH = 5_000

_TRY_LOCK = "SELECT pg_try_advisory_lock(key) FROM unnest(%s::bigint[]) AS key"
_UNLOCK = "SELECT pg_advisory_unlock(key) FROM unnest(%s::bigint[]) AS key"
_MAKE_CHARGES = "SELECT make_charges(%b, %s::json, %s::bigint, %s::json)"
_READ_STATES = f"SELECT channel_id, {STATE} FROM channels WHERE channel_id = ANY(%s::bytea[])"

# Waits for the ids that others have drawn, so that no lower one appears after a higher was seen.
_SEE_IDS = f"SELECT pg_advisory_xact_lock({CHARGE_IDS_LOCK})"


class _Asked(Struct):
    """A charge as the database is asked for it."""

    place: int
    turn: int
    channel: bytes
    fence: int
    before: int
    amount: int
    price: int
    ceiling: int
    signature: bytes
    route: str
    request_id: str
    time: int
    reason: str
    changes_payer: bool
    target: bytes | None = None
    status: int | None = None
    headers: bytes | None = None
    body: bytes | None = None
    expires_at: int | None = None


class _Change(Struct):
    """What a charge changes in its payer's books, as the database is asked for it."""

    place: int
    turn: int
    channel: bytes
    fence: int
    before: int
    id: bytes
    address: str
    signer: str
    version: int
    tallies: list[Tally]
    entitlements: list[Entitlement]


class PostgresLedger(PostgresChannels, PostgresPayers, PostgresTransactions):
    """A ledger in a PostgreSQL database; see `Ledger`.

    A reservation is a lock of the session, so there must be no pooler between that gives a
    session to several clients (PgBouncer's transaction mode). If the connection is lost,
    reservations are taken again with the next one; should another worker have been faster,
    `commit` decides.
    """

    is_local = False

    def __init__(self, url: str) -> None:
        """Connects, makes the tables if there are none, and brings older ones up to date.

        Raises:
            LedgerUnusable: The URL cannot be read, or what is there is no ledger, or a newer
                program's.
            LedgerUnavailable: The database does not answer, or does not let us in.
        """
        # Before the link, which asks for it when it connects.
        self._held: set[bytes] = set()
        self._link = Link(url, self._hold_again)
        self._commits = Link(url)
        self._committing = threading.Lock()
        # The last charge whose predecessor's answer is forgotten.
        self._replaced: int | None = None
        try:
            with self._link.session() as connection:
                migrate(connection, self._link.url)
            with self._commits.session():
                pass
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------ the way of a payment

    def reserve(self, channel_ids: Sequence[bytes]) -> list[ChannelState | NotReserved]:
        wanted = [each for each in dict.fromkeys(channel_ids) if each not in self._held]
        found = self._reserve(wanted) if wanted else {}
        answers = []
        for channel_id in channel_ids:
            answer = found.get(channel_id, NotReserved.BUSY)
            if answer is not NotReserved.UNKNOWN:
                # Of several for one channel the first gets it.
                found[channel_id] = NotReserved.BUSY
            answers.append(answer)
        return answers

    def _reserve(self, wanted: list[bytes]) -> dict[bytes, ChannelState | NotReserved]:
        with self._link.session() as connection:
            locked, rows = self._lock(wanted, _READ_STATES, (wanted,))
            states = {row[0]: to_state(row[1:]) for row in rows}
            unknown = [each for each in locked if each not in states]
            if unknown:
                connection.execute(_UNLOCK, (_keys(unknown),))
        reserved = {each: states[each] for each in locked if each in states}
        self._held.update(reserved)
        return {**reserved, **dict.fromkeys(unknown, NotReserved.UNKNOWN)}

    def _lock(
        self, names: list[bytes], query: str, values: Any
    ) -> tuple[list[bytes], list[tuple[Any, ...]]]:
        with self._link.session() as connection:
            with connection.pipeline():
                locks = connection.execute(_TRY_LOCK, (_keys(names),))
                # A statement of its own: it sees what was committed before the lock was free.
                rows = connection.execute(query, values)
            locked = [each for each, (got,) in zip(names, locks, strict=True) if got]
            return locked, rows.fetchall()

    def release(self, channel_ids: Sequence[bytes]) -> None:
        held = self._held.intersection(channel_ids)
        self._held -= held
        # Without a connection there is no lock either.
        if held and self._link.is_open:
            with self._link.session() as connection:
                connection.execute(_UNLOCK, (_keys(held),))

    def _hold_again(self, connection: PostgresConnection) -> None:
        if self._held:
            connection.execute(_TRY_LOCK, (_keys(self._held),))

    def commit(self, charges: Sequence[NewCharge]) -> list[bool]:
        if not charges:
            return []
        with self._committing, self._commits.session() as connection:
            # Its own transaction: durable when it answers.
            return self._charge(connection, charges)

    def _charge(self, connection: PostgresConnection, charges: Sequence[NewCharge]) -> list[bool]:
        asked = _asked(charges)
        values = (
            [charge.channel_id for charge in charges],
            # One document: to hand over a list for each column takes several times as long.
            msgspec.json.encode(asked).decode(),
            max(each.turn for each in asked),
            _changes(charges, asked),
        )
        places = {place for (place,) in connection.execute(_MAKE_CHARGES, values).fetchall()}
        return [place in places for place in range(len(charges))]

    def answer(self, channel_id: bytes) -> Answer | None:
        row = self._row(
            f"SELECT {ANSWER} FROM answers JOIN channels ON charge = last_charge "
            "WHERE channel_id = %s",
            channel_id,
        )
        if row is None:
            return None
        target, status, headers, body, expires_at = row
        return Answer(target, status, unpack_headers(headers), body, expires_at)

    # ------------------------------------------------------------ looking

    def charges(
        self,
        *,
        channel_id: bytes | None = None,
        route: str | None = None,
        since: int | None = None,
        until: int | None = None,
        after: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> list[Charge]:
        asked = {
            "channel_id": channel_id,
            "route": route,
            "since": since,
            "until": until,
            "after": after,
            "limit": limit,
        }
        query = charges_query(mark, asked, newest_first=newest_first)
        with self._link.session() as connection, connection.transaction():
            if channel_id is None:
                connection.execute(_SEE_IDS)
            return [Charge(*row) for row in connection.execute(query, asked)]

    def totals(self) -> Totals:
        row = self._row(
            "SELECT count(*), coalesce(sum(charges), 0), coalesce(sum(charged), 0), "
            "coalesce(sum(greatest(0, charged - total_claimed)), 0), coalesce(sum(balance), 0) "
            "FROM channels"
        )
        assert row is not None
        return Totals(*row)

    def prove(self) -> list[Difference]:
        with self._link.session() as connection:
            # One snapshot, so that the channels and their charges are of one moment.
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            try:
                with (
                    connection.transaction(),
                    connection.cursor("channels") as channels,
                    connection.cursor("charges") as charges,
                ):
                    channels.itersize = charges.itersize = FETCH
                    channels.execute(
                        f"SELECT channel_id, {STATE} FROM channels ORDER BY channel_id"
                    )
                    charges.execute(f"SELECT {CHARGE} FROM charges ORDER BY channel_id, id")
                    differences = prove_books(
                        ((row[0], to_state(row[1:])) for row in channels),
                        (Charge(*row) for row in charges),
                    )
                    return [*differences, *prove_payers(connection.execute(UNPROVEN))]
            finally:
                connection.isolation_level = None

    # ------------------------------------------------------------ housekeeping

    def forget_answers(self, now: int) -> int:
        # The oldest are looked at and no others, so that it costs the same however many there are.
        expired = self._write(
            "DELETE FROM answers WHERE expires_at < %s::bigint AND charge = ANY("
            "ARRAY(SELECT charge FROM answers ORDER BY charge LIMIT %s))",
            now,
            FORGET,
        )
        # Likewise of the charges since the last time, each of which took the place of one. One that
        # is committed after a later one was seen is passed over; then the other answer expires.
        found = self._row(
            "SELECT coalesce(max(id), 0), (SELECT min(charge) FROM answers) FROM charges"
        )
        assert found is not None
        last, oldest = found
        if self._replaced is None:
            self._replaced = last if oldest is None else oldest
        until = min(last, self._replaced + FORGET)
        replaced = self._write(
            "DELETE FROM answers WHERE charge = ANY("
            "ARRAY(SELECT previous FROM charges WHERE id > %s AND id <= %s)) "
            "AND octet_length(body) > %s",
            self._replaced,
            until,
            LARGE,
        )
        self._replaced = until
        return expired + replaced

    def remember(self, name: str, value: str) -> None:
        self._write(
            "INSERT INTO texts VALUES (%s, %s) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            name,
            value,
        )

    def recall(self, name: str) -> str | None:
        row = self._row("SELECT value FROM texts WHERE name = %s", name)
        return None if row is None else row[0]

    def backup(self, path: Path) -> None:
        raise BackupRefused("this ledger is in PostgreSQL, so use pg_dump --schema=farthing")

    def close(self) -> None:
        self._link.close()
        with self._committing:
            self._commits.close()


def _keys(channel_ids: Iterable[bytes]) -> list[int]:
    # 64 bits of a hash: two channels with one key would keep each other waiting, no more.
    return [int.from_bytes(channel_id[:8], "big", signed=True) for channel_id in channel_ids]


def _asked(charges: Sequence[NewCharge]) -> list[_Asked]:
    """The charges with their places, and turns in which no channel and no payer comes twice.

    Mostly it is one turn.
    """
    turns: Counter[bytes] = Counter()
    asked = []
    for place, charge in enumerate(charges):
        turn = turns[charge.channel_id] + 1
        if charge.change is not None:
            turn = max(turn, turns[charge.change.payer.id] + 1)
            turns[charge.change.payer.id] = turn
        turns[charge.channel_id] = turn
        answer = charge.answer
        row = _Asked(
            place,
            turn,
            charge.channel_id,
            charge.charges,
            charge.charged,
            charge.amount,
            charge.price,
            charge.ceiling,
            charge.signature,
            charge.route,
            charge.request_id,
            charge.time,
            charge.reason,
            charge.change is not None,
        )
        if answer is not None:
            row.target = answer.target
            row.status = answer.status
            row.headers = pack_headers(answer.headers)
            row.body = answer.body
            row.expires_at = answer.expires_at
        asked.append(row)
    return asked


def _changes(charges: Sequence[NewCharge], asked: Sequence[_Asked]) -> str | None:
    """What they change in payers' books; None for nothing."""
    changes = [
        _Change(
            *(row.place, row.turn, row.channel, row.fence, row.before),
            *(change.payer.id, change.payer.address, change.payer.signer, change.version),
            change.tallies,
            change.entitlements,
        )
        for charge, row in zip(charges, asked, strict=True)
        if (change := charge.change) is not None
    ]
    return msgspec.json.encode(changes).decode() if changes else None
