"""What holds of every plan, whatever the channels, the policy and the moment."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from farthing.ledger import Channel, Redeemable
from farthing.protocol import ZERO_ADDRESS
from farthing.redeemer.money import GasPrice, pays
from farthing.redeemer.plan import CLAIM, REDEEM, Way, claim_of
from farthing.redeemer.policy import (
    Choice,
    Policy,
)
from tests.redeemer.policy_kit import (
    ALONE,
    DELAY,
    GAS,
    NOW,
    OFFICIAL,
    PACKED,
    ROW,
    STRICT,
    address,
    planned,
    record,
)

# ---------------------------------------------------------------- always

AMOUNTS = st.sampled_from([6, ROW, ROW + 1, ALONE, 10 * ROW, 30_000, 10**5, 10**6, 10**9])
RECORDS = st.lists(
    st.builds(
        record,
        number=st.integers(1, 10**9),
        charged=AMOUNTS,
        claimed=st.sampled_from([0, 0, 5]),
        requested_at=st.sampled_from([0, 0, NOW - 1_000, NOW - 899, NOW - 400, NOW - 1]),
        since=st.sampled_from([NOW - 90_000, NOW - 100, NOW]),
        payer_authorizer=st.sampled_from([address(1), ZERO_ADDRESS]),
        token=st.sampled_from([address(7), address(8)]),
        signature=st.sampled_from([STRICT, STRICT, b"\x02" * 80]),
    ),
    max_size=150,
    unique_by=lambda each: each.channel.channel_id,
)
POLICIES = st.builds(
    Policy,
    coin_price=st.sampled_from([0, 10**6]),
    interval=st.sampled_from([None, 3_600]),
    batch_value=st.sampled_from([10**6, 10**12]),
    max_age=st.sampled_from([None, 50]),
    min_value=st.sampled_from([0, 20_000]),
    max_cost_percent=st.sampled_from([Decimal("0.5"), Decimal(5), Decimal(100)]),
    margin=st.sampled_from([None, 100, 2_000]),
)


@given(
    records=RECORDS,
    policy=POLICIES,
    way=st.sampled_from([PACKED, OFFICIAL, replace(PACKED, relayed=True)]),
    last_run=st.sampled_from([0, NOW - 4_000, NOW - 10]),
    run_is_open=st.booleans(),
    is_asked=st.booleans(),
    sent=st.sampled_from([0, 3, 10**6]),
)
def test_plan__never_costs_more_than_it_brings_and_forgets_nobody(
    records: list[Redeemable],
    policy: Policy,
    way: Way,
    last_run: int,
    run_is_open: bool,
    is_asked: bool,
    sent: int,
) -> None:
    in_flight = {records[0].channel.channel_id: sent} if records and sent else {}
    gas = GasPrice(GAS.wei, policy.coin_price)
    plan = planned(
        records,
        policy,
        gas=gas,
        way=way,
        in_flight=in_flight,
        last_run=last_run,
        run_is_open=run_is_open,
        is_asked=is_asked,
    )
    by_id = {each.channel.channel_id: each.channel for each in records}
    seen: list[bytes] = []
    for each in plan.batches:
        # It pays, whatever the pressure, and every row pays for what it adds.
        assert each.cost < each.value
        channels = [by_id[channel_id] for channel_id in each.batch.channel_ids]
        values = [
            min(c.state.charged, c.state.mirror.balance)
            - max(c.state.mirror.total_claimed, in_flight.get(c.channel_id, 0))
            for c in channels
        ]
        assert each.value == sum(values)
        assert all(
            gas.cost(way.row_gas(c)) < value for c, value in zip(channels, values, strict=True)
        )
        assert each.cost == gas.cost(each.gas)
        pressing = is_asked or any(_presses(c, policy) for c in channels)
        assert pressing or pays(each.value, each.cost, policy.share)
        assert [claim_of(c) for c in channels] == list(each.batch.claims)
        seen += each.batch.channel_ids
    # Nobody twice, and everybody somewhere.
    assert len(set(seen)) == len(seen)
    assert len(seen) + sum(each.channels for each in plan.left) == len(records)
    # Deadlines first.
    deadlines = [each.deadline for each in plan.batches]
    assert deadlines == sorted(deadlines)
    # Nobody who presses and would pay alone is left.
    for channel_id, channel in by_id.items():
        if channel_id not in seen and channel_id not in in_flight and _presses(channel, policy):
            value = channel.state.charged - channel.state.mirror.total_claimed
            kind = REDEEM if way.packs(claim_of(channel)) else CLAIM
            alone = make_alone(channel, kind, way)
            assert value <= gas.cost(alone)
    assert plan.why.endswith(".")
    assert "\n" not in plan.why


def _presses(channel: Channel, policy: Policy) -> bool:
    asked = channel.state.mirror.withdraw_requested_at
    return asked > 0 and asked + DELAY - 2 * policy.margin_of(DELAY) <= NOW


def make_alone(channel: Channel, kind: str, way: Way) -> int:
    """Gas of a transaction for that channel alone."""
    choice = Choice()
    one = planned([Redeemable(channel, NOW)], gas=GasPrice(0, 0), way=way, is_asked=True)
    assert not choice.run
    ((each),) = one.batches
    assert each.kind == kind
    return each.gas
