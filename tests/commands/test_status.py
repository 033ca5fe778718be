"""`farthing status`: what it shows, and that every bad thing of the issue is one sentence there."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from farthing.chain.token import Token
from farthing.operations.beats import beat
from farthing.operations.supervisor import PartState
from tests.commands.conftest import Done, Farthing, Shop
from tests.conftest import rpc
from tests.escrow_world import AUTHORIZER, RECEIVER, STRANGER
from tests.operations.kit import ledger_of
from tests.paywall.site import write_keystore


def told(done: Done) -> dict[str, Any]:
    (line,) = done.lines
    found: dict[str, Any] = json.loads(line)
    return found


def run_parts(shop: Shop) -> None:
    """Some process says that it has all parts."""
    now = int(time.time())
    states = {name: PartState(good_at=now, note="") for name in ("watcher", "redeemer", "queue")}
    with ledger_of(shop.settings) as ledger:
        beat(ledger, "web1:1", states, now)


def problems(done: Done) -> dict[str, str]:
    return {each["name"]: each["sentence"] for each in told(done)["problems"]}


def test_status__for_people(farthing: Farthing, shop: Shop) -> None:
    run_parts(shop)
    shop.edit("[prices]", "[thresholds]\nunredeemed_seconds = 1000000000\n\n[prices]")
    done = farthing("status")
    assert (done.code, done.err) == (0, "")
    lines = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in done.lines if line}
    assert lines["Receiver"] == RECEIVER.address
    assert lines["Key"].startswith(f"{RECEIVER.address} has 0.")
    assert lines["Escrow"] == "0.02 TUSD in 2 channels"
    assert lines["Charged"] == "0.00079 TUSD in 3 charges"
    assert lines["To redeem"].startswith("0.00079 TUSD of 2 channels, the oldest ")
    assert lines["web1:1 watcher"] == "runs"
    assert done.lines[-1] == "All is well."


def test_status__json(farthing: Farthing, shop: Shop) -> None:
    run_parts(shop)
    found = told(farthing("status", "--json"))
    assert found["totals"]["unredeemed"] == 790
    assert found["standing"]["unredeemed"]["channels"] == 2
    assert found["standing"]["sender"] == RECEIVER.address
    assert found["standing"]["beats"]["web1:1"]["parts"]["watcher"]["failures"] == 0
    assert [each["name"] for each in found["problems"]] == ["redemption_stalled"]
    assert found["alerts"] == []


def test_status__needs_no_password(
    farthing: Farthing, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FARTHING_PASSWORD")
    assert told(farthing("status", "--json"))["standing"]["sender"] == RECEIVER.address


def test_status__watch_until_somebody_stops_it(
    farthing: Farthing, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("farthing.commands.status.time.sleep", nap)
    done = farthing("status", "--watch")
    assert (done.code, done.err) == (0, "")
    assert naps == [2.0] * 3
    assert done.out.count("0.02 TUSD in 2 channels") == 3


def test_status__nothing_runs(farthing: Farthing, shop: Shop) -> None:
    found = problems(farthing("status", "--json"))
    assert {"watcher_stopped", "redeemer_stopped"} <= set(found)


def test_status__unfunded_key(farthing: Farthing, shop: Shop) -> None:
    rpc(shop.world.w3, "anvil_setBalance", RECEIVER.address, "0x0")
    assert problems(farthing("status", "--json"))["gas_low"] == (
        f"the key {RECEIVER.address} has 0 coins for gas, less than 0.01: send it some."
    )


def test_status__paused_token(
    farthing: Farthing, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Token, "is_paused", lambda token: True)
    said = problems(farthing("status", "--json"))["token_paused"]
    assert said.startswith("TUSD's issuer has stopped all its transfers: ")


def test_status__wrong_key(farthing: Farthing, shop: Shop) -> None:
    write_keystore(shop.settings.path.parent / "authorizer.json", STRANGER)
    assert problems(farthing("status", "--json"))["wrong_key"] == (
        f"0.00079 TUSD can only be claimed by {AUTHORIZER.address}, the authorizer of 2 channels, "
        f"and the key here is {STRANGER.address}: name the right one as keys.authorizer_keystore."
    )


def test_status__contract_missing(farthing: Farthing, shop: Shop) -> None:
    farthing("status")
    rpc(shop.world.w3, "anvil_setCode", shop.world.settlement.address, "0x")
    said = problems(farthing("status", "--json"))["chain_down"]
    assert f"no settlement contract of chain 31337 at {shop.world.settlement.address}" in said


def test_status__node_down(farthing: Farthing, shop: Shop) -> None:
    farthing("status")
    url = shop.settings.chain.rpc
    shop.edit(url, "http://127.0.0.1:9")
    found = problems(farthing("status", "--json"))
    assert found["chain_down"].startswith("the chain cannot be asked: ")
    assert "no node answers at http://127.0.0.1:9" in found["chain_down"]
    assert "cannot be asked" in farthing("status").out


def test_status__wrong_chain(farthing: Farthing, shop: Shop) -> None:
    farthing("status")
    shop.edit("id = 31337", "id = 5")
    done = farthing("status")
    # The ledger is bound to its chain, and says so before anything else.
    assert done.code == 1
    assert "ledger: it is that of receiver" in done.err
