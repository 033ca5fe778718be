"""Starts and stops the servers that are measured."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 120.0
# A server that uses no processor time for so long has nothing left to do.
QUIET_S = 0.1


@dataclass(frozen=True)
class Server:
    """A running server. ``start_s``: from its process started to its first answer."""

    port: int
    start_s: float
    pid: int

    def get(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers (named in lower case) and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def cpu_s(self) -> float:
        """The processor time the server and its workers have used so far."""
        ticks = 0
        for process in self._processes():
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def settle(self) -> None:
        """Wait until it does nothing more, so that what it has left is in nobody else's way.

        Raises ``RuntimeError`` when it goes on for minutes: nothing can be measured beside it.
        """
        deadline = time.monotonic() + PATIENCE_S
        used = -1.0
        while used != self.cpu_s():
            if time.monotonic() > deadline:
                raise RuntimeError("a server that nobody asks for anything does not come to rest")
            used = self.cpu_s()
            time.sleep(QUIET_S)

    def memory_mib(self) -> float:
        """What they hold in memory: their resident sets."""
        pages = sum(
            int(Path(f"/proc/{process}/statm").read_text().split()[1])
            for process in self._processes()
        )
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)

    def _processes(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]


@contextmanager
def running(
    app: str,
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    cores: frozenset[int] = frozenset({0}),
    workers: int = 1,
) -> Iterator[Server]:
    """Serve the app factory ``module:function`` by uvicorn on ``cores`` until the block is left.

    Raises ``RuntimeError`` with the end of the log when the server does not start or does not end
    well.
    """
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", app]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    command += ["--loop", "uvloop", "--http", "farthing.serve.http:OneWrite", "--no-access-log"]
    command += ["--log-level", "warning", "--no-proxy-headers", "--no-server-header"]
    # A connection stays while other servers have their turns.
    command += ["--timeout-keep-alive", "3600"]
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    try:
        wait_for(process, port, log)
        yield Server(port, round(time.perf_counter() - started, 3), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    # uvicorn ends by the signal it was sent; a server killed by anything else lost something.
    if process.returncode not in (0, -signal.SIGTERM):
        raise RuntimeError(f"the server ended with {process.returncode}:\n{end_of(log)}")


def wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if Server(port, 0, process.pid).get("/free")[0] == 200:
                return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"the server did not start:\n{end_of(log)}")


def busy_s(cores: Collection[int]) -> float:
    """For how long these processor cores have been busy so far, all together, with whatever."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in {f"cpu{core}" for core in cores}:
            user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
            ticks += user + nice + system + irq + softirq
    return ticks / os.sysconf("SC_CLK_TCK")


def end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3_000:]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
