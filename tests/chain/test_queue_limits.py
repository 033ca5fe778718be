"""A transaction that may cost so much and no more waits, and holds up nothing without a limit."""

from __future__ import annotations

from farthing.chain.fees import GWEI, FeePolicy
from tests.chain.queue_stage import FEES, Stage

LATE = FEES.replace_after


def stuck(stage: Stage) -> int:
    """A transaction with a limit of 3 gwei, signed, when the base fee has jumped to 20."""
    order = stage.submit(fee_limit=3 * GWEI)
    stage.queue.step()
    stage.base_fee(20 * GWEI)
    stage.base_fee(20 * GWEI)
    stage.mine(seconds=LATE)
    stage.queue.step()
    return order


def test_step__offers_no_more_than_the_limit(stage: Stage) -> None:
    stage.base_fee(2 * GWEI)
    order = stage.submit(fee_limit=3 * GWEI)
    stage.queue.step()
    assert [each.max_fee for each in stage.ledger.attempts(order)] == [3 * GWEI]


def test_step__a_limit_above_the_cap__the_cap_counts(stage: Stage) -> None:
    stage.base_fee(2 * GWEI)
    order = stage.submit(fee_limit=300 * GWEI)
    stage.new_queue(fees=FeePolicy(cap=4 * GWEI)).step()
    assert [each.max_fee for each in stage.ledger.attempts(order)] == [4 * GWEI]


def test_step__queued_above_its_limit__waits_and_lets_others_pass(stage: Stage) -> None:
    stage.base_fee(20 * GWEI)
    waiting, passing = stage.submit(fee_limit=3 * GWEI), stage.submit()
    stage.queue.step()
    assert stage.states(waiting, passing) == ["queued", "signed"]
    assert stage.nonces(passing) == [0]
    assert stage.found(waiting).reason.startswith("above 3 gwei for a gas it would cost too much")
    stage.mine()
    stage.base_fee(2 * GWEI)
    stage.queue.step()
    stage.mine()
    stage.queue.step()
    assert stage.states(waiting, passing) == ["mined", "mined"]
    assert (stage.nonces(waiting), stage.found(waiting).reason) == ([1], "")


def test_step__signed_above_its_limit__is_not_offered_dearer(stage: Stage) -> None:
    order = stuck(stage)
    assert len(stage.hashes(order)) == 1
    assert "it waits for cheaper gas" in stage.found(order).reason
    stage.base_fee(GWEI)
    stage.queue.step()
    stage.mine()
    stage.queue.step()
    assert (stage.states(order), stage.found(order).reason) == (["mined"], "")
    assert stage.found(order).fee <= 3 * GWEI * stage.found(order).gas_used


def test_step__something_without_a_limit_behind__does_not_wait(stage: Stage) -> None:
    order = stuck(stage)
    behind = stage.submit()
    stage.queue.step()
    assert len(stage.hashes(order)) == 2
    stage.mine()
    stage.queue.step()
    assert stage.states(order, behind) == ["mined", "mined"]
    assert (stage.nonces(order), stage.nonces(behind)) == ([0], [1])


def test_step__something_with_a_limit_behind__waits_with_it(stage: Stage) -> None:
    order = stuck(stage)
    behind = stage.submit(fee_limit=4 * GWEI)
    stage.mine(seconds=LATE)
    stage.queue.step()
    assert len(stage.hashes(order)) == 1
    assert stage.states(order, behind) == ["signed", "queued"]


def test_step__something_without_a_limit_before__has_its_own_price(stage: Stage) -> None:
    first, second = stage.submit(), stage.submit(fee_limit=3 * GWEI)
    stage.queue.step()
    stage.base_fee(20 * GWEI)
    stage.base_fee(20 * GWEI)
    stage.mine(seconds=LATE)
    stage.queue.step()
    assert (len(stage.hashes(first)), len(stage.hashes(second))) == (2, 1)
