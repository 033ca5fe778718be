"""Early access: dearer until it is released to everybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from farthing.paywall.pricing.request import Request
from farthing.paywall.pricing.rules import RequestRule, read_price, refuse_async


@dataclass(frozen=True)
class EarlyAccess(RequestRule):
    """The price before it holds until a moment, and another from then on.

    Args:
        released: When what is asked for is released, unix seconds; a function of the request, or
            the same for all.
        then: What it costs from then on: a decimal string in units of the token, or ``"free"``.
    """

    released: Callable[[Request], int] | int
    then: str
    units: int = 0

    def bind(self, route: str, decimals: int) -> EarlyAccess:
        if not isinstance(self.released, int):
            refuse_async(self.released)
        return replace(self, units=read_price(self.then, decimals))

    def price(self, request: Request, price: int, now: int) -> int:
        released = self.released if isinstance(self.released, int) else self.released(request)
        return self.units if released <= now else price
