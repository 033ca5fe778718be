"""`farthing redeem`, `refund` and `check`, on a real chain."""

from __future__ import annotations

import json
from typing import Any

import pytest

from farthing.commands import redeeming
from farthing.operations.parts import DIFFERENCES, WatcherPart
from tests.commands.conftest import Done, Farthing, Shop
from tests.escrow_world import AUTHORIZER, PAYER, RECEIVER
from tests.operations.kit import KEYS, ledger_of, meet


def report(done: Done) -> dict[str, Any]:
    (line,) = done.lines
    found: dict[str, Any] = json.loads(line)
    return found


def test_redeem__dry_run_sends_nothing(farthing: Farthing, shop: Shop) -> None:
    shop.edit('coin_price = "3000"', 'coin_price = "0"')
    done = farthing("redeem", "--now", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert "0.00079 TUSD of 2 channels" in done.out
    with ledger_of(shop.settings) as ledger:
        assert ledger.transactions() == []


def test_redeem__now(farthing: Farthing, shop: Shop) -> None:
    shop.edit('coin_price = "3000"', 'coin_price = "0"')
    done = farthing("redeem", "--now")
    assert (done.code, done.err) == (0, "")
    assert "transaction 1, a redeem, is in block " in done.out
    assert shop.world.token.balance_of(RECEIVER.address) == 790
    again = report(farthing("redeem", "--now", "--json"))
    assert (again["channels"], again["value"], again["sent"]) == (0, "0", [])
    assert shop.world.token.balance_of(RECEIVER.address) == 790


def test_redeem__json(farthing: Farthing, shop: Shop) -> None:
    shop.edit('coin_price = "3000"', 'coin_price = "0"')
    found = report(farthing("redeem", "--now", "--json"))
    assert (found["channels"], found["value"], found["cost"]) == (2, "790", "0")
    assert [(each["kind"], each["state"]) for each in found["sent"]] == [("redeem", "mined")]
    assert int(found["sent"][0]["fee_wei"]) > 0
    assert found["problems"] == []


def test_redeem__what_does_not_pay_is_left_and_told(farthing: Farthing, shop: Shop) -> None:
    found = report(farthing("redeem", "--now", "--json"))
    assert found["sent"] == []
    assert found["left"] == [
        {"reason": "would cost too large a part of itself", "channels": 2, "value": "790"}
    ]
    assert shop.world.token.balance_of(RECEIVER.address) == 0


def test_redeem__waits_its_turn(
    farthing: Farthing, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.edit('coin_price = "3000"', 'coin_price = "0"')
    lease = ("redeemer", "a server at work")
    with ledger_of(shop.settings) as ledger:
        assert ledger.take_lease(lease, 600)
        monkeypatch.setattr(redeeming.time, "sleep", lambda seconds: ledger.give_lease(lease))
        found = report(farthing("redeem", "--now", "--json"))
    assert (found["channels"], found["problems"]) == (2, [])


def test_redeem__while_another_does_not_end(
    farthing: Farthing, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeeming, "WAIT_SECONDS", 0)
    with ledger_of(shop.settings) as ledger:
        ledger.take_lease(("redeemer", "a server at work"), 600)
    done = farthing("redeem", "--now")
    assert done.code == 1
    assert done.lines == ["Problem  Waits: another redeemer of this ledger is at work."]


def test_redeem__without_a_coin_price(farthing: Farthing, shop: Shop) -> None:
    shop.edit('coin_price = "3000"', "")
    done = farthing("redeem")
    assert (done.code, done.out) == (1, "")
    assert "redeemer.coin_price: it is missing: give what a coin of the chain costs" in done.err


def test_refund__all_that_is_left(farthing: Farthing, shop: Shop) -> None:
    before = shop.world.token.balance_of(PAYER.address)
    done = farthing("refund", shop.first_id)
    assert (done.code, done.err) == (0, "")
    assert done.lines[:2] == ["Claims   0.00074 TUSD", "Refunds  0.00926 TUSD"]
    assert shop.world.token.balance_of(PAYER.address) == before + 9_260


def test_refund__a_part(farthing: Farthing, shop: Shop) -> None:
    assert farthing("refund", shop.first_id, "--amount", "0.001").code == 0
    assert shop.world.settlement.channel(shop.world.channel_id(shop.first)).balance == 9_000


def test_refund__bad_input(farthing: Farthing, shop: Shop) -> None:
    for options, said in (
        (["--amount", "0.0000001"], "has more than the token's 6 decimals"),
        (["--amount", "1"], "9260 smallest units of the deposit are left: ask for less."),
        (["--amount", "0"], "ask for less."),
    ):
        done = farthing("refund", shop.first_id, *options)
        assert done.code != 0
        assert said in done.err
    assert "knows no channel" in farthing("refund", "0x" + "00" * 32).err


def test_check__books_that_are_proven(farthing: Farthing, shop: Shop) -> None:
    done = farthing("check")
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        "Channels  2",
        "Charged   0.00079 TUSD",
        "Claimed   0 TUSD",
        "Escrowed  0.02 TUSD not claimed",
        "The books are proven: the ledger agrees with itself and with the chain.",
    ]


def test_check__a_difference(farthing: Farthing, shop: Shop) -> None:
    shop.edit("[prices]", "[watcher]\npoll_seconds = 0.01\n\n[prices]")
    row = shop.world.row(PAYER, shop.first, 800)
    shop.world.settlement.claim(shop.world.sender(AUTHORIZER), [row])
    done = farthing("check")
    assert done.code == 1
    said = f"Differs   channel {shop.first_id}: 800 is claimed on chain and 740 was charged"
    assert said in done.lines
    found = report(farthing("check", "--json"))
    assert found["differences"] == [said.removeprefix("Differs   ")]


def test_check__what_the_watcher_found_before(farthing: Farthing, shop: Shop) -> None:
    with ledger_of(shop.settings) as ledger:
        ledger.remember(DIFFERENCES, '["channel 0x1: was claimed by somebody"]')
    done = farthing("check")
    assert done.code == 0
    assert "Seen      channel 0x1: was claimed by somebody (by the watcher, before)" in done.lines
    assert report(farthing("check", "--forget", "--json"))["seen_by_watcher"] == []


def test_watcher__keeps_what_does_not_fit(farthing: Farthing, shop: Shop) -> None:
    row = shop.world.row(PAYER, shop.first, 800)
    shop.world.settlement.claim(shop.world.sender(AUTHORIZER), [row])
    part = WatcherPart(shop.settings, KEYS)
    part.step()
    part.step()
    part.close()
    (seen,) = report(farthing("check", "--json"))["seen_by_watcher"]
    assert seen.startswith(f"channel {shop.first_id}: 800 is claimed on chain and 740 was charged")


def test_backup_and_restore__over_the_command_line(farthing: Farthing, shop: Shop) -> None:
    assert farthing("backup", "kept.db").out == "kept.db is a copy of the ledger.\n"
    assert "kept.db" in farthing("backup", "kept.db").err
    done = farthing("restore", "kept.db")
    assert (done.code, done.out) == (1, "")
    assert "there is a ledger at" in done.err
    for path in shop.settings.path.parent.glob("books.db*"):
        path.unlink()
    done = farthing("restore", "kept.db")
    assert done.code == 0
    assert done.lines[0] == "The ledger is restored, with 2 channels."
    assert "ledger_restored" in farthing("status").out
    assert farthing("restore").code == 2
    assert farthing("restore", "kept.db", "--mark").code == 2


def test_restore__mark(farthing: Farthing, shop: Shop) -> None:
    assert farthing("restore", "--mark").code == 0
    with ledger_of(shop.settings) as ledger:
        assert ledger.recall("restored")
        meet(ledger, shop.world, shop.first)
