"""A publisher's folder to serve examples from, and a browser to look at their pages with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from farthing.chain.devnet import Devnet, devnet
from farthing.serve.start import start
from tests.examples.example_kit import ROOT

PASSWORD = "play"
BROWSERS = ("chromium", "google-chrome")
# How long a page may take to show what is expected, in milliseconds: a loaded machine takes long.
expect.set_options(timeout=30_000)


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


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a headless Chromium; a test that uses it fails when the page has an error."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail("Chromium was not found: install it (apt-get install chromium).", pytrace=False)
    # Its sandbox does not work for root, as whom containers run.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    errors: list[object] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        opened = browser.new_page()
        opened.on("pageerror", lambda error: errors.append(error))
        yield opened
        browser.close()
    assert errors == []
