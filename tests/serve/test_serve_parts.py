"""`farthing serve` with its parts: together, apart, on a restored ledger, and told to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from farthing.ledger import open_ledger
from farthing.opening import open_books
from farthing.operations.alerts import standing_alerts
from farthing.operations.backups import make_backup, restore
from farthing.operations.beats import read_beats
from farthing.operations.restored import is_restored
from farthing.settings import Settings
from tests.conftest import rpc
from tests.escrow_world import PAYER, RECEIVER, SECOND_PAYER, World
from tests.paywall.site import PASSWORD, Reader, site_text, write_keystore
from tests.serve.running import Running, command, running
from tests.stub_node import forward, stub_node

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = "PAYMENT-REQUIRED"


@pytest.fixture
def folder(
    tmp_path: Path, node_world: World, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    text = site_text(node_world, node_url)
    text = text.replace('coin_price = "3000"', 'coin_price = "0"')
    text += "\n[watcher]\npoll_seconds = 0.05\nconfirmations = 2\n"
    (tmp_path / "farthing.toml").write_text(text)
    write_keystore(tmp_path / "sender.json", RECEIVER)
    monkeypatch.setenv("FARTHING_PASSWORD", PASSWORD)
    monkeypatch.delenv("FARTHING_KEY", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def eventually(happened: Callable[[], bool]) -> None:
    """Waits for something that another process does."""
    for _ in range(600):
        if happened():
            return
        # A poll, bounded only so that a failure ends.
        time.sleep(0.05)
    raise AssertionError("it never happened")


def pay(server: Running, world: World) -> Reader:
    url = server.url + "/articles/first"
    required = httpx.get(url).headers[REQUIRED]
    reader = Reader(world, PAYER, required)
    response = httpx.get(url, headers=reader.pay(required, deposit=50_000), timeout=30)
    assert response.status_code == 200
    reader.note(response.headers["PAYMENT-RESPONSE"])
    return reader


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_serve__redeems_before_a_payer_withdraws(
    folder: Path, node_world: World, postgres_url: str, kind: str
) -> None:
    world = node_world
    if kind == "PostgreSQL":
        path = folder / "farthing.toml"
        path.write_text(path.read_text().replace('"books.db"', f'"{postgres_url}"'))
    with running(folder) as server:
        reader = pay(server, world)
        assert world.token.balance_of(RECEIVER.address) == 0
        withdrawing = world.settlement.initiate_withdraw
        withdrawing(world.sender(PAYER), reader.config, 50_000)
        eventually(lambda: world.token.balance_of(RECEIVER.address) == 2_000)
        rpc(world.w3, "anvil_mine", "0x3")
        booked = server.until("booked")
        assert (booked["amount"], booked["paid"], booked["channels"]) == ("2000", "2000", 1)
        seen = [line for line in server.lines if "a payer takes money back" in line["message"]]
        assert [line["channel"] for line in seen] == ["0x" + reader.channel_id.hex()]
        # What is not claimed the payer may take, and no voucher is taken beyond that.
        again = httpx.get(server.url + "/articles/first")
        refused = httpx.get(
            server.url + "/articles/first", headers=reader.pay(again.headers[REQUIRED])
        )
        assert refused.status_code == 402
        server.process.terminate()
        assert server.end() == 0


def test_serve__no_key_is_logged_or_written_down(folder: Path, node_world: World) -> None:
    with running(folder) as server:
        reader = pay(server, node_world)
        node_world.settlement.initiate_withdraw(node_world.sender(PAYER), reader.config, 50_000)
        eventually(lambda: node_world.token.balance_of(RECEIVER.address) == 2_000)
        metrics = httpx.get(f"{server.admin}/metrics").text
        server.process.terminate()
        assert server.end() == 0
    key = bytes(RECEIVER.key)
    written = b"".join(path.read_bytes() for path in folder.glob("books.db*"))
    assert PAYER.address.encode() in written
    told = json.dumps(server.lines) + metrics
    assert RECEIVER.address in written.decode("latin-1") + told
    for secret in (key.hex(), key.hex().upper(), PASSWORD):
        assert secret not in told
        assert secret.encode() not in written
    assert key not in written


def test_serve__parts_apart(folder: Path, node_world: World) -> None:
    world = node_world
    with running(folder, "--only", "paywall") as shop:
        reader = pay(shop, world)
        names = set(httpx.get(f"{shop.admin}/healthz").json())
        assert names == {"ledger", "chain"}
        withdrawing = world.settlement.initiate_withdraw
        withdrawing(world.sender(PAYER), reader.config, 50_000)
        ledger = open_ledger(str(folder / "books.db"))
        eventually(lambda: bool(read_beats(ledger)))
        (beat,) = read_beats(ledger).values()
        assert set(beat.parts) == {"paywall", "queue", "overseer"}
        # Nobody sees the withdrawal, and that is told.
        eventually(lambda: len(standing_alerts(ledger)) == 2)
        alerts = {alert.name for alert in standing_alerts(ledger)}
        assert alerts == {"watcher_stopped", "redeemer_stopped"}
        with workers(folder) as others:
            health = httpx.get(f"{others.admin}/healthz")
            assert set(health.json()) == {"watcher", "redeemer", "queue", "overseer"}
            assert health.status_code == 200
            eventually(lambda: world.token.balance_of(RECEIVER.address) == 2_000)
            metrics = httpx.get(f"{others.admin}/metrics").text
            assert 'farthing_part_failures{part="watcher"} 0.0' in metrics
            others.process.terminate()
            assert others.end() == 0
        ledger.close()


class workers:  # noqa: N801
    """A server of watcher and redeemer, without an app and without readers."""

    def __init__(self, folder: Path) -> None:
        arguments = ["--only", "watcher", "--only", "redeemer", "--admin-port", "0"]
        self._process = subprocess.Popen(
            [*command("x")[:-1], *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Running:
        return Running(self._process)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def test_serve__without_an_app(folder: Path) -> None:
    done = subprocess.run(
        command("x")[:-1], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "farthing: no app is named: name one such as app:app, or run --only other parts.\n"
    )


def test_serve__a_restored_ledger_is_not_charged_on(
    folder: Path, node_world: World, tmp_path: Path
) -> None:
    settings = Settings.load(folder / "farthing.toml")
    with running(folder, "--only", "paywall") as shop:
        pay(shop, node_world)
        shop.process.terminate()
        assert shop.end() == 0
    make_backup(settings, tmp_path / "kept.db")
    for path in folder.glob("books.db*"):
        path.unlink()
    restore(settings, tmp_path / "kept.db")
    with running(folder, "--only", "paywall") as shop:
        for method in ("GET", "HEAD"):
            answer = httpx.request(method, shop.url + "/articles/first")
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "30"
        assert httpx.get(shop.url + "/").status_code == 200
        with workers(folder) as others:
            ledger = open_books(settings)
            eventually(lambda: not is_restored(ledger))
            ledger.close()
            url = shop.url + "/articles/first"
            eventually(lambda: httpx.get(url).status_code == 402)
            others.process.terminate()
            others.end()
        required = httpx.get(url).headers[REQUIRED]
        reader = Reader(node_world, SECOND_PAYER, required)
        paid = httpx.get(url, headers=reader.pay(required, deposit=50_000), timeout=30)
        assert paid.status_code == 200


def test_serve__a_part_whose_node_goes_down_is_tried_again(folder: Path, node_world: World) -> None:
    settings = Settings.load(folder / "farthing.toml")
    is_down = [False]

    def answer(body: bytes) -> bytes | None:
        return None if is_down[0] else forward(settings.chain.rpc, body)

    with stub_node(answer) as url:
        text = (folder / "farthing.toml").read_text()
        (folder / "farthing.toml").write_text(text.replace(settings.chain.rpc, url))
        with running(folder) as server:
            is_down[0] = True
            failed = server.until("watcher failed and is tried again: ")
            assert "no node answers at" in failed["message"]
            # Free pages go on, and so would readers that are known.
            assert httpx.get(server.url + "/").status_code == 200
            is_down[0] = False

            def well() -> bool:
                metrics = httpx.get(f"{server.admin}/metrics").text
                return 'farthing_part_failures{part="watcher"} 0.0' in metrics

            eventually(well)
            server.process.terminate()
            assert server.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve__parts_end_with_the_process(folder: Path, number: int) -> None:
    with running(folder) as server:
        ledger = open_ledger(str(folder / "books.db"))
        eventually(lambda: bool(read_beats(ledger)))
        os.kill(server.process.pid, number)
        assert server.end() == 0
        assert server.lines[-1]["message"] == "stopped"
        assert not any("did not end" in line["message"] for line in server.lines)
        assert read_beats(ledger) == {}
        ledger.close()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('coin_price = "0"', "", "redeemer.coin_price: it is missing: give what a coin"),
        (
            'coin_price = "0"',
            'coin_price = "0"\nmin_value = "6"',
            "redeemer.min_value: '6' is more than terms.exposure_cap, which no channel ever owes",
        ),
        (
            "[prices]",
            '[alerts]\nwebhook = "http://x"\nwebhook_secret_file = "no.secret"\n\n[prices]',
            "alerts.webhook_secret_file: no.secret cannot be read (No such file or directory)",
        ),
        ("[prices]", '[thresholds]\nexposure = "x"\n\n[prices]', "thresholds.exposure: 'x' is not"),
    ],
)
def test_serve__bad_settings_of_the_parts(folder: Path, old: str, new: str, said: str) -> None:
    path = folder / "farthing.toml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    (folder / "site_app.py").write_text("async def app(scope, receive, send): ...\n")
    done = subprocess.run(
        [*command("site_app:app"), "--port", port, "--admin-port", "0"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"farthing: farthing.toml: {said}")
