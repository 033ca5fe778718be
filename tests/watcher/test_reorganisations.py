"""Whatever was undone, the ledger has every channel as the chain has it when it is read afresh."""

import random

import pytest

from farthing.chain.watcher import Rewound
from tests.escrow_world import PAYER, SECOND_PAYER
from tests.follower_kit import CONFIRMATIONS, Shop, catch_up

HISTORY = ("deposit", "top up", "withdraw", "redeem", "refund", "finalize", "claim")


def happen(shop: Shop, what: str) -> None:
    """One block, with two channels' part of the history."""
    match what:
        case "deposit":
            shop.deposit(PAYER)
        case "top up":
            shop.deposit(PAYER, 7)
        case "withdraw":
            shop.withdraw(PAYER)
        case "redeem":
            shop.redeem(PAYER, SECOND_PAYER)
        case "refund":
            shop.refund(SECOND_PAYER)
        case "finalize":
            shop.finalize(PAYER)
        case "claim":
            shop.claim(PAYER, SECOND_PAYER)


@pytest.mark.parametrize("last", HISTORY)
@pytest.mark.parametrize("depth", range(1, CONFIRMATIONS + 1))
def test_step__after_a_reorganisation_of_every_depth(shop: Shop, depth: int, last: str) -> None:
    follower = shop.follower()
    catch_up(follower)
    shop.deposit(SECOND_PAYER)
    shop.mine(CONFIRMATIONS)
    for what in HISTORY[: HISTORY.index(last) + 1]:
        happen(shop, what)
        assert follower.step().differences == []
    shop.compare()
    before = shop.mirrors()

    shop.reorganise(depth)
    step = follower.step()
    shop.compare()
    assert shop.mirrors() != before
    assert step.rewound is None
    # So nothing was found only by looking at every channel.
    assert step.differences == []
    # And the chain goes on from there.
    shop.deposit(PAYER, 3)
    assert follower.step().differences == []
    shop.mine(CONFIRMATIONS + 1)
    assert follower.step().differences == []
    shop.compare()


def test_step__after_a_reorganisation_below_what_was_final(shop: Shop) -> None:
    follower = shop.follower()
    catch_up(follower)
    shop.deposit(PAYER)
    shop.deposit(SECOND_PAYER)
    shop.mine(CONFIRMATIONS)
    follower.step()
    final = shop.world.w3.eth.block_number - CONFIRMATIONS
    gone = shop.mirrors()

    shop.reorganise(CONFIRMATIONS + 1)
    step = follower.step()
    # To where the step before it had ended.
    assert step.rewound == Rewound(final, final - CONFIRMATIONS - 2)
    assert {each.balance for each in gone.values()} == {1_000}
    catch_up(follower)
    shop.compare()
    assert {each.balance for each in shop.mirrors().values()} == {0, 1_000}

    shop.deposit(PAYER, 3)
    assert follower.step().rewound is None
    shop.compare()


def test_step__after_a_reorganisation_below_all_that_was_read(shop: Shop) -> None:
    shop.deposit(PAYER)
    shop.mine(CONFIRMATIONS)
    follower = shop.follower()
    follower.step()
    shop.deposit(SECOND_PAYER)
    follower.step()
    assert len(shop.mirrors()) == 1
    # With the block in which everything began.
    shop.reorganise(CONFIRMATIONS + 2)
    step = follower.step()
    assert step.rewound is not None
    assert step.rewound.back_to == shop.world.w3.eth.block_number - CONFIRMATIONS
    catch_up(follower)
    shop.compare()


@pytest.mark.parametrize("depth", range(1, CONFIRMATIONS + 2))
def test_step__after_a_reorganisation_while_it_was_stopped(shop: Shop, depth: int) -> None:
    catch_up(shop.follower())
    shop.deposit(PAYER)
    shop.deposit(SECOND_PAYER)
    shop.withdraw(PAYER)
    shop.mine(CONFIRMATIONS - 2)
    shop.follower().step()
    assert len(shop.mirrors()) == 2
    shop.reorganise(depth)

    again = shop.follower()
    step = catch_up(again)
    shop.compare()
    assert step.withdrawals == []


def test_step__restarted_in_the_middle_of_a_history(shop: Shop) -> None:
    """Every step by another process, each with the cursor that the one before has left."""
    start_block = shop.world.w3.eth.block_number
    shop.deposit(PAYER)
    shop.deposit(SECOND_PAYER)
    for what in ("withdraw", "redeem", "refund"):
        happen(shop, what)
    shop.mine(CONFIRMATIONS)
    steps = []
    while not steps or steps[-1].behind:
        # A block at a time, with one range of one block in each step.
        follower = shop.follower(start_block=start_block, range_blocks=1, most_ranges=1)
        steps.append(follower.step())
    assert [step.behind for step in steps] == list(range(len(steps) - 1, -1, -1))
    assert len(steps) > 5
    catch_up(follower)
    shop.compare()


@pytest.mark.parametrize("seed", range(6))
def test_step__anything_in_any_order(shop: Shop, seed: int) -> None:
    chance = random.Random(seed)
    follower = shop.follower()
    catch_up(follower)
    shop.deposit(PAYER)
    shop.deposit(SECOND_PAYER)
    for _ in range(40):
        match chance.choice(["happen"] * 4 + ["mine", "reorganise", "restart"]):
            case "happen":
                _try(shop, chance)
            case "mine":
                shop.mine(chance.randrange(1, 2 * CONFIRMATIONS))
            case "reorganise":
                shop.reorganise(chance.randrange(1, CONFIRMATIONS + 1))
            case "restart":
                # What was undone meanwhile is found by looking at every channel.
                follower = shop.follower()
                catch_up(follower)
                shop.compare()
        if chance.random() < 0.6:
            assert follower.step().differences == []
            shop.compare()
    assert follower.step().differences == []
    shop.compare()


def _try(shop: Shop, chance: random.Random) -> None:
    """Something that is possible now: what was undone may have been needed for it."""
    payer = chance.choice([PAYER, SECOND_PAYER])
    channel_id = shop.world.channel_id(shop.config(payer))
    found = shop.world.settlement.snapshot(channel_id)
    room = found.balance - found.total_claimed
    if found.withdraw_requested_at and chance.random() < 0.5:
        shop.finalize(payer)
    elif room < 200 or chance.random() < 0.3:
        shop.deposit(payer)
    elif not found.withdraw_requested_at and chance.random() < 0.5:
        shop.withdraw(payer)
    elif chance.random() < 0.5:
        shop.refund(payer)
    else:
        chance.choice([shop.redeem, shop.claim])(payer)
