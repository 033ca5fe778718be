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
    scheme, separator, _ = url.partition("://")
    if not separator:
        return SqliteLedger(Path(url))
    # What is shown of the URL is its scheme: there may be a password in the rest.
    shown = f"{scheme}://..."
    if scheme not in ("postgresql", "postgres"):
        raise LedgerUnusable(shown, "give a file's path, or postgresql://user@host/database")
    try:
        from farthing.ledger.postgresql import PostgresLedger
    except ImportError as error:
        raise LedgerUnusable(
            shown, f"psycopg is not installed ({error}): pip install 'farthing[postgresql]'"
        ) from error
    return PostgresLedger(url)
