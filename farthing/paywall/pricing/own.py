"""Own: bought once, never charged again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from farthing.ledger import Entitlement
from farthing.paywall.pricing.request import Request
from farthing.paywall.pricing.rules import PayerRule, PricingInvalid, Quote

KIND = "own"
# Longer names are kept as a hash, so that a hostile path cannot fill the ledger.
LONGEST = 200
_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Own(PayerRule):
    """What a payer has paid for is its own, and costs it nothing from then on.

    Args:
        item: What it owns then, with the route's parameters in it: ``"{series}/{number}"``. The
            same item of several routes is one.
    """

    item: str

    def bind(self, route: str, decimals: int) -> Own:
        for name in _NAME.findall(self.item):
            if f"{{{name}}}" not in route and f"{{{name}:path}}" not in route:
                raise PricingInvalid(f"{self.item!r} names {{{name}}}, which is not in the path")
        return self

    def entitlements(self, request: Request) -> Sequence[tuple[str, str]]:
        return [(KIND, self._name(request))]

    def apply(self, quote: Quote) -> None:
        if quote.entitlement(KIND, self._name(quote.request)) is not None:
            quote.waive("owned")

    def settle(self, quote: Quote) -> None:
        name = self._name(quote.request)
        if quote.is_sold and quote.entitlement(KIND, name) is None:
            quote.entitle(Entitlement(KIND, name, quote.now, 0, 1, 0))
            quote.reasons.append(f"bought {name}")

    def _name(self, request: Request) -> str:
        name = _NAME.sub(lambda found: request.parameters[found[1]], self.item)
        if len(name) > LONGEST or not name.isprintable():
            raw = name.encode("utf-8", "surrogatepass")
            return hashlib.blake2b(raw, digest_size=32).hexdigest()
        return name
