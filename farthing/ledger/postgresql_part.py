"""What the parts of a PostgreSQL ledger share: its connection, and how values are read.

`PostgresLedger` is put together from parts as `SqliteLedger` is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from farthing.ledger.ledger import Ledger
from farthing.ledger.postgresql_link import Link, PostgresConnection
from farthing.ledger.records import ChannelState, Mirror, NewCharge

# Named values of `listings` that are not whole numbers.
_TYPES = {
    "channel_id": "bytea",
    "after_id": "bytea",
    "route": "text",
    "payer": "text",
    "sender": "text",
    "after_payer": "text",
    "after_signer": "text",
    "after_kind": "text",
    "after_item": "text",
}


class PostgresPart(Ledger):
    """A ledger with a connection, of which some methods are still to come."""

    _link: Link

    @abstractmethod
    def _charge(self, connection: PostgresConnection, charges: Sequence[NewCharge]) -> list[bool]:
        """`Ledger.commit` within a transaction that the caller has begun."""

    def _row(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        with self._link.session() as connection:
            return connection.execute(query, values).fetchone()

    def _rows(self, query: str, values: Any = ()) -> list[tuple[Any, ...]]:
        with self._link.session() as connection:
            return connection.execute(query, values).fetchall()

    def _write(self, query: str, *values: Any) -> int:
        with self._link.session() as connection:
            return connection.execute(query, values).rowcount


def mark(name: str) -> str:
    """The place of a named value in a query. A numeric in its place would not find an index."""
    return f"%({name})s::{_TYPES.get(name, 'text' if name.startswith('state') else 'bigint')}"


def to_state(row: Any) -> ChannelState:
    """A channel's books from `columns.STATE`."""
    charged, charges, ceiling, signature, last_charge = row[:5]
    return ChannelState(charged, charges, ceiling, signature, last_charge, Mirror(*row[5:]))
