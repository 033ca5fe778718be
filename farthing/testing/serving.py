"""Serves an app behind its paywall on a thread of this process."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn

from farthing.paywall import Paywall, PaywallMiddleware
from farthing.paywall.asgi import App
from farthing.testing.errors import SiteFailed

# Seconds that requests under way have to end, and the server with them.
GRACE_SECONDS = 1
JOIN_SECONDS = 60


@contextmanager
def served(app: App, paywall: Paywall, port: int = 0) -> Iterator[int]:
    """Serves ``app`` while the block lasts, and closes the paywall; the port, a free one for 0.

    Raises:
        SiteFailed: It did not start.
    """
    listening = socket.create_server(("127.0.0.1", port))
    server = _Server(PaywallMiddleware(app, paywall), paywall)
    thread = threading.Thread(target=server.run_on, args=(listening,), daemon=True)
    thread.start()
    try:
        server.settled.wait()
        if not server.started:
            raise SiteFailed("the app did not start: see what it logged.")
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(JOIN_SECONDS)


class _Server(uvicorn.Server):
    """Says when it has started, or will not; closes its paywall."""

    def __init__(self, app: App, paywall: Paywall) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                log_config=None,
                log_level="error",
                access_log=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self.settled = threading.Event()
        self._paywall = paywall

    def run_on(self, listening: socket.socket) -> None:
        # With an exit it says that an app did not start.
        with suppress(SystemExit):
            self.run([listening])
        self.settled.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Pages that still listen for news are cut off, which is no news itself.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
        # An app without a lifespan has not closed it.
        await self._paywall.close()
