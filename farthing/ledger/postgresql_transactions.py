"""The part of a PostgreSQL ledger that keeps the transactions of the publisher's keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farthing.ledger.columns import ATTEMPT, TRANSACTION
from farthing.ledger.errors import ChannelMoved, LeaseLost
from farthing.ledger.listings import (
    LIFT_FEE_LIMITS,
    transactions_query,
    transactions_values,
)
from farthing.ledger.postgresql_link import PostgresConnection
from farthing.ledger.postgresql_part import PostgresPart, mark
from farthing.ledger.records import Attempt, QueuedTransaction, RefundHold, Row

# Unix milliseconds; not the transaction's time, which is that of its beginning.
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"


class PostgresTransactions(PostgresPart):
    """See `Ledger`."""

    def take_lease(self, lease: tuple[str, str], seconds: float) -> bool:
        written = self._write(
            "INSERT INTO leases (name, holder, expires_at) "
            f"VALUES (%s, %s, {_NOW} + %s::bigint) "
            "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, "
            "expires_at = excluded.expires_at "
            f"WHERE leases.holder = excluded.holder OR leases.expires_at <= {_NOW}",
            *lease,
            int(seconds * 1000),
        )
        return written == 1

    def give_lease(self, lease: tuple[str, str]) -> None:
        self._write("DELETE FROM leases WHERE name = %s AND holder = %s", *lease)

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
        with self._link.session() as connection, connection.transaction():
            # A transaction that stood in the way can have failed before it is looked for.
            while True:
                made = connection.execute(
                    "INSERT INTO transactions (sender, kind, subject, target, data, gas, state, "
                    "created_at, updated_at, fee_limit) "
                    "VALUES (%s, %s, %s, %s, %s, %s, 'queued', %s, %s, %s) "
                    "ON CONFLICT (kind, subject) "
                    "WHERE subject != '' AND state NOT IN ('failed', 'refused') "
                    "DO NOTHING RETURNING id",
                    (sender, kind, subject, to, data, gas, time, time, fee_limit),
                ).fetchone()
                if made is not None:
                    break
                known = connection.execute(
                    "SELECT id FROM transactions WHERE kind = %s AND subject = %s "
                    "AND state NOT IN ('failed', 'refused')",
                    (kind, subject),
                ).fetchone()
                if known is not None:
                    return int(known[0])
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO transaction_rows VALUES (%s, %s, %s)",
                    [(made[0], channel_id, total) for channel_id, total in rows],
                )
            if refund is not None:
                self._hold(connection, made[0], refund)
            return int(made[0])

    def _hold(
        self, connection: PostgresConnection, transaction_id: int, refund: RefundHold
    ) -> None:
        channel_id = refund.fence.channel_id
        if self._charge(connection, [refund.fence]) != [True]:
            raise ChannelMoved(channel_id)
        connection.execute(
            "INSERT INTO refunds (transaction_id, channel_id, nonce, amount) "
            "VALUES (%s, %s, %s, %s)",
            (transaction_id, channel_id, refund.nonce, refund.amount),
        )
        connection.execute(
            "UPDATE channels SET withdraw_amount = "
            "greatest(withdraw_amount, least(balance, withdraw_amount + %s)) "
            "WHERE channel_id = %s AND refund_nonce <= %s",
            (refund.amount, channel_id, refund.nonce),
        )

    def transaction(self, transaction_id: int) -> QueuedTransaction | None:
        row = self._row(
            f"SELECT {TRANSACTION} FROM transactions WHERE id = %s::bigint", transaction_id
        )
        return None if row is None else QueuedTransaction(*row)

    def find_transaction(self, kind: str, subject: bytes) -> QueuedTransaction | None:
        row = self._row(
            f"SELECT {TRANSACTION} FROM transactions WHERE kind = %s AND subject = %s "
            "ORDER BY id DESC LIMIT 1",
            kind,
            subject,
        )
        return None if row is None else QueuedTransaction(*row)

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
        return [QueuedTransaction(*row) for row in self._rows(query, transactions_values(asked))]

    def attempts(self, transaction_id: int) -> list[Attempt]:
        rows = self._rows(
            f"SELECT {ATTEMPT} FROM attempts WHERE transaction_id = %s::bigint ORDER BY id",
            (transaction_id,),
        )
        return [Attempt(*row) for row in rows]

    def rows(self, transaction_id: int) -> list[Row]:
        rows = self._rows(
            "SELECT transaction_id, channel_id, total FROM transaction_rows "
            "WHERE transaction_id = %s::bigint ORDER BY channel_id",
            (transaction_id,),
        )
        return [Row(*row) for row in rows]

    def lift_fee_limits(self) -> None:
        self._write(LIFT_FEE_LIMITS)

    def in_flight(self) -> dict[bytes, int]:
        rows = self._rows(
            "SELECT channel_id, max(total) FROM transactions "
            "JOIN transaction_rows ON transaction_id = id "
            "WHERE state IN ('queued', 'signed', 'mined') GROUP BY 1"
        )
        return dict(rows)

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
        self._write_under(
            lease,
            (
                "UPDATE transactions SET state = 'signed', nonce = %s, updated_at = %s "
                "WHERE id = %s::bigint",
                (nonce, time, transaction_id),
            ),
            (
                f"INSERT INTO attempts ({ATTEMPT}) VALUES (%s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (hash) DO NOTHING",
                (transaction_id, hash, raw, nonce, max_fee, tip, time),
            ),
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
        without_nonce = state in ("queued", "refused")
        self._write_under(
            lease,
            (
                "UPDATE transactions SET state = %s, nonce = CASE WHEN %s THEN NULL ELSE nonce END,"
                " block = %s, block_hash = %s, succeeded = %s, gas_used = %s, fee = %s, "
                "reason = %s, updated_at = %s WHERE id = %s::bigint",
                (
                    *(state, without_nonce, block, block_hash, succeeded, gas_used, fee),
                    *(reason, time, transaction_id),
                ),
            ),
        )

    def _write_under(self, lease: tuple[str, str], *writes: tuple[str, tuple[Any, ...]]) -> None:
        name, holder = lease
        with self._link.session() as connection, connection.transaction():
            # Nobody can take it until this is written.
            row = connection.execute(
                "SELECT holder FROM leases WHERE name = %s FOR UPDATE", (name,)
            ).fetchone()
            is_held = row == (holder,)
            if is_held:
                for query, values in writes:
                    connection.execute(query, values)
        if not is_held:
            raise LeaseLost(name, holder)
