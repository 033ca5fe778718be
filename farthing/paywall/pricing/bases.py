"""What a request costs before any rule: so much a unit, by tier, or what the payer wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from farthing.paywall.pricing.request import Request, RequestInvalid
from farthing.paywall.pricing.rules import (
    PriceFunction,
    PricingInvalid,
    read_price,
    refuse_async,
    whole,
)
from farthing.protocol.amounts import MAX_AMOUNT, AmountInvalid, to_units


@dataclass(frozen=True)
class Fixed:
    """Always the same, in smallest units once it is bound."""

    price: str
    units: int = 0

    def bind(self, decimals: int) -> Fixed:
        return replace(self, units=read_price(self.price, decimals))

    def announced(self, request: Request) -> int:
        return self.units

    def reason(self, request: Request) -> str:
        return ""


@dataclass(frozen=True)
class Computed:
    """What a function of the request says."""

    function: PriceFunction
    decimals: int = 0

    def bind(self, decimals: int) -> Computed:
        refuse_async(self.function)
        return replace(self, decimals=decimals)

    def announced(self, request: Request) -> int:
        computed = self.function(request)
        if type(computed) is int and 0 <= computed <= MAX_AMOUNT:
            return computed
        if isinstance(computed, str):
            return read_price(computed, self.decimals)
        raise PricingInvalid(
            f"its function gave {computed!r}; give a decimal string or smallest units"
        )

    def reason(self, request: Request) -> str:
        return ""


@dataclass(frozen=True)
class PerUnit:
    """So much for each token, byte or second, up to ``most`` of them in one request.

    The handler says how many there were with ``payment_of(scope).use(1234)``; without that all are
    charged. A unit may cost less than the token's smallest: the charge is rounded down.

    Args:
        price: Of one unit, a decimal string in units of the token.
        most: Units that a request may use at most.
    """

    price: str
    most: int
    smallest: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        whole(self.most, "the most units")
        _decimal(self.price)

    def bind(self, decimals: int) -> PerUnit:
        bound = replace(self, smallest=_decimal(self.price).scaleb(decimals))
        if bound.cost(self.most) > MAX_AMOUNT:
            raise PricingInvalid(f"{self.most} units are more than a channel can hold: give less")
        return bound

    def announced(self, request: Request) -> int:
        return self.cost(self.most)

    def cost(self, units: int) -> int:
        """What so many units cost, in smallest units of the token, rounded down."""
        numerator, denominator = self.smallest.as_integer_ratio()
        return units * numerator // denominator

    def reason(self, request: Request) -> str:
        return ""


@dataclass(frozen=True)
class Tiers:
    """One of several prices, chosen by a parameter of the query.

    Args:
        parameter: Its name; a request that has none of the tiers for its value gets a 400.
        prices: The tiers' names and prices.
    """

    parameter: str
    prices: Mapping[str, str]
    units: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if not self.prices:
            raise PricingInvalid("there is no tier: give one, like {'bronze': '1'}")

    def bind(self, decimals: int) -> Tiers:
        units = {name: read_price(text, decimals) for name, text in self.prices.items()}
        return replace(self, units=units)

    def announced(self, request: Request) -> int:
        assert self.units is not None
        chosen = request.argument(self.parameter)
        if chosen is None or chosen not in self.units:
            known = ", ".join(self.units)
            raise RequestInvalid(f"give {self.parameter!r} in the query, one of {known}")
        return self.units[chosen]

    def reason(self, request: Request) -> str:
        return f"{self.parameter} {request.argument(self.parameter)}"


@dataclass(frozen=True)
class PayWhatYouWant:
    """What the payer names in the query, within bounds.

    Args:
        least: The least, a decimal string in units of the token; also what is paid where the query
            names nothing.
        most: The most.
        parameter: Where the query names it.
    """

    least: str
    most: str
    parameter: str = "amount"
    decimals: int = 0

    def bind(self, decimals: int) -> PayWhatYouWant:
        least, most = to_units(self.least, decimals), to_units(self.most, decimals)
        if not 0 < least <= most:
            raise PricingInvalid(f"{self.least} to {self.most}: give a least above 0, and a most")
        return replace(self, decimals=decimals)

    def announced(self, request: Request) -> int:
        least, most = to_units(self.least, self.decimals), to_units(self.most, self.decimals)
        written = request.argument(self.parameter)
        if written is None:
            return least
        try:
            wanted = to_units(written, self.decimals)
        except AmountInvalid as error:
            raise RequestInvalid(f"{self.parameter!r} in the query: {error}") from None
        if not least <= wanted <= most:
            raise RequestInvalid(
                f"{self.parameter!r} in the query is {written}: give {self.least} to {self.most}"
            )
        return wanted

    def reason(self, request: Request) -> str:
        return ""


def _decimal(text: str) -> Decimal:
    try:
        found = Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        found = Decimal(0)
    if not isinstance(text, str) or not found.is_finite() or found <= 0:
        raise PricingInvalid(f"{text!r} is no price of a unit: write it like '0.000002'")
    return found
