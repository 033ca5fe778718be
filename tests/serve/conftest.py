"""A publisher's folder to serve from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.escrow_world import World
from tests.paywall.site import site_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(
    tmp_path: Path, node_world: World, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return site_folder(tmp_path, node_world, node_url, monkeypatch)
