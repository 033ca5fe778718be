"""The token's unit, for whoever prints amounts and has no need of the chain otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from farthing.ledger import Ledger
from farthing.opening import open_contracts
from farthing.protocol.amounts import from_units
from farthing.settings import Settings

# Under what name a ledger keeps them, for they never change.
TEXT = "unit"


class _Kept(msgspec.Struct):
    token: str
    decimals: int
    symbol: str


@dataclass(frozen=True)
class Unit:
    """What amounts are counted in."""

    decimals: int
    symbol: str

    def show(self, units: int) -> str:
        """An amount as people write it, with the token's symbol."""
        return f"{from_units(units, self.decimals)} {self.symbol}"

    def plain(self, units: int) -> str:
        """The same without the symbol."""
        return from_units(units, self.decimals)


def unit_of(settings: Settings, ledger: Ledger) -> Unit:
    """The unit of the ledger's token. The chain is asked the first time only.

    Raises:
        SettingsInvalid: It has to be asked, and cannot be.
    """
    text = ledger.recall(TEXT)
    kept = msgspec.json.decode(text, type=_Kept) if text else None
    if kept is None or kept.token.lower() != settings.chain.token.lower():
        token = open_contracts(settings).token
        kept = _Kept(token.address, token.decimals, token.symbol)
        ledger.remember(TEXT, msgspec.json.encode(kept).decode())
    return Unit(kept.decimals, kept.symbol)
