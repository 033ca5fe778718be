"""Logs for machines: one JSON object a line, on standard error.

No key, password or signature is ever given to a logger; what a client sent is shown by its codes.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec

from farthing.paywall.admission import Charged

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


class PaymentLog:
    """Writes the lines of paid requests: all of one turn of the event loop at once.

    A line by `logging` would take as long as a fifteenth of the whole request; one of these takes a
    fifth of that. A line can be lost with the process. The ledger is what counts; it has the
    request's id too.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waiting: list[Charged] = []

    def add(self, charged: Charged) -> None:
        """Writes one soon."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        self._waiting.append(charged)

    def _write(self) -> None:
        charges, self._waiting = self._waiting, []
        now = datetime.now(UTC)
        self._stream.write(b"".join([_encode(_line(now, each)) + b"\n" for each in charges]))
        self._stream.flush()


class _Line(msgspec.Struct):
    time: datetime
    level: str
    logger: str
    message: str
    request: str
    route: str
    payer: str
    channel: str
    amount: str
    status: int
    ms: float


def _line(now: datetime, charged: Charged) -> _Line:
    return _Line(
        now,
        "info",
        "farthing.payments",
        "paid",
        charged.request_id,
        charged.route,
        charged.payer,
        "0x" + charged.channel_id.hex(),
        str(charged.amount),
        charged.status,
        round(charged.seconds * 1_000, 2),
    )
