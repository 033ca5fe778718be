"""Nobody who is called in the middle of a call gets a second one in.

The intruder is the payer and the receiver of a channel of its own, so every call it tries is one it
is entitled to, as `test_intruder__may_make_each_of_its_calls` proves. Only the lock stands against
it, which answers without data; every other refusal would carry an error.
"""

from __future__ import annotations

import pytest
from contract_support import Books, books, call_data

DEPOSIT = 1_000

INNER = [
    "deposit",
    "claim",
    "claimWithSignature",
    "settle",
    "initiateWithdraw",
    "finalizeWithdraw",
    "refund",
    "refundWithSignature",
    "multicall",
]
OUTER = ["deposit", "settle", "finalizeWithdraw", "refund", "refundWithSignature", "multicall"]


@pytest.fixture
def intruder_calls(
    settlement,
    channel_config,
    awkward_token,
    open_collector,
    deposit,
    fund,
    voucher_claim,
    sign_claim_batch,
    sign_refund,
    warp,
):
    """What the intruder may do, by function, once its channels are set up."""

    def prepare(intruder):
        mine = channel_config(
            payer=intruder.address, receiver=intruder.address, token=awkward_token.address
        )
        idle = mine._replace(salt=b"\x01" * 32)
        for config in (mine, idle):
            deposit(config, DEPOSIT, token=awkward_token)
        settlement.claim([voucher_claim(mine, 100)], sender=intruder.address)
        settlement.initiateWithdraw(mine, 10, sender=intruder.address)
        warp(900)
        fund(awkward_token, intruder.address, 5)
        rows = [voucher_claim(mine, 200)]
        calls = {
            "deposit": (mine, 5, open_collector.address, b""),
            "claim": (rows,),
            "claimWithSignature": (rows, sign_claim_batch(rows)),
            "settle": (intruder.address, awkward_token.address),
            "initiateWithdraw": (idle, 10),
            "finalizeWithdraw": (mine,),
            "refund": (mine, 10),
            "refundWithSignature": (mine, 10, 0, sign_refund(mine, 0, 10)),
            "multicall": ([call_data(settlement, "refund", mine, 10)],),
        }
        assert list(calls) == INNER
        return {name: call_data(settlement, name, *args) for name, args in calls.items()}

    return prepare


@pytest.fixture
def outer_call(
    settlement,
    channel_config,
    awkward_token,
    open_collector,
    deposit,
    fund,
    voucher_claim,
    sign_refund,
    payer,
    receiver,
    warp,
):
    """Calls of honest parties in the course of which tokens move; prepared first, made later."""

    def prepare(name):
        config = channel_config(token=awkward_token.address, salt=b"\x02" * 32)
        deposit(config, DEPOSIT, token=awkward_token)
        settlement.claim([voucher_claim(config, 300)], sender=receiver.address)
        settlement.initiateWithdraw(config, 50, sender=payer.address)
        warp(900)
        fund(awkward_token, payer.address, 7)
        settle = call_data(settlement, "settle", receiver.address, awkward_token.address)
        signature = sign_refund(config, 0, 40)
        calls = {
            "deposit": lambda: settlement.deposit(config, 7, open_collector.address, b""),
            "settle": lambda: settlement.settle(receiver.address, awkward_token.address),
            "finalizeWithdraw": lambda: settlement.finalizeWithdraw(config, sender=payer.address),
            "refund": lambda: settlement.refund(config, 40, sender=receiver.address),
            "refundWithSignature": lambda: settlement.refundWithSignature(config, 40, 0, signature),
            "multicall": lambda: settlement.multicall([settle]),
        }
        assert list(calls) == OUTER
        return config, calls[name]

    return prepare


@pytest.mark.parametrize("inner", INNER)
def test_intruder__may_make_each_of_its_calls(
    settlement, awkward_token, hostile_collector, intruder_calls, call_by_signature, inner
):
    for intruder in (awkward_token, hostile_collector):
        data = intruder_calls(intruder)[inner]
        call_by_signature(settlement, None, raw=data, sender=intruder.address)


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", OUTER)
def test_token_hook__cannot_enter(
    settlement, awkward_token, intruder_calls, outer_call, payer, receiver, outer, inner
):
    _, make_call = outer_call(outer)
    data = intruder_calls(awkward_token)[inner]
    awkward_token.setHook(settlement.address, settlement.address, data)
    before = awkward_token.balanceOf(settlement)

    make_call()

    assert awkward_token.hookCalls() == 1
    assert (awkward_token.hookSucceeded(), awkward_token.hookError()) == (False, b"")
    moved = {"deposit": 7, "settle": -300, "multicall": -300, "finalizeWithdraw": -50}
    assert awkward_token.balanceOf(settlement) - before == moved.get(outer, -40)


@pytest.mark.parametrize("inner", INNER)
def test_collector__cannot_enter(
    settlement,
    channel_config,
    awkward_token,
    hostile_collector,
    intruder_calls,
    fund,
    payer,
    inner,
):
    data = intruder_calls(hostile_collector)[inner]
    hostile_collector.callBack(settlement.address, data)
    config = channel_config(token=awkward_token.address)
    fund(awkward_token, payer.address, 7, spender=hostile_collector)

    settlement.deposit(config, 7, hostile_collector.address, b"")

    assert (hostile_collector.callSucceeded(), hostile_collector.callError()) == (False, b"")
    assert books(settlement, config) == Books(balance=7)


@pytest.mark.parametrize(
    ("outer", "expected"),
    [
        ("deposit", (DEPOSIT + 7, 300)),
        ("settle", (DEPOSIT, 300)),
        ("finalizeWithdraw", (DEPOSIT - 50, 300)),
        ("refund", (DEPOSIT - 40, 300)),
    ],
)
def test_token_hook__sees_books_that_are_done(
    settlement, awkward_token, outer_call, outer, expected
):
    config, make_call = outer_call(outer)
    look = call_data(settlement, "channels", settlement.getChannelId(config))
    awkward_token.setHook(settlement.address, settlement.address, look)
    make_call()
    assert awkward_token.hookSucceeded()
    seen = awkward_token.hookError()
    assert (int.from_bytes(seen[:32]), int.from_bytes(seen[32:])) == expected


def test_token_hook__sees_an_account_that_is_settled(
    settlement, awkward_token, outer_call, receiver
):
    _, make_call = outer_call("settle")
    look = call_data(settlement, "receivers", receiver.address, awkward_token.address)
    awkward_token.setHook(settlement.address, settlement.address, look)
    make_call()
    seen = awkward_token.hookError()
    assert (int.from_bytes(seen[:32]), int.from_bytes(seen[32:])) == (300, 300)


def test_lock__is_open_again_after_a_failed_call(
    settlement, config, deposit, receiver, expect_error
):
    deposit(config, DEPOSIT)
    with expect_error("ZeroRefund()"):
        settlement.refund(config, 0, sender=receiver.address)
    settlement.refund(config, 1, sender=receiver.address)
    assert books(settlement, config) == Books(balance=DEPOSIT - 1, refund_nonce=1)
