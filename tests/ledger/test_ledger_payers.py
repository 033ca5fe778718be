"""What the ledger keeps of payers: read while reserved, changed by the charge or not at all."""

from __future__ import annotations

import msgspec
import pytest
from ledger_samples import (
    CONFIG,
    MOST,
    Amount,
    Backdoor,
    channel_id,
    known,
    next_charge,
    pay,
    reserved,
)

from farthing.ledger import (
    Difference,
    Entitled,
    Entitlement,
    Ledger,
    LedgerUnavailable,
    NotReserved,
    Payer,
    PayerChange,
    Refusal,
    Standing,
    Tally,
)

PAYER = Payer.of(CONFIG)
OTHER = Payer("0x" + "11" * 20, "0x" + "12" * 20)
OWNED = Entitlement("own", "series/1", 50, 0, 1, 0)
PASS = Entitlement("pass", "monthly", 50, 2_000, 1, 3)


def change(version: int, *entitlements: Entitlement, **tallies: int) -> PayerChange:
    counted = [Tally(name, 10, value) for name, value in tallies.items()]
    return PayerChange(PAYER, version, counted, list(entitlements))


def test_payer__of_a_config__names_who_signs() -> None:
    assert Payer(CONFIG.payer, CONFIG.payer) == PAYER
    assert PAYER.id != OTHER.id and len(PAYER.id) == 32


def test_standing__of_nobody__is_nothing(ledger: Ledger) -> None:
    assert ledger.standing(PAYER.id, ["free"], [("own", "series/1")]) == Standing({}, {})
    assert ledger.standing(PAYER.id, [], []) == Standing({}, {})
    assert ledger.entitlements() == []


def test_commit__with_a_change__both_are_there(ledger: Ledger) -> None:
    pay(ledger, known(ledger, 1), change=change(0, OWNED, PASS, free=2, spent=MOST), reason="why")
    standing = ledger.standing(
        PAYER.id, ["free", "spent", "none"], [("own", "series/1"), ("pass", "other")]
    )
    assert standing.tallies == {"free": Tally("free", 10, 2), "spent": Tally("spent", 10, MOST)}
    assert standing.entitlements == {("own", "series/1"): OWNED}
    (charge,) = ledger.charges()
    assert charge.reason == "why"
    assert ledger.entitlements() == [
        Entitled(PAYER, OWNED, charge.id),
        Entitled(PAYER, PASS, charge.id),
    ]
    assert ledger.prove() == []


def test_commit__the_next_change__takes_the_place_of_the_last(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    pay(ledger, channel, change=change(0, PASS, free=1))
    used = msgspec.structs.replace(PASS, used=4)
    pay(ledger, channel, change=change(1, used, free=2))
    assert ledger.reserve_payers([PAYER.id]) == [2]
    assert ledger.standing(PAYER.id, ["free"], []).tallies["free"].value == 2
    assert [each.entitlement for each in ledger.entitlements()] == [used]


@pytest.mark.parametrize("stale", [0, 2])
def test_commit__against_a_version_that_is_not__nothing_is_charged(
    ledger: Ledger, stale: int
) -> None:
    channel, other = known(ledger, 1), known(ledger, 2)
    pay(ledger, channel, change=change(0, free=1))
    before = ledger.channel(other)
    charge = next_charge(other, reserved(ledger, other), change=change(stale, OWNED, free=9))
    assert ledger.commit([charge]) == [False]
    assert ledger.channel(other) == before
    assert ledger.standing(PAYER.id, ["free"], []).tallies["free"].value == 1
    assert ledger.entitlements() == []
    assert ledger.prove() == []


def test_commit__two_of_one_payer_in_one_batch__the_first_is_made(ledger: Ledger) -> None:
    """Also beside others, which are made whatever becomes of them."""
    channels = [known(ledger, number) for number in range(1, 5)]
    states = [reserved(ledger, channel) for channel in channels]
    changes = [None, change(0, free=1), change(0, free=1), None]
    charges = [
        next_charge(channel, state, change=each)
        for channel, state, each in zip(channels, states, changes, strict=True)
    ]
    assert ledger.commit(charges) == [True, True, False, True]
    assert ledger.standing(PAYER.id, ["free"], []).tallies["free"].value == 1
    assert ledger.totals().charges == 3
    assert ledger.prove() == []


def test_commit__a_channel_that_moved_on__changes_nothing_of_its_payer(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    old = reserved(ledger, channel)
    ledger.release([channel])
    pay(ledger, channel)
    late = next_charge(channel, old, request_id="late", change=change(0, OWNED, free=1))
    assert ledger.commit([late]) == [False]
    assert ledger.reserve_payers([PAYER.id]) == [0]
    assert ledger.entitlements() == []


def test_commit__that_fails_half_way__changes_nothing(ledger: Ledger, backdoor: Backdoor) -> None:
    channel = known(ledger, 1)
    charge = next_charge(channel, reserved(ledger, channel), change=change(0, OWNED, free=1))
    backdoor.run("ALTER TABLE entitlements RENAME TO moved")
    with pytest.raises(LedgerUnavailable):
        ledger.commit([charge])
    backdoor.run("ALTER TABLE moved RENAME TO entitlements")
    assert ledger.charges() == [] and ledger.entitlements() == []
    assert ledger.reserve_payers([PAYER.id]) == [0]
    assert ledger.commit([charge]) == [True]


def test_commit__once_more_with_the_same_request__is_made_and_changes_nothing(
    ledger: Ledger,
) -> None:
    """As after a connection that broke before the answer came."""
    channel = known(ledger, 1)
    charge = next_charge(channel, reserved(ledger, channel), change=change(0, PASS, free=1))
    assert ledger.commit([charge]) == [True]
    assert ledger.commit([charge]) == [True]
    assert ledger.totals().charges == 1
    ledger.release([channel])
    assert ledger.reserve_payers([PAYER.id]) == [1]


def test_reserve_payers__held_by_another__is_busy(ledger: Ledger, another: Ledger) -> None:
    assert ledger.reserve_payers([PAYER.id, OTHER.id, PAYER.id]) == [0, 0, NotReserved.BUSY]
    assert ledger.reserve_payers([PAYER.id]) == [NotReserved.BUSY]
    assert another.reserve_payers([PAYER.id]) == [NotReserved.BUSY]
    ledger.release([PAYER.id])
    assert another.reserve_payers([PAYER.id, OTHER.id]) == [0, NotReserved.BUSY]


def test_entitlements__in_pages__of_one_payer_or_all(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    for number in range(5):
        item = msgspec.structs.replace(OWNED, item=f"series/{number}")
        pay(ledger, channel, change=change(number, item))
    pages, after = [], None
    while page := ledger.entitlements(CONFIG.payer, after=after, limit=2):
        pages.append([each.entitlement.item[-1] for each in page])
        after = page[-1]
    assert pages == [["0", "1"], ["2", "3"], ["4"]]
    assert ledger.entitlements("0x" + "99" * 20) == []


def test_count_refusals__adds_up(ledger: Ledger) -> None:
    today = Refusal(PAYER, "/a", "denied", 86_400, 2)
    other = Refusal(OTHER, "/a", "denied", 86_400, 1)
    before = Refusal(PAYER, "/a", "denied", 0, 7)
    ledger.count_refusals([today, before])
    ledger.count_refusals([other, today])
    assert ledger.refusals() == [msgspec.structs.replace(today, count=4), other, before]
    assert ledger.refusals(since=86_400, limit=1) == [msgspec.structs.replace(today, count=4)]


# ---------------------------------------------------------------- proof


def owned(ledger: Ledger) -> bytes:
    channel = known(ledger, 1)
    pay(ledger, channel, change=change(0, OWNED, free=1))
    return channel


@pytest.mark.parametrize(
    ("tamper", "problem"),
    [
        ("UPDATE entitlements SET charge = 77", "was not given by a charge of its payer"),
        ("UPDATE entitlements SET bought = 0", "has numbers that cannot be"),
        ("UPDATE entitlements SET until = 1", "has numbers that cannot be"),
        ("UPDATE payers SET signer = '0x' || signer", "was not given by a charge of its payer"),
        ("UPDATE payers SET version = 0", "belongs to nobody"),
    ],
)
def test_prove__an_entitlement_out_of_nothing(
    ledger: Ledger, backdoor: Backdoor, tamper: str, problem: str
) -> None:
    owned(ledger)
    backdoor.run(tamper)
    assert f"own series/1 {problem}" in {each.problem for each in ledger.prove()}


def test_prove__a_tally_of_nobody(ledger: Ledger, backdoor: Backdoor) -> None:
    owned(ledger)
    backdoor.run("INSERT INTO tallies VALUES (?, 'free', 0, ?)", b"\x01" * 32, Amount(1))
    found = ledger.prove()
    assert found == [Difference(b"", "tally free belongs to nobody")]
    assert str(found[0]) == "payer unknown: tally free belongs to nobody"


def test_prove__an_entitlement_by_anothers_charge(ledger: Ledger, backdoor: Backdoor) -> None:
    """The same payer's address is not enough: who signed has to be the same."""
    owned(ledger)
    backdoor.run(
        "UPDATE channels SET payer_authorizer = ? WHERE channel_id = ?",
        OTHER.signer,
        channel_id(1),
    )
    assert [each.problem for each in ledger.prove()] == [
        "own series/1 was not given by a charge of its payer"
    ]
