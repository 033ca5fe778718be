"""A publisher's folder with a chain, some channels and charges, and the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from farthing.chain.accounts import KEY_VARIABLE
from farthing.commands import command_line
from farthing.protocol import ChannelConfig
from farthing.settings import Settings
from tests.escrow_world import PAYER, SECOND_PAYER, World
from tests.operations.kit import PASSWORD, charge, ledger_of, make_folder, meet

THEN = 1_700_000_000


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


Farthing: TypeAlias = Callable[..., Done]


@dataclass(frozen=True)
class Shop:
    """A folder in which everything is right, and two payers' channels of 10,000 each.

    The first was charged 700 and 40, the second 50.
    """

    settings: Settings
    world: World
    first: ChannelConfig
    second: ChannelConfig

    @property
    def first_id(self) -> str:
        return "0x" + self.world.channel_id(self.first).hex()

    @property
    def second_id(self) -> str:
        return "0x" + self.world.channel_id(self.second).hex()

    def edit(self, old: str, new: str) -> None:
        """Changes the settings."""
        text = self.settings.path.read_text()
        assert text.count(old) == 1
        self.settings.path.write_text(text.replace(old, new))


@pytest.fixture
def shop(tmp_path: Path, node_world: World, node_url: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("FARTHING_PASSWORD", PASSWORD)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    settings = Settings.load(make_folder(tmp_path, node_world, node_url))
    first, second = node_world.deposit(PAYER, 10_000), node_world.deposit(SECOND_PAYER, 10_000)
    with ledger_of(settings) as ledger:
        meet(ledger, node_world, first)
        meet(ledger, node_world, second)
        charge(ledger, node_world, first, 700, time=THEN)
        charge(ledger, node_world, second, 50, payer=SECOND_PAYER, time=THEN + 60, route="/b")
        charge(ledger, node_world, first, 40, time=THEN + 120)
    return Shop(settings, node_world, first, second)


@pytest.fixture
def farthing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Farthing:
    """Runs the command in this process: `farthing("status", "--json")`."""
    monkeypatch.delenv(command_line.DEBUG_VARIABLE, raising=False)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["farthing", *arguments])
        capfd.readouterr()
        code = 0
        try:
            command_line.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run
