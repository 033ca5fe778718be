"""Tokens that misbehave hurt the channels of that token, and only for as long as they do."""

from __future__ import annotations

import boa
import pytest
from contract_support import Books, books

DEPOSIT = 1_000


@pytest.fixture
def awkward(channel_config, awkward_token):
    """A channel in the awkward token."""
    return channel_config(token=awkward_token.address)


@pytest.fixture
def running(settlement, awkward, awkward_token, deposit, voucher_claim, payer, receiver, warp):
    """The channel with 300 claimed, and 200 of its 1,000 ready to be withdrawn."""
    deposit(awkward, DEPOSIT, token=awkward_token)
    settlement.claim([voucher_claim(awkward, 300)], sender=receiver.address)
    settlement.initiateWithdraw(awkward, 200, sender=payer.address)
    warp(900)
    return awkward


@pytest.fixture
def payouts(settlement, awkward_token, sign_refund, payer, receiver):
    """Every way out: a call that makes settlement send tokens."""
    return lambda config: {
        "settle": lambda: settlement.settle(receiver.address, awkward_token.address),
        "finalizeWithdraw": lambda: settlement.finalizeWithdraw(config, sender=payer.address),
        "refund": lambda: settlement.refund(config, 100, sender=receiver.address),
        "refundWithSignature": lambda: settlement.refundWithSignature(
            config, 100, 0, sign_refund(config, 0, 100)
        ),
    }


PAYOUTS = ["settle", "finalizeWithdraw", "refund", "refundWithSignature"]


def test_no_return_value__is_taken_as_success(
    settlement, channel_config, no_return_token, deposit, voucher_claim, payer, receiver, warp
):
    config = channel_config(token=no_return_token.address)
    deposit(config, DEPOSIT, token=no_return_token)
    settlement.claim([voucher_claim(config, 300)], sender=receiver.address)
    settlement.settle(receiver.address, no_return_token.address)
    settlement.initiateWithdraw(config, 200, sender=payer.address)
    warp(900)
    settlement.finalizeWithdraw(config, sender=payer.address)
    settlement.refund(config, DEPOSIT, sender=receiver.address)
    assert books(settlement, config) == Books(300, 300, refund_nonce=1)
    assert no_return_token.balanceOf(receiver.address) == 300
    assert no_return_token.balanceOf(payer.address) == 700
    assert no_return_token.balanceOf(settlement) == 0


# ---------------------------------------------------------------- payouts that fail


@pytest.mark.parametrize("payout", PAYOUTS)
def test_false_answer__fails_every_payout_and_leaves_the_books(
    settlement, running, awkward_token, payouts, receiver, expect_error, payout
):
    before = books(settlement, running)
    awkward_token.setAnswersFalse(True)
    with expect_error("SafeERC20FailedOperation(address)", awkward_token.address):
        payouts(running)[payout]()
    assert books(settlement, running) == before
    assert settlement.receivers(receiver.address, awkward_token.address) == (300, 0)
    assert awkward_token.balanceOf(settlement) == DEPOSIT


@pytest.mark.parametrize("payout", PAYOUTS)
def test_pause__fails_every_payout_until_it_ends(
    settlement, running, awkward_token, payouts, expect_error, payout
):
    before = books(settlement, running)
    awkward_token.setPaused(True)
    with expect_error("Error(string)", "paused"):
        payouts(running)[payout]()
    assert books(settlement, running) == before
    awkward_token.setPaused(False)
    payouts(running)[payout]()
    paid = {"settle": 300, "finalizeWithdraw": 200}.get(payout, 100)
    assert awkward_token.balanceOf(settlement) == DEPOSIT - paid


@pytest.mark.parametrize("payout", PAYOUTS)
def test_burned_gas__fails_every_payout_and_leaves_the_books(
    settlement, running, awkward_token, payouts, expect_error, payout
):
    before = books(settlement, running)
    awkward_token.setBurnsGas(True)
    with expect_error(None):
        payouts(running)[payout]()
    assert books(settlement, running) == before


def test_pause__stops_neither_claims_nor_the_start_of_a_withdrawal(
    settlement, awkward, awkward_token, deposit, voucher_claim, payer, receiver, now
):
    deposit(awkward, DEPOSIT, token=awkward_token)
    awkward_token.setPaused(True)
    settlement.claim([voucher_claim(awkward, 300)], sender=receiver.address)
    started = now()
    settlement.initiateWithdraw(awkward, 700, sender=payer.address)
    assert books(settlement, awkward) == Books(DEPOSIT, 300, 700, started)


def test_blocked_receiver__hurts_itself_only(
    settlement, running, awkward_token, voucher_claim, payer, receiver, expect_error
):
    awkward_token.setBlocked(receiver.address, True)
    with expect_error("Error(string)", "blocked"):
        settlement.settle(receiver.address, awkward_token.address)
    settlement.claim([voucher_claim(running, 400)], sender=receiver.address)
    settlement.finalizeWithdraw(running, sender=payer.address)
    settlement.refund(running, DEPOSIT, sender=receiver.address)
    assert awkward_token.balanceOf(payer.address) == 600

    awkward_token.setBlocked(receiver.address, False)
    settlement.settle(receiver.address, awkward_token.address)
    assert awkward_token.balanceOf(receiver.address) == 400
    assert awkward_token.balanceOf(settlement) == 0


def test_blocked_payer__hurts_itself_only(
    settlement, running, awkward_token, voucher_claim, payer, receiver, expect_error
):
    awkward_token.setBlocked(payer.address, True)
    with expect_error("Error(string)", "blocked"):
        settlement.finalizeWithdraw(running, sender=payer.address)
    with expect_error("Error(string)", "blocked"):
        settlement.refund(running, 1, sender=receiver.address)
    settlement.claim([voucher_claim(running, DEPOSIT)], sender=receiver.address)
    settlement.settle(receiver.address, awkward_token.address)
    assert awkward_token.balanceOf(receiver.address) == DEPOSIT


# ---------------------------------------------------------------- deposits


@pytest.mark.parametrize(
    ("misbehave", "args", "error"),
    [
        ("setFee", (1,), ("DepositCollectionFailed()",)),
        ("setAnswersFalse", (True,), (None,)),
        ("setPaused", (True,), ("Error(string)", "paused")),
        ("setBurnsGas", (True,), (None,)),
    ],
)
def test_deposit__fails_while_the_token_misbehaves(
    settlement,
    awkward,
    awkward_token,
    open_collector,
    fund,
    payer,
    expect_error,
    misbehave,
    args,
    error,
):
    fund(awkward_token, payer.address, DEPOSIT)
    getattr(awkward_token, misbehave)(*args)
    with expect_error(*error):
        settlement.deposit(awkward, DEPOSIT, open_collector.address, b"")
    assert books(settlement, awkward) == Books()
    assert awkward_token.balanceOf(payer.address) == DEPOSIT


def test_deposit__does_not_count_tokens_that_were_there_before(
    settlement, awkward, awkward_token, open_collector, fund, payer, expect_error
):
    awkward_token.mint(settlement.address, DEPOSIT)
    awkward_token.setFee(1)
    fund(awkward_token, payer.address, DEPOSIT)
    with expect_error("DepositCollectionFailed()"):
        settlement.deposit(awkward, DEPOSIT, open_collector.address, b"")


def test_deposit__refuses_a_token_that_answers_with_nonsense(
    settlement, channel_config, open_collector, expect_error
):
    # Without a balance to compare there is no deposit.
    broken = boa.loads("@external\ndef foo():\n    pass")
    with expect_error(None):
        settlement.deposit(
            channel_config(token=broken.address), DEPOSIT, open_collector.address, b""
        )


# ---------------------------------------------------------------- changes afterwards


def test_fee__that_comes_later_is_paid_by_whoever_is_paid(
    settlement, running, awkward_token, payer, receiver, payouts
):
    awkward_token.setFee(1)
    for payout in ("settle", "finalizeWithdraw", "refund"):
        payouts(running)[payout]()
    assert awkward_token.balanceOf(receiver.address) == 299
    assert awkward_token.balanceOf(payer.address) == 298
    assert books(settlement, running) == Books(700, 300, refund_nonce=1)
    assert awkward_token.balanceOf(settlement) == 400


def test_rebase__downwards_fails_the_payouts_that_are_not_covered(
    settlement, running, config, token, awkward_token, deposit, payouts, receiver, expect_error
):
    deposit(config, DEPOSIT)
    awkward_token.rebase(settlement.address, 250)
    with expect_error(None):
        payouts(running)["settle"]()
    payouts(running)["finalizeWithdraw"]()
    assert books(settlement, running) == Books(800, 300)
    assert awkward_token.balanceOf(settlement) == 50
    # Another token's channels are whole.
    settlement.refund(config, DEPOSIT, sender=receiver.address)
    assert token.balanceOf(settlement) == 0


def test_rebase__upwards_is_nobodys(
    settlement, running, awkward_token, deposit, payer, receiver, payouts
):
    awkward_token.rebase(settlement.address, 5_000)
    for payout in PAYOUTS[:3]:
        payouts(running)[payout]()
    assert books(settlement, running) == Books(700, 300, refund_nonce=1)
    assert awkward_token.balanceOf(settlement) == 4_400
    deposit(running, 10, token=awkward_token)
    assert books(settlement, running) == Books(710, 300, refund_nonce=1)


def test_hook__of_a_receiver_may_call_elsewhere(
    settlement, running, awkward_token, token, receiver
):
    mint = token.mint.prepare_calldata(receiver.address, 1)
    awkward_token.setHook(receiver.address, token.address, mint)
    settlement.settle(receiver.address, awkward_token.address)
    assert awkward_token.hookSucceeded()
    assert token.balanceOf(receiver.address) == 1
    assert awkward_token.balanceOf(receiver.address) == 300
