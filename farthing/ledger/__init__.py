"""The ledger: what was charged, what is redeemable. The only place that speaks SQL."""

from farthing.ledger.errors import LedgerUnavailable, LedgerUnusable
from farthing.ledger.ledger import Ledger
from farthing.ledger.records import (
    Answer,
    Channel,
    ChannelState,
    Charge,
    Deposit,
    Difference,
    Mirror,
    NewCharge,
    NotReserved,
    Totals,
)
from farthing.ledger.urls import open_ledger

__all__ = [
    "Answer",
    "Channel",
    "ChannelState",
    "Charge",
    "Deposit",
    "Difference",
    "Ledger",
    "LedgerUnavailable",
    "LedgerUnusable",
    "Mirror",
    "NewCharge",
    "NotReserved",
    "Totals",
    "open_ledger",
]
