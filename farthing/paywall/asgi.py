"""The paywall in front of an ASGI app: Starlette, FastAPI, Django, Quart, or none of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from farthing.paywall.admission import Admission, Arrival
from farthing.paywall.paywall import Paywall
from farthing.paywall.prices import Refused, Rule
from farthing.paywall.replies import Reply

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# Where a handler finds its `Admission`.
KEY = "farthing.payment"
# The first status that is a failure, and is not charged.
FAILURE = 400


def payment_of(scope: Scope) -> Admission:
    """The payment of a request, for its handler: who pays, and `Admission.charge` to charge less.

    ``scope`` is ``request.scope`` in Starlette, FastAPI, and Django's ASGI; behind WSGI it is the
    environ, ``request.environ`` in Flask and ``request.META`` in Django. Raises `KeyError` for a
    request that is not paid.
    """
    payment: Admission = scope[KEY]
    return payment


class PaywallMiddleware:
    """``app``, with requests that ``paywall`` prices served only when they are paid."""

    def __init__(self, app: App, paywall: Paywall) -> None:
        self.app = app
        self.paywall = paywall
        # FastAPI tells its own mount point only to what is inside of it.
        root = getattr(app, "root_path", None)
        self._root = root if isinstance(root, str) else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            rule, path = self.find(scope["method"], scope)
            if rule is not None:
                decided = await self.paywall.admit(rule, _arrival(scope, path))
                if isinstance(decided, Reply):
                    await _send(decided, scope, send)
                    return
                if decided is not None:
                    await _Exchange(self.paywall, decided, scope, send).run(self.app, receive)
                    return
        elif kind == "websocket" and self.find("GET", scope)[0] is not None:
            # A socket has no single answer to charge for: beneath a price there is none.
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "not payable"})
            return
        elif kind == "lifespan":
            await self.app(scope, receive, self._closing(send))
            return
        await self.app(scope, receive, send)

    def _closing(self, send: Send) -> Send:
        """``send``, that closes the paywall before the server is told that all is shut down."""

        async def closing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self.paywall.close()
            await send(message)

        return closing

    def find(self, method: str, scope: Scope) -> tuple[Rule | Refused | None, str]:
        """What holds for a request, and the path for which it does."""
        path: str = scope["path"]
        root = self._root or scope.get("root_path")
        if root and path.startswith(root + "/"):
            # An app that is mounted looks at what is left of the path. A publisher may have
            # written either; priced in one of them is priced.
            rest = path[len(root) :]
            rule = self.paywall.prices.find(method, rest)
            if rule is not None:
                return rule, rest
        return self.paywall.prices.find(method, path), path


class _Exchange:
    """One admitted request: holds the handler's answer back until it is charged."""

    def __init__(self, paywall: Paywall, admission: Admission, scope: Scope, send: Send) -> None:
        self._paywall = paywall
        self._admission = admission
        self._scope = scope
        self._send = send
        self._limit = paywall.limits.answer_bytes
        self._start: Message | None = None
        self._parts: list[bytes] = []
        self._length = 0
        # Whether the charge is decided; what comes then goes straight on, or nowhere.
        self._is_open = True
        self._is_dropped = False

    async def run(self, app: App, receive: Receive) -> None:
        scope = {**self._scope, KEY: self._admission}
        # An answer that the server fetches by itself could not be held back.
        if extensions := scope.get("extensions"):
            scope["extensions"] = {
                name: value
                for name, value in extensions.items()
                if not name.startswith("http.response.")
            }
        try:
            await app(scope, receive, self._take)
        except BaseException:
            if self._is_open:
                self._paywall.cancel(self._admission)
            raise
        if self._is_open:
            # It ended without an answer, or in the middle of one.
            self._paywall.cancel(self._admission)
            if self._start is not None and not self._is_dropped:
                await _send(_INCOMPLETE, self._scope, self._send)

    async def _take(self, message: Message) -> None:
        if not self._is_open:
            if not self._is_dropped:
                await self._send(message)
            return
        kind = message["type"]
        if kind == "http.response.start":
            self._start = message
            if message["status"] >= FAILURE:
                self._is_open = False
                told = self._paywall.cancel(self._admission)
                await self._send({**message, "headers": [*message.get("headers", ()), *told]})
        elif kind == "http.response.body":
            part = message.get("body", b"")
            self._parts.append(part)
            self._length += len(part)
            if not message.get("more_body", False):
                await self._charge(is_whole=True)
            elif self._length > self._limit:
                await self._charge(is_whole=False)
        # Early hints, push, trailers: none of them may go before the charge.

    async def _charge(self, *, is_whole: bool) -> None:
        assert self._start is not None
        body = b"".join(self._parts)
        self._parts.clear()
        start = self._start
        headers = [(bytes(name), bytes(value)) for name, value in start.get("headers", ())]
        self._is_open = False
        kept = body if is_whole else None
        reply = await self._paywall.commit(self._admission, start["status"], headers, kept)
        if is_whole or not reply.is_charged:
            self._is_dropped = True
            await _send(reply, self._scope, self._send)
            return
        await self._send({**start, "headers": reply.headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": True})


_INCOMPLETE = Reply(500, [(b"content-type", b"application/json")], b'{"error":"no_answer"}')


def _arrival(scope: Scope, path: str) -> Arrival:
    return Arrival(
        method=scope["method"],
        path=path,
        query=scope.get("query_string", b""),
        url=lambda: _url(scope),
        headers=scope["headers"],
    )


def _url(scope: Scope) -> str:
    host: bytes = next((value for name, value in scope["headers"] if name == b"host"), b"")
    path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    query: bytes = scope.get("query_string", b"")
    url: bytes = scope.get("scheme", "http").encode() + b"://" + host + path
    return (url + b"?" + query if query else url).decode("latin-1")


async def _send(reply: Reply, scope: Scope, send: Send) -> None:
    headers = reply.headers
    # These have no body, and no length of one.
    is_bare = reply.status in (204, 304)
    if not is_bare and b"content-length" not in [name.lower() for name, _ in headers]:
        headers = [*headers, (b"content-length", str(len(reply.body)).encode())]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    body = b"" if scope.get("method") == "HEAD" else reply.body
    await send({"type": "http.response.body", "body": body})
