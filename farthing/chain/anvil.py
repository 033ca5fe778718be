"""A development node: `anvil` as a child process, on loopback."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Never

from farthing.protocol.errors import FarthingError

# Keys that anvil derives from its public test mnemonic and funds at start. Known to everyone.
ANVIL_KEYS = (
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
)

HARDFORK = "prague"
POLL_SECONDS = 0.02
RELEASE_SECONDS = 5


class AnvilMissing(FarthingError):
    """The `anvil` program was not found."""

    def __init__(self) -> None:
        super().__init__(
            "anvil was not found: run `npm install` in the project's folder, or put anvil on PATH."
        )


class AnvilFailed(FarthingError):
    """The `anvil` program ended before it listened.

    Attributes:
        output: What it printed.
    """

    def __init__(self, output: str) -> None:
        self.output = output
        last = output.strip().splitlines()[-1:] or ["it printed nothing"]
        super().__init__(f"anvil ended before it was ready: {last[0]}")


class AnvilEnded(FarthingError):
    """The `anvil` program ended while it was needed.

    Attributes:
        url: Where it listened.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(f"the anvil node at {url} has ended by itself: start it again.")


class PortTaken(FarthingError):
    """A node cannot listen on a port.

    Attributes:
        port: The port on loopback.
    """

    def __init__(self, port: int, reason: str) -> None:
        self.port = port
        super().__init__(
            f"port {port} of 127.0.0.1 cannot be used ({reason}): choose another with --port."
        )


@dataclass(frozen=True)
class Node:
    """A node that runs as a child of this process."""

    url: str
    process: subprocess.Popen[str]

    def wait(self) -> Never:
        """Blocks for as long as the node runs; a signal's exception ends the wait.

        Raises:
            AnvilEnded: It ended.
        """
        self.process.wait()
        raise AnvilEnded(self.url)


def find_anvil() -> str:
    """Path of the `anvil` program: ``PATH`` first, then ``node_modules`` here.

    Raises:
        AnvilMissing: It is at neither place.
    """
    local = Path("node_modules/.bin").resolve()
    path = f"{os.environ.get('PATH', '')}{os.pathsep}{local}"
    found = shutil.which("anvil", path=path)
    if found is None:
        raise AnvilMissing
    return found


@contextmanager
def anvil(*arguments: str, port: int | None = None) -> Iterator[str]:
    """Runs a node for as long as the block lasts and gives its URL; as `anvil_node` otherwise."""
    with anvil_node(*arguments, port=port) as node:
        yield node.url


@contextmanager
def anvil_node(*arguments: str, port: int | None = None) -> Iterator[Node]:
    """Runs a node for as long as the block lasts.

    Args:
        arguments: Further arguments of `anvil`.
        port: The port on loopback; a free one without it.

    Raises:
        AnvilMissing: The program was not found.
        PortTaken: It cannot listen on that port.
        AnvilFailed: It ended before it was ready.
    """
    program = find_anvil()
    if port is None:
        port = _free_port()
    else:
        # Before the start: whatever answers on the port afterwards has to be the node.
        _check_free(port)
    command = [program, "--port", str(port), "--hardfork", HARDFORK, *arguments]
    with (
        TemporaryFile("w+") as output,
        # It writes the states of old blocks to the disk, and leaves them there: gigabytes a day.
        # Should it still write one as it ends, that must not hide how the block ended.
        TemporaryDirectory(prefix="farthing-anvil-", ignore_cleanup_errors=True) as states,
    ):
        command += ["--cache-path", states]
        process = subprocess.Popen(  # noqa: S603
            command, stdout=output, stderr=subprocess.STDOUT, text=True
        )
        try:
            while not _listens(port):
                if process.poll() is not None:
                    output.seek(0)
                    raise AnvilFailed(output.read())
                time.sleep(POLL_SECONDS)
            yield Node(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait()
            _await_release(port)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        # As anvil does, and for the same reason: connections of a node just stopped still linger.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(port, (error.strerror or str(error)).lower()) from None


def _await_release(port: int) -> None:
    # From npm the program is a wrapper, which ends a moment before the node that it passed the
    # signal to.
    deadline = time.monotonic() + RELEASE_SECONDS
    while _listens(port) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
