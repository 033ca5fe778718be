"""What is redeemed when, and what is left and why, over records alone."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from farthing.protocol import ZERO_ADDRESS
from farthing.redeemer.gas import good_row_gas
from farthing.redeemer.money import GasPrice
from farthing.redeemer.plan import CLAIM, REDEEM, claim_of
from farthing.redeemer.policy import (
    Moment,
    Policy,
    PolicyInvalid,
    Reason,
    choose,
)
from tests.redeemer.policy_kit import (
    ALONE,
    DAILY,
    GAS,
    NOW,
    OFFICIAL,
    PACKED,
    ROW,
    RUN,
    address,
    left,
    numbers,
    planned,
    record,
    withdrawing,
)

# ---------------------------------------------------------------- gas


def test_row_gas__is_that_of_the_claim_whatever_its_form() -> None:
    forms = [
        record(1, 10),
        record(1, 10, payer_authorizer=address(9)),
        record(1, 10, payer_authorizer=ZERO_ADDRESS),
        record(1, 10, salt=b"\x01" * 32),
    ]
    for each in forms:
        assert PACKED.row_gas(each.channel) == good_row_gas(claim_of(each.channel))
    assert len({PACKED.row_gas(each.channel) for each in forms}) == len(forms)


def test_row_gas__of_what_must_be_claimed_is_that_of_a_claim() -> None:
    wallet = record(1, 10, payer_authorizer=ZERO_ADDRESS, signature=b"\x01" * 100)
    assert PACKED.row_gas(wallet.channel) == OFFICIAL.row_gas(wallet.channel)
    assert OFFICIAL.row_gas(record(1, 10).channel) > PACKED.row_gas(record(1, 10).channel)


@pytest.mark.parametrize(
    ("wei", "coin_price", "gas", "cost"),
    [(0, 10**9, 10**6, 0), (1, 1, 1, 1), (10**9, 3_000 * 10**6, 10**6, 3_000_000), (1, 0, 5, 0)],
)
def test_cost__in_the_token_and_rounded_up(wei: int, coin_price: int, gas: int, cost: int) -> None:
    assert GasPrice(wei, coin_price).cost(gas) == cost


# ---------------------------------------------------------------- when


def test_plan__nothing() -> None:
    plan = planned([])
    assert (plan.batches, plan.left) == ([], [])
    assert plan.why == "Nothing to redeem: nothing is charged that is not claimed."


def test_plan__before_the_interval_is_over() -> None:
    plan = planned([record(1, 10**6)], last_run=NOW - 86_399)
    assert (plan.batches, plan.is_run) == ([], False)
    assert left(plan) == {Reason.RUN: (1, 10**6)}
    assert plan.why == ("Waits until 2027-01-15 08:00:01 UTC: 1 channel would bring 1000000.")


def test_plan__when_the_interval_is_over() -> None:
    plan = planned([record(1, 10**6)], last_run=NOW - 86_400)
    assert (numbers(plan), plan.is_run) == ([[1]], True)
    assert plan.why == (
        "Redeems 1000000 of 1 channel, for 86,400 seconds have passed since "
        "2027-01-14 08:00:00 UTC."
    )


def test_plan__the_first_interval_counts_from_the_first_charge() -> None:
    assert not planned([record(1, 10**6, since=NOW - 86_399)]).batches
    assert planned([record(1, 10**6, since=NOW - 86_400)]).batches


def test_plan__what_they_are_worth_together() -> None:
    policy = replace(DAILY, batch_value=2 * 10**6)
    assert not planned([record(1, 10**6), record(2, 10**6 - 1)], policy).batches
    plan = planned([record(1, 10**6), record(2, 10**6)], policy)
    assert numbers(plan) == [[1, 2]]
    assert plan.why.endswith("for they are worth 2000000 and more together.")


def test_plan__dust_counts_for_no_batch_value() -> None:
    policy = replace(DAILY, batch_value=10**6 + 1, min_value=10**5)
    assert not planned([record(1, 10**6), record(2, 99_999)], policy).batches


def test_plan__the_oldest_charge() -> None:
    policy = replace(DAILY, max_age=600)
    assert not planned([record(1, 10**6, since=NOW - 599)], policy).batches
    plan = planned([record(1, 10**6, since=NOW - 600), record(2, 10**6)], policy)
    assert numbers(plan) == [[1, 2]]
    assert plan.why.endswith("for the oldest charge is from 2027-01-15 07:50:00 UTC.")


def test_plan__a_run_that_is_not_through_goes_on() -> None:
    plan = planned([record(1, 10**6)], last_run=NOW - 10, run_is_open=True)
    assert plan.batches
    assert plan.why.endswith("for the run of 2027-01-15 07:59:50 UTC goes on.")


def test_plan__asked_for() -> None:
    dust, small = record(1, 20_000), record(2, ALONE + 1)
    policy = replace(DAILY, min_value=50_000)
    assert not planned([dust], policy, **RUN).batches
    assert numbers(planned([dust], policy, is_asked=True)) == [[1]]
    # At any cost below its worth, and not above.
    assert not planned([small], **RUN).batches
    assert numbers(planned([small], is_asked=True)) == [[2]]
    assert not planned([record(2, ALONE)], is_asked=True).batches


# ---------------------------------------------------------------- what pays


def test_plan__dust_is_left_until_it_is_old_or_more() -> None:
    policy = replace(DAILY, min_value=100_000, max_age=86_400)
    plan = planned([record(1, 99_999)], policy, **RUN)
    assert left(plan) == {Reason.DUST: (1, 99_999)}
    assert plan.why == (
        "Waits for larger charges: 1 channel with less than 100000 each, 99999 together; a lower "
        "min_value or a max_age would redeem them."
    )
    assert planned([record(1, 100_000)], policy, **RUN).batches
    assert planned([record(1, 99_999, since=NOW - 86_400)], policy, **RUN).batches


def test_plan__a_row_that_costs_too_much_of_itself() -> None:
    rich, poor = record(1, 10**6), record(2, 10 * ROW - 1)
    plan = planned([rich, poor], **RUN)
    assert numbers(plan) == [[1]]
    assert left(plan) == {Reason.COST: (1, 10 * ROW - 1)}
    assert numbers(planned([rich, record(2, 10 * ROW)], **RUN)) == [[1, 2]]


def test_plan__what_does_not_pay_for_a_transaction_waits_for_company() -> None:
    plan = planned([record(1, 30_000)], **RUN)
    assert left(plan) == {Reason.COMPANY: (1, 30_000)}
    assert plan.why.startswith("Waits for more channels or cheaper gas: 1 would bring 30000, and")
    assert numbers(planned([record(n, 30_000) for n in (1, 2, 3)], **RUN)) == [[1, 2, 3]]


def test_plan__says_what_would_make_it_redeem_when_gas_is_dear() -> None:
    plan = planned([record(1, 9_000), record(2, 5_000)], **RUN)
    assert left(plan) == {Reason.COST: (2, 14_000)}
    assert plan.why == (
        "Waits for cheaper gas or larger charges: at 100 gwei a channel must bring 11290, and the "
        "best of 2 brings 9000; a higher max_cost_percent than 10 or a lower coin_price would "
        "redeem sooner."
    )
    assert planned([record(1, 11_289)], **RUN).left[0].reason is not Reason.COMPANY
    assert planned([record(1, 11_290)], **RUN).left[0].reason is Reason.COMPANY


def test_plan__waits_while_the_base_fee_is_high() -> None:
    records = [record(1, 10**6)]
    assert planned(records, **RUN).batches
    assert not planned(records, gas=replace(GAS, wei=100 * GAS.wei), **RUN).batches


def test_plan__a_coin_that_is_worth_more() -> None:
    records = [record(1, 10**6)]
    dear = GasPrice(GAS.wei, 100 * GAS.coin_price)
    assert not planned(records, gas=dear, **RUN).batches
    assert planned(records, gas=GasPrice(GAS.wei, 0), **RUN).batches


# ---------------------------------------------------------------- withdrawals


def test_plan__a_withdrawal_waits_for_no_run_and_is_no_dust() -> None:
    policy = replace(DAILY, min_value=10**9)
    plan = planned([withdrawing(1, 10**6), record(2, 10**10)], policy, last_run=NOW)
    assert (numbers(plan), plan.is_run) == ([[1]], False)
    assert left(plan) == {Reason.RUN: (1, 10**10)}
    assert plan.why == (
        "Redeems 1000000 of 1 channel, for payers withdraw, the first at 2027-01-15 08:15:00 UTC."
    )


def test_plan__a_withdrawal_may_cost_anything_below_its_worth() -> None:
    assert numbers(planned([withdrawing(1, ALONE + 1)])) == [[1]]
    plan = planned([withdrawing(1, ALONE)])
    assert (plan.batches, left(plan)) == ([], {Reason.COMPANY: (1, ALONE)})
    assert left(planned([withdrawing(1, ROW)])) == {Reason.COST: (1, ROW)}


def test_plan__with_a_smaller_margin_a_withdrawal_waits_for_a_good_price_first() -> None:
    policy = replace(DAILY, margin=100)
    early, late = withdrawing(1, 8_000, left=201), withdrawing(1, 8_000, left=200)
    assert left(planned([early], policy)) == {Reason.COST: (1, 8_000)}
    assert numbers(planned([late], policy)) == [[1]]
    # At a good price it does not wait at all.
    assert numbers(planned([withdrawing(1, 10**6, left=900)], policy)) == [[1]]


def test_plan__deadline_first_then_value() -> None:
    records = [
        record(1, 10**9),
        withdrawing(2, 10**6, left=500),
        withdrawing(3, 10**7, left=500),
        withdrawing(4, 10**5, left=100),
        record(5, 10**10),
    ]
    assert numbers(planned(records, **RUN)) == [[4, 3, 2], [5, 1]]


def test_plan__thousands_of_withdrawals_before_anything_else() -> None:
    records = [withdrawing(n, 10**6, left=300 + n % 7) for n in range(1, 1_001)]
    records += [record(n, 10**9) for n in range(2_001, 2_301)]
    plan = planned(records, **RUN)
    deadlines = [each.deadline for each in plan.batches]
    assert deadlines == sorted(deadlines)
    assert plan.channels == 1_300
    assert sorted(n for batch in numbers(plan)[:8] for n in batch) == list(range(1, 1_001))


def test_plan__those_that_wait_keep_a_withdrawal_company_when_it_would_not_pay() -> None:
    poor = withdrawing(1, ROW + 1)
    assert not planned([poor], last_run=NOW).batches
    plan = planned([poor, record(2, 10**6), record(3, 10**6)], last_run=NOW)
    assert (numbers(plan), plan.is_run) == ([[1, 2, 3]], False)
    # Not when it can go alone.
    plan = planned([withdrawing(1, 10**6), record(2, 10**6)], last_run=NOW)
    assert numbers(plan) == [[1]]
    # Nor those of other terms.
    assert not planned([poor, record(2, 10**6, token=address(7))], last_run=NOW).batches


# ---------------------------------------------------------------- what is not planned


def test_plan__what_is_on_its_way_is_not_planned_again() -> None:
    one = record(1, 10**6)
    key = one.channel.channel_id
    plan = planned([one], in_flight={key: 10**6}, **RUN)
    assert left(plan) == {Reason.ON_ITS_WAY: (1, 10**6)}
    assert plan.why == ("Nothing to redeem: 1000000 of 1 channel is on its way in a transaction.")
    # What was charged since is.
    plan = planned([one], in_flight={key: 400_000}, **RUN)
    assert (numbers(plan), plan.value) == ([[1]], 600_000)
    assert plan.batches[0].batch.claims[0].total_claimed == 10**6


def test_plan__what_the_channel_does_not_hold_any_more() -> None:
    plan = planned([record(1, 10**6, balance=300_000, claimed=300_000)], **RUN)
    assert left(plan) == {Reason.EMPTY: (1, 700_000)}
    assert plan.why.startswith("Nothing to redeem: 700000 of 1 channel is charged more than")
    assert planned([record(1, 10**6, balance=300_000)], **RUN).value == 300_000


def test_choose__what_is_unfit_is_left_with_its_reason() -> None:
    choice = choose(
        [record(1, 10**6), record(2, 10**6)],
        DAILY,
        Moment(NOW, GAS, is_asked=True),
        in_flight={},
        unfit=lambda channel: Reason.OTHER_KEY if channel.channel_id[-1] == 1 else None,
        row_gas=PACKED.row_gas,
    )
    assert [due.channel.channel_id[-1] for due in choice.run] == [2]
    assert choice.left[Reason.OTHER_KEY].value == 10**6


def test_plan__at_the_official_contract_rows_are_claimed() -> None:
    plan = planned([record(n, 10**7) for n in range(1, 151)], way=OFFICIAL, **RUN)
    assert [(each.kind, len(each.batch.claims)) for each in plan.batches] == [
        (CLAIM, 100),
        (CLAIM, 50),
    ]


def test_plan__what_has_no_packed_row_is_claimed_and_the_others_redeemed() -> None:
    wallet = record(1, 10**7, payer_authorizer=ZERO_ADDRESS, signature=b"\x01" * 100)
    plan = planned([wallet, record(2, 10**7)], **RUN)
    assert {each.kind: each.batch.channel_ids[0][-1] for each in plan.batches} == {
        CLAIM: 1,
        REDEEM: 2,
    }


def test_plan__no_transaction_above_the_gas_it_may_use() -> None:
    way = replace(PACKED, gas_target=10 * good_row_gas(claim_of(record(1, 1).channel)))
    plan = planned([record(n, 10**7) for n in range(1, 26)], way=way, **RUN)
    assert [len(each.batch.claims) for each in plan.batches] == [10, 10, 5]


# ---------------------------------------------------------------- for people


def test_lines__what_is_redeemed_at_what_cost_and_what_is_left() -> None:
    records = [record(1, 10**6), withdrawing(2, 10**6), record(3, 10), record(4, 9)]
    plan = planned(records, **RUN)
    assert plan.lines(lambda amount: f"${amount}") == [
        plan.why,
        "Redeems  $2000000 of 2 channels in 2 transactions, for about $11432 of gas at 100 gwei",
        "         the first withdrawal is due at 2027-01-15 08:15:00 UTC",
        "Leaves   $19 of 2 channels: would cost too large a part of itself",
    ]


# ---------------------------------------------------------------- policies that cannot be


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("coin_price", -1),
        ("min_value", -1),
        ("interval", 0),
        ("batch_value", 0),
        ("max_age", -5),
        ("margin", 0),
        ("max_cost_percent", Decimal(0)),
        ("max_cost_percent", Decimal("100.1")),
    ],
)
def test_policy__that_cannot_be(field: str, value: Any) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        replace(DAILY, **{field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"redeemer policy: {field} ")


def test_policy__that_can_never_fire_says_how_it_could() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        Policy(coin_price=1, interval=None)
    assert str(caught.value) == (
        "redeemer policy: interval is not set, nor are batch_value and max_age, so that only a "
        "withdrawal would ever start a redemption: set one of them."
    )
    for name in ("batch_value", "max_age"):
        assert Policy(1, interval=None, **{name: 5})
