"""What is told to who runs the server, and to nobody else: metrics and health, on their own port.

/metrics                  for Prometheus
/healthz                  200, or 503 and what is down: ledger or chain, or one of the parts where
                          no readers are served
/healthz?without=chain    the same for a load balancer: known channels pay without the chain
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from farthing.operations.start import Operations
from farthing.paywall import Paywall
from farthing.paywall.asgi import Receive, Scope, Send
from farthing.serve.metrics import CONTENT_TYPE, Metrics

JSON = "application/json"


class Admin:
    """An ASGI app.

    Args:
        paywall: Whose health is told; None where it is that of the parts.
        operations: The parts.
        metrics: What has been counted.
        load: Tells how many requests and connections there are.
    """

    def __init__(
        self,
        paywall: Paywall | None,
        operations: Operations,
        metrics: Metrics,
        load: Callable[[], tuple[int, int]],
    ) -> None:
        self._paywall = paywall
        self._operations = operations
        self._metrics = metrics
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, kind, body = await self._answer(scope)
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        sent = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": sent})

    async def _answer(self, scope: Scope) -> tuple[int, str, bytes]:
        if scope["method"] not in ("GET", "HEAD"):
            return 405, JSON, b'{"error":"method_not_allowed"}'
        if scope["path"] == "/metrics":
            health = {} if self._paywall is None else await self._paywall.health()
            return 200, CONTENT_TYPE, self._metrics.text(health, *self._load())
        if scope["path"] == "/healthz" and self._paywall is None:
            states = self._operations.states()
            parts = {name: state.error or "ok" for name, state in states.items()}
            is_well = set(parts.values()) <= {"ok"}
            return 200 if is_well else 503, JSON, msgspec.json.encode(parts)
        if scope["path"] == "/healthz":
            assert self._paywall is not None
            health = await self._paywall.health()
            counted = set(health)
            if scope["query_string"] == b"without=chain":
                counted.discard("chain")
            parts = {part: health.get(part, "ok") for part in ("ledger", "chain")}
            return 503 if counted else 200, JSON, msgspec.json.encode(parts)
        return 404, JSON, b'{"error":"not_found"}'
