"""Opening a ledger's file: whose it is, who may read it, and how it is written."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType

import apsw

from farthing.ledger.errors import BackupRefused, LedgerUnavailable, LedgerUnusable
from farthing.ledger.forks import leave_at_fork
from farthing.ledger.ledger import RESTORED
from farthing.ledger.sqlite_schema import is_current, migrate

# How often a writer asks whether another process's commit is done, a millisecond apart.
BUSY_TRIES = 5_000
CACHE_KIB = 65_536


def open_file(path: Path) -> None:
    """Makes the file if there is none, and brings an older one up to date.

    Raises:
        LedgerUnusable: There is something else, or a newer program's ledger, or nothing can be
            written there.
        apsw.Error: It cannot be opened.
    """
    if not path.parent.is_dir():
        raise LedgerUnusable(str(path), f"there is no folder {path.parent}: make it")
    if path.is_dir():
        raise LedgerUnusable(str(path), "it is a folder: give the path of a file in it")
    with _alone_in(path.parent):
        _open_alone(path)


def _open_alone(path: Path) -> None:
    # For its owner alone, and so are the log and the index that SQLite puts beside it. Only if it
    # is new: to close a file that SQLite has open in this process would take SQLite's locks off.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_handler(_wait)
        if connection.readonly("main"):
            raise LedgerUnusable(str(path), "it is read-only: make it writable")
        if not is_current(connection, str(path)):
            ((mode,),) = connection.execute("PRAGMA journal_mode = WAL")
            if mode != "wal":
                raise LedgerUnusable(str(path), "it cannot keep a log there: use a local disk")
            with transaction(connection):
                migrate(connection)
    finally:
        connection.close()


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    # Several processes that start at once take turns: SQLite does not wait when one of them is
    # about to change how a file keeps its log.
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def connect(path: Path) -> apsw.Connection:
    """A connection to a ledger that `open_file` has seen to.

    Raises:
        apsw.Error: It cannot be opened.
    """
    connection = apsw.Connection(str(path))
    connection.set_busy_handler(_wait)
    # FULL syncs the log at every commit: what is committed survives a loss of power.
    connection.execute("PRAGMA synchronous = FULL")
    # The log is copied by `Checkpoints`, not within whichever commit finds it long.
    connection.wal_autocheckpoint(0)
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def back_up(source: apsw.Connection, path: Path) -> None:
    """Copies a ledger as it is now into a new file that is marked as a copy.

    Raises:
        BackupRefused: There is something at ``path`` already.
        OSError, apsw.Error: It cannot be read or written; no file is left.
    """
    try:
        # Its owner's alone, as the ledger is.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise BackupRefused(f"there is something at {path} already, give a new path") from None
    try:
        with closing(apsw.Connection(str(path))) as copy:
            # Who opens a copy under its last name has all of it or nothing: it is a whole database
            # from one commit to the next.
            copy.execute("PRAGMA synchronous = FULL")
            with copy.backup("main", source, "main") as work:
                # In one step, which is one moment of the source.
                work.step()
            copy.execute(
                "INSERT OR REPLACE INTO texts VALUES (?, ?)", (RESTORED, str(int(time.time())))
            )
    except BaseException:
        path.unlink()
        raise


def file_id(path: Path) -> tuple[int, int]:
    """Tells the file that is at ``path`` from any other that may be put there.

    Raises:
        OSError: There is none, or it cannot be looked at.
    """
    found = path.stat()
    return found.st_dev, found.st_ino


def _wait(tries: int) -> bool:
    # SQLite's own handler waits longer and longer: who has waited long never gets its turn from
    # processes that have just come.
    time.sleep(0.001)
    return tries < BUSY_TRIES


@contextmanager
def impatient(connection: apsw.Connection) -> Iterator[None]:
    """Has a statement that would wait for another process raise `apsw.BusyError` at once."""
    connection.set_busy_handler(None)
    try:
        yield
    finally:
        connection.set_busy_handler(_wait)


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """A transaction that writes: all of the block, durable when it is left, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    is_done = False
    try:
        yield
        is_done = True
    finally:
        end_transaction(connection, is_done=is_done)


def end_transaction(connection: apsw.Connection, *, is_done: bool) -> None:
    """Commits what is done, and takes back what is not or what cannot be committed."""
    try:
        if is_done:
            connection.execute("COMMIT")
    finally:
        # A commit that failed can leave the transaction open.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class Failing:
    """Turns the errors of SQLite and of the system into the ledger's, for as long as a block lasts.

    A class, for it stands around every read of every payment: a generator takes four times as long.
    """

    __slots__ = ("__weakref__", "_is_forked", "_path")

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._is_forked = False
        leave_at_fork(self)

    def leave(self) -> None:
        """Lets nothing more of it be used here: this process is a child of the one that opened."""
        self._is_forked = True

    def __enter__(self) -> None:
        if self._is_forked:
            raise LedgerUnusable(self._path, "it was opened before a fork: open it in each process")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, apsw.NotADBError):
            raise LedgerUnusable(self._path, "it is not a SQLite database") from error
        if isinstance(error, apsw.Error | OSError):
            raise LedgerUnavailable(self._path, str(error)) from error
