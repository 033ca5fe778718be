"""Amounts as people write them: decimal strings in units of a token, exact or refused; counts."""

from __future__ import annotations

import re

from farthing.protocol.errors import FarthingError

# What a channel can hold at most, in smallest units.
MAX_AMOUNT = 2**128 - 1

_DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
_SHOWN = 60
# More digits than this are above 128 bits whatever the decimals.
_DIGITS = 120


class AmountInvalid(FarthingError, ValueError):
    """A text is no amount of a token; the sentence says why, and what to write."""


def to_units(text: str, decimals: int) -> int:
    """An amount written in units of a token, like ``0.002``, in its smallest units.

    Raises:
        AmountInvalid: It is none, has more decimals than the token, or is above 128 bits.
    """
    shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
    digits = _DECIMAL.fullmatch(text)
    if digits is None:
        raise AmountInvalid(f"{shown} is not an amount; write it like '0.002'")
    whole, fraction = digits[1].lstrip("0"), (digits[2] or "").rstrip("0")
    if len(fraction) > decimals:
        raise AmountInvalid(f"{shown} has more than the token's {decimals} decimals; write fewer")
    written = (whole + fraction.ljust(decimals, "0")) or "0"
    if len(written) > _DIGITS or int(written) > MAX_AMOUNT:
        raise AmountInvalid(f"{shown} is more than a channel can hold; write less")
    return int(written)


def from_units(units: int, decimals: int) -> str:
    """Smallest units as people write them, exactly: ``2_000`` of 6 decimals is ``0.002``."""
    sign, digits = "-" if units < 0 else "", str(abs(units)).rjust(decimals + 1, "0")
    whole, fraction = (digits[:-decimals], digits[-decimals:]) if decimals else (digits, "")
    fraction = fraction.rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def plural(count: int, name: str) -> str:
    """A number of things, like ``1 channel`` and ``2 channels``."""
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"
