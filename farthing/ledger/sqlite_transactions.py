"""The part of a SQLite ledger that keeps the transactions of the publisher's keys."""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from typing import Any

import apsw

from farthing.ledger.columns import ATTEMPT, TRANSACTION
from farthing.ledger.errors import ChannelMoved, LeaseLost
from farthing.ledger.listings import (
    LIFT_FEE_LIMITS,
    transactions_query,
    transactions_values,
)
from farthing.ledger.records import Attempt, QueuedTransaction, RefundHold, Row
from farthing.ledger.sqlite_part import SqlitePart, mark, to_amount, to_blob

_ONCE = (
    f"SELECT {TRANSACTION} FROM transactions WHERE kind = ? AND subject = ? "
    "AND subject != x'' AND state NOT IN ('failed', 'refused')"
)


class SqliteTransactions(SqlitePart):
    """See `Ledger`."""

    def take_lease(self, lease: tuple[str, str], seconds: float) -> bool:
        now = clock.time_ns() // 1_000_000
        with self._transaction() as writer:
            writer.execute(
                "INSERT INTO leases (name, holder, expires_at) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, "
                "expires_at = excluded.expires_at "
                "WHERE leases.holder = excluded.holder OR leases.expires_at <= ?",
                (*lease, now + int(seconds * 1000), now),
            )
            return writer.changes() == 1

    def give_lease(self, lease: tuple[str, str]) -> None:
        with self._transaction() as writer:
            writer.execute("DELETE FROM leases WHERE name = ? AND holder = ?", lease)

    def enqueue(
        self,
        *,
        sender: str,
        kind: str,
        subject: bytes,
        to: str,
        data: bytes,
        gas: int,
        time: int,
        rows: Sequence[tuple[bytes, int]] = (),
        fee_limit: int | None = None,
        refund: RefundHold | None = None,
    ) -> int:
        with self._transaction() as writer:
            known = writer.execute(_ONCE, (kind, subject)).fetchone()
            if known is not None:
                return int(known[0])
            writer.execute(
                "INSERT INTO transactions (sender, kind, subject, target, data, gas, state, fee, "
                "created_at, updated_at, fee_limit) "
                "VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?)",
                (sender, kind, subject, to, data, gas, to_blob(0), time, time, fee_limit),
            )
            number = writer.last_insert_rowid()
            writer.executemany(
                "INSERT INTO transaction_rows VALUES (?, ?, ?)",
                [(number, channel_id, to_blob(total)) for channel_id, total in rows],
            )
            if refund is not None:
                self._hold(writer, number, refund)
            return number

    def _hold(self, writer: apsw.Connection, transaction_id: int, refund: RefundHold) -> None:
        channel_id = refund.fence.channel_id
        if not self._charge(writer, [refund.fence]):
            raise ChannelMoved(channel_id)
        writer.execute(
            "INSERT INTO refunds (transaction_id, channel_id, nonce, amount) VALUES (?, ?, ?, ?)",
            (transaction_id, channel_id, refund.nonce, to_blob(refund.amount)),
        )
        ((*amounts, next_nonce),) = writer.execute(
            "SELECT balance, withdraw_amount, refund_nonce FROM channels WHERE channel_id = ?",
            (channel_id,),
        )
        balance, withdrawn = map(to_amount, amounts)
        if next_nonce <= refund.nonce:
            gone = max(withdrawn, min(balance, withdrawn + refund.amount))
            writer.execute(
                "UPDATE channels SET withdraw_amount = ? WHERE channel_id = ?",
                (to_blob(gone), channel_id),
            )

    def transaction(self, transaction_id: int) -> QueuedTransaction | None:
        row = self._row(f"SELECT {TRANSACTION} FROM transactions WHERE id = ?", (transaction_id,))
        return None if row is None else _transaction(row)

    def find_transaction(self, kind: str, subject: bytes) -> QueuedTransaction | None:
        row = self._row(
            f"SELECT {TRANSACTION} FROM transactions WHERE kind = ? AND subject = ? "
            "ORDER BY id DESC LIMIT 1",
            (kind, subject),
        )
        return None if row is None else _transaction(row)

    def transactions(
        self,
        *,
        sender: str | None = None,
        states: Sequence[str] | None = None,
        after: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> list[QueuedTransaction]:
        asked = {"sender": sender, "states": states, "after": after, "limit": limit}
        query = transactions_query(mark, asked, newest_first=newest_first)
        return [_transaction(row) for row in self._rows(query, transactions_values(asked))]

    def attempts(self, transaction_id: int) -> list[Attempt]:
        rows = self._rows(
            f"SELECT {ATTEMPT} FROM attempts WHERE transaction_id = ? ORDER BY id",
            (transaction_id,),
        )
        return [Attempt(*row) for row in rows]

    def rows(self, transaction_id: int) -> list[Row]:
        rows = self._rows(
            "SELECT channel_id, total FROM transaction_rows WHERE transaction_id = ? ORDER BY 1",
            (transaction_id,),
        )
        return [Row(transaction_id, channel_id, to_amount(total)) for channel_id, total in rows]

    def lift_fee_limits(self) -> None:
        with self._transaction() as writer:
            writer.execute(LIFT_FEE_LIMITS)

    def in_flight(self) -> dict[bytes, int]:
        rows = self._rows(
            "SELECT channel_id, max(total) FROM transactions "
            "JOIN transaction_rows ON transaction_id = id "
            "WHERE state IN ('queued', 'signed', 'mined') GROUP BY 1"
        )
        return {channel_id: to_amount(total) for channel_id, total in rows}

    def sign(
        self,
        transaction_id: int,
        lease: tuple[str, str],
        *,
        hash: bytes,
        raw: bytes,
        nonce: int,
        max_fee: int,
        tip: int,
        time: int,
    ) -> None:
        with self._transaction() as writer:
            _check_lease(writer, lease)
            writer.execute(
                "UPDATE transactions SET state = 'signed', nonce = ?, updated_at = ? WHERE id = ?",
                (nonce, time, transaction_id),
            )
            writer.execute(
                f"INSERT INTO attempts ({ATTEMPT}) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (hash) DO NOTHING",
                (transaction_id, hash, raw, nonce, max_fee, tip, time),
            )

    def move_transaction(
        self,
        transaction_id: int,
        lease: tuple[str, str],
        state: str,
        *,
        time: int,
        block: int = 0,
        block_hash: bytes = b"",
        succeeded: bool = False,
        gas_used: int = 0,
        fee: int = 0,
        reason: str = "",
    ) -> None:
        with self._transaction() as writer:
            _check_lease(writer, lease)
            writer.execute(
                "UPDATE transactions SET state = ?1, "
                "nonce = iif(?1 IN ('queued', 'refused'), NULL, nonce), block = ?2, "
                "block_hash = ?3, succeeded = ?4, gas_used = ?5, fee = ?6, reason = ?7, "
                "updated_at = ?8 WHERE id = ?9",
                (
                    *(state, block, block_hash, succeeded, gas_used),
                    *(to_blob(fee), reason, time, transaction_id),
                ),
            )


def _check_lease(writer: apsw.Connection, lease: tuple[str, str]) -> None:
    name, holder = lease
    row = writer.execute("SELECT holder FROM leases WHERE name = ?", (name,)).fetchone()
    if row != (holder,):
        raise LeaseLost(name, holder)


def _transaction(row: Any) -> QueuedTransaction:
    fields = dict(zip(QueuedTransaction.__struct_fields__, row, strict=True))
    fields["succeeded"] = bool(fields["succeeded"])
    fields["fee"] = to_amount(fields["fee"])
    return QueuedTransaction(**fields)
