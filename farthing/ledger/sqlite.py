"""The ledger in one SQLite file: WAL, and every commit synced to the disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from farthing.ledger.checkpoints import Checkpoints
from farthing.ledger.columns import (
    ANSWER,
    CHARGE,
    STATE,
    pack_headers,
    unpack_headers,
)
from farthing.ledger.ledger import LARGE
from farthing.ledger.listings import charges_query
from farthing.ledger.locks import ByteLocks
from farthing.ledger.proof import UNPROVEN, prove_books, prove_payers
from farthing.ledger.records import (
    Answer,
    ChannelState,
    Charge,
    Difference,
    NewCharge,
    NotReserved,
    Totals,
)
from farthing.ledger.sqlite_channels import SqliteChannels
from farthing.ledger.sqlite_file import (
    Failing,
    back_up,
    connect,
    file_id,
    impatient,
    open_file,
    transaction,
)
from farthing.ledger.sqlite_part import mark, to_amount, to_charge, to_state
from farthing.ledger.sqlite_part import to_blob as _blob
from farthing.ledger.sqlite_payers import SqlitePayers, change_payer
from farthing.ledger.sqlite_transactions import SqliteTransactions

# Answers forgotten in one transaction.
FORGET = 10_000

_READ_STATES = f"SELECT channel_id, {STATE} FROM channels WHERE channel_id IN carray(?)"


class SqliteLedger(SqliteChannels, SqlitePayers, SqliteTransactions):
    """A ledger in a file; see `Ledger`."""

    is_local = True

    def __init__(self, path: Path) -> None:
        """Opens the file, makes it if there is none, and brings an older one up to date.

        Raises:
            LedgerUnusable: It is no ledger, or a newer program's.
            LedgerUnavailable: It cannot be opened.
        """
        self._path = path
        self._process = os.getpid()
        self._held: set[bytes] = set()
        self._writing = threading.Lock()
        self._failing = Failing(path)
        with self._failing:
            open_file(path)
            self._file = file_id(path)
            self._reader = connect(path)
            # Kept, for it takes longer to make one than to read a channel.
            self._states = self._reader.cursor()
            self._writer = connect(path)
            self._checkpoints = Checkpoints(partial(connect, path))
            self._writer.set_wal_hook(self._checkpoints)
            self._written_states = self._writer.cursor()
            self._locks = ByteLocks(path.with_name(path.name + "-reserved"))

    # ------------------------------------------------------------ the way of a payment

    def reserve(self, channel_ids: Sequence[bytes]) -> list[ChannelState | NotReserved]:
        answers: list[ChannelState | NotReserved] = [NotReserved.BUSY] * len(channel_ids)
        taken: dict[bytes, int] = {}
        try:
            with self._failing:
                for place, channel_id in enumerate(channel_ids):
                    if channel_id not in self._held and self._locks.take(channel_id):
                        self._held.add(channel_id)
                        taken[channel_id] = place
                # Only now that they are reserved, so that what is read stays true.
                rows = self._read_states(tuple(taken)) if taken else []
                unknown = taken.copy()
                for channel_id, *row in rows:
                    answers[taken[channel_id]] = to_state(row)
                    del unknown[channel_id]
        except BaseException:
            self._give(taken)
            raise
        if unknown:
            self._give(unknown)
            for place, channel_id in enumerate(channel_ids):
                if channel_id in unknown:
                    answers[place] = NotReserved.UNKNOWN
        return answers

    def _read_states(self, channel_ids: tuple[bytes, ...]) -> list[Any]:
        # Every commit empties the cache of all connections but the writer's own, so the writer is
        # asked, unless it is just writing. One statement, for each takes SQLite's locks by itself;
        # and `fetchall`, for a cursor with rows left would keep its connection at this moment.
        wanted = (apsw.carray(channel_ids),)
        if not self._writing.acquire(blocking=False):
            return self._states.execute(_READ_STATES, wanted).fetchall()
        try:
            return self._written_states.execute(_READ_STATES, wanted).fetchall()
        finally:
            self._writing.release()

    def release(self, channel_ids: Sequence[bytes]) -> None:
        with self._failing:
            self._give(channel_ids)

    def _give(self, channel_ids: Iterable[bytes]) -> None:
        for channel_id in channel_ids:
            if channel_id in self._held:
                self._held.discard(channel_id)
                self._locks.give(channel_id)

    def commit(self, charges: Sequence[NewCharge]) -> list[bool]:
        with self._transaction() as writer:
            return self._charge_each(writer, charges)

    def commit_at_once(self, charges: Sequence[NewCharge]) -> list[bool] | None:
        if not self._writing.acquire(blocking=False):
            return None
        try:
            with self._failing:
                try:
                    with impatient(self._writer), transaction(self._writer):
                        made = self._charge_each(self._writer, charges)
                except apsw.BusyError:
                    return None
                self._check_file()
                return made
        finally:
            self._writing.release()

    def _charge_each(self, writer: apsw.Connection, charges: Sequence[NewCharge]) -> list[bool]:
        """Makes those that can be made; for each, whether it was."""
        if self._charge(writer, charges) == len(charges):
            return [True] * len(charges)
        # Some channel or payer has moved on. One by one it is seen which.
        writer.execute("ROLLBACK; BEGIN IMMEDIATE")
        return [
            self._charge_alone(writer, charge) or self._is_repeated(writer, charge)
            for charge in charges
        ]

    def _charge_alone(self, writer: apsw.Connection, charge: NewCharge) -> bool:
        writer.execute("SAVEPOINT alone")
        is_made = self._charge(writer, [charge]) == 1
        # A channel that is charged where its payer's books have moved on is as it was before.
        writer.execute("RELEASE alone" if is_made else "ROLLBACK TO alone; RELEASE alone")
        return is_made

    def _charge(self, writer: apsw.Connection, charges: Sequence[NewCharge]) -> int:
        """Makes charges where channels and payers stand where they were reserved; how many."""
        ((last,),) = writer.execute("SELECT coalesce(max(id), 0) FROM charges")
        numbered = list(enumerate(charges, last + 1))
        before = writer.total_changes()
        # Compare: there is a charge only where the channel has not moved.
        writer.executemany(
            f"INSERT INTO charges ({CHARGE}) "
            "SELECT ?, channel_id, last_charge, ?, ?, ?, ?, ?, ?, ? FROM channels "
            "WHERE channel_id = ? AND charges = ? AND charged = ?",
            [
                (
                    number,
                    _blob(charge.amount),
                    _blob(charge.charged + charge.amount),
                    _blob(charge.price),
                    charge.route,
                    charge.request_id,
                    charge.time,
                    charge.reason,
                    charge.channel_id,
                    charge.charges,
                    _blob(charge.charged),
                )
                for number, charge in numbered
            ],
        )
        made = writer.total_changes() - before
        if made != len(charges):
            return made
        # And set. Two charges of one channel at one count both pass the comparison: the second
        # finds nothing to set.
        writer.executemany(
            "UPDATE channels SET charged = ?, charges = charges + 1, ceiling = ?, signature = ?, "
            "last_charge = ?, "
            "unredeemed_since = iif(charged > total_claimed, unredeemed_since, ?) "
            "WHERE channel_id = ? AND charges = ?",
            [
                (
                    _blob(charge.charged + charge.amount),
                    _blob(charge.ceiling),
                    charge.signature,
                    number,
                    charge.time,
                    charge.channel_id,
                    charge.charges,
                )
                for number, charge in numbered
            ],
        )
        set_ = writer.total_changes() - before - made
        if set_ != len(charges):
            return set_
        for number, charge in numbered:
            if charge.change is not None and not change_payer(writer, charge.change, number):
                return 0
        # Nobody can ask any more for those of the charges before. Small ones are left to expire:
        # many lie on a page, and to remove each by itself takes a tenth of the rate.
        writer.execute(
            "DELETE FROM answers WHERE charge IN (SELECT previous FROM charges WHERE id > ?) "
            "AND length(body) > ?",
            (last, LARGE),
        )
        writer.executemany(
            f"INSERT INTO answers (charge, {ANSWER}) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    number,
                    charge.answer.target,
                    charge.answer.status,
                    pack_headers(charge.answer.headers),
                    charge.answer.body,
                    charge.answer.expires_at,
                )
                for number, charge in numbered
                if charge.answer is not None
            ],
        )
        return made

    def _is_repeated(self, writer: apsw.Connection, charge: NewCharge) -> bool:
        row = writer.execute(
            "SELECT request_id FROM charges JOIN channels ON id = last_charge "
            "WHERE channels.channel_id = ?",
            (charge.channel_id,),
        ).fetchone()
        return row is not None and row[0] == charge.request_id

    def answer(self, channel_id: bytes) -> Answer | None:
        with self._failing:
            # Here and at each commit, and so before every 200; `reserve` is called too often.
            self._check_file()
            row = self._reader.execute(
                f"SELECT {ANSWER} FROM answers "
                "JOIN channels ON charge = last_charge WHERE channel_id = ?",
                (channel_id,),
            ).fetchone()
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
        return [to_charge(row) for row in self._rows(query, asked)]

    def totals(self) -> Totals:
        channels = charges = charged = unredeemed = escrowed = 0
        with self._failing:
            for counted, *amounts in self._reader.execute(
                "SELECT charges, charged, total_claimed, balance FROM channels"
            ):
                of_channel, claimed, balance = map(to_amount, amounts)
                channels += 1
                charges += counted
                charged += of_channel
                unredeemed += max(0, of_channel - claimed)
                escrowed += balance
        return Totals(channels, charges, charged, unredeemed, escrowed)

    def prove(self) -> list[Difference]:
        # A connection of its own: its read transaction is one moment for both tables.
        with self._failing, closing(connect(self._path)) as reader:
            reader.execute("BEGIN")
            channels = reader.execute(f"SELECT channel_id, {STATE} FROM channels ORDER BY 1")
            charges = reader.execute(f"SELECT {CHARGE} FROM charges ORDER BY channel_id, id")
            differences = prove_books(
                ((row[0], to_state(row[1:])) for row in channels),
                (to_charge(row) for row in charges),
            )
            return [*differences, *prove_payers(reader.execute(UNPROVEN))]

    # ------------------------------------------------------------ housekeeping

    def forget_answers(self, now: int) -> int:
        with self._transaction() as writer:
            writer.execute(
                # The oldest are looked at and no others, so that it costs the same however many
                # there are.
                "DELETE FROM answers WHERE expires_at < ? "
                "AND charge IN (SELECT charge FROM answers ORDER BY charge LIMIT ?)",
                (now, FORGET),
            )
            return writer.changes()

    def remember(self, name: str, value: str) -> None:
        with self._transaction() as writer:
            writer.execute("INSERT OR REPLACE INTO texts VALUES (?, ?)", (name, value))

    def recall(self, name: str) -> str | None:
        with self._failing:
            row = self._reader.execute("SELECT value FROM texts WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def backup(self, path: Path) -> None:
        with self._failing, closing(connect(self._path)) as source:
            back_up(source, path)

    def close(self) -> None:
        # What a fork has of it is the other process's.
        if self._process != os.getpid():
            return
        # A charge that is just made gives its channel back after this, and has to be answered.
        self._held.clear()
        self._locks.close()
        self._reader.close()
        self._checkpoints.close()
        with self._writing:
            self._writer.close()
