"""Server processes that are forked from one that has everything imported, so that they are cheap.

A server's socket outlives it: clients of a dead server wait for the next one, and nobody polls.
"""

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess

from tests.crash.kill_points import PATIENCE
from tests.crash.shop import Order, serve

BACKLOG = 512

_context = get_context("forkserver")
_context.set_forkserver_preload(["tests.crash.shop"])


class Slot:
    """A place for one server after another, all on one socket.

    Attributes:
        port: On 127.0.0.1.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._server: ForkServerProcess | None = None

    @property
    def pid(self) -> int:
        assert self._server is not None and self._server.pid is not None
        return self._server.pid

    def start(self, order: Order) -> None:
        """Starts a server. Requests can be sent at once: the socket is there already."""
        self._server = _context.Process(target=serve, args=(order, self._listener), daemon=True)
        self._server.start()

    def kill(self) -> None:
        """Ends the server as `kill -9` does."""
        os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Asks the server to end, as a service manager does, and waits until it has.

        Raises:
            AssertionError: It has not within `PATIENCE`, or ended in another way.
        """
        os.kill(self.pid, signal.SIGTERM)
        self._wait_for_end(signal.SIGTERM)

    def wait_for_death(self) -> None:
        """Waits until the server was killed.

        Raises:
            AssertionError: It was not within `PATIENCE`, or it ended by itself.
        """
        self._wait_for_end(signal.SIGKILL)

    def _wait_for_end(self, by: signal.Signals) -> None:
        assert self._server is not None
        self._server.join(PATIENCE)
        assert self._server.exitcode == -by, f"ended with {self._server.exitcode}"

    def ask(self, path: str) -> bytes:
        """The answer to a request that costs nothing."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return answer.read()

    def close(self) -> None:
        """Ends the server, and the socket."""
        if self._server is not None:
            self._server.kill()
            self._server.join()
        self._listener.close()


@contextmanager
def slots(number: int) -> Iterator[list[Slot]]:
    """Places for ``number`` servers, empty at first."""
    places = [Slot() for _ in range(number)]
    try:
        yield places
    finally:
        for place in places:
            place.close()
