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
