"""What the parts of a SQLite ledger share: its connections, and how values are written.

`SqliteLedger` is put together from parts, each a class in a file of its own that implements one
group of `Ledger`'s methods.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from farthing.ledger.ledger import Ledger
from farthing.ledger.records import ChannelState, Charge, Mirror, NewCharge
from farthing.ledger.sqlite_file import Failing, file_id, transaction


class SqlitePart(Ledger):
    """A ledger with a file open, of which some methods are still to come."""

    _path: Path
    _file: tuple[int, int]
    _reader: apsw.Connection
    _writer: apsw.Connection
    _writing: threading.Lock
    _failing: Failing

    @abstractmethod
    def _charge(self, writer: apsw.Connection, charges: Sequence[NewCharge]) -> int:
        """Makes charges where channels and payers stand where they were reserved; how many."""

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        with self._writing, self._failing:
            with transaction(self._writer):
                yield self._writer
            self._check_file()

    def _check_file(self) -> None:
        # SQLite goes on in a file that was moved or removed, and what it writes there is lost.
        if file_id(self._path) != self._file:
            raise OSError("another file is in its place, so that this program must start again")

    def _rows(self, query: str, values: apsw.Bindings = ()) -> list[Any]:
        # All at once, for a cursor with rows left would keep its connection at this moment.
        with self._failing:
            return self._reader.execute(query, values).fetchall()

    def _row(self, query: str, values: apsw.Bindings = ()) -> Any:
        rows = self._rows(query, values)
        return rows[0] if rows else None


def mark(name: str) -> str:
    """The place of a named value in a query."""
    return f":{name}"


def to_blob(amount: int) -> bytes:
    """An amount as the tables have it."""
    return amount.to_bytes(16, "big")


# The amount back. Not a function of ours around it: that is a call more for each column.
to_amount = int.from_bytes


def to_state(row: Any) -> ChannelState:
    """A channel's books from `columns.STATE`."""
    (charged, charges, ceiling, signature, last_charge) = row[:5]
    (balance, claimed, withdraw, *rest) = row[5:]
    mirror = Mirror(to_amount(balance), to_amount(claimed), to_amount(withdraw), *rest)
    return ChannelState(
        to_amount(charged), charges, to_amount(ceiling), signature, last_charge, mirror
    )


def to_charge(row: Any) -> Charge:
    """A charge from `columns.CHARGE`."""
    (number, channel_id, previous, amount, total, price, *rest) = row
    amounts = to_amount(amount), to_amount(total), to_amount(price)
    return Charge(number, channel_id, previous, *amounts, *rest)
