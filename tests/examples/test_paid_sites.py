"""The examples of apps that protect themselves, imported as their servers import them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from farthing.chain.devnet import Devnet
from tests.examples.example_kit import ROOT
from tests.serve.running import running


@pytest.mark.usefixtures("folder")
def test_fastapi_site__asks_to_be_paid() -> None:
    site = importlib.import_module("examples.fastapi_site")
    with TestClient(site.app) as client:
        answer = client.get("/articles/one")
        assert answer.status_code == 402
        assert answer.json()["accepts"][0]["amount"] == "2000"
        assert client.get("/openapi.json").status_code == 200


@pytest.mark.usefixtures("folder")
def test_flask_site__asks_to_be_paid() -> None:
    site: Any = importlib.import_module("examples.flask_site")
    try:
        client = site.app.test_client()
        answer = client.get("/search?words=farthing")
        assert answer.status_code == 402
        assert answer.json["accepts"][0]["amount"] == "10000"
        assert client.get("/about").status_code == 404
    finally:
        site.app.wsgi_app.close()


def test_pay__deposits_and_reads_an_article(folder: Path, chain: Devnet) -> None:
    payer = {
        "FARTHING_RPC": chain.url,
        "FARTHING_CHAIN_ID": str(chain.deployment.chain_id),
        "FARTHING_TOKEN": chain.token,
        "PAYER_KEY": "0x" + bytes(chain.payers[1].key).hex(),
    }
    with running(folder, app="app:app") as server:
        done = subprocess.run(
            [sys.executable, ROOT / "examples/pay.py", f"{server.url}/articles/first"],
            env={**os.environ, **payer},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == '200 {"text":"A farthing was a quarter of a penny."}\n'
