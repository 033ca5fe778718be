"""A connection to PostgreSQL that comes back after it was lost."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import IntNumericDumper

from farthing.ledger.errors import LedgerUnavailable, LedgerUnusable
from farthing.ledger.forks import leave_at_fork

PostgresConnection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

# What a user's URL may say otherwise. A server that has gone mute is given up within seconds.
_DEFAULTS = {
    "application_name": "farthing",
    "client_encoding": "utf8",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# What every session needs, whatever is configured for the database or the user.
_SETTINGS = {
    "search_path": "farthing",
    # A commit that was answered survives the server's crash.
    "synchronous_commit": "on",
    # A statement sees what was committed before it, not before its transaction.
    "default_transaction_isolation": "read committed",
    # Everything here goes by key. A plan made for an empty table must not stay a scan as it grows.
    "enable_seqscan": "off",
    "jit": "off",
    # Waiting for another worker's commit ends, and so does a commit whose client has gone mute.
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    # The server finds out as soon as we do that a connection is gone, and frees its reservations.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}

# One "@" at most, before the first "/": what else there is in a password must be encoded, or libpq
# takes a part of it for the name of a host and shows it.
_URL = re.compile(
    r"postgres(ql)?://(?:(?P<user>[^:@/?]*)(:[^@/]*)?@)?(?P<at>[^@/?]*(/[^@/?]*)?)(\?.*)?"
)


class _IntLoader(psycopg.adapt.Loader):
    def load(self, data: psycopg.abc.Buffer) -> int:
        return int(bytes(data))


class Link:
    """One connection, opened when it is needed and dropped at the first error.

    Dropping it at every error leaves nothing half done behind: no open transaction, no lock.
    """

    def __init__(
        self, url: str, opened: Callable[[PostgresConnection], None] = lambda connection: None
    ) -> None:
        """Does not connect yet. ``opened`` is called with each new connection.

        Raises:
            LedgerUnusable: The URL cannot be read.
        """
        self.url = without_password(url)
        try:
            options: dict[str, Any] = {**_DEFAULTS, **conninfo_to_dict(url)}
        except psycopg.Error:
            # Not chained: the library's sentence can have a piece of the password in it.
            raise unreadable(self.url) from None
        self._conninfo = make_conninfo(**options)
        self._opened = opened
        self._process = os.getpid()
        self._connection: PostgresConnection | None = None
        self._closed = False
        leave_at_fork(self)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known without asking it."""
        return self._connection is not None

    @contextmanager
    def session(self) -> Iterator[PostgresConnection]:
        """The connection.

        Raises:
            LedgerUnavailable: The database failed, here or in the block; the next use connects
                again.
        """
        if self._process != os.getpid():
            raise LedgerUnusable(self.url, "it was opened before a fork: open it in each process")
        if self._closed:
            raise LedgerUnavailable(self.url, "it was closed")
        try:
            yield self._connection or self._connect()
        except psycopg.Error as error:
            self.drop()
            raise LedgerUnavailable(self.url, _sentence(error)) from error
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Lets go of the connection; the next use makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Lets go of the connection for good. May be called again."""
        self._closed = True
        if self._process == os.getpid():
            self.drop()

    def leave(self) -> None:
        """Closes the socket in a forked child; to close the connection would end the parent's."""
        if self._connection is not None and not self._connection.closed:
            os.close(self._connection.fileno())

    def _connect(self) -> PostgresConnection:
        connection = psycopg.connect(self._conninfo, autocommit=True)
        try:
            connection.prepare_threshold = 0
            # An amount is a numeric in both directions, whatever its size.
            connection.adapters.register_loader("numeric", _IntLoader)
            connection.adapters.register_dumper(int, IntNumericDumper)
            columns = ", ".join(["set_config(%s, %s, false)"] * len(_SETTINGS))
            settings = [text for setting in _SETTINGS.items() for text in setting]
            connection.execute(f"SELECT {columns}", settings, prepare=False)
            self._opened(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection


def without_password(url: str) -> str:
    """A PostgreSQL URL as it may be shown.

    Raises:
        LedgerUnusable: It is not written as one.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise unreadable("postgresql://...")
    user = match["user"]
    return f"postgresql://{user}@{match['at']}" if user else f"postgresql://{match['at']}"


def unreadable(shown: str) -> LedgerUnusable:
    """The error for a URL that cannot be read."""
    return LedgerUnusable(
        shown,
        "its URL cannot be read: write postgresql://user:password@host:port/database, with "
        "percent-encoding for what is neither letter nor digit in the password",
    )


def _sentence(error: psycopg.Error) -> str:
    """What the server or the library said, on one line."""
    said = error.diag.message_primary or str(error)
    return "; ".join(line.strip(" \t-") for line in said.splitlines() if line.strip())
