"""`farthing channels`, `charges` and `transactions`: filters, and each form of output."""

from __future__ import annotations

import csv
import io

import pytest

from farthing.ledger import Entitlement, Payer, PayerChange, Refusal
from tests.commands.conftest import THEN, Farthing, Shop
from tests.escrow_world import DELAY, PAYER, SECOND_PAYER
from tests.operations.kit import charge, ledger_of, meet


def test_charges__json(farthing: Farthing, shop: Shop) -> None:
    done = farthing("charges", "--json")
    assert (done.code, done.err) == (0, "")
    assert [each["amount"] for each in done.json] == ["700", "50", "40"]
    assert done.json[2] == {
        "id": 3,
        "time": THEN + 120,
        "channel": shop.first_id,
        "route": "GET /articles/{slug}",
        "amount": "40",
        "total": "740",
        "price": "40",
        "request": f"test-{shop.first_id[2:10]}-1",
        "reason": "",
    }


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--channel", "FIRST"], [1, 3]),
        (["--channel", "SECOND"], [2]),
        (["--route", "/b"], [2]),
        (["--since", "2023-11-14T22:14:20"], [2, 3]),
        (["--since", "2023-11-14T23:14:20+01:00"], [2, 3]),
        (["--until", "2023-11-14T22:14:20"], [1]),
        (["--since", "2023-11-14", "--until", "2023-11-15", "--limit", "2"], [1, 2]),
        (["--since", "2023-11-15"], []),
        (["--channel", "FIRST", "--since", "2023-11-14T22:14:20"], [3]),
    ],
)
def test_charges__filters(
    farthing: Farthing, shop: Shop, options: list[str], ids: list[int]
) -> None:
    names = {"FIRST": shop.first_id, "SECOND": shop.second_id}
    done = farthing("charges", "--json", *(names.get(each, each) for each in options))
    assert [each["id"] for each in done.json] == ids


def test_charges__csv(farthing: Farthing, shop: Shop) -> None:
    done = farthing("charges", "--csv", "--limit", "1")
    assert list(csv.reader(io.StringIO(done.out))) == [
        ["id", "time", "channel", "route", "amount", "total", "price", "request", "reason"],
        [
            "1",
            "2023-11-14T22:13:20Z",
            shop.first_id,
            "GET /articles/{slug}",
            "0.0007",
            "0.0007",
            "0.0007",
            f"test-{shop.first_id[2:10]}-0",
            "",
        ],
    ]


def test_charges__for_people_newest_first(farthing: Farthing, shop: Shop) -> None:
    done = farthing("charges")
    assert [line.split()[0] for line in done.lines] == ["id", "3", "2", "1"]
    assert all(line == line.rstrip() for line in done.lines)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--channel", "0x12"], "'0x12' is no channel: give 0x and 64 hex digits."),
        (["--channel", "x" * 64], "is no channel"),
        (["--since", "yesterday"], "'yesterday' is no time: write it like 2026-01-31"),
        (["--limit", "0"], "--limit"),
        (["--config", "nowhere.toml"], "nowhere.toml: it cannot be read"),
    ],
)
def test_charges__bad_input(farthing: Farthing, shop: Shop, options: list[str], said: str) -> None:
    done = farthing("charges", *options)
    assert done.code != 0
    assert done.out == ""
    assert said in done.err


def test_channels__json(farthing: Farthing, shop: Shop) -> None:
    shop.world.settlement.initiate_withdraw(shop.world.sender(PAYER), shop.first, 900)
    with ledger_of(shop.settings) as ledger:
        meet(ledger, shop.world, shop.first)
    done = farthing("channels", "--json")
    by_id = {each["channel"]: each for each in done.json}
    assert set(by_id) == {shop.first_id, shop.second_id}
    found = by_id[shop.first_id]
    pending = shop.world.settlement.pending_withdrawal(shop.world.channel_id(shop.first))
    assert pending is not None
    assert {name: found[name] for name in ("balance", "charged", "claimed", "charges")} == {
        "balance": "10000",
        "charged": "740",
        "claimed": "0",
        "charges": 2,
    }
    assert found["withdraw_amount"] == "900"
    assert found["withdraw_ends_at"] == pending.initiated_at + DELAY
    assert [each["channel"] for each in farthing("channels", "--json", "--withdrawing").json] == [
        shop.first_id
    ]


def test_channels__of_a_payer(farthing: Farthing, shop: Shop) -> None:
    done = farthing("channels", "--csv", "--payer", SECOND_PAYER.address.lower())
    rows = list(csv.reader(io.StringIO(done.out)))
    assert rows[0] == ["channel", "payer", "balance", "charged", "claimed", "withdraws", "ends"]
    assert rows[1:] == [[shop.second_id, SECOND_PAYER.address, "0.01", "0.00005", "0", "", ""]]


def test_channels__of_nobody(farthing: Farthing, shop: Shop) -> None:
    done = farthing("channels", "--payer", "bob")
    assert (done.code, done.out) == (1, "")
    assert "--payer must be an address" in done.err


def test_transactions__of_every_state(farthing: Farthing, shop: Shop) -> None:
    lease = ("key", "test")
    with ledger_of(shop.settings) as ledger:
        ledger.take_lease(lease, 60)
        for number in (1, 2):
            ledger.enqueue(
                sender=PAYER.address,
                kind="redeem",
                subject=bytes([number]),
                to=PAYER.address,
                data=b"",
                gas=1,
                time=THEN,
                rows=[(shop.world.channel_id(shop.first), 740)] * (number - 1),
            )
        ledger.move_transaction(1, lease, "refused", time=THEN + 5, reason="it would fail.")
    assert [each["id"] for each in farthing("transactions", "--json").json] == [2, 1]
    (refused,) = farthing("transactions", "--json", "--state", "refused").json
    assert (refused["reason"], refused["channels"], refused["hash"]) == ("it would fail.", 0, "")
    (queued,) = farthing("transactions", "--json", "--state", "queued").json
    assert (queued["channels"], queued["nonce"], queued["created_at"]) == (1, None, THEN)
    assert "it would fail." in farthing("transactions").out
    assert farthing("transactions", "--state", "lost").code == 2


@pytest.fixture
def owner(shop: Shop) -> Payer:
    """The first payer, who owns an episode and a pass."""
    payer = Payer.of(shop.first)
    change = PayerChange(
        payer,
        0,
        [],
        [
            Entitlement("own", "=series/1", THEN, 0, 1, 0),
            Entitlement("pass", "monthly", THEN, THEN + 86_400, 2, 7),
        ],
    )
    refused = Refusal(payer, "/b", "payer_denied", THEN - THEN % 86_400, 3)
    with ledger_of(shop.settings) as ledger:
        charge(ledger, shop.world, shop.first, 0, reason="bought", change=change)
        ledger.count_refusals([refused])
    return payer


def test_entitlements__json(farthing: Farthing, owner: Payer) -> None:
    own, monthly = farthing("entitlements", "--json").json
    assert own == {
        "payer": owner.address,
        "signer": owner.signer,
        "kind": "own",
        "item": "=series/1",
        "since": THEN,
        "until": 0,
        "bought": 1,
        "used": 0,
        "charge": 4,
    }
    assert (monthly["until"], monthly["bought"], monthly["used"]) == (THEN + 86_400, 2, 7)


def test_entitlements__of_a_payer(farthing: Farthing, owner: Payer) -> None:
    done = farthing("entitlements", owner.address.lower(), "--csv", "--limit", "1")
    # What a path may have put there is no formula for a spreadsheet.
    assert list(csv.reader(io.StringIO(done.out)))[1:] == [
        [
            *(owner.address, owner.signer, "own", "'=series/1"),
            *("2023-11-14T22:13:20Z", "", "1", "0", "4"),
        ]
    ]
    assert farthing("entitlements", SECOND_PAYER.address, "--json").json == []
    assert "PAYER must be an address" in farthing("entitlements", "bob").err
    assert "monthly" in farthing("entitlements").out


def test_refusals__are_counted(farthing: Farthing, owner: Payer) -> None:
    assert farthing("refusals", "--json").json == [
        {
            "day": THEN - THEN % 86_400,
            "payer": owner.address,
            "signer": owner.signer,
            "route": "/b",
            "code": "payer_denied",
            "count": 3,
        }
    ]
    assert farthing("refusals", "--json", "--since", "2023-11-15").json == []
    assert farthing("refusals").lines[1].split()[0] == "2023-11-14"


def test_charges__say_why(farthing: Farthing, owner: Payer) -> None:
    assert farthing("charges", "--json").json[-1]["reason"] == "bought"
