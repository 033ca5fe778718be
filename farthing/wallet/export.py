"""The history as a table, for a spreadsheet or an accountant."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

from farthing.protocol.amounts import from_units
from farthing.wallet.records import Payment

COLUMNS = (
    "id",
    "time",
    "host",
    "method",
    "url",
    "channel",
    "price",
    "ceiling",
    "charged",
    "receipt",
)
# What a spreadsheet takes for a formula. A URL and a receipt are what a server has made of them.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(payments: Iterable[Payment], decimals: int, file: TextIO) -> None:
    """Writes payments with a line of column names; times are ISO 8601 in UTC, amounts in units of
    a token with ``decimals``, and what is not known is empty."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for each in payments:
        writer.writerow(
            [
                each.id,
                datetime.fromtimestamp(each.time, UTC).isoformat(),
                *map(_harmless, (each.host, each.method, each.url)),
                "0x" + each.channel_id.hex(),
                from_units(each.price, decimals),
                from_units(each.ceiling, decimals),
                "" if each.charged is None else from_units(each.charged, decimals),
                _harmless(each.receipt or ""),
            ]
        )


def _harmless(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) else text
