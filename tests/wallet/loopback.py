"""A paywall on a real socket of this machine, for clients; and lines that break."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from farthing.ledger import open_ledger
from tests.paywall.paywall_kit import Shop


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serves an ASGI app on a thread while the block lasts; its URL."""
    config = uvicorn.Config(app, port=0, interface="asgi3", log_level="error", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive() and time.monotonic() < until, "it did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def serving(path: Path, chain: Any = None, **options: Any) -> Iterator[tuple[Shop, str]]:
    """Serves a shop with its ledger at ``path``, which is proved at the end."""
    at_chain = chain and chain(str(path))
    shop = Shop(open_ledger(str(path)), chain=at_chain, **options)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        # The shop's own app knows of no lifespan. A paywall belongs to one event loop.
        if scope["type"] != "lifespan":
            await shop.app(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await shop.paywall.close()
        await send({"type": "lifespan.shutdown.complete"})

    with served(app) as url:
        yield shop, url
        assert shop.ledger.prove() == []


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
