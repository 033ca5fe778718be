"""An ASGI app on a real socket, by uvicorn."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


@contextmanager
def served(app: Any, http: Any) -> Iterator[int]:
    """The app on a port of loopback; ``http`` is uvicorn's protocol, by name or class."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=http, ws="websockets-sansio", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    # Beside the main thread it leaves signals to the test run.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
