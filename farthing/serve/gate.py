"""A paywall that may not charge yet, for its ledger was restored, or no longer, for it stops."""

from __future__ import annotations

import asyncio
import logging
import time

from farthing.ledger import LedgerUnavailable
from farthing.operations.restored import is_restored
from farthing.paywall import Paywall, PaywallMiddleware
from farthing.paywall.asgi import App, Message, Receive, Scope, Send

log = logging.getLogger("farthing.serve")

# Seconds between two looks whether it may.
LOOK_SECONDS = 1.0
RETRY_SECONDS = 30
_RESTORED = b'{"error":"ledger_restored"}'
_STOPPING = b'{"error":"server_stops"}'


class Gate:
    """``app`` behind ``paywall``; what is priced is answered with 503 until it may be charged."""

    def __init__(self, app: App, paywall: Paywall) -> None:
        self._inner = PaywallMiddleware(app, paywall)
        self._paywall = paywall
        self._is_open = False
        self._looked_at = -LOOK_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_paid = scope["type"] == "http" and self._is_priced(scope)
        if not is_paid:
            await self._inner(scope, receive, send)
        elif self._is_open or await self._may_charge():
            await self._serve(scope, receive, send)
        else:
            await _wait(send, _RESTORED)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a priced request. The server cancels it when it stops and has waited long enough;
        what it began on the chain or in the ledger goes on, and the client asks again."""
        has_begun = False

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._inner(scope, receive, noted)
        except asyncio.CancelledError:
            if has_begun:
                raise
            await _wait(send, _STOPPING)

    def _is_priced(self, scope: Scope) -> bool:
        return self._inner.find(scope["method"], scope)[0] is not None

    async def _may_charge(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            books = self._paywall.books
            try:
                self._is_open = not await books.read(is_restored, books.ledger)
            except LedgerUnavailable as error:
                log.warning("%s", error)
        return self._is_open


async def _wait(send: Send, body: bytes) -> None:
    """Tells a client to come back."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"retry-after", str(RETRY_SECONDS).encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
