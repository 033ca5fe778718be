"""What can go wrong with a ledger, each in one sentence."""

from __future__ import annotations

from farthing.protocol import FarthingError


class LedgerUnavailable(FarthingError):
    """The database did not do what was asked, and nothing of it happened or is known to have.

    Disk full, I/O error, locked, connection lost. What was asked may be asked again later.
    """

    def __init__(self, url: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the ledger {url} is not available ({reason}): see to the database.")


class LedgerUnusable(FarthingError):
    """The database can be reached and is not a ledger this program may use."""

    def __init__(self, url: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the ledger {url} cannot be used: {reason}.")
