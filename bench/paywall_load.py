"""Runs the load generator of ``paywall_load.c``, which is compiled at first use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
BUILD = Path(__file__).parents[1] / ".build"
BINARY = BUILD / "paywall_load"
# A turn that is limited by its requests, and not by time, still has to end.
LONGEST_S = 600.0


@dataclass(frozen=True)
class Load:
    """What the generator saw in one turn.

    Latencies are from the request sent, or due, to the whole answer; ``busy`` is the share of its
    core that the generator itself needed; ``late``, at a pace, how many requests had to wait for
    the answer before.
    """

    seconds: float
    busy: float
    late: int
    latencies_us: list[int]
    statuses: dict[str, int]

    @property
    def responses_200(self) -> int:
        return self.statuses.get("200", 0)

    @property
    def rps(self) -> float:
        """Answers of status 200 per second."""
        return round(self.responses_200 / self.seconds, 1)

    @property
    def p50_ms(self) -> float:
        return self._quantile_ms(0.5)

    @property
    def p99_ms(self) -> float:
        return self._quantile_ms(0.99)

    @property
    def max_ms(self) -> float:
        return max(self.latencies_us) / 1_000

    def _quantile_ms(self, share: float) -> float:
        latencies = sorted(self.latencies_us)
        return latencies[int(share * len(latencies))] / 1_000


class Generator:
    """A load generator with its connections open, which waits for its turns."""

    def __init__(self, process: subprocess.Popen[str], path: str) -> None:
        self._process = process
        self._path = path

    def turn(self, seconds: float = LONGEST_S, requests: int = 0) -> Load:
        """Send requests for ``seconds``, or until it was ``requests`` (0: any number), or until a
        connection has used up its file, and wait for every answer.

        An answer other than 200 is an error, with its text: a benchmark of refusals would measure
        nothing.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        # One that has failed reads no more, and what it said of it is asked for below.
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{seconds} {requests}\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(self._said())
        load = Load(**json.loads(line))
        if set(load.statuses) != {"200"}:
            self._process.kill()
            raise RuntimeError(f"{self._path} answered {load.statuses}, first {self._said()}")
        return load

    def _said(self) -> str:
        return self._process.communicate()[1].strip()


@contextmanager
def generator(
    port: int,
    path: str,
    *,
    connections: int,
    core: int | None,
    prepared: Path | None = None,
    interval_ms: float | None = None,
) -> Iterator[Generator]:
    """Keep-alive ``connections`` to a server, each of which sends a request as soon as its last one
    is answered, or one in every ``interval_ms``, which needs ``prepared`` ones. It runs on
    ``core``, or on any for ``None``.
    """
    command = [str(compiled()), str(port), path, str(connections)]
    if prepared is not None:
        command.append(str(prepared))
    if interval_ms is not None:
        command.append(str(interval_ms))
    cores = os.sched_getaffinity(0) if core is None else {core}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    ) as process:
        try:
            yield Generator(process, path)
        finally:
            process.kill()


def compiled() -> Path:
    """The generator's path, compiled when it is older than its source."""
    if BINARY.exists() and BINARY.stat().st_mtime >= SOURCE.stat().st_mtime:
        return BINARY
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("No C compiler was found: install gcc, it compiles the load generator.")
    BUILD.mkdir(exist_ok=True)
    subprocess.run([compiler, "-O2", "-Wall", "-o", str(BINARY), str(SOURCE)], check=True)
    return BINARY
