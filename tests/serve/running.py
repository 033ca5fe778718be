"""A `farthing serve` of its own process, on real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

APP = '''\
import asyncio
import gc
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    assert scope["type"] == "http"
    status, body = 200, b"text of " + scope["path"].encode()
    if scope["path"].startswith("/articles/slow"):
        # Says that it was reached, and goes on when the other end of the pipe is written to.
        os.write(int(os.environ["REACHED"]), b"x")
        await asyncio.get_running_loop().run_in_executor(
            None, os.read, int(os.environ["GO_ON"]), 1
        )
    elif scope["path"].startswith("/articles/forever"):
        os.write(int(os.environ["REACHED"]), b"x")
        await asyncio.Event().wait()
    elif scope["path"].startswith("/articles/broken"):
        status = 500
    elif scope["path"] == "/looked-through":
        # Whether the collector of cycles will look at this app again.
        body = b"yes" if any(each is app for each in gc.get_objects()) else b"no"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def bare(scope, receive, send):
    """Does not know what a lifespan is."""
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    await app(scope, receive, send)


async def fails_to_start(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the cellar is flooded"})


def not_async(environ, start_response):
    return []
'''


class Running:
    """The process, and where it is.

    Attributes:
        lines: What it has logged so far.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        found = self.until("serving")
        self.url, self.admin = found.get("at", ""), found["admin"]

    def until(self, message: str) -> dict[str, Any]:
        """Reads its log up to a line whose message begins so."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(json.loads(line))
            if self.lines[-1]["message"].startswith(message):
                return self.lines[-1]
        raise AssertionError(f"it ended and never logged {message!r}: {self.lines}")

    def end(self) -> int:
        """Reads the rest of its log, and gives its exit code."""
        assert self.process.stderr is not None
        self.lines += map(json.loads, self.process.stderr)
        return self.process.wait()


@contextmanager
def running(
    folder: Path, *arguments: str, app: str = "site_app:app", pass_fds: tuple[int, ...] = ()
) -> Iterator[Running]:
    """Serves ``app`` from ``folder``, on free ports, as long as the block lasts."""
    (folder / "site_app.py").write_text(APP)
    with subprocess.Popen(
        [*command(app), "--port", "0", "--admin-port", "0", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def command(app: str) -> list[str]:
    return [sys.executable, "-m", "farthing.commands", "serve", app]
