"""Records of channels, and plans made of them, for tests without a chain or a ledger."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from farthing.ledger import Channel, ChannelState, Mirror, Redeemable
from farthing.protocol import ChannelConfig
from farthing.redeemer.money import GasPrice
from farthing.redeemer.plan import Plan, Way, make_plan
from farthing.redeemer.policy import (
    Moment,
    Policy,
    Reason,
    choose,
)

NOW = 1_800_000_000
DELAY = 900
# Ten gas cost one smallest unit: a plain row 1,129, and a transaction with nothing else 5,716.
GAS = GasPrice(wei=10**11, coin_price=10**6)
ROW, ALONE = 1_129, 5_716
PACKED = Way(has_redeem=True, relayed=False, gas_target=10**7)
OFFICIAL = Way(has_redeem=False, relayed=True, gas_target=10**7)
STRICT = b"\x01" * 64 + b"\x1b"
DAILY = Policy(coin_price=10**6, max_cost_percent=Decimal(10))


def address(number: int) -> str:
    return f"0x{number:040x}"


def record(
    number: int,
    charged: int,
    *,
    claimed: int = 0,
    balance: int | None = None,
    requested_at: int = 0,
    since: int = NOW - 60,
    signature: bytes = STRICT,
    **changes: Any,
) -> Redeemable:
    """The channel with that number."""
    config = ChannelConfig(
        payer=address(number),
        payer_authorizer=address(number),
        receiver=address(0xAAAA),
        receiver_authorizer=address(0xBBBB),
        token=address(0xCCCC),
        withdraw_delay=DELAY,
        salt=bytes(32),
    )
    mirror = Mirror(
        balance=charged if balance is None else balance,
        total_claimed=claimed,
        withdraw_amount=1 if requested_at else 0,
        withdraw_requested_at=requested_at,
        refund_nonce=0,
        synced_at=0,
    )
    state = ChannelState(charged, 1, charged, signature, 1, mirror)
    channel = Channel(number.to_bytes(32, "big"), replace(config, **changes), state)
    return Redeemable(channel, since)


def withdrawing(number: int, charged: int, *, left: int = DELAY, **changes: Any) -> Redeemable:
    """A channel whose payer may take its money in so many seconds."""
    return record(number, charged, requested_at=NOW + left - DELAY, **changes)


def planned(
    records: list[Redeemable],
    policy: Policy = DAILY,
    *,
    gas: GasPrice = GAS,
    way: Way = PACKED,
    in_flight: dict[bytes, int] | None = None,
    **moment: Any,
) -> Plan:
    at = Moment(now=NOW, gas=gas, **moment)
    choice = choose(
        records,
        policy,
        at,
        in_flight=in_flight or {},
        unfit=lambda channel: None,
        row_gas=way.row_gas,
    )
    return make_plan(choice, policy, gas, way)


def numbers(plan: Plan) -> list[list[int]]:
    return [[int.from_bytes(each, "big") for each in p.batch.channel_ids] for p in plan.batches]


def left(plan: Plan) -> dict[Reason, tuple[int, int]]:
    return {each.reason: (each.channels, each.value) for each in plan.left}


RUN: dict[str, Any] = {"last_run": NOW - 86_400}
"""A moment at which the daily run is due."""
