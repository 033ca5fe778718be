"""A browser to look at the pages of examples with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

BROWSERS = ("chromium", "google-chrome")


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
