"""What docs/pricing.md shows can be written so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farthing.paywall import Prices
from farthing.settings import PayerSettings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "pricing.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SETTINGS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


def test_docs__have_blocks() -> None:
    assert len(BLOCKS) == 8 and len(SETTINGS) == 1


@pytest.mark.parametrize("block", BLOCKS)
def test_docs__each_block_runs(block: str) -> None:
    names: dict[str, Any] = {}
    exec(block, names)
    assert len(Prices(names["prices"], 6).rules) == len(names["prices"]) > 0


def test_docs__the_settings_can_be_read() -> None:
    found = msgspec.convert(tomllib.loads(SETTINGS[0])["payers"], PayerSettings)
    assert (found.day_cap, found.requests_per_minute) == ("5", 60)
