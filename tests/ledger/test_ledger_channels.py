"""What the chain says of channels: mirrors of many, refunds on their way, and what to redeem."""

import dataclasses
from typing import Any

import msgspec
import pytest
from ledger_samples import (
    CONFIG,
    LEASE,
    MIRROR,
    MOST,
    channel_id,
    enqueue,
    known,
    next_charge,
    order_refund,
    pay,
    reserved,
    sign,
)

from farthing.ledger import (
    ChannelMoved,
    ChannelState,
    Ledger,
    Mirror,
    RefundHold,
    sqlite_channels,
)


def mirror(ledger: Ledger, channel: bytes, **changes: Any) -> ChannelState:
    """What the chain says later."""
    return ledger.mirror(channel, CONFIG, msgspec.structs.replace(MIRROR, synced_at=200, **changes))


# ---------------------------------------------------------------- many


def test_mirror_many__known_and_unknown_newer_and_older(ledger: Ledger, another: Ledger) -> None:
    for number in range(2_500):
        if number % 2:
            known(ledger, number)
    pay(ledger, channel_id(1))
    seen = {
        channel_id(number): Mirror(MOST, number % 5, 3, 2, 1, 99 + number % 3)
        for number in range(2_500)
    }
    ledger.mirror_many([(each, CONFIG, said) for each, said in seen.items()])
    listed = {each.channel_id: each.state for each in another.channels(limit=3_000)}
    assert len(listed) == 2_500
    for number, (channel, said) in enumerate(seen.items()):
        is_older = number % 2 and said.synced_at < MIRROR.synced_at
        assert listed[channel].mirror == (MIRROR if is_older else said)
    assert listed[channel_id(1)].charged == 7
    assert listed[channel_id(4)].charged == 4
    assert ledger.prove() == []


def test_mirror_many__one_twice(ledger: Ledger) -> None:
    said = [Mirror(balance, 0, 0, 0, 0, balance) for balance in (2, 3, 1)]
    ledger.mirror_many([(channel_id(1), CONFIG, each) for each in said])
    assert reserved(ledger, channel_id(1)).mirror == said[1]


def test_mirror_many__none(ledger: Ledger) -> None:
    ledger.mirror_many([])
    assert ledger.channels() == []


# ---------------------------------------------------------------- refunds


def withdrawn(ledger: Ledger, channel: bytes) -> int:
    found = ledger.channel(channel)
    assert found is not None
    return found.state.mirror.withdraw_amount


def test_enqueue__a_refund_counts_as_withdrawn_until_its_nonce_is_used(
    ledger: Ledger, another: Ledger
) -> None:
    channel = known(ledger, 1, refund_nonce=3, withdraw_amount=5)
    order_refund(ledger, channel, 3, 100)
    assert reserved(another, channel).mirror.withdraw_amount == 105
    for each in (ledger, another):
        assert each.held_refund(channel, 3) == 100
        assert each.held_refund(channel, 4) == 0
    assert mirror(another, channel, refund_nonce=3).mirror.withdraw_amount == 100
    another.mirror_many([(channel, CONFIG, Mirror(90, 0, 5, 0, 3, 300))])
    assert withdrawn(ledger, channel) == 90
    ledger.mirror(channel, CONFIG, Mirror(900, 0, 5, 0, 4, 400))
    assert withdrawn(ledger, channel) == 5
    # The block in which it was used is undone: it may come again.
    ledger.mirror(channel, CONFIG, Mirror(900, 0, 5, 0, 3, 500))
    assert withdrawn(ledger, channel) == 105


def test_enqueue__a_refund_moves_the_channel_on(ledger: Ledger, another: Ledger) -> None:
    channel = known(ledger, 1)
    before = next_charge(channel, reserved(ledger, channel))
    order_refund(another, channel, 0, 100)
    assert ledger.commit([before]) == [False]
    state = ledger.channel(channel).state  # type: ignore[union-attr]
    assert (state.charges, state.charged) == (1, 0)
    assert ledger.prove() == []


def test_enqueue__a_refund_that_was_reckoned_before_a_charge_is_not_ordered(
    ledger: Ledger,
) -> None:
    channel = known(ledger, 1)
    pay(ledger, channel)
    with pytest.raises(ChannelMoved, match=f"channel 0x{channel.hex()} went first"):
        order_refund(ledger, channel, 0, 100, charges=0)
    assert ledger.transactions() == []
    assert withdrawn(ledger, channel) == 0
    assert ledger.held_refund(channel, 0) == 0
    assert len(ledger.charges()) == 1


def test_enqueue__a_refund_of_an_unknown_channel_is_not_ordered(ledger: Ledger) -> None:
    state = reserved(ledger, known(ledger, 1))
    hold = RefundHold(0, 100, next_charge(channel_id(2), state, amount=0))
    with pytest.raises(ChannelMoved):
        enqueue(ledger, kind="refund", refund=hold)
    assert ledger.transactions() == []


def test_enqueue__a_refund_twice_is_one(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    number = order_refund(ledger, channel, 0, 100)
    assert order_refund(ledger, channel, 0, 150) == number
    assert ledger.held_refund(channel, 0) == 100
    assert withdrawn(ledger, channel) == 100
    assert len(ledger.charges()) == 1


@pytest.mark.parametrize("end", ["refused", "failed"])
def test_enqueue__a_refund_that_will_not_come_holds_nothing(ledger: Ledger, end: str) -> None:
    channel = known(ledger, 1)
    number = order_refund(ledger, channel, 0, 100)
    assert ledger.take_lease(LEASE, 60)
    if end == "failed":
        sign(ledger, number)
    ledger.move_transaction(number, LEASE, end, time=70)
    assert ledger.held_refund(channel, 0) == 0
    assert mirror(ledger, channel).mirror.withdraw_amount == 0
    # The next has the same nonce.
    assert order_refund(ledger, channel, 0, 20) != number
    assert ledger.held_refund(channel, 0) == 20
    assert mirror(ledger, channel).mirror.withdraw_amount == 20


@pytest.mark.parametrize("state", ["signed", "mined", "final"])
def test_enqueue__a_refund_holds_whatever_became_of_it(ledger: Ledger, state: str) -> None:
    """A block that has it may be undone; only the chain's nonce tells that it came."""
    channel = known(ledger, 1)
    number = order_refund(ledger, channel, 0, 100)
    assert ledger.take_lease(LEASE, 60)
    sign(ledger, number)
    if state != "signed":
        ledger.move_transaction(number, LEASE, state, time=70, succeeded=True)
    assert mirror(ledger, channel).mirror.withdraw_amount == 100


def test_enqueue__two_refunds_whose_nonces_are_both_unused(ledger: Ledger) -> None:
    """The second was ordered when the first was in a block, which is undone."""
    channel = known(ledger, 1)
    order_refund(ledger, channel, 0, 100)
    mirror(ledger, channel, refund_nonce=1)
    order_refund(ledger, channel, 1, 20)
    assert withdrawn(ledger, channel) == 20
    assert mirror(ledger, channel, refund_nonce=0).mirror.withdraw_amount == 120
    assert (ledger.held_refund(channel, 0), ledger.held_refund(channel, 1)) == (120, 20)


def test_enqueue__a_refund_when_a_newer_mirror_has_come_between(ledger: Ledger) -> None:
    channel = known(ledger, 1, synced_at=1_000)
    order_refund(ledger, channel, 0, 100)
    # What the refund was reckoned from is older than what is known.
    assert mirror(ledger, channel).mirror.withdraw_amount == 100


def test_enqueue__a_refund_of_more_than_there_is(ledger: Ledger) -> None:
    channel = known(ledger, 1, balance=MOST, withdraw_amount=MOST - 1)
    order_refund(ledger, channel, 0, MOST)
    assert withdrawn(ledger, channel) == MOST
    assert mirror(ledger, channel, balance=MOST).mirror.withdraw_amount == MOST


def test_enqueue__a_refund_whose_nonce_is_used_already(ledger: Ledger) -> None:
    channel = known(ledger, 1, refund_nonce=4)
    order_refund(ledger, channel, 3, 100)
    assert reserved(ledger, channel).mirror.withdraw_amount == 0


def test_enqueue__a_refund_of_another_channel(ledger: Ledger) -> None:
    first, second = known(ledger, 1), known(ledger, 2)
    order_refund(ledger, second, 0, 100)
    assert mirror(ledger, first).mirror.withdraw_amount == 0
    assert mirror(ledger, second).mirror.withdraw_amount == 100


# ---------------------------------------------------------------- what to redeem


def redeemable(ledger: Ledger, min_value: int = 1) -> dict[bytes, int]:
    return {each.channel.channel_id: each.since for each in ledger.redeemable(min_value)}


def test_redeemable__what_is_charged_and_not_claimed(ledger: Ledger, another: Ledger) -> None:
    assert redeemable(ledger) == {}
    unpaid, paid, claimed, over = (known(ledger, number) for number in range(4))
    for channel in (paid, claimed, over):
        pay(ledger, channel, amount=7, time=1_000)
    mirror(ledger, claimed, total_claimed=7)
    mirror(ledger, over, total_claimed=8)
    (found,) = another.redeemable()
    assert found.channel == ledger.channel(paid) and found.since == 1_000
    assert unpaid not in redeemable(ledger)


def test_redeemable__worth_at_least_so_much(ledger: Ledger) -> None:
    channels = [known(ledger, number, balance=MOST) for number in range(3)]
    pay(ledger, channels[0], amount=255, price=255)
    pay(ledger, channels[1], amount=256, price=256)
    pay(ledger, channels[2], amount=MOST, price=MOST)
    assert set(redeemable(ledger, 0)) == set(redeemable(ledger, 255)) == set(channels)
    assert set(redeemable(ledger, 256)) == set(channels[1:])
    assert set(redeemable(ledger, MOST)) == {channels[2]}
    mirror(ledger, channels[2], balance=MOST, total_claimed=2)
    assert set(redeemable(ledger, MOST - 1)) == set()
    assert set(redeemable(ledger, MOST - 2)) == {channels[2]}


def test_redeemable__in_several_pages_while_others_pay(
    ledger: Ledger, another: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_channels, "TOGETHER", 3)
    if not ledger.is_local:
        from farthing.ledger import postgresql_channels

        monkeypatch.setattr(postgresql_channels, "TOGETHER", 3)
    channels = sorted(known(ledger, number) for number in range(10))
    for channel in channels:
        pay(ledger, channel)
    found = []
    for each in ledger.redeemable():
        found.append(each.channel.channel_id)
        pay(another, channels[0])
        pay(ledger, channels[-1])
    assert found == channels


def test_redeemable__nothing_that_no_voucher_covers(ledger: Ledger) -> None:
    """Its beginning was claimed on chain, and the block of that claim is undone."""
    channel = known(ledger, 1, total_claimed=50)
    mirror(ledger, channel, total_claimed=20)
    assert redeemable(ledger) == {}


# ---------------------------------------------------------------- since when


def test_redeemable__since_the_first_charge_after_a_redemption(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    for time in (1_000, 1_010, 1_020):
        pay(ledger, channel, amount=10, time=time)
    assert redeemable(ledger) == {channel: 1_000}
    for synced_at, claimed, since in [
        (200, 10, {channel: 1_010}),
        (201, 10, {channel: 1_010}),
        (202, 25, {channel: 1_020}),
        (203, 30, {}),
        # Blocks are undone.
        (204, 19, {channel: 1_010}),
        (205, 0, {channel: 1_000}),
        (206, 30, {}),
        (150, 0, {}),
    ]:
        said = msgspec.structs.replace(MIRROR, synced_at=synced_at, total_claimed=claimed)
        ledger.mirror(channel, CONFIG, said)
        assert redeemable(ledger) == since
    pay(ledger, channel, amount=10, time=1_030)
    pay(ledger, channel, amount=10, time=1_040)
    assert redeemable(ledger) == {channel: 1_030}


def test_redeemable__since_a_charge_of_something(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    pay(ledger, channel, amount=0, time=1_000)
    pay(ledger, channel, amount=5, time=1_010)
    assert redeemable(ledger) == {channel: 1_010}


def test_redeemable__since_two_charges_in_one_commit(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    state = reserved(ledger, channel)
    first = next_charge(channel, state, time=1_000)
    later = {"charges": 1, "charged": 7, "ceiling": 17, "time": 1_001, "request_id": "b"}
    assert ledger.commit([first, msgspec.structs.replace(first, **later)]) == [True, True]
    assert redeemable(ledger) == {channel: 1_000}


# ---------------------------------------------------------------- lists


def test_channels__of_a_payer_withdrawing_in_pages(ledger: Ledger) -> None:
    other = dataclasses.replace(CONFIG, payer="0x" + "66" * 20)
    numbers = sorted(range(8), key=channel_id)
    for place, number in enumerate(numbers):
        asked_at = 5 if place in (1, 2, 5) else 0
        said = msgspec.structs.replace(MIRROR, withdraw_requested_at=asked_at)
        ledger.mirror(channel_id(number), other if place % 2 else CONFIG, said)

    def listed(**asked: Any) -> list[int]:
        found = ledger.channels(**asked)
        assert found == [ledger.channel(each.channel_id) for each in found]
        return [numbers.index(int.from_bytes(each.channel_id[8:], "big")) for each in found]

    assert listed() == list(range(8))
    assert listed(limit=3) == [0, 1, 2]
    assert listed(after=channel_id(numbers[5])) == [6, 7]
    assert listed(payer=other.payer, limit=2) == [1, 3]
    assert listed(withdrawing=True) == [1, 2, 5]
    assert listed(withdrawing=True, payer=other.payer) == [1, 5]
    assert listed(withdrawing=True, after=channel_id(numbers[1]), limit=1) == [2]
    assert listed(payer="0x" + "77" * 20) == []


def test_charges__filtered_newest_first_in_pages(ledger: Ledger) -> None:
    first, second = known(ledger, 1), known(ledger, 2)
    for place in range(12):
        route = "a" if place % 3 else "b"
        pay(ledger, second if place % 2 else first, time=1_000 + place, route=route)
    ids = [charge.id for charge in ledger.charges()]

    def listed(**asked: Any) -> list[int]:
        return [ids.index(charge.id) for charge in ledger.charges(**asked)]

    assert listed(newest_first=True, limit=3) == [11, 10, 9]
    assert listed(newest_first=True, after=ids[9], limit=3) == [8, 7, 6]
    assert listed(since=1_003, until=1_006) == [3, 4, 5]
    assert listed(route="b") == [0, 3, 6, 9]
    assert listed(route="b", since=1_003, newest_first=True, after=ids[9]) == [6, 3]
    of_first = {"channel_id": first, "newest_first": True}
    assert listed(**of_first) == [10, 8, 6, 4, 2, 0]
    assert listed(**of_first, limit=2) == [10, 8]
    assert listed(**of_first, limit=2, after=ids[8]) == [6, 4]
    assert listed(**of_first, after=ids[0]) == []
    assert listed(**of_first, route="b", limit=1) == [6]
    assert listed(**of_first, until=1_006, limit=2) == [4, 2]
    # One that is not this channel's ends nowhere.
    assert listed(**of_first, after=ids[9]) == []
    assert listed(channel_id=first, since=1_003, limit=2) == [4, 6]
    assert listed(channel_id=first, route="a", after=ids[2]) == [4, 8, 10]
