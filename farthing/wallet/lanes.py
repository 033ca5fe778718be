"""Who pays from a channel right now: one request at a time, in this process and in every other."""

from __future__ import annotations

import threading
from pathlib import Path

from farthing.ledger.locks import ByteLocks


class LaneLocks:
    """Exclusive locks by channel. They end with the process that holds them, however it ends."""

    def __init__(self, path: Path) -> None:
        self._files = ByteLocks(path)
        # The system's locks are of the open file, so threads keep each other out here.
        self._held: set[bytes] = set()
        self._lock = threading.Lock()

    def take(self, channel_id: bytes) -> bool:
        """Locks a channel if nobody else has; whether it did. Never waits."""
        with self._lock:
            if channel_id in self._held or not self._files.take(channel_id):
                return False
            self._held.add(channel_id)
            return True

    def give(self, channel_id: bytes) -> None:
        """Unlocks a channel that `take` locked."""
        with self._lock:
            self._held.discard(channel_id)
            self._files.give(channel_id)

    def close(self) -> None:
        """Unlocks everything. May be called again."""
        with self._lock:
            self._held.clear()
            self._files.close()
