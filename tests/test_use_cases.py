"""docs/use-cases.md names what there is, and all of it."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from examples.__main__ import standalone
from farthing.commands.command_line import cli

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "use-cases.md").read_text("utf-8")
# Without the table's head.
ROWS = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ")][2:]
NAMED = sorted(set(re.findall(r"`([^`]+)`", PAGE)))


def test_rows__each_shows_and_holds_what_works_or_names_what_is_missing() -> None:
    assert len(ROWS) == 20
    for known_from, works, see, held_by, missing in ROWS:
        assert known_from.strip()
        shown = [cell.strip() for cell in (works, see, held_by)]
        assert all(shown) or (not any(shown) and missing.strip()), known_from


@pytest.mark.parametrize("name", filter(re.compile(r"[\w.-]+/[\w./-]*").fullmatch, NAMED))
def test_path__is_there(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("name", [name for name in NAMED if name.startswith("farthing ")])
def test_command__is_there(name: str) -> None:
    command: click.Command = cli
    for word in name.split()[1:]:
        assert isinstance(command, click.Group)
        command = command.commands[word]


@pytest.mark.parametrize("name", standalone())
def test_example__is_in_the_table(name: str) -> None:
    assert f"`examples/{name}.py`" in PAGE
