"""`farthing serve`: paid over a real socket, logged, measured, and stopped without losing any."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from farthing.ledger import LedgerUnavailable, open_ledger
from farthing.opening import open_contracts, open_keys
from farthing.operations.start import Operations
from farthing.paywall import open_paywall
from farthing.serve.server import Address, Site, run
from farthing.settings import Settings
from tests.escrow_world import PAYER, RECEIVER, World
from tests.paywall.site import PASSWORD, Reader
from tests.serve.running import Running, command, running
from tests.stub_node import forward, stub_node

REQUIRED = "PAYMENT-REQUIRED"


def metrics(server: Running) -> dict[str, float]:
    text = httpx.get(f"{server.admin}/metrics").text
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def first_payment(server: Running, world: World, path: str) -> tuple[Reader, httpx.Response]:
    """A new reader that deposits with its first payment."""
    url = server.url + path
    required = httpx.get(url).headers[REQUIRED]
    reader = Reader(world, PAYER, required)
    return reader, httpx.get(url, headers=reader.pay(required, deposit=50_000), timeout=30)


def test_serve__a_paid_request_is_served_charged_logged_and_counted(
    folder: Path, node_world: World
) -> None:
    with running(folder) as server:
        assert httpx.get(f"{server.url}/").text == "text of /"
        reader, answer = first_payment(server, node_world, "/articles/one")
        assert (answer.status_code, answer.text) == (200, "text of /articles/one")
        assert reader.note(answer.headers["PAYMENT-RESPONSE"]) == 2_000
        url = f"{server.url}/articles/two"
        header = reader.pay(httpx.get(url).headers[REQUIRED])
        assert httpx.get(url, headers=header).text == "text of /articles/two"

        line = server.until("paid")
        assert line | {"time": 0, "request": 0, "ms": 0} == {
            "time": 0,
            "level": "info",
            "logger": "farthing.payments",
            "message": "paid",
            "request": 0,
            "route": "GET /articles/{slug}",
            "payer": PAYER.address,
            "channel": "0x" + reader.channel_id.hex(),
            "amount": "2000",
            "status": 200,
            "ms": 0,
        }
        second = server.until("paid")
        assert second["request"] != line["request"]

        found = metrics(server)
        assert found["farthing_requests_total paid"] == 2
        assert found["farthing_requests_total unpaid"] == 2
        assert found["farthing_charged_units_total"] == 4_000
        assert found["farthing_request_seconds_count"] == 2
        assert found["farthing_request_seconds_bucket +Inf"] == 2
        assert found["farthing_commit_seconds_count"] == 2
        assert 0 < found["farthing_commit_seconds_sum"] < found["farthing_request_seconds_sum"]
        assert found["farthing_requests_in_progress"] == 0
        assert found["farthing_up ledger"] == found["farthing_up chain"] == 1
        assert found["process_resident_memory_bytes"] > 0

        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0
        assert server.lines[-1]["message"] == "stopped"
    ledger = open_ledger(str(folder / "books.db"))
    assert [each.request_id for each in ledger.charges()] == [line["request"], second["request"]]
    assert ledger.totals().charged == 4_000
    ledger.close()
    # Nothing that is secret was ever logged.
    log = str(server.lines)
    for secret in (PASSWORD, bytes(RECEIVER.key).hex(), header["PAYMENT-SIGNATURE"]):
        assert secret not in log


def test_serve__prices_written_in_python(folder: Path) -> None:
    (folder / "site_prices.py").write_text(
        "from farthing.paywall import FreeQuota, Price\n"
        'PRICES = {"GET /song": Price("0.5", FreeQuota(3, "P1M"))}\n'
        "NONE = 3\n"
    )
    with running(folder, "--prices", "site_prices:PRICES") as server:
        for path, price in (("/song", "500000"), ("/articles/a", "2000")):
            answer = httpx.get(server.url + path)
            assert (answer.status_code, answer.json()["accepts"][0]["amount"]) == (402, price)
    for name, said in (("site_prices:NONE", "are no prices"), ("nowhere:X", "cannot be imported")):
        ended = subprocess.run(
            [*command("site_app:app"), "--prices", name],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 1
        assert said in ended.stderr


def test_serve__a_handler_that_fails_charges_nothing(folder: Path, node_world: World) -> None:
    with running(folder) as server:
        reader, answer = first_payment(server, node_world, "/articles/broken")
        assert answer.status_code == 500
        assert reader.note(answer.headers["PAYMENT-RESPONSE"]) == 0
        found = metrics(server)
        assert found["farthing_requests_total handler_failed"] == 1
        assert "farthing_requests_total paid" not in found


def test_serve__sigterm_while_a_paid_request_is_under_way(
    folder: Path, node_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, tell_reached = os.pipe()
    go_on, tell_go_on = os.pipe()
    monkeypatch.setenv("REACHED", str(tell_reached))
    monkeypatch.setenv("GO_ON", str(go_on))
    with (
        running(folder, pass_fds=(tell_reached, go_on)) as server,
        ThreadPoolExecutor(1) as thread,
    ):
        url = f"{server.url}/articles/slow"
        required = httpx.get(url).headers[REQUIRED]
        reader = Reader(node_world, PAYER, required)
        header = reader.pay(required, deposit=50_000)
        asked = thread.submit(httpx.get, url, headers=header, timeout=60)
        os.read(reached, 1)
        assert metrics(server)["farthing_requests_in_progress"] == 1
        server.process.send_signal(signal.SIGTERM)
        server.until("stopping")
        # It takes no more readers, and still has the one.
        host, port = server.url.removeprefix("http://").split(":")
        while True:
            try:
                socket.create_connection((host, int(port))).close()
            except ConnectionResetError:
                # It was in the queue when that was closed.
                continue
            except ConnectionRefusedError:
                break
        assert not asked.done()
        os.write(tell_go_on, b"x")
        answer = asked.result()
        assert answer.text == "text of /articles/slow"
        assert reader.note(answer.headers["PAYMENT-RESPONSE"]) == 2_000
        assert server.end() == 0
    ledger = open_ledger(str(folder / "books.db"))
    assert ledger.totals().charged == 2_000
    ledger.close()
    for end in (reached, tell_reached, go_on, tell_go_on):
        os.close(end)


def test_serve__a_request_that_does_not_end_in_time(
    folder: Path, node_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, tell_reached = os.pipe()
    monkeypatch.setenv("REACHED", str(tell_reached))
    with (
        running(folder, "--grace", "1", pass_fds=(tell_reached,)) as server,
        ThreadPoolExecutor(1) as thread,
    ):
        url = f"{server.url}/articles/forever"
        required = httpx.get(url).headers[REQUIRED]
        header = Reader(node_world, PAYER, required).pay(required, deposit=50_000)
        asked = thread.submit(httpx.get, url, headers=header, timeout=60)
        os.read(reached, 1)
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0
        answer = asked.result()
        assert (answer.status_code, answer.json()) == (503, {"error": "server_stops"})
        assert int(answer.headers["retry-after"]) > 0
        assert [line for line in server.lines if "exception" in line] == []
    ledger = open_ledger(str(folder / "books.db"))
    assert ledger.totals().charged == 0
    ledger.close()
    for end in (reached, tell_reached):
        os.close(end)


def test_serve__what_is_there_at_the_start_is_not_looked_through_again(folder: Path) -> None:
    with running(folder) as server:
        assert httpx.get(f"{server.url}/looked-through").text == "no"


def test_serve__interrupted(folder: Path) -> None:
    with running(folder) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.end() == 0


def test_serve__an_app_without_a_lifespan(folder: Path) -> None:
    with running(folder, app="site_app:bare") as server:
        assert httpx.get(f"{server.url}/").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0
        assert server.lines[-1]["message"] == "stopped"


def test_run__closes_the_paywall_of_an_app_without_a_lifespan(folder: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError(scope["type"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    def ask_and_stop(port: int) -> int:
        status = httpx.get(f"http://127.0.0.1:{port}/").status_code
        os.kill(os.getpid(), signal.SIGTERM)
        return status

    settings = Settings.load(folder / "farthing.toml")
    keys = open_keys(settings)
    paywall = open_paywall(settings, keys=keys)
    operations = Operations(settings, keys, open_contracts(settings), frozenset({"paywall"}))
    address = Address("127.0.0.1", 0, "--port")
    with (
        address.listen() as readers,
        address.listen() as operators,
        ThreadPoolExecutor(1) as thread,
    ):
        asked = thread.submit(ask_and_stop, readers.getsockname()[1])
        asyncio.run(run(Site(app, paywall, readers), operations, operators, 30))
    assert asked.result() == 204
    with pytest.raises(LedgerUnavailable):
        paywall.ledger.totals()


def test_serve__an_app_that_does_not_start(folder: Path) -> None:
    with (
        pytest.raises(AssertionError, match="the cellar is flooded"),
        running(folder, app="site_app:fails_to_start") as server,
    ):
        server.end()


# ---------------------------------------------------------------- metrics and health


def test_admin__is_not_where_readers_are(folder: Path) -> None:
    with running(folder) as server:
        for path in ("/metrics", "/healthz"):
            assert httpx.get(server.url + path).text == f"text of {path}"
        assert server.admin.startswith("http://127.0.0.1:")
        assert httpx.get(f"{server.admin}/articles/one").status_code == 404
        assert httpx.post(f"{server.admin}/metrics").status_code == 405
        assert httpx.head(f"{server.admin}/healthz").status_code == 200


def test_healthz__with_everything_up(folder: Path) -> None:
    with running(folder) as server:
        answer = httpx.get(f"{server.admin}/healthz")
        assert (answer.status_code, answer.json()) == (200, {"ledger": "ok", "chain": "ok"})


def test_healthz__tells_which_part_is_down(folder: Path, node_url: str) -> None:
    is_up = True
    with stub_node(lambda body: forward(node_url, body) if is_up else None) as url:
        path = folder / "farthing.toml"
        path.write_text(path.read_text().replace(node_url, url))
        with running(folder) as server:
            assert httpx.get(f"{server.admin}/healthz").status_code == 200
            is_up = False
            answer = httpx.get(f"{server.admin}/healthz")
            assert answer.status_code == 503
            assert answer.json()["ledger"] == "ok"
            assert answer.json()["chain"].startswith(f"no node answers at {url}")
            answer = httpx.get(f"{server.admin}/healthz?without=chain")
            assert answer.status_code == 200
            assert answer.json()["chain"].startswith(f"no node answers at {url}")
            found = metrics(server)
            assert (found["farthing_up ledger"], found["farthing_up chain"]) == (1, 0)


# ---------------------------------------------------------------- what cannot be served


def refusal(folder: Path, app: str, *arguments: str) -> str:
    (folder / "other_app.py").write_text(OTHER)
    done = subprocess.run(
        [*command(app), "--port", "0", "--admin-port", "0", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert not (folder / "books.db").exists()
    return done.stderr


OTHER = """\
from fastapi import FastAPI
from flask import Flask
from starlette.middleware import Middleware

from farthing.paywall import PaywallMiddleware

app = FastAPI()
flask = Flask("x")
twice = FastAPI(middleware=[Middleware(PaywallMiddleware, paywall=None)])
"""


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("no_such_app:app", "no_such_app:app cannot be imported: "),
        ("other_app:no", "other_app:no cannot be imported: "),
        ("other_app", "other_app cannot be imported: "),
        ("other_app:flask", "other_app:flask is not an ASGI app: "),
        ("other_app:OTHER", "other_app:OTHER cannot be imported: "),
        ("other_app:twice", "other_app:twice has a paywall already: "),
    ],
)
def test_serve__no_app(folder: Path, app: str, said: str) -> None:
    assert refusal(folder, app).startswith(f"farthing: {said}")


def test_serve__an_app_that_raises_says_where(folder: Path) -> None:
    (folder / "bad_app.py").write_text("\n\n1 / 0\n")
    said = refusal(folder, "bad_app:app")
    assert f"(ZeroDivisionError in {folder / 'bad_app.py'}, line 3)" in said


def test_serve__no_settings(folder: Path) -> None:
    said = refusal(folder, "other_app:app", "--config", "none.toml")
    assert said.startswith("farthing: none.toml: it cannot be read")


def test_serve__settings_that_cannot_be(folder: Path) -> None:
    path = folder / "farthing.toml"
    path.write_text(path.read_text().replace('"0.002"', "0.002"))
    said = refusal(folder, "other_app:app")
    assert said.startswith("farthing: farthing.toml: prices: price of 'GET /articles/{slug}'")


def test_serve__no_password_and_nobody_to_ask(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FARTHING_PASSWORD")
    assert "set FARTHING_PASSWORD to its password" in refusal(folder, "other_app:app")


@pytest.mark.parametrize("option", ["port", "admin-port"])
def test_serve__a_port_that_is_taken(folder: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(folder, "other_app:app", f"--{option}", str(port))
    assert said.startswith(f"farthing: cannot listen on 127.0.0.1 port {port} (")
    assert f"--{option}." in said
