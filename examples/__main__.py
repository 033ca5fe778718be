"""Runs every example that stands on its own feet, and prints the last line of each.

    python -m examples [NAME ...]

Ends with 1 if one failed, and shows what it said.
"""

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# How a file ends that is more than an app for somebody else to serve.
RUNS = 'if __name__ == "__main__":\n    main()\n'


def standalone() -> list[str]:
    """The names of all of them."""
    files = sorted(set(HERE.glob("*.py")) - {HERE / "__main__.py"})
    return [file.stem for file in files if file.read_text().endswith(RUNS)]


def run(name: str) -> bool:
    """Runs one to its end; whether it went well."""
    started = time.monotonic()
    done = subprocess.run(  # noqa: S603
        [sys.executable, HERE / f"{name}.py"], capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - started
    if done.returncode:
        said = f"{done.stdout}{done.stderr}".rstrip()
        print(f"{name:13} FAILED with {done.returncode}\n{said}", flush=True)
        return False
    print(f"{name:13}{seconds:5.1f} s  {done.stdout.splitlines()[-1]}", flush=True)
    return True


def main() -> None:
    results = [run(name) for name in sys.argv[1:] or standalone()]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
