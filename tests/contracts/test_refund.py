"""The receiver's side gives unclaimed money back to the payer at once."""

from __future__ import annotations

import pytest
from contract_support import (
    MAX_UINT128,
    Books,
    books,
    channel_closed,
    channel_created,
    refunded,
    transfer,
)

DEPOSIT = 1_000_000


@pytest.mark.parametrize("refunder", ["receiver", "receiver authorizer"])
def test_refund__pays_the_payer(
    settlement, config, token, deposit, account, payer, events, refunder
):
    channel_id = deposit(config, DEPOSIT)
    sender = account(refunder)

    settlement.refund(config, 400, sender=sender.address)

    assert events(settlement) == [
        refunded(channel_id, sender, 400),
        transfer(settlement, payer, 400),
    ]
    assert books(settlement, config) == Books(balance=DEPOSIT - 400, refund_nonce=1)
    assert token.balanceOf(payer.address) == 400
    assert token.balanceOf(settlement) == DEPOSIT - 400


@pytest.mark.parametrize("refunder", ["payer", "payer authorizer", "stranger"])
def test_refund__refuses_everybody_else(
    settlement, config, deposit, account, expect_error, refunder
):
    deposit(config, DEPOSIT)
    for amount in (0, 400):
        with expect_error("NotAuthorizedToRefund()"):
            settlement.refund(config, amount, sender=account(refunder).address)


def test_refund__refuses_nothing(settlement, config, deposit, receiver, expect_error):
    deposit(config, DEPOSIT)
    with expect_error("ZeroRefund()"):
        settlement.refund(config, 0, sender=receiver.address)
    assert books(settlement, config) == Books(balance=DEPOSIT)


def test_refund__closes_a_channel_without_claims(
    settlement, config, token, deposit, payer, receiver, events
):
    channel_id = deposit(config, DEPOSIT)

    settlement.refund(config, DEPOSIT, sender=receiver.address)

    assert events(settlement) == [
        refunded(channel_id, receiver, DEPOSIT),
        channel_closed(channel_id, config),
        transfer(settlement, payer, DEPOSIT),
    ]
    assert books(settlement, config) == Books(refund_nonce=1)
    assert token.balanceOf(settlement) == 0


def test_refund__is_capped_by_what_is_unclaimed(
    settlement, config, token, deposit, voucher_claim, payer, receiver, events
):
    channel_id = deposit(config, DEPOSIT)
    settlement.claim([voucher_claim(config, 400)], sender=receiver.address)

    settlement.refund(config, MAX_UINT128, sender=receiver.address)

    # With a claim on it, the channel is empty but not closed.
    assert events(settlement) == [
        refunded(channel_id, receiver, DEPOSIT - 400),
        transfer(settlement, payer, DEPOSIT - 400),
    ]
    assert books(settlement, config) == Books(balance=400, claimed=400, refund_nonce=1)
    assert token.balanceOf(settlement) == 400


@pytest.mark.parametrize("filled", [True, False])
def test_refund__takes_a_nonce_even_when_nothing_moves(
    settlement, config, token, deposit, voucher_claim, payer, receiver, events, filled
):
    if filled:
        deposit(config, DEPOSIT)
        settlement.claim([voucher_claim(config, DEPOSIT)], sender=receiver.address)
    before = books(settlement, config)

    settlement.refund(config, 1, sender=receiver.address)

    assert events(settlement) == []
    assert books(settlement, config) == before._replace(refund_nonce=1)
    assert token.balanceOf(payer.address) == 0


# ---------------------------------------------------------------- beside a withdrawal


@pytest.mark.parametrize(
    ("refund", "pending_after"), [(1, 399), (399, 1), (400, 0), (401, 0), (DEPOSIT, 0)]
)
def test_refund__comes_off_a_withdrawal_in_waiting(
    settlement, config, deposit, payer, receiver, now, refund, pending_after
):
    deposit(config, DEPOSIT)
    started = now()
    settlement.initiateWithdraw(config, 400, sender=payer.address)

    settlement.refund(config, refund, sender=receiver.address)

    assert books(settlement, config) == Books(
        balance=DEPOSIT - refund,
        pending=pending_after,
        initiated_at=started if pending_after else 0,
        refund_nonce=1,
    )


def test_refund__that_moves_nothing_leaves_a_withdrawal_in_waiting(
    settlement, config, deposit, voucher_claim, payer, receiver, now
):
    deposit(config, DEPOSIT)
    started = now()
    settlement.initiateWithdraw(config, 400, sender=payer.address)
    settlement.claim([voucher_claim(config, DEPOSIT)], sender=receiver.address)
    settlement.refund(config, 400, sender=receiver.address)
    assert books(settlement, config) == Books(DEPOSIT, DEPOSIT, 400, started, 1)


def test_refund__that_is_capped_comes_off_a_withdrawal_by_what_moved(
    settlement, config, deposit, voucher_claim, payer, receiver, now
):
    deposit(config, DEPOSIT)
    started = now()
    settlement.initiateWithdraw(config, 400, sender=payer.address)
    settlement.claim([voucher_claim(config, DEPOSIT - 10)], sender=receiver.address)
    settlement.refund(config, 500, sender=receiver.address)
    assert books(settlement, config) == Books(DEPOSIT - 10, DEPOSIT - 10, 390, started, 1)


def test_refund__cannot_hold_up_a_withdrawal(
    settlement, config, token, deposit, payer, receiver, warp
):
    deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, DEPOSIT, sender=payer.address)
    settlement.refund(config, 1, sender=receiver.address)
    warp(900)
    settlement.finalizeWithdraw(config, sender=payer.address)
    assert token.balanceOf(payer.address) == DEPOSIT
    assert books(settlement, config) == Books(refund_nonce=1)


def test_refund__that_clears_a_withdrawal_leaves_room_for_the_next(
    settlement, config, deposit, payer, receiver, now, expect_error
):
    deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, 400, sender=payer.address)
    settlement.refund(config, 400, sender=receiver.address)
    with expect_error("WithdrawalNotPending()"):
        settlement.finalizeWithdraw(config, sender=payer.address)
    started = now()
    settlement.initiateWithdraw(config, 5, sender=payer.address)
    assert books(settlement, config) == Books(DEPOSIT - 400, 0, 5, started, 1)


# ---------------------------------------------------------------- with a signature


def test_refund_with_signature__pays_the_payer_whoever_brings_it(
    settlement, config, token, deposit, sign_refund, payer, stranger, events
):
    channel_id = deposit(config, DEPOSIT)

    settlement.refundWithSignature(
        config, DEPOSIT, 0, sign_refund(config, 0, DEPOSIT), sender=stranger.address
    )

    assert events(settlement) == [
        refunded(channel_id, stranger, DEPOSIT),
        channel_closed(channel_id, config),
        transfer(settlement, payer, DEPOSIT),
    ]
    assert books(settlement, config) == Books(refund_nonce=1)
    assert token.balanceOf(payer.address) == DEPOSIT


def test_refund_with_signature__needs_the_receiver_authorizers_signature(
    settlement, config, deposit, sign_refund, payer, receiver, stranger, expect_error
):
    deposit(config, DEPOSIT)
    for signer in (payer, receiver, stranger):
        signature = sign_refund(config, 0, 400, by=signer)
        with expect_error("InvalidSignature()"):
            # Not even the authorizer's own call makes up for its signature.
            settlement.refundWithSignature(
                config, 400, 0, signature, sender=config.receiverAuthorizer
            )
    assert books(settlement, config) == Books(balance=DEPOSIT)


def test_refund_with_signature__refuses_what_was_not_signed(
    settlement, config, channel_config, deposit, sign_refund, expect_error
):
    other = channel_config(salt=b"\x01" * 32)
    deposit(config, DEPOSIT)
    for signature in (
        sign_refund(other, 0, 400),
        sign_refund(config, 1, 400),
        sign_refund(config, 0, 401),
    ):
        with expect_error("InvalidSignature()"):
            settlement.refundWithSignature(config, 400, 0, signature)


def test_refund_with_signature__takes_the_next_nonce_only(
    settlement, config, deposit, sign_refund, expect_error
):
    deposit(config, DEPOSIT)
    with expect_error("InvalidRefundNonce()"):
        settlement.refundWithSignature(config, 400, 1, sign_refund(config, 1, 400))
    signature = sign_refund(config, 0, 400)
    settlement.refundWithSignature(config, 400, 0, signature)
    with expect_error("InvalidRefundNonce()"):
        settlement.refundWithSignature(config, 400, 0, signature)
    settlement.refundWithSignature(config, 400, 1, sign_refund(config, 1, 400))
    assert books(settlement, config) == Books(balance=DEPOSIT - 800, refund_nonce=2)


def test_refund_with_signature__is_void_after_a_direct_refund(
    settlement, config, deposit, sign_refund, receiver, expect_error
):
    deposit(config, DEPOSIT)
    signature = sign_refund(config, 0, 400)
    settlement.refund(config, 1, sender=receiver.address)
    with expect_error("InvalidRefundNonce()"):
        settlement.refundWithSignature(config, 400, 0, signature)


def test_refund_with_signature__cannot_be_kept_for_a_later_deposit(
    settlement, config, deposit, voucher_claim, sign_refund, receiver, events, expect_error
):
    deposit(config, DEPOSIT)
    settlement.claim([voucher_claim(config, DEPOSIT)], sender=receiver.address)
    signature = sign_refund(config, 0, DEPOSIT)
    settlement.refundWithSignature(config, DEPOSIT, 0, signature)
    assert events(settlement) == []

    deposit(config, DEPOSIT)
    with expect_error("InvalidRefundNonce()"):
        settlement.refundWithSignature(config, DEPOSIT, 0, signature)
    assert books(settlement, config) == Books(2 * DEPOSIT, DEPOSIT, refund_nonce=1)


def test_refund_with_signature__is_still_void_in_a_channel_that_opens_again(
    settlement, config, deposit, sign_refund, events, expect_error
):
    deposit(config, DEPOSIT)
    signature = sign_refund(config, 0, DEPOSIT)
    settlement.refundWithSignature(config, DEPOSIT, 0, signature)
    channel_id = deposit(config, DEPOSIT)
    assert channel_created(channel_id, config) in events(settlement)
    with expect_error("InvalidRefundNonce()"):
        settlement.refundWithSignature(config, DEPOSIT, 0, signature)


def test_refund_with_signature__checks_in_the_official_order(
    settlement, config, deposit, sign_refund, expect_error
):
    deposit(config, DEPOSIT)
    with expect_error("InvalidRefundNonce()"):
        settlement.refundWithSignature(config, 0, 1, b"")
    with expect_error("InvalidSignature()"):
        settlement.refundWithSignature(config, 0, 0, b"")
    with expect_error("ZeroRefund()"):
        settlement.refundWithSignature(config, 0, 0, sign_refund(config, 0, 0))
    assert books(settlement, config) == Books(balance=DEPOSIT)
