"""Logs for machines: one JSON object a line, on standard error.

No key, password or signature is ever given to a logger; what a client sent is shown by its codes.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from farthing.paywall.paywall import Charged

_payments = logging.getLogger("farthing.payments")
_encode = msgspec.json.Encoder().encode


class JsonFormatter(logging.Formatter):
    """A record as one line; what a caller gives as ``extra={"fields": {...}}`` is part of it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line).decode()


def log_to_stderr() -> None:
    """Makes this the only way in which this process logs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    # It tells what we tell ourselves.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def log_payment(charged: Charged) -> None:
    """Writes the line of one paid request."""
    _payments.info(
        "paid",
        extra={
            "fields": {
                "request": charged.request_id,
                "route": charged.route,
                "payer": charged.payer,
                "channel": "0x" + charged.channel_id.hex(),
                "amount": str(charged.amount),
                "status": charged.status,
                "ms": round(charged.seconds * 1_000, 2),
            }
        },
    )
