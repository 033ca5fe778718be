"""A queue when the chain gets rough: dropped, stuck, replaced, undone, and a key used by others."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from farthing.chain.fees import FeePolicy
from farthing.chain.queue_step import GAP
from tests.chain.queue_stage import CONFIRMATIONS, FEES, GWEI, Stage
from tests.chain.test_queue import moves

LATE = FEES.replace_after


def sent(stage: Stage, number: int | None = None) -> int:
    """A payment that is in the node's pool."""
    order = stage.submit(number)
    stage.queue.step()
    assert stage.states(order) == ["signed"]
    return order


def settle(stage: Stage) -> None:
    """Lets blocks come until everything has its end."""
    for _ in range(4):
        stage.mine(CONFIRMATIONS)
        stage.queue.step()
        assert stage.queue.problem == ""
    live = stage.ledger.transactions(states=("queued", "signed", "mined"))
    assert live == []


# ---------------------------------------------------------------- dropped and stuck


def test_step__dropped_by_the_node__the_same_bytes_sent_again(stage: Stage) -> None:
    order = sent(stage)
    stage.drop(stage.hashes(order)[0])
    assert stage.pool() == set()
    stage.mine()
    stage.queue.step()
    assert stage.pool() == set(stage.hashes(order))
    assert len(stage.hashes(order)) == 1
    settle(stage)
    assert (stage.paid(0), stage.count()) == (1, 1)


def test_step__by_a_process_that_was_just_started__sent_at_once(stage: Stage) -> None:
    order = sent(stage)
    stage.drop_all()
    stage.new_queue().step()
    assert stage.pool() == set(stage.hashes(order))


def test_step__the_head_has_not_moved__not_sent_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(stage)
    monkeypatch.delattr(type(stage.w3.eth), "send_raw_transaction")
    stage.queue.step()
    assert stage.queue.problem == ""


def test_step__a_base_fee_that_jumps__replaced_when_it_has_waited(stage: Stage) -> None:
    order = sent(stage)
    (first,) = stage.ledger.attempts(order)
    stage.base_fee(20 * GWEI)
    assert first.max_fee < 20 * GWEI
    stage.queue.step()
    assert stage.hashes(order) == [first.hash]
    stage.mine(seconds=LATE)
    stage.queue.step()
    first, second = stage.ledger.attempts(order)
    assert second.nonce == first.nonce == 0
    head = stage.w3.eth.get_block("latest")
    assert second.max_fee == 2 * head["baseFeePerGas"] + GWEI
    assert second.tip * 8 >= first.tip * 9
    assert stage.pool() == {second.hash}
    settle(stage)
    assert stage.states(order) == ["final"]
    assert (stage.paid(0), stage.count()) == (1, 1)


def test_step__stuck_again_and_again__replaced_up_to_the_cap(stage: Stage) -> None:
    queue = stage.new_queue(fees=FeePolicy(cap=5 * GWEI, replace_after=LATE))
    order = stage.submit()
    queue.step()
    for _ in range(30):
        stage.drop_all()
        stage.base_fee(GWEI)
        stage.mine(seconds=LATE)
        queue.step()
    fees = [(each.max_fee, each.tip) for each in stage.ledger.attempts(order)]
    assert len(fees) > 3
    for (max_fee, tip), (next_max_fee, next_tip) in pairwise(fees):
        assert next_max_fee * 8 >= max_fee * 9 and next_tip * 8 >= tip * 9
    assert fees[-1][0] <= 5 * GWEI < fees[-1][0] * 9 // 8
    assert stage.nonces(order) == [0]
    assert "raise the cap" in stage.found(order).reason
    # What was signed is still offered.
    stage.base_fee(GWEI)
    queue.step()
    stage.mine()
    queue.step()
    assert (stage.states(order), stage.found(order).reason) == (["mined"], "")


def test_step__a_base_fee_that_jumps_above_the_cap__waits_until_it_falls(stage: Stage) -> None:
    queue = stage.new_queue(fees=FeePolicy(cap=10 * GWEI, replace_after=LATE))
    order = stage.submit()
    queue.step()
    stage.base_fee(50 * GWEI)
    stage.base_fee(50 * GWEI)
    stage.mine(seconds=LATE)
    queue.step()
    assert len(stage.hashes(order)) == 1
    assert "raise the cap" in stage.found(order).reason
    stage.base_fee(2 * GWEI)
    stage.base_fee(2 * GWEI)
    queue.step()
    stage.base_fee(2 * GWEI)
    queue.step()
    assert stage.states(order) == ["mined"]


def test_step__no_coins_for_more__the_old_one_is_kept(stage: Stage) -> None:
    order = sent(stage)
    (attempt,) = stage.ledger.attempts(order)
    stage.set_coins(stage.found(order).gas * attempt.max_fee)
    stage.drop_all()
    stage.mine(seconds=LATE)
    stage.queue.step()
    assert stage.hashes(order) == [attempt.hash]
    assert "send it coins" in stage.found(order).reason
    assert stage.pool() == {attempt.hash}


def test_step__those_behind__not_replaced_with_the_first(stage: Stage) -> None:
    one, two = stage.submit(), stage.submit()
    stage.queue.step()
    stage.drop_all()
    stage.mine(seconds=LATE)
    stage.queue.step()
    assert [len(stage.hashes(each)) for each in (one, two)] == [2, 1]
    settle(stage)
    assert (stage.paid(0), stage.paid(1), stage.count()) == (1, 1, 2)


def test_step__the_clock_goes_backwards__nothing_waits_for_it(stage: Stage) -> None:
    queue = stage.new_queue(clock=lambda: 1)
    order = stage.submit()
    queue.step()
    stage.drop_all()
    stage.mine(seconds=LATE)
    queue.step()
    assert len(stage.hashes(order)) == 2
    stage.mine()
    queue.step()
    stage.mine(CONFIRMATIONS)
    queue.step()
    assert stage.states(order) == ["final"]


def test_step__replaced_and_the_old_one_is_mined__known_all_the_same(stage: Stage) -> None:
    order = sent(stage)
    (old,) = stage.ledger.attempts(order)
    stage.drop_all()
    stage.mine(seconds=LATE)
    stage.queue.step()
    assert len(stage.hashes(order)) == 2
    stage.drop_all()
    stage.send(old.raw)
    stage.mine()
    stage.queue.step()
    receipt = stage.queue.receipt(order)
    assert receipt is not None and bytes(receipt["transactionHash"]) == old.hash
    settle(stage)
    assert (stage.states(order), stage.paid(0), stage.count()) == (["final"], 1, 1)


# ---------------------------------------------------------------- reorganisations


@pytest.mark.parametrize("depth", range(1, CONFIRMATIONS + 1))
def test_step__undone_at_any_depth__sent_again_and_final_once(stage: Stage, depth: int) -> None:
    orders = []
    for _ in range(CONFIRMATIONS):
        orders.append(sent(stage))
        stage.mine()
        stage.queue.step()
    stage.reorganise(depth)
    stage.queue.step()
    undone = orders[len(orders) - depth :]
    assert stage.states(*orders) == ["mined"] * (len(orders) - depth) + ["signed"] * depth
    assert stage.pool() == {each for order in undone for each in stage.hashes(order)}
    assert stage.count() == len(orders) - depth
    settle(stage)
    assert stage.states(*orders) == ["final"] * len(orders)
    assert [stage.nonces(order) for order in orders] == [[0], [1], [2]]
    assert [stage.paid(number) for number in range(3)] == [1, 1, 1]
    assert stage.count() == 3


def test_step__moved_to_another_block__followed_there(stage: Stage) -> None:
    order = sent(stage)
    (attempt,) = stage.ledger.attempts(order)
    stage.mine(2)
    stage.queue.step()
    before = stage.found(order)
    stage.reorganise(2, [], [attempt.raw])
    assert stage.queue.step() == []
    after = stage.found(order)
    assert (after.state, after.block) == ("mined", before.block + 1)
    assert after.block_hash != before.block_hash
    stage.mine(CONFIRMATIONS)
    stage.queue.step()
    assert stage.states(order) == ["final"]


def test_step__an_older_attempt_comes_back__known_all_the_same(stage: Stage) -> None:
    order = sent(stage)
    stage.drop_all()
    stage.mine(seconds=LATE)
    stage.queue.step()
    old, new = stage.ledger.attempts(order)
    stage.mine()
    stage.queue.step()
    assert stage.queue.receipt(order)["transactionHash"] == new.hash  # type: ignore[index]
    stage.reorganise(1, [old.raw])
    assert stage.queue.step() == []
    assert stage.queue.receipt(order)["transactionHash"] == old.hash  # type: ignore[index]
    settle(stage)
    assert (stage.states(order), stage.paid(0), stage.count()) == (["final"], 1, 1)


def test_step__deeper_than_final__taken_up_again_when_there_is_work(stage: Stage) -> None:
    one, two = stage.submit(), stage.submit()
    stage.queue.step()
    stage.mine()
    settle(stage)
    assert stage.states(one, two) == ["final", "final"]
    stage.reorganise(4 * CONFIRMATIONS + 1)
    assert stage.count() == 0
    three = stage.submit()
    assert moves(stage.queue.step()) == [
        (two, "final", "signed"),
        (one, "final", "signed"),
        (three, "queued", "signed"),
    ]
    settle(stage)
    assert stage.states(one, two, three) == ["final"] * 3
    assert [stage.nonces(each) for each in (one, two, three)] == [[0], [1], [2]]
    assert [stage.paid(number) for number in range(3)] == [1, 1, 1]


def test_step__a_failure_undone__its_nonce_goes_to_the_next(stage: Stage) -> None:
    stage.submit(amount=999_999)
    failing = stage.submit(amount=999_999)
    stage.queue.step()
    stage.mine()
    settle(stage)
    assert stage.states(failing) == ["failed"]
    stage.reorganise(4 * CONFIRMATIONS + 1)
    other = stage.submit(5)
    stage.queue.step()
    settle(stage)
    assert stage.states(failing, other) == ["failed", "final"]
    assert stage.nonces(other) == [1]


# ---------------------------------------------------------------- others with the key


def test_step__anothers_transaction_with_the_nonce__a_new_one_once_that_is_final(
    stage: Stage,
) -> None:
    order = sent(stage)
    stage.drop_all()
    stage.send(stage.foreign(0))
    stage.mine()
    for _ in range(CONFIRMATIONS):
        assert stage.queue.step() == []
        assert (stage.states(order), stage.nonces(order)) == (["signed"], [0])
        stage.mine()
    assert moves(stage.queue.step()) == [(order, "signed", "queued"), (order, "queued", "signed")]
    assert stage.nonces(order) == [0, 1]
    settle(stage)
    assert (stage.states(order), stage.paid(0), stage.count()) == (["final"], 1, 2)


def test_step__anothers_transaction_undone__the_nonce_is_kept(stage: Stage) -> None:
    order = sent(stage)
    stage.drop_all()
    stage.send(stage.foreign(0))
    stage.mine(2)
    stage.queue.step()
    stage.reorganise(2)
    stage.queue.step()
    assert stage.pool() == set(stage.hashes(order))
    settle(stage)
    assert (stage.nonces(order), stage.paid(0), stage.count()) == ([0], 1, 1)


def test_step__others_have_sent_before__counted_from_the_chain(stage: Stage) -> None:
    for nonce in range(3):
        stage.send(stage.foreign(nonce))
    stage.mine()
    order = sent(stage)
    assert stage.nonces(order) == [3]


def test_step__others_took_many__found_in_blocks_long_ago(stage: Stage) -> None:
    order = sent(stage)
    stage.drop_all()
    stage.send(stage.foreign(0))
    stage.mine(50)
    stage.send(stage.foreign(1))
    stage.mine(50)
    reasons: list[str] = []
    tell = stage.queue._journal.move_transaction

    def told(*arguments: Any, **values: Any) -> None:
        reasons.append(values.get("reason", ""))
        tell(*arguments, **values)

    stage.queue._journal.move_transaction = told  # type: ignore[method-assign]
    stage.queue.step()
    used = stage.w3.keccak(stage.foreign(0)).hex()
    assert f"nonce 0 was used by transaction 0x{used} of this key: it gets a new one." in reasons
    assert stage.nonces(order) == [0, 2]


def test_step__anothers_pending_with_the_nonce__one_of_them_wins(stage: Stage) -> None:
    stage.send(stage.foreign(0, max_fee=40 * GWEI))
    order = stage.submit()
    stage.queue.step()
    assert stage.nonces(order) == [0]
    assert "underpriced" in stage.found(order).reason
    settle(stage)
    assert stage.nonces(order) == [0, 1]
    assert (stage.states(order), stage.paid(0), stage.count()) == (["final"], 1, 2)


def test_step__a_gap_left_by_others__filled_by_the_next(stage: Stage) -> None:
    stage.send(stage.foreign(0))
    stage.mine()
    behind = sent(stage)
    assert stage.nonces(behind) == [1]
    stage.reorganise(1)
    next_one = stage.submit()
    stage.queue.step()
    assert stage.nonces(next_one) == [0]
    settle(stage)
    assert (stage.paid(0), stage.paid(1), stage.count()) == (1, 1, 2)


def test_step__a_gap_and_nothing_to_fill_it__filled_when_it_has_waited(stage: Stage) -> None:
    stage.send(stage.foreign(0))
    stage.mine()
    behind = sent(stage)
    stage.reorganise(1)
    stage.queue.step()
    assert len(stage.ledger.transactions()) == 1
    stage.mine(seconds=2 * LATE)
    stage.queue.step()
    stage.queue.step()
    (gap,) = [each for each in stage.ledger.transactions() if each.kind == GAP]
    assert (gap.nonce, gap.to) == (0, stage.account.address)
    settle(stage)
    assert len(stage.ledger.transactions()) == 2
    assert (stage.states(behind), stage.paid(0), stage.count()) == (["final"], 1, 2)
