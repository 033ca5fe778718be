"""What can go wrong with a ledger, each in one sentence."""

from __future__ import annotations

from farthing.protocol import FarthingError


class LedgerUnavailable(FarthingError):
    """The database did not do what was asked, and nothing of it happened or is known to have.

    Disk full, I/O error, locked, connection lost. What was asked may be asked again later.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"the ledger {self.url} is not available ({self.reason}): see to the database."


class LedgerUnusable(FarthingError):
    """The database can be reached and is not a ledger this program may use."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"the ledger {self.url} cannot be used: {self.reason}."


class LeaseLost(FarthingError):
    """Somebody else has what this holder had on lease; nothing was written."""

    def __init__(self, name: str, holder: str) -> None:
        super().__init__(name, holder)
        self.name = name
        self.holder = holder

    def __str__(self) -> str:
        return f"{self.holder} does not have the lease of {self.name}: take it again first."


class ChannelMoved(FarthingError):
    """A channel has not the charges any more that something was reckoned from; nothing was
    written."""

    def __init__(self, channel_id: bytes) -> None:
        super().__init__(channel_id)
        self.channel_id = channel_id

    def __str__(self) -> str:
        return f"another request of channel 0x{self.channel_id.hex()} went first: try again."


class BackupRefused(FarthingError):
    """No backup was begun."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"no backup was made: {self.reason}."
