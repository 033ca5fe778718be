"""How a benchmark ends: one JSON object, saved and printed as the last line."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("web3", "eth-account", "coincurve", "vyper", "x402")


def save(name: str, result: dict[str, Any]) -> None:
    """Adds the machine and the versions, writes ``bench/results/<name>.json`` and prints it."""
    complete = {**result, "machine": machine(), "versions": versions()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(complete, indent=2) + "\n")
    print(json.dumps(complete))


def machine() -> dict[str, Any]:
    """Processor, cores and system the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else [])
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide the figures."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
