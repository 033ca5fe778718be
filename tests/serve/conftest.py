"""A publisher's folder to serve from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.escrow_world import RECEIVER, World
from tests.paywall.site import PASSWORD, site_text, write_keystore

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(
    tmp_path: Path, node_world: World, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    (tmp_path / "farthing.toml").write_text(site_text(node_world, node_url))
    write_keystore(tmp_path / "sender.json", RECEIVER)
    monkeypatch.setenv("FARTHING_PASSWORD", PASSWORD)
    monkeypatch.delenv("FARTHING_KEY", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path
