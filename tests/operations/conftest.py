"""What tests of operations share."""

from __future__ import annotations

from pathlib import Path

import pytest

from farthing.settings import Settings
from tests.escrow_world import World
from tests.operations.kit import PASSWORD, make_folder


@pytest.fixture
def settings(
    tmp_path: Path, node_world: World, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings in which everything is right, on an anvil node."""
    monkeypatch.setenv("FARTHING_PASSWORD", PASSWORD)
    monkeypatch.delenv("FARTHING_KEY", raising=False)
    return Settings.load(make_folder(tmp_path, node_world, node_url))
