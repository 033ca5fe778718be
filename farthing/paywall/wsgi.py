"""The paywall in front of a WSGI app: Flask, Django, or none of them.

    app.wsgi_app = WsgiPaywall(app.wsgi_app, open_paywall("farthing.toml"))

The paywall itself runs on an event loop in a thread of its own, as it does for ASGI; the server's
threads wait for it. So the rules are the same: the handler's answer is held back until its charge
is on the disk.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from http import HTTPStatus
from itertools import chain
from types import TracebackType
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

from farthing.paywall.admission import Admission, Arrival
from farthing.paywall.asgi import FAILURE, KEY
from farthing.paywall.paywall import Paywall
from farthing.paywall.prices import Refused, Rule
from farthing.paywall.replies import Reply

T = TypeVar("T")
Environ: TypeAlias = dict[str, Any]
Headers: TypeAlias = list[tuple[str, str]]
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | None
StartResponse: TypeAlias = Callable[..., Callable[[bytes], object]]
App: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]


class WsgiPaywall:
    """``app``, with requests that ``paywall`` prices served only when they are paid.

    A handler gets at its payment with `payment_of` and the request's environ.
    """

    def __init__(self, app: App, paywall: Paywall) -> None:
        self.app = app
        self.paywall = paywall
        self._engine = _Engine(paywall)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        rule, path = self._find(method, environ)
        if rule is None:
            return self.app(environ, start_response)
        decided = self._engine.admit(rule, _arrival(environ, path))
        if isinstance(decided, Reply):
            return _send(decided, method, start_response)
        if decided is None:
            return self.app(environ, start_response)
        return _Exchange(self._engine, decided, environ, start_response).run(self.app)

    def _find(self, method: str, environ: Environ) -> tuple[Rule | Refused | None, str]:
        """What holds for a request, and the path for which it does."""
        root, path = _text(environ.get("SCRIPT_NAME", "")), _text(environ.get("PATH_INFO", ""))
        # The app looks at what is left of the path when a server or another app has taken off its
        # front. A publisher may have written either; priced in one of them is priced.
        rule = self.paywall.prices.find(method, path or "/")
        if rule is not None or not root:
            return rule, path or "/"
        return self.paywall.prices.find(method, root + path), root + path

    def close(self) -> None:
        """Waits for what is under way, and closes the ledger.

        A process may as well just end: what is charged is on the disk.
        """
        self._engine.close()


class _Engine:
    """The paywall on its thread. Everything here may be called by any other thread."""

    def __init__(self, paywall: Paywall) -> None:
        self.paywall = paywall
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0

    def admit(self, rule: Rule | Refused, arrival: Arrival) -> Admission | Reply | None:
        return self._wait(self.paywall.admit(rule, arrival))

    def commit(
        self,
        admission: Admission,
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes | None,
    ) -> Reply:
        return self._wait(self.paywall.commit(admission, status, headers, body))

    def cancel(self, admission: Admission) -> Headers:
        async def cancel() -> list[tuple[bytes, bytes]]:
            return self.paywall.cancel(admission)

        return _native(self._wait(cancel()))

    def close(self) -> None:
        self._wait(self.paywall.close())
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._running()).result()

    def _running(self) -> asyncio.AbstractEventLoop:
        # Not before the first request: servers fork after they have loaded the app.
        with self._starting:
            if self._loop is None or self._process != os.getpid():
                self._process = os.getpid()
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="farthing-paywall", daemon=True
                )
                self._thread.start()
            return self._loop


class _Exchange:
    """One admitted request: holds the handler's answer back until it is charged."""

    def __init__(
        self,
        engine: _Engine,
        admission: Admission,
        environ: Environ,
        start_response: StartResponse,
    ) -> None:
        self._engine = engine
        self._admission = admission
        self._environ = environ
        self._start_response = start_response
        self._limit = engine.paywall.limits.answer_bytes
        self._status = ""
        self._headers: Headers = []
        self._parts: list[bytes] = []
        self._length = 0
        # Whether the charge is decided.
        self._is_open = True

    def run(self, app: App) -> Iterable[bytes]:
        """What goes to the server; the app's own ``close`` goes with it."""
        answer: Iterable[bytes] = ()
        try:
            self._environ[KEY] = self._admission
            answer = app(self._environ, self._start)
            rest = iter(answer)
            for part in rest:
                self._take(part)
                if self._length and self._is_failure():
                    return _Body(chain(self._fail(), rest), answer)
                if self._length > self._limit:
                    return _Body(self._charge_start(rest), answer)
            if self._is_failure():
                return _Body(self._fail(), answer)
            return _Body(self._charge_whole(), answer)
        except BaseException:
            try:
                if self._is_open:
                    self._engine.cancel(self._admission)
            finally:
                _close(answer)
            raise

    def _start(
        self, status: str, headers: Headers, exc_info: ExcInfo = None
    ) -> Callable[[bytes], object]:
        if exc_info is not None:
            if not self._is_open:
                # It has gone to the client, so the server has to break it off.
                raise exc_info[1].with_traceback(exc_info[2])
            # What was held back is not the answer any more.
            self._parts.clear()
            self._length = 0
        elif self._status:
            raise RuntimeError("the app called start_response twice")
        self._status, self._headers = status, headers
        return self._take

    def _take(self, part: bytes) -> None:
        self._parts.append(part)
        self._length += len(part)

    def _is_failure(self) -> bool:
        if not self._status:
            raise RuntimeError("the app gave an answer without calling start_response")
        return int(self._status[:3]) >= FAILURE

    def _fail(self) -> Iterator[bytes]:
        self._is_open = False
        told = self._engine.cancel(self._admission)
        self._start_response(self._status, [*self._headers, *told])
        return iter(self._parts)

    def _commit(self, body: bytes | None) -> Reply:
        # As long as it is open, a header that is none lets the payment go.
        raw = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in self._headers
        ]
        self._is_open = False
        return self._engine.commit(self._admission, int(self._status[:3]), raw, body)

    def _charge_whole(self) -> Iterable[bytes]:
        reply = self._commit(b"".join(self._parts))
        return _send(reply, self._environ["REQUEST_METHOD"], self._start_response)

    def _charge_start(self, rest: Iterator[bytes]) -> Iterable[bytes]:
        reply = self._commit(None)
        if not reply.is_charged:
            return _send(reply, self._environ["REQUEST_METHOD"], self._start_response)
        self._start_response(self._status, _native(reply.headers))
        return chain(self._parts, rest)


class _Body:
    """An answer's parts, with the ``close`` of the iterable they come from."""

    def __init__(self, parts: Iterable[bytes], source: Iterable[bytes]) -> None:
        self._parts = parts
        self._source = source

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    def close(self) -> None:
        _close(self._source)


def _close(answer: Iterable[bytes]) -> None:
    close = getattr(answer, "close", None)
    if close is not None:
        close()


def _send(reply: Reply, method: str, start_response: StartResponse) -> Sequence[bytes]:
    headers = _native(reply.headers)
    # These have no body, and no length of one.
    is_bare = reply.status in (204, 304)
    if not is_bare and not any(name == "content-length" for name, _ in headers):
        headers.append(("content-length", str(len(reply.body))))
    phrase = ""
    with suppress(ValueError):
        phrase = HTTPStatus(reply.status).phrase
    start_response(f"{reply.status} {phrase}", headers)
    return [] if method == "HEAD" else [reply.body]


def _native(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _text(part: str) -> str:
    """A part of the path as the client meant it; WSGI has its bytes as if they were latin-1."""
    return part.encode("latin-1").decode("utf-8", "surrogateescape")


def _arrival(environ: Environ, path: str) -> Arrival:
    return Arrival(
        method=environ["REQUEST_METHOD"],
        path=path,
        query=environ.get("QUERY_STRING", "").encode("latin-1"),
        url=lambda: _url(environ),
        headers=[
            (name[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in environ.items()
            if name.startswith("HTTP_")
        ],
    )


def _url(environ: Environ) -> str:
    host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    path = quote((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1"))
    query = environ.get("QUERY_STRING")
    url = f"{environ['wsgi.url_scheme']}://{host}{path}"
    return f"{url}?{query}" if query else url
