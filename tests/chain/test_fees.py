from __future__ import annotations

import pytest

from farthing.chain.fees import FeePolicy, Fees

POLICY = FeePolicy(cap=1_000, tip=20)


@pytest.mark.parametrize(
    ("base_fee", "suggested", "offered"),
    [
        (100, 5, Fees(205, 5)),
        (100, None, Fees(220, 20)),
        (100, 50, Fees(220, 20)),
        (100, 0, Fees(200, 0)),
        (0, 0, Fees(0, 0)),
        (495, 10, Fees(1_000, 10)),
        (900, 10, Fees(1_000, 10)),
        (990, 10, Fees(1_000, 10)),
        (991, 10, None),
        (2_000, 0, None),
    ],
)
def test_offer__room_for_the_base_fee_to_double_under_the_cap(
    base_fee: int, suggested: int | None, offered: Fees | None
) -> None:
    assert POLICY.offer(base_fee, suggested) == offered


@pytest.mark.parametrize(
    ("before", "base_fee", "offered"),
    [
        # An eighth more of both, rounded up, when the base fee has not moved.
        (Fees(200, 16), 50, Fees(225, 18)),
        (Fees(201, 17), 50, Fees(227, 20)),
        (Fees(0, 0), 0, Fees(10, 10)),
        (Fees(200, 0), 10, Fees(225, 10)),
        # What is offered anew, when that is more.
        (Fees(200, 8), 300, Fees(610, 10)),
        # The cap.
        (Fees(800, 8), 600, Fees(1_000, 10)),
        (Fees(889, 8), 600, None),
        (Fees(888, 8), 600, Fees(1_000, 10)),
        (Fees(800, 8), 995, None),
        (Fees(800, 800), 50, Fees(950, 900)),
        (Fees(1_000, 8), 50, None),
    ],
)
def test_replacement__clearly_more_of_both_under_the_cap(
    before: Fees, base_fee: int, offered: Fees | None
) -> None:
    assert POLICY.replacement(before, base_fee, 10) == offered
    if offered is not None:
        assert offered.tip <= offered.max_fee <= POLICY.cap
        assert offered.max_fee * 8 >= before.max_fee * 9 and offered.tip * 8 >= before.tip * 9
