"""What a follower writes down and tells, on a node that does as it should."""

import json
from itertools import pairwise

import pytest

from farthing.chain.cursor import Cursor, Point
from farthing.chain.lens import MAX_CHANNELS
from farthing.chain.logs import ID_PREFIX
from farthing.chain.watcher import Payee
from farthing.ledger import Mirror
from farthing.protocol import InvalidField
from farthing.redeemer.follower import Withdrawal
from tests.escrow_world import AUTHORIZER, DELAY, PAYER, RECEIVER, SECOND_PAYER, STRANGER
from tests.follower_kit import CONFIRMATIONS, Shop, catch_up
from tests.ledger.ledger_samples import LEASE, order_refund


def test_step__a_channel_that_a_payer_opened_by_itself(shop: Shop) -> None:
    follower = shop.follower()
    catch_up(follower)
    channel_id = shop.deposit(PAYER, 900)
    step = follower.step()
    assert step.events == {"ChannelCreated": 1, "Deposited": 1}
    assert step.written == 1
    assert step.head == shop.world.w3.eth.block_number
    (channel,) = shop.ledger.channels()
    assert channel.channel_id == channel_id
    assert channel.config == shop.config(PAYER)
    assert channel.state.mirror == Mirror(900, 0, 0, 0, 0, step.asked_at, step.head)
    shop.compare()


def test_step__every_kind_of_event(shop: Shop) -> None:
    follower = shop.follower()
    catch_up(follower)
    shop.deposit(PAYER)
    shop.deposit(SECOND_PAYER)
    follower.step()
    shop.redeem(PAYER, SECOND_PAYER)
    shop.withdraw(PAYER)
    shop.refund(SECOND_PAYER)
    shop.claim(PAYER, SECOND_PAYER)
    sender = shop.world.sender(STRANGER)
    shop.world.settlement.settle(sender, RECEIVER.address, shop.world.token.address)
    shop.finalize(PAYER)
    step = follower.step()
    assert step.events == {
        "Redeemed": 1,
        "WithdrawInitiated": 1,
        "Refunded": 1,
        "Claimed": 2,
        "Settled": 1,
        "WithdrawFinalized": 1,
    }
    assert step.differences == []
    shop.compare()
    # Once more as they become final, and then they are no news.
    shop.mine(CONFIRMATIONS + 1)
    step = follower.step()
    assert (step.events, step.written) == ({}, 0)


def test_step__a_channel_that_was_emptied_and_opened_again(shop: Shop) -> None:
    follower = shop.follower()
    catch_up(follower)
    shop.deposit(PAYER, 100)
    shop.refund(PAYER, 100)
    assert follower.step().events["ChannelClosed"] == 1
    shop.compare()
    shop.deposit(PAYER, 60)
    follower.step()
    shop.compare()


def test_step__blocks_without_events(shop: Shop) -> None:
    follower = shop.follower()
    catch_up(follower)
    shop.mine(3 * CONFIRMATIONS)
    step = follower.step()
    assert (step.events, step.written, step.behind) == ({}, 0, 0)
    assert shop.ledger.channels() == []


def test_step__channels_of_other_publishers(shop: Shop) -> None:
    follower = shop.follower()
    catch_up(follower)
    world = shop.fresh()
    for changes in (
        {"receiver": STRANGER.address},
        {"receiver_authorizer": STRANGER.address},
    ):
        config = world.config(**changes)
        data = world.consent(PAYER, config, 100)
        collector = world.deployment.erc3009_collector
        world.settlement.deposit(world.operator, config, 100, collector, data)
    step = follower.step()
    assert step.events == {"ChannelCreated": 2, "Deposited": 2}
    assert shop.ledger.channels() == []


def test_step__a_withdrawal_lowers_what_may_be_spent_and_has_a_deadline(shop: Shop) -> None:
    follower = shop.follower()
    catch_up(follower)
    channel_id = shop.deposit(PAYER, 1_000)
    follower.step()
    shop.withdraw(PAYER, 950)
    asked_at = shop.world.now()
    step = follower.step()
    assert step.withdrawals == [Withdrawal(channel_id, 950, asked_at + DELAY)]
    mirror = shop.mirrors()[channel_id]
    assert (mirror.withdraw_amount, mirror.withdraw_requested_at) == (950, asked_at)
    assert [each.channel_id for each in shop.ledger.channels(withdrawing=True)] == [channel_id]
    # Told once.
    shop.mine()
    assert follower.step().withdrawals == []


def test_step__more_claimed_than_charged(shop: Shop) -> None:
    follower = shop.follower()
    catch_up(follower)
    channel_id = shop.deposit(PAYER)
    follower.step()
    row = shop.world.row(PAYER, shop.config(PAYER), 70)
    shop.world.settlement.claim(shop.world.sender(RECEIVER), [row])
    (found,) = follower.step().differences
    assert found.channel_id == channel_id
    assert found.problem.startswith("70 is claimed on chain and 0 was charged")


@pytest.mark.parametrize("how", ["redeem", "claim"])
def test_step__claims_by_somebody_else(shop: Shop, how: str) -> None:
    follower = shop.follower(own=[AUTHORIZER.address])
    catch_up(follower)
    channel_ids = sorted([shop.deposit(PAYER), shop.deposit(SECOND_PAYER)])
    follower.step()
    if how == "redeem":
        shop.redeem(PAYER, SECOND_PAYER)
    else:
        shop.claim(PAYER, SECOND_PAYER)
    (found,) = follower.step().differences
    assert found.channel_id == channel_ids[0]
    assert f"of {RECEIVER.address.lower()} claimed for 2 channels" in found.problem
    shop.mine(CONFIRMATIONS)
    assert follower.step().differences == []


def test_step__a_refund_that_is_on_its_way_is_no_difference(shop: Shop) -> None:
    follower = shop.follower()
    catch_up(follower)
    channel_id = shop.deposit(PAYER, 1_000)
    follower.step()
    order_refund(shop.ledger, channel_id, 0, 300)
    shop.mine()
    step = follower.step()
    assert (step.written, step.differences) == (0, [])
    assert shop.mirrors()[channel_id].withdraw_amount == 300
    shop.refund(PAYER, 300)
    follower.step()
    shop.compare()


def test_step__a_refund_that_will_not_come_is_spendable_again(shop: Shop) -> None:
    follower = shop.follower()
    catch_up(follower)
    channel_id = shop.deposit(PAYER, 1_000)
    follower.step()
    number = order_refund(shop.ledger, channel_id, 0, 300)
    assert shop.ledger.take_lease(LEASE, 60)
    shop.ledger.move_transaction(number, LEASE, "refused", time=70)
    assert shop.mirrors()[channel_id].withdraw_amount == 300
    step = follower.step()
    assert (step.written, step.differences) == (1, [])
    shop.compare()


def test_step__a_mirror_that_nobody_told_of(shop: Shop) -> None:
    """Somebody wrote what is not so. It is put right, and told."""
    channel_id = shop.deposit(PAYER, 1_000)
    follower = shop.follower(start_block=1)
    catch_up(follower)
    wrong = Mirror(2_000, 0, 0, 0, 0, synced_at=int((shop.now + 1_000) * 1_000))
    shop.ledger.mirror(channel_id, shop.config(PAYER), wrong)
    # It may be of a block that this node has not seen, so it is put right and not told.
    step = follower.step()
    assert (step.written, step.differences) == (1, [])
    shop.compare()

    shop.ledger.mirror(channel_id, shop.config(PAYER), wrong)
    (found,) = follower.step().differences
    assert found.channel_id == channel_id
    assert found.problem.startswith("the chain has balance 1000, claimed 0, withdrawal 0 where")
    shop.compare()


def test_step__old_mirrors_of_before_the_first_start(shop: Shop) -> None:
    """Without a cursor nobody can tell how old they are: they are brought up to date, no more."""
    channel_id = shop.deposit(PAYER, 1_000)
    shop.mine(2 * CONFIRMATIONS)
    shop.ledger.mirror(channel_id, shop.config(PAYER), Mirror(400, 0, 0, 0, 0, synced_at=1))
    step = shop.follower().step()
    assert (step.written, step.differences, step.caught_up) == (1, [], True)
    shop.compare()


def test_step__more_channels_than_are_looked_at_in_a_step(shop: Shop) -> None:
    for number in range(2 * MAX_CHANNELS + 1):
        config = shop.world.config(salt=number.to_bytes(32, "big"))
        mirror = Mirror(5, 0, 0, 0, 0, synced_at=1)
        shop.ledger.mirror(shop.world.channel_id(config), config, mirror)
    follower = shop.follower()
    step = follower.step()
    assert (step.written, step.caught_up) == (2 * MAX_CHANNELS + 1, True)
    assert {mirror.balance for mirror in shop.mirrors().values()} == {0}
    # From now on a page at a time.
    last = shop.ledger.channels(after=b"", limit=2 * MAX_CHANNELS + 1)[-1]
    shop.ledger.mirror(last.channel_id, last.config, Mirror(9, 0, 0, 0, 0, int(shop.now * 1_000)))
    assert [follower.step().written for _ in range(3)] == [0, 0, 1]


@pytest.mark.parametrize("is_ours", [True, False])
def test_step__events_of_channels_with_nearly_one_id(shop: Shop, is_ours: bool) -> None:
    """A redemption names the start of an id. The ledger's neighbours of it are not touched."""
    channel_id = shop.deposit(PAYER)
    start_block = shop.world.w3.eth.block_number if is_ours else None
    shop.mine(CONFIRMATIONS)
    follower = shop.follower(start_block=start_block)
    catch_up(follower)
    start = int.from_bytes(channel_id[:ID_PREFIX], "big")
    for near in (start - 1, start + 1):
        other = near.to_bytes(ID_PREFIX, "big") + channel_id[ID_PREFIX:]
        shop.ledger.mirror(other, shop.config(SECOND_PAYER), Mirror(0, 0, 0, 0, 0, synced_at=1))
    shop.redeem(PAYER)
    assert follower.step().written == is_ours
    assert [mirror.total_claimed for mirror in shop.mirrors().values()] == (
        [0, 10, 0] if is_ours else [0, 0]
    )


# ------------------------------------------------------------ where it starts


def test_step__from_the_start_block(shop: Shop) -> None:
    start_block = shop.world.w3.eth.block_number + 1
    shop.deposit(PAYER)
    shop.mine(3 * CONFIRMATIONS)
    shop.deposit(SECOND_PAYER)
    catch_up(shop.follower(start_block=start_block))
    assert len(shop.mirrors()) == 2
    shop.compare()


@pytest.mark.parametrize("start_block", [0, 10**9])
def test_step__from_a_start_block_at_the_end_of_the_world(shop: Shop, start_block: int) -> None:
    shop.deposit(PAYER)
    catch_up(shop.follower(start_block=start_block))
    shop.compare()


def test_step__without_confirmations(shop: Shop) -> None:
    follower = shop.follower(confirmations=0)
    catch_up(follower)
    shop.deposit(PAYER)
    follower.step()
    shop.compare()
    shop.reorganise(1)
    assert follower.step().rewound is not None
    shop.compare()


def test_step__remembers_how_far_it_came(shop: Shop) -> None:
    catch_up(shop.follower())
    settlement = shop.world.settlement
    name = f"cursor eip155:{settlement.domain.chain_id} {settlement.address}"
    text = shop.ledger.recall(name)
    assert text is not None
    final = shop.world.w3.eth.block_number - CONFIRMATIONS
    assert json.loads(text)[0] == [final, shop.world.w3.eth.get_block(final)["hash"].to_0x_hex()]
    shop.mine(3)
    shop.follower().step()
    text = shop.ledger.recall(name)
    assert text is not None
    assert [block for block, _ in json.loads(text)] == [final + 3, final]


# ------------------------------------------------------------ values


def test_cursor__keeps_blocks_ever_further_apart() -> None:
    cursor = Cursor(Point(1, "0x1"))
    for block in range(2, 10_000):
        cursor = cursor.moved(Point(block, hex(block)))
        distances = [cursor.at.block - point.block for point in cursor.earlier]
        assert distances[0] == 1
        assert distances[-1] == block - 1
        # However deep it went: not more than about twice as far back again.
        for near, far in pairwise(distances):
            assert near < far <= 2 * near + 1
    assert len(cursor.earlier) < 30
    assert Cursor.from_text(cursor.to_text()) == cursor


def test_payee__no_address() -> None:
    with pytest.raises(InvalidField):
        Payee("0x12", RECEIVER.address, RECEIVER.address)
