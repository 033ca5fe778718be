"""What the tests of WSGI apps share: a bare app, and a site to ask as a server would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from farthing.ledger import Mirror
from farthing.paywall import WsgiPaywall, open_paywall
from tests.escrow_world import PAYER, World
from tests.paywall.site import Reader

LIMIT = 64
"""Bytes of an answer that are held back until it is charged."""


@dataclass
class Answer:
    """What a server would have sent."""

    status: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class App:
    """A bare WSGI app whose answer a test chooses; counts what is closed."""

    def __init__(self) -> None:
        self.calls = 0
        self.closed = 0
        self.status = "200 OK"
        self.handle: Callable[[dict[str, Any], Any], Iterable[bytes]] = self.plain

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.calls += 1
        return self.Closing(self, self.handle(environ, start_response))

    def plain(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(self.status, [("Content-Type", "text/plain"), ("Cache-Control", "public")])
        return [b"text of ", environ["PATH_INFO"].encode()]

    class Closing:
        def __init__(self, app: App, parts: Iterable[bytes]) -> None:
            self.app, self.parts = app, parts

        def __iter__(self) -> Iterator[bytes]:
            return iter(self.parts)

        def close(self) -> None:
            self.app.closed += 1


class Site:
    """A paywalled app with one reader whose channel is funded."""

    def __init__(self, world: World, settings: Path, app: Any, prices: dict[str, Any]) -> None:
        self.app = app
        self.paywall = open_paywall(settings, prices=prices)
        self.wsgi = WsgiPaywall(app, self.paywall)
        required = self.get("/articles/one").headers["payment-required"]
        self.reader = Reader(world, PAYER, required)
        self.paywall.ledger.mirror(
            self.reader.channel_id, self.reader.config, Mirror(10**6, 0, 0, 0, 0, 2**52)
        )

    def get(self, path: str, headers: dict[str, str] | None = None, **environ: Any) -> Answer:
        """Asks as a server does, and closes the answer as one does."""
        answer = Answer()

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
            assert exc_info is not None or not answer.status
            answer.status = status
            answer.headers = {name.lower(): value for name, value in headers}

        asked = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "site.example",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(),
            **{"HTTP_" + k.upper().replace("-", "_"): v for k, v in (headers or {}).items()},
            **environ,
        }
        parts = self.wsgi(asked, start_response)
        try:
            for part in parts:
                assert answer.status
                answer.body += part
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return answer

    def payment(self, path: str) -> dict[str, str]:
        return self.reader.pay(self.get(path).headers["payment-required"])

    def pay(self, path: str, **environ: Any) -> Answer:
        answer = self.get(path, self.payment(path), **environ)
        if "payment-response" in answer.headers:
            self.reader.note(answer.headers["payment-response"])
        return answer

    @property
    def charged(self) -> list[int]:
        return [each.amount for each in self.paywall.ledger.charges()]
