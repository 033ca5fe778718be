"""Runs the load generator of ``paywall_load.c``, which is compiled at first use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
BUILD = Path(__file__).parents[1] / ".build"
BINARY = BUILD / "paywall_load"
# A run that is limited by its requests, and not by time, still has to end.
LONGEST_S = 600.0


@dataclass(frozen=True)
class Load:
    """What one run of the generator saw.

    Latencies are from the request sent, or due, to the whole answer; ``busy`` is the share of its
    core that the generator itself needed; ``late``, at a pace, how many requests had to wait for
    the answer before.
    """

    seconds: float
    busy: float
    late: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    statuses: dict[str, int]

    @property
    def responses_200(self) -> int:
        return self.statuses.get("200", 0)

    @property
    def rps(self) -> float:
        """Answers of status 200 per second."""
        return round(self.responses_200 / self.seconds, 1)


def run_load(
    port: int,
    path: str,
    *,
    connections: int,
    core: int | None,
    seconds: float = LONGEST_S,
    prepared: Path | None = None,
    interval_ms: float | None = None,
) -> Load:
    """Send requests over keep-alive ``connections``, each as soon as the last one is answered, or
    each connection one in every ``interval_ms``, which needs ``prepared`` ones.

    It runs on ``core``, or on any for ``None``, and ends after ``seconds`` or when a connection
    has used up its file in ``prepared``. An answer other than 200 is an error, with its text: a
    benchmark of refusals would measure nothing.
    """
    command = [str(compiled()), str(port), path, str(connections), str(seconds)]
    if prepared is not None:
        command.append(str(prepared))
    if interval_ms is not None:
        command.append(str(interval_ms))
    cores = os.sched_getaffinity(0) if core is None else {core}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    load = Load(**json.loads(done.stdout))
    if set(load.statuses) != {"200"}:
        raise RuntimeError(f"{path} answered {load.statuses}, first {done.stderr.strip()}")
    return load


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
