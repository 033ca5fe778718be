"""docs/operations.md tells every setting and every alert there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from farthing.operations.reference import reference, written_into
from farthing.settings import TABLES

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text("utf-8")


def test_reference__stands_in_the_docs() -> None:
    # `python -m farthing.operations.reference docs/operations.md` writes it there.
    assert written_into(TEXT) == TEXT


def test_reference__has_every_setting() -> None:
    for name, table in TABLES.items():
        if not name:
            continue
        section = reference().split(f"### `[{name}]`")[1].split("###")[0]
        rows = re.findall(
            r"^\| `(\w+)` \| ([^|]+) \| ([^|]*) \| ([^|]+) \|$", section, re.MULTILINE
        )
        assert [row[0] for row in rows] == list(table.__struct_fields__)
        assert all(row[3].strip().endswith(".") for row in rows)


def test_written_into__a_file_without_marks() -> None:
    with pytest.raises(ValueError, match="are missing"):
        written_into("nothing here")


def test_alerts__are_all_told() -> None:
    source = (ROOT / "farthing" / "operations" / "problems.py").read_text()
    names = {
        first.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple)
        for first in node.value.elts[:1]
        if isinstance(first, ast.Constant)
    } | {"watcher_stopped", "redeemer_stopped", "…_failing", "…_hangs", "ledger_down"}
    rows = re.findall(r"^\| ((?:`[^`|]+`(?:, )?)+) \|", TEXT.split("## Alerts")[1], re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert names <= told
    assert len(names) == 18
