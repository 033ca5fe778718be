"""From vouchers to batches: what goes together, in which order, and what is left to be claimed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.protocol import (
    MAX_EXTRAS,
    MAX_ROWS,
    ZERO_ADDRESS,
    ChannelConfig,
    Domain,
    InvalidField,
    Terms,
    VoucherClaim,
    extras_of,
    is_packable,
)
from farthing.protocol.redemption import MAX_TOTAL
from farthing.redeemer import Batch, Packed, pack
from farthing.redeemer.gas import good_row_gas

DOMAIN = Domain(31_337, "0x" + "11" * 20)
# Of the form the contract takes; whose it is does not matter to the packer.
STRICT = b"\x01" * 64 + b"\x1b"
HIGH_S = b"\x01" * 32 + b"\xff" * 32 + b"\x1b"


def address(number: int) -> str:
    return f"0x{number:040x}"


def claim(
    payer: int, total: int = 100, *, ceiling: int | None = None, **changes: Any
) -> VoucherClaim:
    """A row of the payer with that number, which is its own authorizer."""
    signature = changes.pop("signature", STRICT)
    config = ChannelConfig(
        payer=address(payer),
        payer_authorizer=address(payer),
        receiver=address(0xAA),
        receiver_authorizer=address(0xBB),
        token=address(0xCC),
        withdraw_delay=900,
        salt=bytes(32),
    )
    config = replace(config, **changes)
    return VoucherClaim(config, total if ceiling is None else ceiling, signature, total)


def with_extras(payer: int, extras: int) -> VoucherClaim:
    """A row with so many of authorizer, ceiling and salt."""
    authorizer = address(0xDD) if extras > 0 else address(payer)
    salt = b"\x01" * 32 if extras > 2 else bytes(32)
    return claim(payer, ceiling=101 if extras > 1 else 100, payer_authorizer=authorizer, salt=salt)


def channel_id(row: VoucherClaim) -> bytes:
    return row.channel.channel_id(DOMAIN)


def payers(packed: Packed) -> list[list[int]]:
    return [[int(row.channel.payer, 16) for row in batch.claims] for batch in packed.batches]


# ---------------------------------------------------------------- what goes together


def test_pack__nothing() -> None:
    assert pack([], DOMAIN) == Packed([], [])


def test_pack__takes_an_iterator() -> None:
    assert payers(pack(iter([claim(1), claim(2)]), DOMAIN)) == [[1, 2]]


@pytest.mark.parametrize(
    "terms",
    [
        {"receiver": address(1)},
        {"receiver_authorizer": address(1)},
        {"token": address(1)},
        {"withdraw_delay": 901},
    ],
)
def test_pack__other_terms_in_a_batch_of_their_own(terms: dict[str, Any]) -> None:
    ours, theirs = [claim(1), claim(3)], [claim(2, **terms), claim(4, **terms)]
    packed = pack([ours[0], theirs[0], ours[1], theirs[1]], DOMAIN)
    assert packed.batches == [
        Batch.of(ours, DOMAIN),
        Batch.of(theirs, DOMAIN),
    ]


def test_pack__what_a_row_has_of_its_own_parts_no_batch() -> None:
    rows = [with_extras(n, n) for n in range(1, 4)] + [claim(9, payer_authorizer=ZERO_ADDRESS)]
    (batch,) = pack(rows, DOMAIN).batches
    assert batch.claims == tuple(rows)


@pytest.mark.parametrize(
    "odd",
    [
        claim(5, signature=b""),
        claim(5, signature=STRICT[:64]),
        claim(5, signature=STRICT + b"\x00"),
        claim(5, signature=STRICT[:64] + b"\x00"),
        claim(5, signature=STRICT[:64] + b"\x1d"),
        claim(5, signature=HIGH_S),
        claim(5, MAX_TOTAL + 1),
    ],
)
def test_pack__what_has_no_packed_row_is_claimed(odd: VoucherClaim) -> None:
    assert not is_packable(odd)
    packed = pack([claim(1), odd, claim(2)], DOMAIN)
    assert packed.to_claim == [odd]
    assert payers(packed) in ([[1, 2]], [[2, 1]])


def test_pack__the_greatest_total_and_ceiling_of_a_row() -> None:
    row = claim(1, MAX_TOTAL, ceiling=2**128 - 1)
    assert pack([row], DOMAIN) == Packed([Batch.of([row], DOMAIN)], [])


# ---------------------------------------------------------------- how much fits


@pytest.mark.parametrize(
    ("count", "sizes"), [(127, [127]), (128, [128]), (129, [128, 1]), (257, [128, 128, 1])]
)
def test_pack__at_most_128_rows(count: int, sizes: list[int]) -> None:
    packed = pack([claim(n + 1) for n in range(count)], DOMAIN)
    assert [len(batch.claims) for batch in packed.batches] == sizes


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (128, [5])])
def test_pack__at_most_the_rows_asked_for(rows: int, sizes: list[int]) -> None:
    packed = pack([claim(n + 1) for n in range(5)], DOMAIN, rows=rows)
    assert [len(batch.claims) for batch in packed.batches] == sizes


@pytest.mark.parametrize("rows", [-1, 0, MAX_ROWS + 1])
def test_pack__rows_that_no_batch_can_have(rows: int) -> None:
    with pytest.raises(InvalidField) as caught:
        pack([claim(1)], DOMAIN, rows=rows)
    assert (caught.value.field, caught.value.value) == ("rows", rows)
    assert str(caught.value) == f"rows must be 1 to 128, got {rows}"


@pytest.mark.parametrize(
    ("extras", "count", "sizes"),
    [
        (1, 128, [128]),
        (2, 64, [64]),
        (2, 65, [64, 1]),
        (3, 42, [42]),
        (3, 43, [42, 1]),
        (3, 85, [42, 42, 1]),
    ],
)
def test_pack__at_most_128_extras(extras: int, count: int, sizes: list[int]) -> None:
    rows = [with_extras(n + 1, extras) for n in range(count)]
    assert {len(extras_of(row)) for row in rows} == {extras}
    batches = pack(rows, DOMAIN).batches
    assert [len(batch.claims) for batch in batches] == sizes
    assert all(batch.call() for batch in batches)


def test_pack__at_most_the_gas_asked_for() -> None:
    rows = [claim(n + 1) for n in range(7)]
    each = good_row_gas(rows[0])
    for gas_target, sizes in (
        (3 * each, [3, 3, 1]),
        (3 * each - 1, [2, 2, 2, 1]),
        (7 * each, [7]),
        (1, [1] * 7),
    ):
        batches = pack(rows, DOMAIN, gas_target=gas_target).batches
        assert [len(batch.claims) for batch in batches] == sizes


# ---------------------------------------------------------------- which comes first


def test_pack__highest_value_first_within_and_between_batches() -> None:
    rows = [claim(1, 10), claim(2, 30), claim(3, 20), claim(4, 40), claim(5, 50)]
    assert payers(pack(rows, DOMAIN, rows=2)) == [[5, 4], [2, 3], [1]]


def test_pack__value_is_what_was_not_claimed_before() -> None:
    rows = [claim(1, 1_000), claim(2, 30)]
    claimed = {channel_id(rows[0]): 971}
    assert payers(pack(rows, DOMAIN)) == [[1, 2]]
    assert payers(pack(rows, DOMAIN, claimed=claimed)) == [[2, 1]]


def test_pack__earliest_deadline_before_any_value() -> None:
    rows = [claim(1, 1_000), claim(2, 1), claim(3, 2), claim(4, 3)]
    deadlines = {channel_id(rows[1]): 500, channel_id(rows[2]): 400, channel_id(rows[3]): 500}
    assert payers(pack(rows, DOMAIN, deadlines=deadlines)) == [[3, 4, 2, 1]]
    assert payers(pack(rows, DOMAIN, deadlines=deadlines, rows=1)) == [[3], [4], [2], [1]]


def test_pack__the_most_urgent_batch_first_whatever_its_terms() -> None:
    ours = [claim(1, 1_000), claim(2, 900)]
    theirs = [claim(3, 5, token=address(7)), claim(4, 950, token=address(7))]
    rows = [*ours, *theirs]
    assert payers(pack(rows, DOMAIN, rows=1)) == [[1], [4], [2], [3]]
    deadlines = {channel_id(theirs[0]): 1}
    assert payers(pack(rows, DOMAIN, deadlines=deadlines)) == [[3, 4], [1, 2]]


def test_pack__what_is_claimed_is_in_order_too() -> None:
    rows = [claim(1, 5, signature=b""), claim(2, 9, signature=b""), claim(3, 1, signature=b"")]
    deadlines = {channel_id(rows[2]): 1}
    assert pack(rows, DOMAIN, deadlines=deadlines).to_claim == [rows[2], rows[1], rows[0]]


# ---------------------------------------------------------------- nothing lost

ROWS = st.builds(
    claim,
    payer=st.integers(1, 5),
    total=st.sampled_from([0, 1, 99, MAX_TOTAL, MAX_TOTAL + 1]),
    payer_authorizer=st.sampled_from([ZERO_ADDRESS, address(1), address(2)]),
    token=st.sampled_from([address(0xCC), address(0xCD)]),
    salt=st.sampled_from([bytes(32), b"\x01" * 32]),
    signature=st.sampled_from([STRICT, STRICT, STRICT, HIGH_S]),
)


@given(
    claims=st.lists(ROWS, max_size=60),
    more=st.integers(1, 4),
    deadline=st.dictionaries(st.integers(0, 59), st.integers(0, 3)),
    rows=st.sampled_from([1, 7, MAX_ROWS]),
    gas_target=st.sampled_from([None, 1, 100_000]),
)
def test_pack__every_claim_once_and_every_batch_sendable(
    claims: list[VoucherClaim],
    more: int,
    deadline: dict[int, int],
    rows: int,
    gas_target: int | None,
) -> None:
    claims = claims * more
    deadlines = {channel_id(claims[n]): at for n, at in deadline.items() if n < len(claims)}
    packed = pack(claims, DOMAIN, deadlines=deadlines, rows=rows, gas_target=gas_target)

    def urgency(row: VoucherClaim) -> tuple[float, int]:
        return deadlines.get(channel_id(row), float("inf")), -row.total_claimed

    sent = [row for batch in packed.batches for row in batch.claims]
    assert Counter(sent + packed.to_claim) == Counter(claims)
    assert all(map(is_packable, sent))
    assert not any(map(is_packable, packed.to_claim))
    for batch in packed.batches:
        assert 1 <= len(batch.claims) <= rows
        assert sum(len(extras_of(row)) for row in batch.claims) <= MAX_EXTRAS
        assert {Terms.of(row.channel) for row in batch.claims} == {batch.terms}
        gas = sum(map(good_row_gas, batch.claims))
        assert gas_target is None or len(batch.claims) == 1 or gas <= gas_target
        assert list(batch.claims) == sorted(batch.claims, key=urgency)
        # It refuses what the contract would not take.
        assert batch.call()
    firsts = [urgency(batch.claims[0]) for batch in packed.batches]
    assert firsts == sorted(firsts)
