"""Gas of every step: what is on record, to the unit, and never above what was promised."""

import pytest

from bench.gas import OFFICIAL
from tests.gas.record import differences, measured, recorded

# What was promised: per row where the figure is per row, else the official contract's gas.
LIMITS = {
    "claim_100": 18_000,
    "claim_10": 24_049,
    "claim_with_signature_100": 20_500,
    "settle": 46_258,
    "deposit_erc3009_new": 115_196,
    "deposit_erc3009_topup": 94_228,
    "initiate_withdraw": 52_677,
    "finalize_withdraw": 50_564,
    "refund_partial": 74_252,
    "redeem_100": 11_700,
    "redeem_10": 16_000,
    "redeem_1": 62_000,
    "redeem_relayed_100": 11_900,
    "redeem_bad_row": 8_000,
    "redeem_calldata_row": 1_750,
    "deposit_authorization_new": 100_000,
    "deposit_authorization_topup": 80_000,
}


@pytest.fixture(scope="module")
def gas() -> dict[str, int]:
    return measured()


def test_gas__is_what_is_on_record(gas: dict[str, int]) -> None:
    found = differences(recorded(), gas)
    assert found == [], "\n".join([*found, "A record is written by `python -m tests.gas.record`."])


@pytest.mark.parametrize("figure", LIMITS)
def test_gas__within_its_limit(gas: dict[str, int], figure: str) -> None:
    assert 0 < gas[figure] <= LIMITS[figure]


@pytest.mark.parametrize("figure", OFFICIAL)
def test_gas__not_above_the_official_contract(gas: dict[str, int], figure: str) -> None:
    assert gas[figure] <= OFFICIAL[figure]


def test_limits__are_none_above_the_official_contract() -> None:
    assert LIMITS.keys() >= OFFICIAL.keys()
    assert all(LIMITS[figure] <= OFFICIAL[figure] for figure in OFFICIAL)


def test_differences__name_the_figure_and_both_values() -> None:
    before = {"claim": 17_000, "settle": 45_000, "refund": 70_000, "old": 1}
    now = {"claim": 17_001, "settle": 44_999, "refund": 70_000, "young": 2}
    assert differences(before, now) == [
        "claim grew from 17,000 to 17,001 gas: make it cheaper again",
        "old is gone: write a new record",
        "settle fell from 45,000 to 44,999 gas: write a new record",
        "young is new: write a new record",
    ]
