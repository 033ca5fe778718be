"""The SQLite file that a wallet's memory is in: who has it, and until when.

    with database.writing:
        database.execute("UPDATE …")

All of a block is written, or nothing of it. Any number of threads may come, one at a time.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

import apsw

from farthing.ledger.sqlite_file import connect, end_transaction
from farthing.wallet.errors import WalletUnusable

# Pages the log may hold before they are copied into the file and it begins anew. What a log writes
# over is synced in a third of the time that a growing one takes; see docs/performance.md.
CHECKPOINT_PAGES = 250


class Database:
    """A connection to a wallet's file.

    Attributes:
        execute: Runs a statement inside a block.
        reading: A block that reads.
        writing: A block that writes, durable when it is left.
        noting: A block that writes and leaves the disk to the next `writing`: should the power
            fail, it may be lost, whole.

    Raises:
        WalletUnusable: The file failed; so do the blocks.
    """

    def __init__(self, path: Path) -> None:
        self.reading = Turn(path)
        with self.reading:
            self.connection = connect(path)
            self.connection.wal_autocheckpoint(CHECKPOINT_PAGES)
            # Without it SQLite plans some statements anew for every value that is bound to them.
            self.connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        self.execute = self.connection.execute
        self.writing = WritingTurn(self.reading, self.connection, "FULL")
        # NORMAL leaves the log to the next commit that syncs it.
        self.noting = WritingTurn(self.reading, self.connection, "NORMAL")

    def close(self) -> None:
        """Closes the file. May be called again."""
        with self.reading:
            self.connection.close()


class Turn:
    """A thread's turn at the file, in which SQLite's errors are the wallet's.

    A class, for each payment takes some: a generator takes four times as long.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()
        if isinstance(error, apsw.Error):
            raise WalletUnusable(self._path, str(error)) from error


class WritingTurn:
    """A turn that is one transaction, synced as ``PRAGMA synchronous`` has it."""

    def __init__(self, turn: Turn, connection: apsw.Connection, synchronous: str) -> None:
        self._turn = turn
        self._connection = connection
        self._execute = connection.execute
        self._synchronous = f"PRAGMA synchronous = {synchronous}"

    def __enter__(self) -> None:
        self._turn.__enter__()
        try:
            self._execute(self._synchronous)
            self._execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self._turn.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            end_transaction(self._connection, is_done=error is None)
        except BaseException as failed:
            error = failed
            raise
        finally:
            self._turn.__exit__(kind, error, traceback)
