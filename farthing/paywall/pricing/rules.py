"""A price with rules, and what a rule is.

What a request costs at most follows from the request alone, and is what its payer signs. Rules then
lower what is charged of it, by what the publisher knows of this payer: that it owns what it asks
for, has a free use left, or bought enough for a discount. So a client needs to know nothing of
rules, and who it is is proven by its payment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from typing import Protocol, TypeAlias, runtime_checkable

from farthing.ledger import Entitlement, Standing, Tally
from farthing.paywall.pricing.request import Request
from farthing.protocol import FarthingError
from farthing.protocol.amounts import AmountInvalid, to_units

PriceFunction: TypeAlias = Callable[[Request], str | int]
FREE = "free"


class PricingInvalid(FarthingError, ValueError):
    """A price or a rule of one cannot be as it is written."""


class RuleRefused(FarthingError):
    """A rule does not let this payer have what it asks for; nothing is charged.

    Attributes:
        code: For programs.
        reason: A sentence for people.
        retry_after: Seconds after which it may be asked again; None is never.
        headers: What its answer says besides.
    """

    def __init__(self, code: str, reason: str, retry_after: int | None = None) -> None:
        super().__init__(f"{reason}.")
        self.code = code
        self.reason = reason
        self.retry_after = retry_after
        self.headers: list[tuple[bytes, bytes]] = []


class Quote:
    """What a request costs one payer, while the rules are at it.

    Attributes:
        request: What is asked for.
        now: When, unix seconds.
        amount: What is left to be charged, in smallest units.
        credited: What was paid of the price with credit.
        reasons: Why it is that amount, in the order of the rules.
        tallies, entitlements: What changes with the charge.
    """

    def __init__(self, request: Request, now: int, standing: Standing, amount: int) -> None:
        self.request = request
        self.now = now
        self.amount = amount
        self.credited = 0
        self.reasons: list[str] = []
        self.tallies: dict[str, Tally] = {}
        self.entitlements: dict[tuple[str, str], Entitlement] = {}
        self._standing = standing

    @property
    def is_sold(self) -> bool:
        """Whether anything is paid for it, be it with money or credit."""
        return self.amount + self.credited > 0

    def waive(self, reason: str) -> None:
        """Makes it cost nothing."""
        self.amount = 0
        self.reasons.append(reason)

    def tally(self, name: str, since: int = 0) -> int:
        """What this payer's tally stands at in the period that began at ``since``."""
        known = self.tallies.get(name) or self._standing.tallies.get(name)
        # One that begins later is of another machine, whose clock is a little ahead: its period.
        return known.value if known is not None and known.since >= since else 0

    def set_tally(self, name: str, value: int, since: int = 0) -> None:
        """What it stands at when this is charged."""
        known = self._standing.tallies.get(name)
        begun = since if known is None else max(since, known.since)
        self.tallies[name] = Tally(name, begun, value)

    def entitlement(self, kind: str, item: str) -> Entitlement | None:
        """What this payer has of it, if that is still good."""
        key = kind, item
        known = self.entitlements.get(key) or self._standing.entitlements.get(key)
        return known if known is not None and known.is_good(self.now) else None

    def entitle(self, entitlement: Entitlement) -> None:
        """What it has when this is charged."""
        self.entitlements[entitlement.kind, entitlement.item] = entitlement


class RequestRule:
    """Changes the price of a request, whoever asks."""

    def bind(self, route: str, decimals: int) -> RequestRule:
        """The rule for one route, and a token with so many decimals.

        Raises:
            PricingInvalid, AmountInvalid: It cannot be.
        """
        return self

    def price(self, request: Request, price: int, now: int) -> int:
        """What it costs at most, where it would be ``price``; smallest units."""
        raise NotImplementedError


class PayerRule:
    """Lowers what one payer is charged, or refuses it. Has no state but the ledger's."""

    def bind(self, route: str, decimals: int) -> PayerRule:
        """The rule for one route, and a token with so many decimals.

        Raises:
            PricingInvalid, AmountInvalid: It cannot be.
        """
        return self

    def tallies(self) -> Sequence[str]:
        """The names of the tallies it looks at."""
        return ()

    def entitlements(self, request: Request) -> Sequence[tuple[str, str]]:
        """The entitlements it looks at, kind and item."""
        return ()

    def apply(self, quote: Quote) -> None:
        """Lowers the quote, in its turn."""

    def settle(self, quote: Quote) -> None:
        """Writes down what follows, once all rules have had their turn.

        Raises:
            RuleRefused: It must not be.
        """


@runtime_checkable
class Base(Protocol):
    """What a request costs before any rule."""

    def bind(self, decimals: int) -> Base:
        """The same for a token with so many decimals."""

    def announced(self, request: Request) -> int:
        """What it may cost at most, in smallest units.

        Raises:
            RequestInvalid: It has no price.
        """

    def reason(self, request: Request) -> str:
        """What the charge says of it."""


class Price:
    """A price with rules, which apply in their order.

    Args:
        base: A decimal string in units of the token, a function of the request, or one of
            `PerUnit`, `Tiers` and `PayWhatYouWant`.
        rules: What lowers it.
    """

    def __init__(self, base: str | PriceFunction | Base, *rules: RequestRule | PayerRule) -> None:
        for rule in rules:
            if not isinstance(rule, RequestRule | PayerRule):
                raise PricingInvalid(f"{rule!r} is no rule: give one, such as FreeQuota(3, 'P1M')")
        self.base = base
        self.rules = rules


def read_price(text: str, decimals: int) -> int:
    """A written price in smallest units.

    Raises:
        AmountInvalid: It is none.
    """
    if text == FREE:
        return 0
    try:
        return to_units(text, decimals)
    except AmountInvalid as error:
        raise AmountInvalid(f"{error}, or 'free'") from None


def refuse_async(function: object) -> None:
    """A price is worked out on the spot, where nothing can be awaited.

    Raises:
        PricingInvalid: The function would have to be.
    """
    if iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
        raise PricingInvalid("its function is async: write it with def, not async def")


def whole(value: object, what: str, least: int = 1, most: int | None = None) -> int:
    """A whole number that a rule is written with.

    Raises:
        PricingInvalid: It is none, or out of bounds.
    """
    if type(value) is not int or value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise PricingInvalid(f"{what} is {value!r}: give a whole number, {bounds}")
    return value
