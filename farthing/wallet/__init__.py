"""The payer: budgets, keys, channels, and HTTP clients that pay.

The clients are in `farthing.wallet.httpx_client` and `farthing.wallet.requests_client`, so that
neither library is needed by who uses the other.
"""

from farthing.wallet.errors import (
    AnswerLost,
    BudgetExceeded,
    ClaimNotProven,
    DepositExceeded,
    HostRefused,
    NoFunds,
    NotAnswered,
    NotApproved,
    OfferRefused,
    PriceTooHigh,
    RefusedByRules,
    RefusedByServer,
    RulesForged,
    WalletError,
    WalletUnusable,
)
from farthing.wallet.keys import session_of
from farthing.wallet.offers import Place
from farthing.wallet.periods import Period
from farthing.wallet.records import Home, Lane, Payment
from farthing.wallet.request import Approval, Request
from farthing.wallet.rules import Budget, Rules
from farthing.wallet.store import Store
from farthing.wallet.wallet import Wallet

__all__ = [
    "AnswerLost",
    "Approval",
    "Budget",
    "BudgetExceeded",
    "ClaimNotProven",
    "DepositExceeded",
    "Home",
    "HostRefused",
    "Lane",
    "NoFunds",
    "NotAnswered",
    "NotApproved",
    "OfferRefused",
    "Payment",
    "Period",
    "Place",
    "PriceTooHigh",
    "RefusedByRules",
    "RefusedByServer",
    "Request",
    "Rules",
    "RulesForged",
    "Store",
    "Wallet",
    "WalletError",
    "WalletUnusable",
    "session_of",
]
