"""A queue whose node fails, is late, or is not the one it was: everything happens once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from farthing.chain.connection import WrongChain
from farthing.chain.queue import TransactionQueue
from tests.chain.queue_stage import CONFIRMATIONS, Stage
from tests.chain.test_queue import moves
from tests.faulty_node import OTHER_CHAIN, Fault, FaultyNode, faulty_node

# All that a step asks a node, and what a fault of it must not do is harm.
METHODS = [
    "eth_chainId",
    "eth_getBlockByNumber",
    "eth_getTransactionCount",
    "eth_getBalance",
    "eth_maxPriorityFeePerGas",
    "eth_call",
    "eth_sendRawTransaction",
    "eth_getTransactionReceipt",
]


@pytest.fixture
def node(stage: Stage) -> Iterator[FaultyNode]:
    with faulty_node(stage.url) as faulty:
        yield faulty


@pytest.fixture
def queue(stage: Stage, node: FaultyNode) -> TransactionQueue:
    """A queue that asks the faulty node."""
    return stage.new_queue("b", node.url)


def run_to_the_end(stage: Stage, queue: TransactionQueue) -> None:
    for _ in range(10):
        queue.step()
        stage.mine(CONFIRMATIONS)
    assert queue.problem == ""


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("method", METHODS)
def test_step__any_fault_of_any_answer__each_payment_once(
    stage: Stage, node: FaultyNode, queue: TransactionQueue, method: str, fault: Fault
) -> None:
    orders = [stage.submit() for _ in range(3)]
    for _ in range(6):
        # In the first answers of a step, and in those after.
        node.then(method, fault, fault)
        queue.step()
        stage.mine()
    assert node.faults[fault] > 0
    node.calm()
    run_to_the_end(stage, queue)
    assert stage.states(*orders) == ["final"] * 3
    # One that could not be looked at lets others go first.
    assert sorted(stage.nonces(order) for order in orders) == [[0], [1], [2]]
    assert [stage.paid(number) for number in range(3)] == [1, 1, 1]
    assert stage.count() == 3


@pytest.mark.parametrize("seed", range(4))
def test_step__faults_at_random__each_payment_once(
    stage: Stage, node: FaultyNode, queue: TransactionQueue, seed: int
) -> None:
    orders = []
    node.at_random(0.15, seed)
    for round_ in range(12):
        orders.append(stage.submit())
        queue.step()
        if round_ % 5 == 4:
            stage.reorganise(2)
        stage.mine()
    node.calm()
    run_to_the_end(stage, queue)
    assert stage.states(*orders) == ["final"] * 12
    assert [stage.paid(number) for number in range(12)] == [1] * 12
    assert [len(stage.nonces(order)) for order in orders] == [1] * 12
    assert stage.count() == 12


def test_step__no_answer_at_all__says_so_and_changes_nothing(
    stage: Stage, node: FaultyNode, queue: TransactionQueue
) -> None:
    order = stage.submit()
    node.always("*", Fault.REFUSE)
    assert queue.step() == []
    assert "limit exceeded" in queue.problem and "\n" not in queue.problem
    assert stage.found(order).state == "queued"
    node.calm()
    assert moves(queue.step()) == [(order, "queued", "signed")]
    assert queue.problem == ""


def test_step__accepted_and_the_answer_lost__known_and_sent_once(
    stage: Stage, node: FaultyNode, queue: TransactionQueue
) -> None:
    order = stage.submit()
    # The client asks five times before it gives up.
    node.then("eth_sendRawTransaction", *[Fault.LOSE] * 6)
    queue.step()
    assert queue.problem != ""
    assert stage.states(order) == ["signed"]
    assert stage.pool() == set(stage.hashes(order))
    node.calm()
    queue.step()
    assert (queue.problem, stage.found(order).reason) == ("", "")
    run_to_the_end(stage, queue)
    assert (stage.states(order), stage.paid(0), stage.count()) == (["final"], 1, 1)


def test_step__a_node_of_another_chain__nothing_done(
    stage: Stage, node: FaultyNode, queue: TransactionQueue
) -> None:
    order = stage.submit()
    node.always("*", Fault.OTHER_CHAIN)
    assert queue.step() == []
    chain_id = stage.w3.eth.chain_id
    assert queue.problem == str(WrongChain(chain_id, OTHER_CHAIN))
    assert stage.found(order).state == "queued"


def test_step__another_chain_in_the_middle__no_nonce_is_taken_for_used(
    stage: Stage, node: FaultyNode, queue: TransactionQueue
) -> None:
    order = stage.submit()
    queue.step()
    stage.drop_all()
    stage.mine(2 * CONFIRMATIONS)
    for method in METHODS[1:]:
        node.always(method, Fault.OTHER_CHAIN)
    for _ in range(3):
        queue.step()
    assert (stage.states(order), stage.nonces(order)) == (["signed"], [0])
    node.calm()
    run_to_the_end(stage, queue)
    assert (stage.nonces(order), stage.paid(0), stage.count()) == ([0], 1, 1)


@pytest.mark.parametrize("late_by", [1, 2, CONFIRMATIONS, 2 * CONFIRMATIONS])
def test_step__a_late_node__nothing_twice_and_nothing_undone(
    stage: Stage, node: FaultyNode, queue: TransactionQueue, late_by: int
) -> None:
    one = stage.submit()
    queue.step()
    stage.mine()
    queue.step()
    assert stage.states(one) == ["mined"]
    two = stage.submit()
    node.late_by = late_by
    for _ in range(2):
        assert {each.transaction.id for each in queue.step()} <= {two}
    assert stage.states(one) == ["mined"]
    node.late_by = 0
    run_to_the_end(stage, queue)
    assert stage.states(one, two) == ["final", "final"]
    assert [stage.nonces(one), stage.nonces(two)] == [[0], [1]]
    assert (stage.paid(0), stage.paid(1), stage.count()) == (1, 1, 2)


def test_step__a_late_node_after_the_end__no_nonce_is_given_again(
    stage: Stage, node: FaultyNode
) -> None:
    one = stage.submit()
    stage.queue.step()
    stage.mine(1 + CONFIRMATIONS)
    stage.queue.step()
    assert stage.states(one) == ["final"]
    two = stage.submit()
    node.late_by = 2 * CONFIRMATIONS
    # A process that was just started, and remembers nothing.
    queue = stage.new_queue("b", node.url)
    queue.step()
    assert stage.states(one) == ["final"]
    assert stage.nonces(two) == [1]


def test_step__receipts_that_never_come__not_taken_for_anothers(
    stage: Stage, node: FaultyNode, queue: TransactionQueue
) -> None:
    order = stage.submit()
    queue.step()
    stage.mine(3 * CONFIRMATIONS)
    node.always("eth_getTransactionReceipt", Fault.EMPTY)
    for _ in range(3):
        assert queue.step() == []
        stage.mine()
    assert (stage.states(order), stage.nonces(order)) == (["signed"], [0])
    node.calm()
    assert moves(queue.step()) == [(order, "signed", "mined"), (order, "mined", "final")]


def test_step__a_receipt_without_its_block__not_final(
    stage: Stage, node: FaultyNode, queue: TransactionQueue
) -> None:
    order = stage.submit()
    queue.step()
    stage.mine()
    queue.step()
    stage.reorganise(1)
    stage.mine(CONFIRMATIONS)
    # The node that keeps receipts has not heard of the reorganisation.
    node.always("eth_getTransactionReceipt", Fault.EMPTY)
    assert moves(queue.step()) == [(order, "mined", "signed")]
    node.calm()
    run_to_the_end(stage, queue)
    assert (stage.states(order), stage.paid(0), stage.count()) == (["final"], 1, 1)


def test_step__deep_enough_and_no_receipt__not_final_yet(
    stage: Stage, node: FaultyNode, queue: TransactionQueue
) -> None:
    order = stage.submit()
    queue.step()
    stage.mine()
    queue.step()
    stage.mine(CONFIRMATIONS)
    node.always("eth_getTransactionReceipt", Fault.EMPTY)
    assert queue.step() == []
    assert stage.states(order) == ["mined"]
    node.calm()
    assert moves(queue.step()) == [(order, "mined", "final")]
