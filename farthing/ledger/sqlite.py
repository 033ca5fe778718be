"""The ledger in one SQLite file: WAL, and every commit synced to the disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec

from farthing.ledger.errors import LedgerUnavailable, LedgerUnusable
from farthing.ledger.ledger import Ledger
from farthing.ledger.locks import ByteLocks
from farthing.ledger.proof import prove_channel
from farthing.ledger.records import (
    Answer,
    Channel,
    ChannelState,
    Charge,
    Deposit,
    Difference,
    Mirror,
    NewCharge,
    NotReserved,
    Totals,
)
from farthing.ledger.sqlite_schema import MIGRATIONS, VERSION
from farthing.protocol import ChannelConfig

# How long a writer waits for another process's commit, in milliseconds.
BUSY_MS = 5_000
CACHE_KIB = 65_536
# Pages the log may hold before they are copied into the file; see docs/performance.md.
CHECKPOINT_PAGES = 4_000
# Answers forgotten in one transaction.
FORGET = 10_000

_STATE = """charged, charges, ceiling, signature, last_charge,
    balance, total_claimed, withdraw_amount, withdraw_requested_at, refund_nonce, synced_at"""
_CONFIG = """payer, payer_authorizer, receiver, receiver_authorizer, token, withdraw_delay, salt"""
_CHARGE = "id, channel_id, previous, amount, total, price, route, request_id, time"

_READ_STATE = f"SELECT {_STATE} FROM channels WHERE channel_id = ?"
_headers = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])


class SqliteLedger(Ledger):
    """A ledger in a file; see `Ledger`."""

    is_local = True

    def __init__(self, path: Path) -> None:
        """Opens the file, makes it if there is none, and brings an older one up to date.

        Raises:
            LedgerUnusable: It is no ledger, or a newer program's.
            LedgerUnavailable: It cannot be opened.
        """
        self._path = path
        with self._failing():
            if not path.parent.is_dir():
                raise LedgerUnusable(str(path), f"there is no folder {path.parent}: make it")
            self._reader = self._connect()
            self._writer = self._connect()
            self._locks = ByteLocks(path.with_name(path.name + "-reserved"))
            self._migrate()
        self._held: set[bytes] = set()
        self._writing = threading.Lock()

    # ------------------------------------------------------------ the way of a payment

    def reserve(self, channel_ids: Sequence[bytes]) -> list[ChannelState | NotReserved]:
        return [self._reserve(channel_id) for channel_id in channel_ids]

    def _reserve(self, channel_id: bytes) -> ChannelState | NotReserved:
        if channel_id in self._held or not self._locks.take(channel_id):
            return NotReserved.BUSY
        state = None
        try:
            with self._failing():
                row = self._reader.execute(_READ_STATE, (channel_id,)).fetchone()
            state = None if row is None else _state(row)
        finally:
            if state is None:
                self._locks.give(channel_id)
        if state is None:
            return NotReserved.UNKNOWN
        self._held.add(channel_id)
        return state

    def release(self, channel_ids: Sequence[bytes]) -> None:
        for channel_id in channel_ids:
            if channel_id in self._held:
                self._held.discard(channel_id)
                self._locks.give(channel_id)

    def commit(self, charges: Sequence[NewCharge]) -> list[bool]:
        with self._transaction() as writer:
            if self._charge(writer, charges) == len(charges):
                return [True] * len(charges)
            # Some channel has moved on. One by one it is seen which.
            writer.execute("ROLLBACK; BEGIN IMMEDIATE")
            return [
                self._charge(writer, [charge]) == 1 or self._is_repeated(writer, charge)
                for charge in charges
            ]

    def _charge(self, writer: apsw.Connection, charges: Sequence[NewCharge]) -> int:
        """Makes charges for those channels that stand where they were reserved; how many."""
        ((last,),) = writer.execute("SELECT coalesce(max(id), 0) FROM charges")
        numbered = list(enumerate(charges, last + 1))
        before = writer.total_changes()
        # Compare: there is a charge only where the channel has not moved.
        writer.executemany(
            f"INSERT INTO charges ({_CHARGE}) "
            "SELECT ?, channel_id, last_charge, ?, ?, ?, ?, ?, ? FROM channels "
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
            "last_charge = ? WHERE channel_id = ? AND charges = ?",
            [
                (
                    _blob(charge.charged + charge.amount),
                    _blob(charge.ceiling),
                    charge.signature,
                    number,
                    charge.channel_id,
                    charge.charges,
                )
                for number, charge in numbered
            ],
        )
        set_ = writer.total_changes() - before - made
        if set_ != len(charges):
            return set_
        writer.executemany(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    number,
                    charge.answer.target,
                    charge.answer.status,
                    msgspec.msgpack.encode(charge.answer.headers),
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
        with self._failing():
            row = self._reader.execute(
                "SELECT target, status, headers, body, expires_at FROM answers "
                "JOIN channels ON charge = last_charge WHERE channel_id = ?",
                (channel_id,),
            ).fetchone()
        if row is None:
            return None
        target, status, headers, body, expires_at = row
        return Answer(target, status, _headers.decode(headers), body, expires_at)

    # ------------------------------------------------------------ the chain's side

    def mirror(self, channel_id: bytes, config: ChannelConfig, mirror: Mirror) -> ChannelState:
        chain_side = (
            _blob(mirror.balance),
            _blob(mirror.total_claimed),
            _blob(mirror.withdraw_amount),
            mirror.withdraw_requested_at,
            mirror.refund_nonce,
            mirror.synced_at,
        )
        with self._transaction() as writer:
            writer.execute(
                f"INSERT INTO channels (channel_id, {_CONFIG}, {_STATE}) "
                f"VALUES ({', '.join('?' * 19)}) ON CONFLICT (channel_id) DO NOTHING",
                (
                    channel_id,
                    *config.as_tuple(),
                    *(chain_side[1], 0, _blob(0), b"", 0),
                    *chain_side,
                ),
            )
            writer.execute(
                "UPDATE channels SET balance = ?, total_claimed = ?, withdraw_amount = ?, "
                "withdraw_requested_at = ?, refund_nonce = ?, synced_at = ? "
                "WHERE channel_id = ? AND synced_at <= ?",
                (*chain_side, channel_id, mirror.synced_at),
            )
            return _state(writer.execute(_READ_STATE, (channel_id,)).fetchone())

    def deposit(self, authorization: bytes) -> Deposit | None:
        with self._failing():
            row = self._reader.execute(
                "SELECT channel_id, amount, transaction_hash, raw, state FROM deposits "
                "WHERE authorization = ?",
                (authorization,),
            ).fetchone()
        if row is None:
            return None
        channel_id, amount, transaction, raw, state = row
        return Deposit(authorization, channel_id, _amount(amount), transaction, raw, state)

    def save_deposit(self, deposit: Deposit, time: int) -> None:
        with self._transaction() as writer:
            writer.execute(
                "INSERT OR REPLACE INTO deposits VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    deposit.authorization,
                    deposit.channel_id,
                    _blob(deposit.amount),
                    deposit.transaction,
                    deposit.raw,
                    deposit.state,
                    time,
                ),
            )

    # ------------------------------------------------------------ looking

    def channel(self, channel_id: bytes) -> Channel | None:
        with self._failing():
            row = self._reader.execute(
                f"SELECT {_CONFIG}, {_STATE} FROM channels WHERE channel_id = ?", (channel_id,)
            ).fetchone()
        if row is None:
            return None
        return Channel(channel_id, ChannelConfig(*row[:7]), _state(row[7:]))

    def charges(
        self, *, channel_id: bytes | None = None, after: int = 0, limit: int = 1000
    ) -> list[Charge]:
        with self._failing():
            if channel_id is None:
                rows = self._reader.execute(
                    f"SELECT {_CHARGE} FROM charges WHERE id > ? ORDER BY id LIMIT ?",
                    (after, limit),
                )
            else:
                rows = self._reader.execute(
                    f"""WITH RECURSIVE chain (link) AS (
                            SELECT last_charge FROM channels WHERE channel_id = :channel
                            UNION ALL
                            SELECT previous FROM charges JOIN chain ON id = link WHERE link > :after
                        )
                        SELECT {_CHARGE} FROM charges JOIN chain ON id = link
                        WHERE link > :after ORDER BY id LIMIT :limit""",
                    {"channel": channel_id, "after": after, "limit": limit},
                )
            return [_charge(row) for row in rows]

    def totals(self) -> Totals:
        channels = charged = unredeemed = escrowed = 0
        with self._failing():
            rows = self._reader.execute("SELECT charged, total_claimed, balance FROM channels")
            for each in rows:
                of_channel, claimed, balance = (_amount(value) for value in each)
                channels += 1
                charged += of_channel
                unredeemed += max(0, of_channel - claimed)
                escrowed += balance
            ((charges,),) = self._reader.execute("SELECT count(*) FROM charges")
        return Totals(channels, charges, charged, unredeemed, escrowed)

    def prove(self) -> list[Difference]:
        found: list[Difference] = []
        with self._failing(), self._reader:
            # One read transaction, so that the channels and their charges are of one moment.
            ids = [row[0] for row in self._reader.execute("SELECT channel_id FROM channels")]
            for channel_id in ids:
                channel = self.channel(channel_id)
                if channel is not None:
                    charges = self.charges(channel_id=channel_id, limit=-1)
                    found += prove_channel(channel, charges)
            ((linked,),) = self._reader.execute("SELECT coalesce(sum(charges), 0) FROM channels")
            ((written,),) = self._reader.execute("SELECT count(*) FROM charges")
        if linked != written:
            found.append(Difference(b"", f"{written} charges are written, {linked} are linked"))
        return found

    # ------------------------------------------------------------ housekeeping

    def forget_answers(self, now: int) -> int:
        with self._transaction() as writer:
            writer.execute(
                "DELETE FROM answers WHERE charge IN (SELECT charge FROM answers "
                "WHERE expires_at < ? ORDER BY charge LIMIT ?)",
                (now, FORGET),
            )
            return writer.changes()

    def remember(self, name: str, value: str) -> None:
        with self._transaction() as writer:
            writer.execute("INSERT OR REPLACE INTO texts VALUES (?, ?)", (name, value))

    def recall(self, name: str) -> str | None:
        with self._failing():
            row = self._reader.execute("SELECT value FROM texts WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        self._locks.close()
        self._reader.close()
        self._writer.close()

    # ------------------------------------------------------------ internal

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._path))
        connection.set_busy_timeout(BUSY_MS)
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL syncs the log at every commit: what is committed survives a loss of power.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        return connection

    def _migrate(self) -> None:
        with self._writer:
            ((version,),) = self._writer.execute("PRAGMA user_version")
            if version > VERSION:
                raise LedgerUnusable(
                    str(self._path),
                    f"its schema is version {version} and this program knows {VERSION}: "
                    "install the newer farthing",
                )
            ((tables,),) = self._writer.execute("SELECT count(*) FROM sqlite_schema")
            if version == 0 and tables:
                raise LedgerUnusable(str(self._path), "it is another program's database")
            for statements in MIGRATIONS[version:]:
                self._writer.execute(statements)
            self._writer.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        with self._writing, self._failing():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                # A commit that failed can leave the transaction open.
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except apsw.NotADBError as error:
            raise LedgerUnusable(str(self._path), "it is not a SQLite database") from error
        except (apsw.Error, OSError) as error:
            raise LedgerUnavailable(str(self._path), str(error)) from error


def _blob(amount: int) -> bytes:
    return amount.to_bytes(16, "big")


def _amount(blob: bytes) -> int:
    return int.from_bytes(blob, "big")


def _state(row: Any) -> ChannelState:
    (charged, charges, ceiling, signature, last_charge) = row[:5]
    (balance, claimed, withdraw, requested_at, nonce, synced_at) = row[5:]
    mirror = Mirror(
        _amount(balance), _amount(claimed), _amount(withdraw), requested_at, nonce, synced_at
    )
    return ChannelState(_amount(charged), charges, _amount(ceiling), signature, last_charge, mirror)


def _charge(row: Any) -> Charge:
    (number, channel_id, previous, amount, total, price, route, request_id, time) = row
    amounts = _amount(amount), _amount(total), _amount(price)
    return Charge(number, channel_id, previous, *amounts, route, request_id, time)
