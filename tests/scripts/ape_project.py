"""Runs the scripts in a folder of their own: as a user does, or faster in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from web3 import Web3

from farthing.chain.connection import connect
from farthing.chain.deployment import Deployment

ROOT = Path(__file__).resolve().parents[2]
APE = Path(sys.executable).with_name("ape")


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, stdout and stderr, without ape's own log lines."""

    code: int
    output: str
    error: str


@dataclass(frozen=True)
class Project:
    """A copy of what the scripts need, so that nothing is written into the real folder.

    `url` is its node; without one the scripts run on ape's default network.
    """

    folder: Path
    url: str = ""

    @classmethod
    def copy_to(cls, folder: Path) -> Project:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=ignored)
        shutil.copy(ROOT / "ape-config.yaml", folder)
        return cls(folder)

    def on(self, url: str) -> Project:
        return Project(self.folder, url)

    def run(self, script: str, *arguments: object, answers: str = "", **settings: str) -> Ended:
        """`ape run <script>` as a user runs it; `settings` are environment variables."""
        process = subprocess.run(
            [APE, "run", script, *self._network, *map(str, arguments)],
            cwd=self.folder,
            env={
                **os.environ,
                "APE_DATA_FOLDER": str(self.folder / "ape"),
                "PYTHONPATH": os.pathsep.join((str(self.folder), str(ROOT))),
                **settings,
            },
            input=answers,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(process.returncode, _said(process.stdout), _said(process.stderr))

    def call(self, script: str, *arguments: object) -> Ended:
        """The script's command in this process: spares the seconds that ape needs to start."""
        command = import_module(f"scripts.{script}").cli
        with chdir(self.folder):
            result = CliRunner(mix_stderr=False).invoke(
                command, [*self._network, *map(str, arguments)], prog_name=script
            )
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, _said(result.stdout), _said(result.stderr))

    @property
    def chain(self) -> Web3:
        return connect(self.url)

    def rpc(self, method: str, *parameters: Any) -> None:
        answer = self.chain.provider.make_request(method, list(parameters))  # type: ignore[arg-type]
        assert "error" not in answer, answer

    def deployment(self) -> Deployment:
        return Deployment.load(self.folder / "deployments", self.chain.eth.chain_id)

    @property
    def _network(self) -> tuple[str, ...]:
        return ("--network", self.url) if self.url else ()


def _said(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(line for line in lines if not line.startswith(("INFO:", "WARNING:"))).strip()
