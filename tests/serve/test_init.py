"""`farthing init`: a folder from which `farthing serve` runs, and nothing written over."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from eth_account import Account

from farthing.chain.accounts import account_from_keystore
from farthing.chain.anvil import ANVIL_KEYS
from farthing.chain.devnet import Devnet, devnet
from farthing.commands.command_line import cli
from farthing.paywall import Settings
from farthing.serve.start import FolderTaken, start
from tests.paywall.site import PASSWORD
from tests.serve.running import running

ROOT = Path(__file__).resolve().parents[2]
FILES = ["app.py", "farthing.key.json", "farthing.toml"]


def init(*arguments: str, typed: str | None = None, password: str | None = PASSWORD) -> Result:
    return CliRunner(env={"FARTHING_PASSWORD": password}).invoke(
        cli, ["init", *arguments], input=typed
    )


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_init__makes_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "site"
    done = init(str(folder))
    assert done.exit_code == 0
    assert names(folder) == FILES
    account = account_from_keystore(folder / "farthing.key.json", PASSWORD)
    assert stat.S_IMODE((folder / "farthing.key.json").stat().st_mode) == 0o600
    settings = Settings.load(folder / "farthing.toml")
    assert settings.terms.receiver == account.address
    assert settings.keys.keystore == "farthing.key.json"
    assert settings.chain.id == 84_532
    assert account.address in done.output
    assert f"1. cd {folder}" in done.output
    for secret in (bytes(account.key).hex(), PASSWORD):
        assert secret not in done.output
        assert all(secret not in each.read_text() for each in folder.iterdir())


def test_init__makes_another_key_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        init(str(tmp_path / name))
    keys = {Settings.load(each / "farthing.toml").terms.receiver for each in tmp_path.iterdir()}
    assert len(keys) == 2


def test_init__asks_for_a_password_twice(tmp_path: Path) -> None:
    done = init(str(tmp_path), typed="a\nb\nlong enough\nlong enough\n", password=None)
    assert done.exit_code == 0
    assert account_from_keystore(tmp_path / "farthing.key.json", "long enough").address


@pytest.mark.parametrize("name", FILES)
def test_init__writes_nothing_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(FolderTaken) as caught:
        start(tmp_path, lambda: pytest.fail("asked for a password"), devnet=False)
    assert str(caught.value) == (
        f"{tmp_path / name} is there already: choose another folder, or move it away."
    )
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_init__leaves_a_link_alone(tmp_path: Path) -> None:
    (tmp_path / "app.py").symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(FolderTaken):
        start(tmp_path, lambda: PASSWORD, devnet=False)
    assert names(tmp_path) == ["app.py"]


def test_init__a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderTaken, match=r"cannot be made \(Not a directory\)"):
        start(tmp_path / "file" / "site", lambda: PASSWORD, devnet=False)


# ---------------------------------------------------------------- on the development chain


@pytest.fixture(scope="module")
def chain() -> Iterator[Devnet]:
    with devnet() as running_devnet:
        yield running_devnet


def test_init__for_a_devnet_is_ready_to_be_served(
    tmp_path: Path, chain: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = start(tmp_path, lambda: PASSWORD, devnet=True)
    assert made.address == Account.from_key(ANVIL_KEYS[0]).address == chain.publisher.address
    settings = tmp_path / "farthing.toml"
    assert chain.token in settings.read_text()
    # The chain of this test has a port of its own.
    settings.write_text(settings.read_text().replace("http://127.0.0.1:8545", chain.url))
    monkeypatch.setenv("FARTHING_PASSWORD", PASSWORD)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    payer = [sys.executable, str(ROOT / "tests/interop/python_client.py"), "httpx"]
    with running(tmp_path, app="app:app") as server:
        assert httpx.get(server.url).json() == {"articles": ["/articles/first", "/articles/second"]}
        assert httpx.get(f"{server.url}/articles/first").status_code == 402
        wishes = [
            {"do": "pay", "url": f"{server.url}/articles/first", "times": 2},
            {"do": "pay", "url": f"{server.url}/search?words=farthing", "times": 1},
            {"do": "pay", "url": f"{server.url}/articles/none", "times": 1},
        ]
        done = subprocess.run(
            [*payer, chain.url, str(chain.deployment.chain_id), chain.token],
            input="\n".join(map(json.dumps, wishes)),
            env={**os.environ, "PAYER_KEY": "0x" + bytes(chain.payers[0].key).hex()},
            capture_output=True,
            text=True,
            check=True,
        )
    answers = list(map(json.loads, done.stdout.splitlines()))
    assert [(each["statuses"], each["charged"]) for each in answers] == [
        ({"200": 2}, 4_000),
        ({"200": 1}, 1_000),
        ({"404": 1}, 0),
    ]
