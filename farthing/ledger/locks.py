"""Reservations of channels across the processes that share a SQLite ledger.

Each channel is one byte of a file that has no content, and a reservation is the operating system's
lock on that byte. The system gives it back when the process that holds it ends, however it ends, so
nothing has to expire or be cleaned up after a crash.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from farthing.ledger.forks import leave_at_fork

# Locks of an open file rather than of a process: two ledgers in one process keep each other out as
# two processes do. Where Python does not have them (macOS), locks of the process serve, and one
# process must not open a ledger twice: the first to close it would give up the other's locks.
_SET_LOCK: int = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)
# struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("hh4xqqi4x")
_KINDS = {fcntl.F_WRLCK: fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.F_UNLCK: fcntl.LOCK_UN}


class ByteLocks:
    """Exclusive locks by 32-byte name, on the bytes of one file."""

    def __init__(self, path: Path) -> None:
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        leave_at_fork(self)

    def take(self, name: bytes) -> bool:
        """Locks ``name`` if nobody else has; whether it did. Never waits."""
        try:
            self._set(fcntl.F_WRLCK, name)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def give(self, name: bytes) -> None:
        """Unlocks ``name``."""
        self._set(fcntl.F_UNLCK, name)

    def close(self) -> None:
        """Unlocks everything. May be called again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    leave = close

    def _set(self, kind: int, name: bytes) -> None:
        if self._file is None:
            raise OSError("it was closed")
        # 62 bits of a hash: two channels on one byte would keep each other waiting, no more.
        start = int.from_bytes(name[:8], "big") >> 2
        if _SET_LOCK == fcntl.F_SETLK:
            fcntl.lockf(self._file, _KINDS[kind], 1, start)
        else:
            fcntl.fcntl(self._file, _SET_LOCK, _FLOCK.pack(kind, os.SEEK_SET, start, 1, 0))
