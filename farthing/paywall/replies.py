"""An HTTP answer that the paywall gives by itself, in the form both ASGI and WSGI can send."""

from __future__ import annotations

from typing import Any

import msgspec


class Reply(msgspec.Struct, frozen=True):
    """A whole answer: status, headers with lower-case names, and body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def is_charged(self) -> bool:
        """Whether a payment was taken for it."""
        return any(name == b"payment-response" for name, _ in self.headers)


def json_reply(
    status: int, message: Any, headers: list[tuple[bytes, bytes]] | None = None
) -> Reply:
    """``message`` as JSON."""
    content = (b"content-type", b"application/json")
    return Reply(status, [*(headers or []), content], msgspec.json.encode(message))
