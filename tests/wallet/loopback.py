"""A paywall on a real socket of this machine, for clients; and lines that break."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from farthing.ledger import Ledger
from tests.paywall.paywall_kit import Shop


class _Serving:
    """A shop, and its server on a thread of its own: a paywall belongs to one event loop."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        config = uvicorn.Config(
            self.app, port=0, interface="asgi3", log_level="error", lifespan="on"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """The shop, whose app knows of no lifespan."""
        if scope["type"] != "lifespan":
            await self.shop.app(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.shop.paywall.close()
        await send({"type": "lifespan.shutdown.complete"})

    @property
    def url(self) -> str:
        (server,) = self.server.servers
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextmanager
def serving(ledger: Ledger, **options: Any) -> Iterator[tuple[Shop, str]]:
    """Serves a shop while the block lasts; its books are proved at the end."""
    running = _Serving(Shop(ledger, **options))
    running.thread.start()
    until = time.monotonic() + 30
    while not running.server.started:
        assert running.thread.is_alive() and time.monotonic() < until, "it did not start"
        time.sleep(0.01)
    try:
        yield running.shop, running.url
        assert ledger.prove() == []
    finally:
        running.server.should_exit = True
        running.thread.join(30)


@contextmanager
def breaking(url: str, breaks: Callable[[int], bool]) -> Iterator[tuple[str, list[bytes]]]:
    """A line to ``url`` that cuts the ``n``-th paid answer short where ``breaks(n)`` says so.

    Gives its own URL, and the list of the paid requests it has carried.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    paid: list[bytes] = []

    def carry(client: socket.socket) -> None:
        with client, socket.create_connection((host, int(port))) as server:
            request = client.recv(65_536)
            server.sendall(request.replace(b"Connection: keep-alive", b"Connection: close"))
            server.settimeout(30)
            answer = b""
            while b"\r\n\r\n" not in answer or len(answer) < _length(answer):
                part = server.recv(65_536)
                if not part:
                    break
                answer += part
            if b"payment-signature" in request.lower():
                paid.append(request)
                if breaks(len(paid)):
                    # All but the last byte, and then nothing more.
                    answer = answer[:-1]
            client.sendall(answer)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=carry, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", paid
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)


def _length(answer: bytes) -> int:
    head, _, _ = answer.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(head) + 4 + int(line.partition(b":")[2])
    return 2**31
