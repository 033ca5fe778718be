"""Copying a SQLite ledger's log into its file, beside the commits.

A commit is durable in the log. Sooner or later the log has to be copied into the file and begun
anew. Within a commit that would keep every payment waiting, so a thread does it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from threading import Thread, get_native_id

import apsw

# Pages the log may hold before they are copied; see docs/performance.md.
PAGES = 4_000
# Milliseconds that commits may be kept waiting for a reader, which may stay for minutes.
PATIENCE = 50
# Of the thread that copies; see `os.setpriority`.
NICENESS = 10
# How often what came meanwhile is copied until a step finds nothing new and syncs. Each time it is
# less.
ROUNDS = 12


class Checkpoints:
    """Has a log copied whenever it has grown; to be the hook for commits of a connection.

    Args:
        connect: Makes a connection for a thread.
    """

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._thread: Thread | None = None
        # The log's length at which it is copied next.
        self._due = PAGES

    def __call__(self, connection: apsw.Connection, database: str, pages: int) -> int:
        """Called after a commit with the pages that the log has now."""
        # It may have begun anew. If it could not, it is tried again when it has grown as much more.
        self._due = min(self._due, pages + PAGES)
        if pages >= self._due and (self._thread is None or not self._thread.is_alive()):
            self._due = pages + PAGES
            self._thread = Thread(target=self._copy, name="farthing-checkpoint")
            # The commit is made, whether or not the system has a thread to spare.
            with suppress(RuntimeError):
                self._thread.start()
        return apsw.SQLITE_OK

    def _copy(self) -> None:
        if sys.platform == "linux":
            # Commits go first. Only there is it of one thread, and not of the whole process.
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, get_native_id(), NICENESS)
        # What fails is in the log all the same.
        with suppress(apsw.Error), closing(self._connect()) as connection:
            connection.set_busy_timeout(PATIENCE)
            # The file is synced by the step that gets to the log's end before the next commit.
            # While commits go on that takes as long as it takes; while they wait, next to nothing
            # may be left to sync.
            for _ in range(ROUNDS):
                copied, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                pages, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
                if pages == copied:
                    break
            # What came during that sync.
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            # Only a log that is copied to its end begins anew.
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)

    def close(self) -> None:
        """Waits for the copying that is under way."""
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
