"""Copies of the ledger, and putting one back."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from farthing.ledger import LedgerUnusable, open_ledger
from farthing.ledger.ledger import RESTORED
from farthing.opening import OWNER, claim_ledger, ledger_path, open_books
from farthing.protocol import FarthingError
from farthing.settings import Settings


class RestoreRefused(FarthingError):
    """A backup is not put in place; nothing was changed."""


def make_backup(settings: Settings, path: Path) -> None:
    """Copies the whole ledger into a new file, while others may go on charging.

    Raises:
        BackupRefused: There is something at ``path``, or the ledger is in PostgreSQL.
        SettingsInvalid: The ledger cannot be opened.
    """
    ledger = open_books(settings)
    try:
        ledger.backup(path)
    finally:
        ledger.close()


def restore(settings: Settings, backup: Path) -> int:
    """Puts a backup in the ledger's place; how many channels are in it.

    Nothing is charged on it until a watcher has compared it with the chain.

    Raises:
        RestoreRefused: There is a ledger already, or the backup is none, or not whole, or somebody
            else's.
        SettingsInvalid: The ledger is in PostgreSQL, or belongs to another receiver.
    """
    target = ledger_path(settings)
    if target is None:
        problem = "it is in PostgreSQL: use pg_restore, then `farthing restore --mark`"
        raise settings.invalid("ledger", problem)
    for place in (target, target.with_name(target.name + "-wal")):
        if os.path.lexists(place):
            raise RestoreRefused(
                f"there is a ledger at {place}: stop what uses it and move it away, with the files "
                "beside it; keep it, for it may know what the backup does not."
            )
    if not backup.is_file():
        raise RestoreRefused(f"there is no file at {backup}: name what `farthing backup` made.")
    copy = target.with_name(target.name + ".restoring")
    try:
        shutil.copyfile(backup, copy)
        wal = backup.with_name(backup.name + "-wal")
        if wal.is_file():
            # A ledger that was copied while it was open has its last changes there.
            shutil.copyfile(wal, copy.with_name(copy.name + "-wal"))
        channels = _look_at(settings, copy, backup)
        _sync(copy)
        copy.rename(target)
    except OSError as error:
        raise RestoreRefused(f"{backup} cannot be put in place ({error.strerror}).") from error
    finally:
        for left in copy.parent.glob(copy.name + "*"):
            left.unlink()
    return channels


def mark_restored(settings: Settings) -> None:
    """Has nothing charged on the ledger until a watcher has compared it with the chain.

    Raises:
        SettingsInvalid: The ledger cannot be opened, or is another receiver's.
    """
    ledger = open_books(settings)
    try:
        if not ledger.recall(RESTORED):
            ledger.remember(RESTORED, str(int(time.time())))
    finally:
        ledger.close()


def _look_at(settings: Settings, copy: Path, backup: Path) -> int:
    """How many channels are in a copy that is whole, and marked."""
    try:
        ledger = open_ledger(str(copy))
    except LedgerUnusable as error:
        raise RestoreRefused(f"{backup} is no ledger: {error.reason}.") from error
    try:
        if ledger.recall(OWNER) is None:
            raise RestoreRefused(f"{backup} is a ledger of nobody: use another backup.")
        claim_ledger(settings, ledger)
        wrong = ledger.prove()
        if wrong:
            raise RestoreRefused(
                f"{backup} does not add up: {wrong[0]}, and {len(wrong) - 1} more: "
                "use another backup."
            )
        if not ledger.recall(RESTORED):
            # A file that was copied in another way.
            ledger.remember(RESTORED, str(int(time.time())))
        return ledger.totals().channels
    finally:
        ledger.close()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
