"""The publisher of a soak: a folder with settings, and `farthing serve` in one process or several,
which are killed and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.escrow_world import AUTHORIZER, RECEIVER, World
from tests.paywall.site import PASSWORD, write_keystore

CONFIRMATIONS = 6
DELAY = 900
PRICE = 1_000
LEAST_CHARGE = 100
PATIENCE = 120.0

# All that `farthing serve` does in one process; and each part in one of its own.
TOGETHER: tuple[tuple[str, ...], ...] = ((),)
APART: tuple[tuple[str, ...], ...] = (("paywall",), ("watcher",), ("redeemer",))

_SETTINGS = """\
ledger = "books.db"

[chain]
rpc = "{rpc}"
id = 31337
token = "{token}"
settlement = "{settlement}"
erc3009_collector = "{erc3009}"
permit2_collector = "{permit2}"

[keys]
keystore = "sender.json"
authorizer_keystore = "authorizer.json"

[terms]
receiver = "{receiver}"
min_deposit = "0.001"
withdraw_delay = {delay}
exposure_cap = "0.05"

[payers]
# Ten payers forget and take back all the time.
transactions_per_hour = 10000

[redeemer]
coin_price = "0.01"
interval = 7200
batch_value = "0.25"
min_value = "0.0005"

[watcher]
confirmations = {confirmations}
poll_seconds = 0.5
range_blocks = 50

[fees]
cap = "100"
replace_after = 30

[prices]
"GET /pages/{{number}}" = "0.001"
"""

# Charges by the page's number, at least LEAST_CHARGE; no two servings have the same text.
_APP = f"""\
import os

from farthing.paywall.asgi import KEY


async def app(scope, receive, send):
    assert scope["type"] == "http"
    number = int(scope["path"].rpartition("/")[2])
    amount = {LEAST_CHARGE} + number % {PRICE - LEAST_CHARGE}
    scope[KEY].charge(amount)
    body = b"%d %s" % (amount, os.urandom(12).hex().encode())
    headers = [(b"content-length", b"%d" % len(body))]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": body}})
"""


def make_site(folder: Path, world: World, rpc: str) -> Path:
    """The publisher's folder; the path of its settings."""
    places = world.deployment
    path = folder / "farthing.toml"
    path.write_text(
        _SETTINGS.format(
            rpc=rpc,
            token=world.token.address,
            settlement=places.settlement,
            erc3009=places.erc3009_collector,
            permit2=places.permit2_collector,
            receiver=RECEIVER.address,
            delay=DELAY,
            confirmations=CONFIRMATIONS,
        )
    )
    (folder / "soak_app.py").write_text(_APP)
    write_keystore(folder / "sender.json", RECEIVER)
    write_keystore(folder / "authorizer.json", AUTHORIZER)
    return path


class ServerBroken(AssertionError):
    """A server did what it may not."""


@dataclass
class Server:
    """One process of `farthing serve`, which is started again whenever it has ended.

    Attributes:
        only: Its parts; all without any.
        is_wanted: Whether it is to be started again.
        is_serving: Whether it has said that it serves since it was started.
        starts: How often it was started.
        refused: How often it did not come up, for the node failed it.
        levels: How many lines it has logged, by their level.
        unexpected: Lines of its log that tell of a fault of ours.
    """

    folder: Path
    name: str
    only: tuple[str, ...]
    port: int
    is_wanted: bool = True
    is_serving: bool = False
    starts: int = 0
    refused: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _log: IO[bytes] | None = None
    _part: bytes = b""
    _stop_at: float = 0.0
    _told: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Starts a process, which serves some time later."""
        options = [option for part in self.only for option in ("--only", part)]
        app = ["soak_app:app"] if not self.only or "paywall" in self.only else []
        command = [sys.executable, "-m", "farthing.commands", "serve", *app, *options]
        path = self.folder / f"{self.name}.log"
        with path.open("ab") as out:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port), "--admin-port", "0", "--grace", "40"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "FARTHING_PASSWORD": PASSWORD},
            )
        if self._log is None:
            self._log = path.open("rb")
        self.is_serving = False
        self.starts += 1
        self._stop_at = 0.0
        self._told = []

    def tend(self) -> None:
        """Reads its log, and starts it again if it has ended.

        Raises:
            ServerBroken: It ended by itself after it had come up, or does not end when it should.
        """
        if self._process is None:
            if self.is_wanted:
                self.start()
            return
        code = self._process.poll()
        self._read()
        if code is None:
            if self._stop_at and time.monotonic() > self._stop_at + PATIENCE:
                raise ServerBroken(f"{self.name} does not end: {self._told[-5:]}")
            return
        was_serving, was_stopped = self.is_serving, self._stop_at > 0
        self._process, self.is_serving = None, False
        if was_stopped and code in (0, -signal.SIGTERM):
            return
        if was_serving:
            raise ServerBroken(f"{self.name} ended with {code}: {self._told[-5:]}")
        # It is not up without its node, and says so.
        self.refused += 1

    def kill(self) -> None:
        """Ends it as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._read()
            self._process, self.is_serving = None, False

    def stop(self) -> None:
        """Tells it to end; it is through when `is_running` is false."""
        if self._process is not None:
            self._process.terminate()
            self._stop_at = self._stop_at or time.monotonic()

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to end."""
        return self._stop_at > 0

    def close(self) -> None:
        """Ends it, whatever it does."""
        self.is_wanted = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._log is not None:
            self._log.close()

    def _read(self) -> None:
        assert self._log is not None
        *lines, self._part = (self._part + self._log.read()).split(b"\n")
        for raw in lines:
            self._take(raw.decode())

    def _take(self, text: str) -> None:
        if not text.startswith("{"):
            # What click says of settings, or what a killed process had half written.
            self._told.append(text)
            return
        try:
            line: dict[str, Any] = json.loads(text)
        except ValueError:
            self._told.append(text)
            return
        self.levels[line["level"]] += 1
        if line["level"] != "info":
            self._told.append(line["message"])
        if line["message"] == "serving":
            self.is_serving = True
        if "timeout graceful shutdown exceeded" in text:
            # What was under way for longer than that was cut off, as it should be.
            return
        if "exception" in line or line["level"] == "error":
            self.unexpected.append(f"{self.name}: {line['message']} {line.get('exception', '')}")


class Publisher:
    """All processes of the publisher, in one layout or the other, and a second redeemer at times.

    Attributes:
        servers: Those of the layout.
        rival: A second redeemer; it runs only if it is wanted.
        kills: How often a process was killed.
        stops: How often one was told to end.
    """

    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        self._layouts = [
            [Server(folder, "-".join(only) or "all", only, self.port) for only in layout]
            for layout in (TOGETHER, APART)
        ]
        self.servers = self._layouts[0]
        self.rival = Server(folder, "rival", ("redeemer",), self.port, is_wanted=False)
        self._is_rearranging = False
        self.kills = 0
        self.stops = 0

    @property
    def all(self) -> list[Server]:
        """Every server there ever was."""
        return [*self._layouts[0], *self._layouts[1], self.rival]

    @property
    def is_up(self) -> bool:
        """Whether all that should serve does."""
        return all(each.is_serving for each in self.servers)

    def last_words(self) -> list[str]:
        """What the servers have said last that was not all well."""
        told = [f"{each.name}: {text}" for each in self.all for text in each._told[-10:]]
        return told + [text for each in self.all for text in each.unexpected[:3]]

    @property
    def is_open(self) -> bool:
        """Whether there is somebody to pay."""
        first = self.servers[0]
        return first.is_serving and not first.is_stopping

    def tend(self) -> None:
        """Starts what has ended; see `Server.tend`."""
        for each in (*self.servers, self.rival):
            each.tend()
        if self._is_rearranging and not any(each.is_running for each in self.servers):
            self._is_rearranging = False
            self._layouts.reverse()
            self.servers = self._layouts[0]
            for each in self.servers:
                each.is_wanted = True

    def kill(self, server: Server) -> None:
        """Kills one; it is started again when it is tended to."""
        if server.is_running:
            server.kill()
            self.kills += 1

    def stop(self, server: Server) -> None:
        """Ends one in peace; it is started again when it is tended to."""
        if server.is_running:
            server.stop()
            self.stops += 1

    def rearrange(self) -> None:
        """Ends all in peace, and goes on in the other layout when they have ended."""
        if not self._is_rearranging:
            self._is_rearranging = True
            self._retire()

    def end(self) -> None:
        """Tells all to end, for good; `is_running` says when they have."""
        self._is_rearranging = False
        self.rival.is_wanted = False
        self.stop(self.rival)
        self._retire()

    @property
    def is_running(self) -> bool:
        """Whether there is any process."""
        return any(each.is_running for each in self.all)

    def _retire(self) -> None:
        for each in self.servers:
            each.is_wanted = False
            self.stop(each)

    def close(self) -> None:
        """Ends all, whatever they do."""
        for each in self.all:
            each.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
