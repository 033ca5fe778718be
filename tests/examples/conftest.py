"""A publisher's folder to serve examples from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farthing.chain.devnet import Devnet, devnet
from farthing.serve.start import start
from tests.examples.example_kit import ROOT

PASSWORD = "play"


@pytest.fixture(scope="module")
def chain() -> Iterator[Devnet]:
    with devnet() as running_devnet:
        yield running_devnet


@pytest.fixture
def folder(tmp_path: Path, chain: Devnet, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `farthing init --devnet` makes, with the port of this chain."""
    start(tmp_path, lambda: PASSWORD, devnet=True)
    settings = tmp_path / "farthing.toml"
    settings.write_text(settings.read_text().replace("http://127.0.0.1:8545", chain.url))
    monkeypatch.setenv("FARTHING_PASSWORD", PASSWORD)
    monkeypatch.delenv("FARTHING_KEY", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path
