"""The history as a table, for a spreadsheet or an accountant."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

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


def write_csv(payments: Iterable[Payment], file: TextIO) -> None:
    """Writes payments with a line of column names; times are ISO 8601 in UTC, amounts smallest
    units, and what is not known is empty."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for each in payments:
        writer.writerow(
            [
                each.id,
                datetime.fromtimestamp(each.time, UTC).isoformat(),
                *map(_harmless, (each.host, each.method, each.url)),
                "0x" + each.channel_id.hex(),
                each.price,
                each.ceiling,
                "" if each.charged is None else each.charged,
                _harmless(each.receipt or ""),
            ]
        )


def _harmless(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) else text
