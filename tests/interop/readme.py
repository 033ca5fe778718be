"""The README's sections as its reader has them: the blocks, and a shell to run them in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.interop.test_foreign_clients import ROOT

BASH = ("bash", "-eu", "-o", "pipefail")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(title: str) -> list[tuple[str, str]]:
    """The blocks of a section, each with its language."""
    readme = (ROOT / "README.md").read_text()
    section = re.search(rf"^## {re.escape(title)}\n(.*?)^## ", readme, re.MULTILINE | re.DOTALL)
    assert section is not None
    # The environment of the first section is the test's own.
    return [
        (language, text.replace(". .venv/bin/activate && ", "").replace(". .venv/bin/activate", ""))
        for language, text in _BLOCK.findall(section[1])
    ]


class Shell:
    """Runs what stands there, in a folder, as somebody who has installed this package.

    Attributes:
        environ: What its programs find in their environment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = folder / "farthing"
        command.write_text(f"#!{sys.executable}\nfrom farthing.commands import main\nmain()\n")
        command.chmod(0o700)
        programs = (folder, Path(sys.executable).parent, ROOT / "node_modules/.bin")
        search = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": search}

    def run(self, text: str, *words: str) -> str:
        """Has ``words``, or bash, read ``text``; what they print."""
        done = subprocess.run(
            words or BASH,
            input=text,
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
