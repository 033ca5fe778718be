"""What the ledger keeps of the transactions of the publisher's keys."""

from typing import Any

import pytest
from ledger_samples import LEASE, MOST, SENDER, channel_id, enqueue, known, reserved, sign

from farthing.ledger import (
    LeaseLost,
    Ledger,
    LedgerUnavailable,
    NotReserved,
    QueuedTransaction,
    Row,
)

RIVAL = (LEASE[0], "second")


@pytest.fixture
def leased(ledger: Ledger) -> Ledger:
    assert ledger.take_lease(LEASE, 60)
    return ledger


# ---------------------------------------------------------------- leases


def test_take_lease__keeps_others_out(ledger: Ledger, another: Ledger) -> None:
    assert ledger.take_lease(LEASE, 60)
    assert not another.take_lease(RIVAL, 60)
    assert ledger.take_lease(LEASE, 60)
    assert another.take_lease(("another", "second"), 60)


def test_take_lease__that_has_run_out(ledger: Ledger, another: Ledger) -> None:
    assert ledger.take_lease(LEASE, 0)
    assert another.take_lease(RIVAL, 60)
    assert not ledger.take_lease(LEASE, 60)


def test_take_lease__is_extended_and_shortened_by_its_holder(
    ledger: Ledger, another: Ledger
) -> None:
    assert ledger.take_lease(LEASE, 0)
    assert ledger.take_lease(LEASE, 60)
    assert not another.take_lease(RIVAL, 60)
    assert ledger.take_lease(LEASE, 0)
    assert another.take_lease(RIVAL, 60)


def test_give_lease__only_ones_own(ledger: Ledger, another: Ledger) -> None:
    ledger.give_lease(LEASE)
    assert ledger.take_lease(LEASE, 60)
    another.give_lease(RIVAL)
    assert not another.take_lease(RIVAL, 60)
    ledger.give_lease(LEASE)
    assert another.take_lease(RIVAL, 60)


# ---------------------------------------------------------------- enqueue


def test_enqueue__and_look(ledger: Ledger, another: Ledger) -> None:
    first = enqueue(ledger)
    changes = {"data": b"", "gas": 2**40, "time": 51, "fee_limit": 2**62}
    second = enqueue(ledger, kind="deposit", subject=b"\x01", **changes)
    assert first >= 1 and second > first
    expected = QueuedTransaction(
        id=second,
        sender=SENDER,
        kind="deposit",
        subject=b"\x01",
        to="0x" + "11" * 20,
        data=b"",
        gas=2**40,
        state="queued",
        nonce=None,
        block=0,
        block_hash=b"",
        succeeded=False,
        gas_used=0,
        fee=0,
        reason="",
        created_at=51,
        updated_at=51,
        fee_limit=2**62,
    )
    assert another.transaction(second) == expected
    assert another.find_transaction("deposit", b"\x01") == expected
    assert another.transaction(second + 1) is None
    assert another.find_transaction("refund", b"\x01") is None
    assert ledger.attempts(second) == []


def test_lift_fee_limits__only_where_a_payer_withdraws(leased: Ledger) -> None:
    known(leased, 1)
    known(leased, 2, withdraw_requested_at=7)
    staying, leaving, unlimited = (
        enqueue(leased, rows=[(channel_id(1), 5)], fee_limit=9),
        enqueue(leased, rows=[(channel_id(1), 6), (channel_id(2), 5)], fee_limit=9),
        enqueue(leased, rows=[(channel_id(2), 6)]),
    )
    over = enqueue(leased, rows=[(channel_id(2), 1)], fee_limit=9)
    sign(leased, over)
    leased.move_transaction(over, LEASE, "mined", time=1, block=1, block_hash=bytes(32))
    leased.lift_fee_limits()
    limits = [each.fee_limit for each in leased.transactions()]
    assert [each.id for each in leased.transactions()] == [staying, leaving, unlimited, over]
    assert limits == [9, None, None, 9]


@pytest.mark.parametrize("state", ["queued", "signed", "mined", "final"])
def test_enqueue__again_while_there_is_one(leased: Ledger, another: Ledger, state: str) -> None:
    number = enqueue(leased, subject=b"\x01", rows=[(channel_id(1), 5)])
    leased.move_transaction(number, LEASE, state, time=60)
    before = leased.transaction(number)
    again = enqueue(another, subject=b"\x01", gas=1, time=99, rows=[(channel_id(2), 5)])
    assert again == number
    assert leased.transaction(number) == before
    assert leased.rows(number) == [Row(number, channel_id(1), 5)]
    assert len(leased.transactions()) == 1


@pytest.mark.parametrize("state", ["failed", "refused"])
def test_enqueue__again_after_it_came_to_nothing(leased: Ledger, state: str) -> None:
    number = enqueue(leased, subject=b"\x01")
    leased.move_transaction(number, LEASE, state, time=60)
    again = enqueue(leased, subject=b"\x01")
    assert again > number
    found = leased.find_transaction("redeem", b"\x01")
    assert found is not None and found.id == again


def test_enqueue__another_kind_or_subject_or_none(ledger: Ledger) -> None:
    numbers = {
        enqueue(ledger, kind=kind, subject=subject)
        for kind, subject in [
            ("a", b"\x01"),
            ("b", b"\x01"),
            ("a", b"\x02"),
            ("a", b""),
            ("a", b""),
        ]
    }
    assert len(numbers) == 5


def test_rows__are_kept_with_their_totals(ledger: Ledger, another: Ledger) -> None:
    carried = [(channel_id(number), MOST - number) for number in range(50)]
    number = enqueue(ledger, rows=carried)
    enqueue(ledger, rows=[(channel_id(1), 1)])
    expected = [Row(number, channel, total) for channel, total in sorted(carried)]
    assert another.rows(number) == expected


def test_enqueue__a_row_twice_is_not_written(ledger: Ledger) -> None:
    with pytest.raises(LedgerUnavailable):
        enqueue(ledger, rows=[(channel_id(1), 1), (channel_id(1), 2)])
    assert ledger.transactions() == []
    assert ledger.in_flight() == {}


# ---------------------------------------------------------------- sign and move


def test_sign__saves_bytes_and_nonce(leased: Ledger, another: Ledger) -> None:
    number = enqueue(leased)
    first = sign(leased, number, nonce=7)
    second = sign(leased, number, nonce=7, hash=b"\x02" * 32, max_fee=2**62, time=61)
    assert another.attempts(number) == [first, second]
    found = another.transaction(number)
    assert found is not None
    assert (found.state, found.nonce, found.created_at, found.updated_at) == ("signed", 7, 50, 61)


def test_sign__the_same_again(leased: Ledger) -> None:
    number = enqueue(leased)
    attempt = sign(leased, number)
    sign(leased, number)
    assert leased.attempts(number) == [attempt]


def test_sign__a_nonce_that_another_has(leased: Ledger) -> None:
    first, second = enqueue(leased), enqueue(leased)
    sign(leased, first, nonce=7)
    with pytest.raises(LedgerUnavailable):
        sign(leased, second, nonce=7)
    found = leased.transaction(second)
    assert found is not None and (found.state, found.nonce) == ("queued", None)
    assert leased.attempts(second) == []
    # Of another sender, or once the first no longer has it, the nonce is free.
    sign(leased, enqueue(leased, sender="0x" + "22" * 20), nonce=7)
    leased.move_transaction(first, LEASE, "queued", time=61)
    sign(leased, second, nonce=7)


def test_move_transaction__to_its_end(leased: Ledger, another: Ledger) -> None:
    number = enqueue(leased)
    sign(leased, number, nonce=3)
    for state in ("mined", "final"):
        leased.move_transaction(
            number,
            LEASE,
            state,
            time=70,
            block=9,
            block_hash=b"\x09" * 32,
            succeeded=True,
            gas_used=20_000,
            fee=MOST,
            reason="£",
        )
        found = another.transaction(number)
        assert found is not None
        assert (found.state, found.nonce, found.block, found.block_hash) == (
            state,
            3,
            9,
            b"\x09" * 32,
        )
        assert (found.succeeded, found.gas_used, found.fee) == (True, 20_000, MOST)
        assert (found.reason, found.created_at, found.updated_at) == ("£", 50, 70)


@pytest.mark.parametrize(
    ("state", "nonce"), [("signed", 3), ("failed", 3), ("queued", None), ("refused", None)]
)
def test_move_transaction__back_or_to_nothing(
    leased: Ledger, state: str, nonce: int | None
) -> None:
    number = enqueue(leased)
    attempt = sign(leased, number, nonce=3)
    leased.move_transaction(number, LEASE, "mined", time=70, block=9, block_hash=b"9", fee=5)
    leased.move_transaction(number, LEASE, state, time=71)
    found = leased.transaction(number)
    assert found is not None
    assert (found.state, found.nonce, found.block, found.block_hash, found.fee) == (
        state,
        nonce,
        0,
        b"",
        0,
    )
    assert leased.attempts(number) == [attempt]


def test_move_transaction__to_a_state_there_is_not(leased: Ledger) -> None:
    number = enqueue(leased)
    before = leased.transaction(number)
    with pytest.raises(LedgerUnavailable):
        leased.move_transaction(number, LEASE, "lost", time=70)
    assert leased.transaction(number) == before


def test_sign_and_move__without_the_lease(ledger: Ledger, another: Ledger) -> None:
    number = enqueue(ledger)
    before = ledger.transaction(number)

    def are_refused() -> None:
        with pytest.raises(LeaseLost, match="first does not have the lease of key 0x"):
            sign(ledger, number)
        with pytest.raises(LeaseLost):
            ledger.move_transaction(number, LEASE, "refused", time=70)
        assert ledger.transaction(number) == before
        assert ledger.attempts(number) == []

    are_refused()
    assert ledger.take_lease(LEASE, 0)
    # It has run out, and nobody has taken it.
    sign(ledger, number)
    ledger.move_transaction(number, LEASE, "queued", time=50)
    before = ledger.transaction(number)
    ledger.give_lease(LEASE)
    assert another.take_lease(RIVAL, 60)
    with pytest.raises(LeaseLost):
        sign(ledger, number, nonce=1)
    assert ledger.transaction(number) == before
    assert len(ledger.attempts(number)) == 1


def test_lease_lost__leaves_reservations_alone(ledger: Ledger, another: Ledger) -> None:
    """In PostgreSQL they go with the connection."""
    channel = known(ledger, 1)
    reserved(ledger, channel)
    with pytest.raises(LeaseLost):
        sign(ledger, enqueue(ledger))
    assert another.reserve([channel]) == [NotReserved.BUSY]


# ---------------------------------------------------------------- lists


def test_transactions__of_a_sender_in_states_in_pages(leased: Ledger) -> None:
    other = "0x" + "22" * 20
    numbers = [enqueue(leased, sender=sender) for sender in [SENDER, other] * 4]
    for place, number in enumerate(numbers[:6]):
        sign(leased, number, nonce=place)
    leased.move_transaction(numbers[0], LEASE, "final", time=70)

    def listed(**asked: Any) -> list[int]:
        return [numbers.index(each.id) for each in leased.transactions(**asked)]

    assert listed() == list(range(8))
    assert listed(newest_first=True) == list(range(8))[::-1]
    assert listed(sender=SENDER) == [0, 2, 4, 6]
    assert listed(states=["signed"]) == [1, 2, 3, 4, 5]
    assert listed(states=["queued", "final"]) == [0, 6, 7]
    assert listed(states=[]) == []
    assert listed(sender=SENDER, states=["signed", "queued"], limit=2) == [2, 4]
    assert listed(sender=SENDER, after=numbers[2], limit=1) == [4]
    assert listed(after=numbers[5]) == [6, 7]
    assert listed(after=numbers[5], newest_first=True, limit=3) == [4, 3, 2]
    assert listed(after=numbers[0], newest_first=True) == []


def test_in_flight__the_highest_total_not_yet_decided(leased: Ledger, another: Ledger) -> None:
    assert leased.in_flight() == {}
    one, two, three = (channel_id(number) for number in (1, 2, 3))
    first = enqueue(leased, rows=[(one, MOST), (two, 255)])
    second = enqueue(leased, rows=[(two, 256), (three, 1)])
    assert another.in_flight() == {one: MOST, two: 256, three: 1}
    for state in ("signed", "mined"):
        leased.move_transaction(second, LEASE, state, time=70)
        assert another.in_flight() == {one: MOST, two: 256, three: 1}
    for state in ("final", "failed", "refused"):
        leased.move_transaction(second, LEASE, state, time=70)
        assert another.in_flight() == {one: MOST, two: 255}
    leased.move_transaction(first, LEASE, "final", time=70)
    assert another.in_flight() == {}
