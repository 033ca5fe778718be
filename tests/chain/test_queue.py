"""A queue on a chain where nothing goes wrong: order, refusals, what has to wait, and who works."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from farthing.chain import queue
from farthing.chain.fees import FeePolicy
from farthing.chain.queue import Changed, NotQueued
from farthing.chain.reverts import ERC20InsufficientBalance
from farthing.chain.sender import IN_FLIGHT, Transaction
from farthing.ledger import LeaseLost
from tests.chain.queue_stage import CONFIRMATIONS, GAS, GWEI, Stage
from tests.escrow_world import FUNDS


def moves(changes: list[Changed]) -> list[tuple[int, str, str]]:
    return [(each.transaction.id, each.before, each.transaction.state) for each in changes]


def test_step__from_the_order_to_the_end(stage: Stage) -> None:
    one, two = stage.submit(), stage.submit()
    assert stage.states(one, two) == ["queued", "queued"]
    assert moves(stage.queue.step()) == [(one, "queued", "signed"), (two, "queued", "signed")]
    assert stage.pool() == {*stage.hashes(one), *stage.hashes(two)}
    assert stage.queue.step() == []
    stage.mine()
    assert moves(stage.queue.step()) == [(one, "signed", "mined"), (two, "signed", "mined")]
    stage.mine(CONFIRMATIONS - 1)
    assert stage.queue.step() == []
    stage.mine()
    assert moves(stage.queue.step()) == [(one, "mined", "final"), (two, "mined", "final")]
    assert stage.queue.problem == ""
    assert (stage.paid(0), stage.paid(1), stage.count()) == (1, 1, 2)


def test_step__what_is_final__told_as_the_chain_has_it(stage: Stage) -> None:
    order = stage.submit()
    stage.queue.step()
    (attempt,) = stage.ledger.attempts(order)
    stage.mine()
    stage.mine(CONFIRMATIONS)
    assert moves(stage.queue.step()) == [(order, "signed", "mined"), (order, "mined", "final")]
    receipt = stage.w3.eth.get_transaction_receipt(attempt.hash)
    found = stage.found(order)
    assert (found.block, found.block_hash) == (receipt["blockNumber"], receipt["blockHash"])
    assert (found.succeeded, found.reason, found.nonce) == (True, "", 0)
    assert found.gas_used == receipt["gasUsed"]
    assert found.fee == receipt["gasUsed"] * receipt["effectiveGasPrice"]
    assert stage.queue.receipt(order) == receipt


def test_step__signed_bytes__saved_before_they_are_sent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = stage.submit()
    saved: list[bytes] = []

    def look(raw: Any) -> Any:
        saved.extend(each.raw for each in stage.ledger.attempts(order))
        assert raw == saved[-1]
        return send(raw)

    send = stage.w3.eth.send_raw_transaction
    monkeypatch.setattr(stage.w3.eth, "send_raw_transaction", look)
    stage.queue.step()
    assert len(saved) == 1


def test_submit__the_same_subject_again__one_transaction(stage: Stage) -> None:
    order = stage.submit(7)
    assert stage.submit(7, amount=2) == order
    stage.queue.step()
    stage.mine(1 + CONFIRMATIONS)
    assert stage.submit(7) == order
    stage.queue.step()
    assert stage.states(order) == ["final"]
    # Also then, and without asking for gas: the call might be refused by now.
    assert stage.submit(7, amount=10**12, gas=None) == order
    assert stage.queue.step() == []
    assert stage.paid(7) == 1


def test_submit__without_a_gas_limit__estimated(stage: Stage) -> None:
    order = stage.submit(gas=None)
    with pytest.raises(ERC20InsufficientBalance):
        stage.submit(amount=FUNDS + 1, gas=None)
    stage.queue.step()
    stage.mine()
    stage.queue.step()
    found = stage.found(order)
    assert found.gas_used < found.gas < GAS
    assert (found.state, len(stage.ledger.transactions())) == ("mined", 1)


def test_submit__a_gas_limit__respected(stage: Stage) -> None:
    order = stage.submit(gas=81_234)
    stage.queue.step()
    sent = stage.w3.eth.get_transaction(stage.hashes(order)[0])
    assert sent["gas"] == stage.found(order).gas == 81_234


def test_submit__rows__kept_with_it(stage: Stage) -> None:
    rows = [(bytes([number]) * 32, number) for number in (1, 2)]
    order = stage.queue.submit("redeem", b"", stage.payment(0), rows)
    assert [(each.channel_id, each.total) for each in stage.ledger.rows(order)] == rows
    assert stage.ledger.in_flight() == dict(rows)


def test_submit__a_deployment__not_taken(stage: Stage) -> None:
    with pytest.raises(ValueError, match="deploys none"):
        stage.queue.submit("deploy", b"", Transaction(None, b"\0", 100_000))


# ---------------------------------------------------------------- refused


def test_step__what_would_be_refused__no_nonce_taken(stage: Stage) -> None:
    bad, good = stage.submit(amount=FUNDS + 1), stage.submit()
    assert moves(stage.queue.step()) == [(bad, "queued", "refused"), (good, "queued", "signed")]
    found = stage.found(bad)
    assert found.nonce is None
    assert found.reason == str(ERC20InsufficientBalance())
    assert (stage.found(good).nonce, stage.hashes(bad)) == (0, [])
    # It can be ordered again.
    again = stage.submit(0)
    assert again not in (bad, good)


@pytest.mark.parametrize("gas", [21_000, 25_000])
def test_step__too_little_gas__refused(stage: Stage, gas: int) -> None:
    order = stage.submit(gas=gas)
    assert moves(stage.queue.step()) == [(order, "queued", "refused")]
    assert "plan it with another gas limit" in stage.found(order).reason


def test_step__more_gas_than_a_block_has__refused(stage: Stage) -> None:
    order = stage.submit(gas=30_000_001)
    assert moves(stage.queue.step()) == [(order, "queued", "refused")]
    assert stage.found(order).reason == "its gas of 30,000,001 is above a block's 30,000,000."


def test_step__refused_on_the_chain__failed_with_the_contracts_reason(stage: Stage) -> None:
    # Each alone is good, and both together are more than there is.
    one, two = stage.submit(amount=FUNDS - 1), stage.submit(amount=FUNDS - 1)
    stage.queue.step()
    stage.mine()
    stage.queue.step()
    found = stage.found(two)
    assert (found.state, found.succeeded) == ("mined", False)
    stage.mine(CONFIRMATIONS)
    assert moves(stage.queue.step()) == [(one, "mined", "final"), (two, "mined", "failed")]
    assert stage.found(two).gas_used > 0 and stage.found(two).fee > 0
    # Run again before its block it would have succeeded: the first of them was in the same block.
    assert stage.found(two).reason == "it failed in its block and would have succeeded before it."


def test_step__refused_in_a_later_block__failed_with_the_contracts_reason(stage: Stage) -> None:
    order = stage.submit(amount=FUNDS)
    stage.queue.step()
    stage.drop_all()
    # Before it is sent again the key pays somebody else.
    other = stage.payment(99, 1)
    signed = stage.account.sign_transaction(
        {
            "chainId": stage.w3.eth.chain_id,
            "nonce": 0,
            "maxFeePerGas": 50 * GWEI,
            "maxPriorityFeePerGas": GWEI,
            "gas": GAS,
            "to": other.to,
            "data": other.data,
        }
    )
    stage.send(bytes(signed.raw_transaction))
    stage.mine(1 + CONFIRMATIONS)
    # Its nonce is gone, so it is looked at anew, and refused.
    assert moves(stage.queue.step()) == [(order, "signed", "queued"), (order, "queued", "refused")]
    assert stage.found(order).reason == str(ERC20InsufficientBalance())


# ---------------------------------------------------------------- what has to wait


def test_step__a_key_without_coins__waits_and_says_so(stage: Stage) -> None:
    one, two = stage.submit(), stage.submit()
    stage.set_coins(0)
    assert stage.queue.step() == []
    assert stage.states(one, two) == ["queued", "queued"]
    reason = stage.found(one).reason
    assert reason.startswith(f"{stage.account.address} has 0.000000000 coins to spare for gas")
    assert reason.endswith(": send it coins.")
    assert stage.hashes(one) == []
    stage.set_coins(10**18)
    assert moves(stage.queue.step()) == [(one, "queued", "signed"), (two, "queued", "signed")]
    assert stage.found(one).reason == ""


def test_step__coins_for_one__the_other_waits_for_them(stage: Stage) -> None:
    one = stage.submit()
    stage.queue.step()
    (attempt,) = stage.ledger.attempts(one)
    # What the first may cost is spoken for.
    stage.set_coins(GAS * attempt.max_fee * 3 // 2)
    two = stage.submit()
    assert stage.queue.step() == []
    assert "send it coins" in stage.found(two).reason
    stage.mine()
    stage.set_coins(GAS * attempt.max_fee * 2)
    assert moves(stage.queue.step()) == [(one, "signed", "mined"), (two, "queued", "signed")]


def test_step__coins_gone_after_it_was_signed__waits_and_says_so(stage: Stage) -> None:
    order = stage.submit()
    stage.queue.step()
    stage.drop_all()
    stage.set_coins(0)
    stage.mine()
    assert stage.queue.step() == []
    assert stage.states(order) == ["signed"]
    assert "Insufficient funds" in stage.found(order).reason
    stage.set_coins(10**18)
    stage.mine()
    stage.queue.step()
    assert (stage.pool(), stage.found(order).reason) == (set(stage.hashes(order)), "")


def test_step__a_base_fee_above_the_cap__waits_and_says_so(stage: Stage) -> None:
    queue = stage.new_queue(fees=FeePolicy(cap=20 * GWEI))
    order = stage.submit()
    stage.base_fee(30 * GWEI)
    assert queue.step() == []
    found = stage.found(order)
    assert (found.state, found.nonce) == ("queued", None)
    assert found.reason.startswith("the cap of 20 gwei for a gas is not enough at a base fee of 30")
    stage.base_fee(10 * GWEI)
    assert moves(queue.step()) == [(order, "queued", "signed")]
    assert stage.found(order).reason == ""
    assert stage.ledger.attempts(order)[0].max_fee == 20 * GWEI


def test_step__more_than_nodes_take__the_rest_follows(stage: Stage) -> None:
    orders = [stage.submit() for _ in range(IN_FLIGHT + 3)]
    assert len(stage.queue.step()) == IN_FLIGHT
    assert stage.queue.step() == []
    stage.mine()
    stage.queue.step()
    assert stage.states(*orders) == ["mined"] * IN_FLIGHT + ["signed"] * 3
    stage.mine(1 + CONFIRMATIONS)
    stage.queue.step()
    assert stage.states(*orders) == ["final"] * len(orders)
    assert [stage.found(each).nonce for each in orders] == list(range(len(orders)))
    assert [stage.paid(number) for number in range(len(orders))] == [1] * len(orders)


# ---------------------------------------------------------------- waiting, and who works


def test_wait__on_a_chain_that_mines_at_once(stage: Stage) -> None:
    stage.w3.provider.make_request("evm_setAutomine", [True])  # type: ignore[arg-type]
    order = stage.submit()
    assert stage.queue.wait(order, 10).state == "mined"


def test_wait__looks_again_after_every_pause(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.w3.provider.make_request("evm_setAutomine", [True])  # type: ignore[arg-type]
    order = stage.submit()
    slept: list[float] = []
    monkeypatch.setattr(
        queue, "time", SimpleNamespace(monotonic=lambda: sum(slept, 1.0), sleep=slept.append)
    )
    assert stage.queue.wait(order, 10).state == "mined"
    # Sent at the first look, and seen at the second.
    assert slept == [queue.FIRST_PAUSE]


def test_wait__time_is_over__unknown_and_nothing_failed(stage: Stage) -> None:
    order = stage.submit()
    assert stage.queue.wait(order, 0).state == "signed"
    stage.mine()
    assert stage.queue.wait(order, 10).state == "mined"


def test_wait__what_was_refused(stage: Stage) -> None:
    order = stage.submit(amount=FUNDS + 1)
    assert stage.queue.wait(order, 10).state == "refused"


def test_wait__for_a_stranger(stage: Stage) -> None:
    with pytest.raises(NotQueued) as caught:
        stage.queue.wait(17, 10)
    assert str(caught.value) == "there is no transaction 17 in this ledger: check its number."


def test_wait__many_at_a_time__all_see_theirs(stage: Stage) -> None:
    stage.w3.provider.make_request("evm_setAutomine", [True])  # type: ignore[arg-type]
    orders = [stage.submit() for _ in range(8)]
    states: dict[int, str] = {}

    def wait(order: int) -> None:
        states[order] = stage.queue.wait(order, 30).state

    threads = [threading.Thread(target=wait, args=(order,)) for order in orders]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert set(states) == set(orders)
    assert set(states.values()) <= {"mined", "final"}
    assert stage.count() == 8


def test_step__while_another_has_the_lease__does_nothing_and_says_so(stage: Stage) -> None:
    order = stage.submit()
    lease = f"key {stage.account.address}"
    assert stage.ledger.take_lease((lease, "b"), 60)
    assert stage.queue.step() == []
    assert stage.queue.problem == f"another process does the work for {lease} just now."
    assert stage.queue.wait(order, 0).state == "queued"
    stage.ledger.give_lease((lease, "b"))
    assert moves(stage.queue.step()) == [(order, "queued", "signed")]
    assert stage.queue.problem == ""
    # It is given back after every step.
    assert stage.ledger.take_lease((lease, "b"), 60)


def test_step__the_lease_lost_in_the_middle__nothing_is_sent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = stage.submit()
    lease = f"key {stage.account.address}"
    node = stage.queue._node
    real = node.simulate

    def slow(*arguments: Any) -> None:
        real(*arguments)
        # As if this one had been asleep for longer than its lease.
        stage.ledger.give_lease((lease, "a"))
        assert stage.ledger.take_lease((lease, "b"), 60)

    monkeypatch.setattr(node, "simulate", slow)
    assert stage.queue.step() == []
    assert stage.queue.problem == str(LeaseLost(lease, "a"))
    assert (stage.states(order), stage.hashes(order), stage.pool()) == (["queued"], [], set())


def test_step__two_queues_of_one_key__each_payment_once(stage: Stage) -> None:
    stage.w3.provider.make_request("evm_setAutomine", [True])  # type: ignore[arg-type]
    orders = [stage.submit() for _ in range(24)]
    queues = [stage.new_queue(holder) for holder in "bcd"]

    def work(queue: Any) -> None:
        for order in orders:
            assert queue.wait(order, 60).state in ("mined", "final")

    threads = [threading.Thread(target=work, args=(queue,)) for queue in queues]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [stage.paid(number) for number in range(24)] == [1] * 24
    assert sorted(stage.nonces(order)[0] for order in orders) == list(range(24))
    assert stage.count() == 24
