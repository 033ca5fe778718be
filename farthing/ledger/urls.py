"""Which ledger a URL means."""

from __future__ import annotations

from pathlib import Path

from farthing.ledger.errors import LedgerUnusable
from farthing.ledger.ledger import Ledger
from farthing.ledger.sqlite import SqliteLedger


def open_ledger(url: str) -> Ledger:
    """Opens the ledger at ``url``: the path of a SQLite file, or ``postgresql://...``.

    Raises:
        LedgerUnusable: The URL is of neither kind, or what is there is no ledger of ours.
        LedgerUnavailable: The database does not answer.
    """
    if "://" in url:
        raise LedgerUnusable(url, "give a file's path, or postgresql://user@host/database")
    return SqliteLedger(Path(url))
