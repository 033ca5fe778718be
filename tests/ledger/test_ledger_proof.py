"""What `prove` finds when somebody has been at the database."""

import pytest
from ledger_samples import ANSWER, MOST, Amount, Backdoor, channel_id, known, pay, reserved

from farthing.ledger import Difference, Ledger, Mirror
from farthing.ledger.proof import prove_books
from farthing.ledger.records import ChannelState, Charge


@pytest.fixture
def books(ledger: Ledger, backdoor: Backdoor) -> list[bytes]:
    """Three charges of one channel among those of others, one begun with what was claimed, and one
    that was never charged."""
    channels = [
        known(ledger, 1),
        known(ledger, 2, balance=MOST),
        known(ledger, 3, total_claimed=50),
        known(ledger, 4),
    ]
    for number in (0, 1, 0, 2, 0):
        pay(ledger, channels[number], answer=ANSWER)
    backdoor.allow_tampering()
    assert ledger.prove() == []
    return channels


def test_prove__an_empty_ledger(ledger: Ledger) -> None:
    assert ledger.prove() == []


def test_prove__while_a_channel_is_reserved(ledger: Ledger, another: Ledger) -> None:
    channel = known(ledger, 1)
    pay(ledger, channel)
    reserved(another, channel)
    assert ledger.prove() == another.prove() == []


def nth(ledger: Ledger, channel: bytes, place: int) -> int:
    return ledger.charges(channel_id=channel)[place].id


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("column", ["amount", "total"])
@pytest.mark.parametrize("value", [0, 6, 8, MOST])
def test_prove__an_amount_or_total_changed(
    ledger: Ledger, backdoor: Backdoor, books: list[bytes], place: int, column: str, value: int
) -> None:
    number = nth(ledger, books[0], place)
    backdoor.run(f"UPDATE charges SET {column} = ? WHERE id = ?", Amount(value), number)
    assert {difference.channel_id for difference in ledger.prove()} == {books[0]}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("price = ?", "is above its price of 6"),
        ("previous = 0", "does not follow charge"),
        ("previous = previous + 1", "does not follow charge"),
    ],
)
def test_prove__another_column_of_a_charge_changed(
    ledger: Ledger, backdoor: Backdoor, books: list[bytes], change: str, problem: str
) -> None:
    values = [Amount(6)] if "?" in change else []
    number = nth(ledger, books[0], 1)
    backdoor.run(f"UPDATE charges SET {change} WHERE id = {number}", *values)
    (found,) = ledger.prove()
    assert found.channel_id == books[0] and problem in found.problem


@pytest.mark.parametrize("place", [0, 1, 2])
def test_prove__a_charge_removed(
    ledger: Ledger, backdoor: Backdoor, books: list[bytes], place: int
) -> None:
    backdoor.run("DELETE FROM charges WHERE id = ?", nth(ledger, books[0], place))
    found = ledger.prove()
    assert {difference.channel_id for difference in found} == {books[0]}
    assert any("has 2 charges, counts 3" in difference.problem for difference in found)


def test_prove__a_charge_added(ledger: Ledger, backdoor: Backdoor, books: list[bytes]) -> None:
    backdoor.run(
        "INSERT INTO charges VALUES (99, ?, 0, ?, ?, ?, '', '', 0, '')",
        books[3],
        *[Amount(1)] * 3,
    )
    found = ledger.prove()
    assert {difference.channel_id for difference in found} == {books[3]}
    assert any("has 1 charges, counts 0" in difference.problem for difference in found)


def test_prove__a_charge_moved_to_another_channel(
    ledger: Ledger, backdoor: Backdoor, books: list[bytes]
) -> None:
    number = nth(ledger, books[0], 2)
    backdoor.run("UPDATE charges SET channel_id = ? WHERE id = ?", books[1], number)
    assert {difference.channel_id for difference in ledger.prove()} == set(books[:2])


def test_prove__charges_of_a_channel_that_is_gone(
    ledger: Ledger, backdoor: Backdoor, books: list[bytes]
) -> None:
    backdoor.run("DELETE FROM channels WHERE channel_id = ?", books[0])
    assert ledger.prove() == [Difference(books[0], "is not known, and has 3 charges")]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("charged = ?", "charges end at charge"),
        ("ceiling = ?", "its voucher allows 20, 21 were charged"),
        ("charges = 4", "has 3 charges, counts 4"),
        ("last_charge = last_charge - 1", "the channel says charge"),
    ],
)
def test_prove__a_channel_changed(
    ledger: Ledger, backdoor: Backdoor, books: list[bytes], change: str, problem: str
) -> None:
    values = [Amount(20)] if "?" in change else []
    backdoor.run(f"UPDATE channels SET {change} WHERE channel_id = ?", *values, books[0])
    (found,) = ledger.prove()
    assert found.channel_id == books[0] and problem in found.problem


@pytest.mark.parametrize("number", [2, 3])
def test_prove__a_beginning_the_chain_knows_nothing_of(
    ledger: Ledger, backdoor: Backdoor, books: list[bytes], number: int
) -> None:
    backdoor.run(
        "UPDATE channels SET charged = ?, total_claimed = ? WHERE channel_id = ?",
        Amount([0, 0, 57, 5][number]),
        Amount([0, 0, 49, 4][number]),
        books[number],
    )
    (found,) = ledger.prove()
    assert found.channel_id == books[number]
    assert "of which the chain knows nothing" in found.problem


def test_prove__charges_before_between_and_after_all_channels() -> None:
    state = ChannelState(0, 0, 0, b"", 0, Mirror(0, 0, 0, 0, 0, 0))
    known_ids = [channel_id(number) for number in (1, 2)]
    strays = [bytes(32), *[each[:-1] + b"\xff" for each in sorted(known_ids)], b"\xff" * 32]
    charges = [Charge(n, stray, 0, 1, 1, 1, "", "", 0) for n, stray in enumerate(strays, 1)]
    found = list(prove_books([(each, state) for each in sorted(known_ids)], charges))
    assert [difference.channel_id for difference in found] == strays
