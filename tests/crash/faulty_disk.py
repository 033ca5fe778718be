"""A disk under SQLite that fails when it is told to."""

from typing import Any

import apsw

from tests.crash.kill_points import KillPoint

NAME = "faulty"
# By the fault's name: what SQLite is told when it writes, and when it syncs.
WRITE_FAULTS = {"full": apsw.FullError, "write": apsw.IOError}


class FaultyDisk(apsw.VFS):
    """The default way to files from now on.

    Attributes:
        fault: ``"full"`` and ``"write"`` fail every write, ``"sync"`` every sync, ``"read"`` every
            read, ``""`` nothing.
    """

    def __init__(self, kill: KillPoint) -> None:
        self.fault = ""
        self.kill = kill
        self.real = apsw.vfs_names()[0]
        super().__init__(NAME, self.real, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> "_FaultyFile":
        return _FaultyFile(self, name, flags)


class _FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__(disk.real, name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        if self._disk.fault == "read":
            raise apsw.IOError
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        fault = WRITE_FAULTS.get(self._disk.fault)
        if fault is not None:
            raise fault
        super().xWrite(data, offset)
        self._disk.kill.reach("log written" if self._is_log else "log copied")

    def xSync(self, flags: int) -> None:
        if self._disk.fault == "sync":
            raise apsw.IOError
        super().xSync(flags)
        if self._is_log:
            self._disk.kill.reach("log synced")
