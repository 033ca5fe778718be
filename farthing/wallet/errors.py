"""Why a wallet did not pay, each reason a type of its own.

The three kinds a caller tells apart, and the exit code each has in the command line: the wallet's
own rules (`RefusedByRules`, 3), the server (`RefusedByServer` and `OfferRefused`, 4), the network
(`NotAnswered`, 5). None of them means that money moved, unless its sentence says so.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar, TypeAlias

from farthing.protocol import FarthingError

Show: TypeAlias = Callable[[int], str]
"""How an error writes smallest units; ``str`` if it is not told."""


class WalletError(FarthingError):
    """The root of what a wallet raises. ``exit_code`` is that of a command it ends."""

    exit_code: ClassVar[int] = 1


class WalletUnusable(WalletError):
    """The wallet's file cannot be used: there is none, it is another's, or it cannot be written."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"the wallet {path} cannot be used: {reason}.")
        self.path = path
        self.reason = reason


# ---------------------------------------------------------------- its own rules


class RefusedByRules(WalletError):
    """A rule of this wallet is against a payment. Nothing was signed.

    Attributes:
        rule: The rule in words.
        amount: What was asked for, in smallest units.
    """

    exit_code = 3

    def __init__(self, rule: str, amount: int, sentence: str) -> None:
        super().__init__(sentence)
        self.rule = rule
        self.amount = amount


class HostRefused(RefusedByRules):
    """The host is on the deny list, or not on the allow list, or no budget is for it."""

    def __init__(self, host: str, amount: int, rule: str, show: Show = str) -> None:
        super().__init__(
            rule,
            amount,
            f"{host} asks for {show(amount)} and {rule}: "
            "change that with `farthing wallet budget`.",
        )
        self.host = host


class PriceTooHigh(RefusedByRules):
    """One request costs more than one request may."""

    def __init__(self, host: str, amount: int, limit: int, show: Show = str) -> None:
        super().__init__(
            "per request",
            amount,
            f"{host} asks for {show(amount)}, a request may cost {show(limit)}: "
            "raise it with `farthing wallet budget --per-request`.",
        )
        self.limit = limit


class BudgetExceeded(RefusedByRules):
    """A budget has less left than a payment would take.

    Attributes:
        limit: The budget, and ``used`` what is gone of it in this period.
        until: When the period ends, unix seconds.
    """

    what: ClassVar[str] = "payment"

    def __init__(
        self, rule: str, amount: int, limit: int, used: int, until: int, show: Show = str
    ) -> None:
        super().__init__(
            rule,
            amount,
            f"a {self.what} of {show(amount)} does not fit the budget {rule}: {show(used)} of "
            f"{show(limit)} are used until {utc(until)}; wait, or raise it with "
            "`farthing wallet budget`.",
        )
        self.limit = limit
        self.used = used
        self.until = until


class DepositExceeded(BudgetExceeded):
    """A deposit would put more in escrow than a period's budget allows to spend."""

    what = "deposit"


class NotApproved(RefusedByRules):
    """The payment is above the threshold, and its owner said no or could not be asked."""

    def __init__(
        self, host: str, amount: int, threshold: int, was_asked: bool, show: Show = str
    ) -> None:
        how = "and you said no" if was_asked else "and there is nobody to ask: give `approve`"
        super().__init__(
            "approval",
            amount,
            f"{host} asks for {show(amount)}, above {show(threshold)} a payment is approved {how}, "
            "or raise the threshold with `farthing wallet budget --approve-above`.",
        )
        self.threshold = threshold


class NoFunds(RefusedByRules):
    """A deposit is needed and this wallet cannot make it."""

    def __init__(self, host: str, amount: int, reason: str, show: Show = str) -> None:
        super().__init__(
            "funds", amount, f"a payment of {show(amount)} to {host} needs a deposit: {reason}."
        )


class RulesForged(WalletError):
    """The rules in the wallet's file are not signed by its main key."""

    def __init__(self, payer: str) -> None:
        super().__init__(
            f"the wallet's rules are not signed by {payer}: "
            "set them again with `farthing wallet budget`."
        )


# ---------------------------------------------------------------- the server


class OfferRefused(WalletError):
    """A server asks for a payment that this wallet does not make. Nothing was signed."""

    exit_code = 4

    def __init__(self, reason: str) -> None:
        super().__init__(f"this server's offer was not taken: {reason}.")
        self.reason = reason


class RefusedByServer(WalletError):
    """A server does not take the payment it was sent. At most that one voucher is in its hands.

    Attributes:
        code: What the server calls the reason.
    """

    exit_code = 4

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"the server refused the payment ({code}): {reason}.")
        self.code = code
        self.reason = reason


class ClaimNotProven(WalletError):
    """A server says of a channel what the wallet's own signature, or the chain, does not prove.

    Attributes:
        channel_id: The channel, 32 bytes.
    """

    exit_code = 4

    def __init__(self, channel_id: bytes, reason: str) -> None:
        super().__init__(
            f"the server's account of channel 0x{channel_id.hex()} was not believed: {reason}; "
            "nothing more is paid there: take the rest back with `farthing wallet withdraw`."
        )
        self.channel_id = channel_id
        self.reason = reason


# ---------------------------------------------------------------- the network


class NotAnswered(WalletError):
    """An answer, or the chain, could not be had. Try again: the same voucher is sent again."""

    exit_code = 5

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: try again.")
        self.reason = reason


class AnswerLost(NotAnswered):
    """A request was charged for and its answer was lost on the way; to ask again costs again."""

    def __init__(self, amount: int, url: str, show: Show = str) -> None:
        super().__init__(
            f"{show(amount)} were charged for {url}, its answer was lost and the server did not "
            "keep it"
        )
        self.amount = amount


def utc(seconds: int) -> str:
    """Unix seconds as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
