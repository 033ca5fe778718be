"""Amounts as people write them: exact, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.protocol.amounts import MAX_AMOUNT, AmountInvalid, from_units, to_units


@pytest.mark.parametrize(
    ("text", "decimals", "units"),
    [
        ("0", 6, 0),
        ("0.002", 6, 2_000),
        ("007", 6, 7_000_000),
        ("0.0020000000", 6, 2_000),
        ("5", 0, 5),
        ("340282366920938463463.374607431768211455", 18, MAX_AMOUNT),
    ],
)
def test_to_units__exact(text: str, decimals: int, units: int) -> None:
    assert to_units(text, decimals) == units


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is not an amount; write it like '0.002'"),
        ("-1", "'-1' is not an amount; write it like '0.002'"),
        ("1e3", "'1e3' is not an amount; write it like '0.002'"),
        ("1_0", "'1_0' is not an amount; write it like '0.002'"),
        ("\uff19", "'\uff19' is not an amount; write it like '0.002'"),
        ("1\n", "'1\\n' is not an amount; write it like '0.002'"),
        (".5", "'.5' is not an amount; write it like '0.002'"),
        ("0.0000001", "'0.0000001' has more than the token's 6 decimals; write fewer"),
        (
            "9" * 10_000,
            "'" + "9" * 60 + "...' is more than a channel can hold; write less",
        ),
    ],
)
def test_to_units__no_amount(text: str, said: str) -> None:
    with pytest.raises(AmountInvalid) as caught:
        to_units(text, 6)
    assert str(caught.value) == said


@given(st.integers(0, MAX_AMOUNT), st.integers(0, 30))
def test_from_units__and_back(units: int, decimals: int) -> None:
    assert to_units(from_units(units, decimals), decimals) == units


@pytest.mark.parametrize(
    ("units", "decimals", "text"),
    [(2_000, 6, "0.002"), (0, 6, "0"), (5_000_000, 6, "5"), (-1, 6, "-0.000001"), (12, 0, "12")],
)
def test_from_units__as_people_write(units: int, decimals: int, text: str) -> None:
    assert from_units(units, decimals) == text
