"""The ledger: what was charged, what is redeemable. The only place that speaks SQL."""

from farthing.ledger.errors import BackupRefused, LeaseLost, LedgerUnavailable, LedgerUnusable
from farthing.ledger.ledger import RESTORED, Ledger
from farthing.ledger.records import (
    Answer,
    Attempt,
    Channel,
    ChannelState,
    Charge,
    Difference,
    Mirror,
    NewCharge,
    NotReserved,
    QueuedTransaction,
    Redeemable,
    Row,
    Totals,
)
from farthing.ledger.urls import open_ledger

__all__ = [
    "RESTORED",
    "Answer",
    "Attempt",
    "BackupRefused",
    "Channel",
    "ChannelState",
    "Charge",
    "Difference",
    "LeaseLost",
    "Ledger",
    "LedgerUnavailable",
    "LedgerUnusable",
    "Mirror",
    "NewCharge",
    "NotReserved",
    "QueuedTransaction",
    "Redeemable",
    "Row",
    "Totals",
    "open_ledger",
]
