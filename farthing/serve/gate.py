"""A paywall that may not charge yet: its ledger was restored and has not caught up."""

from __future__ import annotations

import logging
import time

from farthing.ledger import LedgerUnavailable
from farthing.operations.restored import is_restored
from farthing.paywall import Paywall, PaywallMiddleware
from farthing.paywall.asgi import App, Receive, Scope, Send

log = logging.getLogger("farthing.serve")

# Seconds between two looks whether it may.
LOOK_SECONDS = 1.0
RETRY_SECONDS = 30
_BODY = b'{"error":"ledger_restored"}'


class Gate:
    """``app`` behind ``paywall``; what is priced is answered with 503 until it may be charged."""

    def __init__(self, app: App, paywall: Paywall) -> None:
        self._inner = PaywallMiddleware(app, paywall)
        self._paywall = paywall
        self._is_open = False
        self._looked_at = -LOOK_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_paid = scope["type"] == "http" and self._is_priced(scope)
        if self._is_open or not is_paid or await self._may_charge():
            await self._inner(scope, receive, send)
            return
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(_BODY)).encode()),
            (b"cache-control", b"no-store"),
            (b"retry-after", str(RETRY_SECONDS).encode()),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": _BODY})

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
