"""Runs an example as its docstring says, in a process of its own, and reads what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BALANCED = re.compile(r"The books balance: payers paid (\S+) TUSD and publishers received the same")


def run_example(name: str) -> list[str]:
    """The lines that an example prints, which ends well and with its books proven."""
    done = subprocess.run(
        _command(name), env=_environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert BALANCED.match(lines[-1]), done.stdout
    return lines


def paid(lines: list[str]) -> str:
    """What the payers of an example paid in all, in test dollars, by its last line."""
    found = BALANCED.match(lines[-1])
    assert found is not None
    return found[1]


@contextmanager
def staying(name: str) -> Iterator[str]:
    """Runs an example with ``--stay``; the address it says to look at. Presses Enter at the end."""
    with subprocess.Popen(
        [*_command(name), "--stay"],
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield _told(process)
            rest, _ = process.communicate("\n", timeout=120)
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0
    assert BALANCED.match(rest.splitlines()[-1]), rest


def _told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        found = re.match(r"Look at (\S+) and press Enter", line)
        if found:
            return found[1]
    raise AssertionError("it never said where to look")


def _command(name: str) -> list[Any]:
    return [sys.executable, ROOT / "examples" / f"{name}.py"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
