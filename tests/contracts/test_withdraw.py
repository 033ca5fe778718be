"""The payer's side takes unclaimed money back after the delay, without consent."""

from __future__ import annotations

import pytest
from contract_support import (
    MAX_UINT128,
    Books,
    books,
    channel_closed,
    transfer,
    withdraw_finalized,
    withdraw_initiated,
)

DEPOSIT = 1_000_000


@pytest.mark.parametrize("asker", ["payer", "payer authorizer"])
def test_initiate_withdraw__starts_the_delay(
    settlement, config, token, deposit, account, now, events, asker
):
    channel_id = deposit(config, DEPOSIT)
    started = now()

    settlement.initiateWithdraw(config, 400, sender=account(asker).address)

    assert events(settlement) == [withdraw_initiated(channel_id, 400, started + 900)]
    assert books(settlement, config) == Books(balance=DEPOSIT, pending=400, initiated_at=started)
    assert token.balanceOf(settlement) == DEPOSIT


def test_initiate_withdraw__names_the_end_of_the_longest_delay(
    settlement, channel_config, deposit, payer, now, events
):
    config = channel_config(withdrawDelay=2_592_000)
    channel_id = deposit(config, DEPOSIT)
    started = now()
    settlement.initiateWithdraw(config, DEPOSIT, sender=payer.address)
    assert events(settlement) == [withdraw_initiated(channel_id, DEPOSIT, started + 2_592_000)]


@pytest.mark.parametrize("asker", ["receiver", "receiver authorizer", "stranger"])
def test_initiate_withdraw__refuses_everybody_else(
    settlement, config, deposit, account, expect_error, asker
):
    deposit(config, DEPOSIT)
    with expect_error("InvalidChannel()"):
        settlement.initiateWithdraw(config, 400, sender=account(asker).address)


def test_initiate_withdraw__refuses_nothing(settlement, config, deposit, payer, expect_error):
    deposit(config, DEPOSIT)
    with expect_error("NothingToWithdraw()"):
        settlement.initiateWithdraw(config, 0, sender=payer.address)


def test_initiate_withdraw__takes_one_at_a_time(
    settlement, config, deposit, payer, payer_authorizer, warp, now, expect_error
):
    deposit(config, DEPOSIT)
    started = now()
    settlement.initiateWithdraw(config, 1, sender=payer.address)
    for sender in (payer, payer_authorizer):
        with expect_error("WithdrawalAlreadyPending()"):
            settlement.initiateWithdraw(config, 1, sender=sender.address)
    # It stays the one withdrawal for as long as it is not finalised.
    warp(10_000)
    with expect_error("WithdrawalAlreadyPending()"):
        settlement.initiateWithdraw(config, 1, sender=payer.address)
    assert books(settlement, config) == Books(balance=DEPOSIT, pending=1, initiated_at=started)


def test_initiate_withdraw__takes_what_is_available_and_no_more(
    settlement, config, deposit, voucher_claim, payer, receiver, now, expect_error
):
    deposit(config, DEPOSIT)
    settlement.claim([voucher_claim(config, 400)], sender=receiver.address)
    with expect_error("WithdrawAmountExceedsAvailable()"):
        settlement.initiateWithdraw(config, DEPOSIT - 399, sender=payer.address)
    started = now()
    settlement.initiateWithdraw(config, DEPOSIT - 400, sender=payer.address)
    assert books(settlement, config) == Books(
        balance=DEPOSIT, claimed=400, pending=DEPOSIT - 400, initiated_at=started
    )


def test_initiate_withdraw__cannot_run_ahead_of_a_deposit(
    settlement, config, deposit, payer, warp, expect_error
):
    # Started on an empty channel, the delay would be over before the money is there.
    for amount in (1, MAX_UINT128):
        with expect_error("WithdrawAmountExceedsAvailable()"):
            settlement.initiateWithdraw(config, amount, sender=payer.address)
    warp(901)
    deposit(config, DEPOSIT)
    with expect_error("WithdrawalNotPending()"):
        settlement.finalizeWithdraw(config, sender=payer.address)


def test_initiate_withdraw__checks_in_the_official_order(
    settlement, config, deposit, payer, stranger, expect_error
):
    deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, 1, sender=payer.address)
    with expect_error("InvalidChannel()"):
        settlement.initiateWithdraw(config, 0, sender=stranger.address)
    with expect_error("NothingToWithdraw()"):
        settlement.initiateWithdraw(config, 0, sender=payer.address)
    with expect_error("WithdrawalAlreadyPending()"):
        settlement.initiateWithdraw(config, DEPOSIT + 1, sender=payer.address)


# ---------------------------------------------------------------- finalize


@pytest.mark.parametrize("asker", ["payer", "payer authorizer"])
def test_finalize_withdraw__pays_the_payer(
    settlement, config, token, deposit, account, payer, warp, events, asker
):
    channel_id = deposit(config, DEPOSIT)
    sender = account(asker)
    settlement.initiateWithdraw(config, 400, sender=payer.address)
    warp(900)

    settlement.finalizeWithdraw(config, sender=sender.address)

    assert events(settlement) == [
        withdraw_finalized(channel_id, sender, 400),
        transfer(settlement, payer, 400),
    ]
    assert books(settlement, config) == Books(balance=DEPOSIT - 400)
    assert token.balanceOf(payer.address) == 400
    assert token.balanceOf(settlement) == DEPOSIT - 400


def test_finalize_withdraw__closes_a_channel_without_claims(
    settlement, config, token, deposit, payer, warp, events
):
    channel_id = deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, DEPOSIT, sender=payer.address)
    warp(900)

    settlement.finalizeWithdraw(config, sender=payer.address)

    assert events(settlement) == [
        withdraw_finalized(channel_id, payer, DEPOSIT),
        channel_closed(channel_id, config),
        transfer(settlement, payer, DEPOSIT),
    ]
    assert books(settlement, config) == Books()
    assert token.balanceOf(settlement) == 0


@pytest.mark.parametrize("asker", ["receiver", "receiver authorizer", "stranger"])
def test_finalize_withdraw__refuses_everybody_else(
    settlement, config, deposit, account, payer, warp, expect_error, asker
):
    deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, 400, sender=payer.address)
    warp(900)
    with expect_error("NotAuthorizedToFinalizeWithdraw()"):
        settlement.finalizeWithdraw(config, sender=account(asker).address)


def test_finalize_withdraw__needs_a_withdrawal(
    settlement, config, deposit, payer, stranger, warp, expect_error
):
    with expect_error("NotAuthorizedToFinalizeWithdraw()"):
        settlement.finalizeWithdraw(config, sender=stranger.address)
    with expect_error("WithdrawalNotPending()"):
        settlement.finalizeWithdraw(config, sender=payer.address)
    deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, 400, sender=payer.address)
    warp(900)
    settlement.finalizeWithdraw(config, sender=payer.address)
    with expect_error("WithdrawalNotPending()"):
        settlement.finalizeWithdraw(config, sender=payer.address)


@pytest.mark.parametrize("delay", [900, 901, 2_592_000])
def test_finalize_withdraw__waits_to_the_second(
    settlement, channel_config, deposit, payer, now, warp, expect_error, delay
):
    config = channel_config(withdrawDelay=delay)
    deposit(config, DEPOSIT)
    due = now() + delay
    settlement.initiateWithdraw(config, DEPOSIT, sender=payer.address)
    warp(due - 1 - now())
    with expect_error("WithdrawDelayNotElapsed()"):
        settlement.finalizeWithdraw(config, sender=payer.address)
    warp(1)
    assert now() == due
    settlement.finalizeWithdraw(config, sender=payer.address)
    assert books(settlement, config) == Books()


def test_finalize_withdraw__is_capped_by_what_was_claimed_meanwhile(
    settlement, config, token, deposit, voucher_claim, payer, receiver, warp, events
):
    channel_id = deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, DEPOSIT - 100, sender=payer.address)
    settlement.claim([voucher_claim(config, 400)], sender=receiver.address)
    warp(900)

    settlement.finalizeWithdraw(config, sender=payer.address)

    assert events(settlement) == [
        withdraw_finalized(channel_id, payer, DEPOSIT - 400),
        transfer(settlement, payer, DEPOSIT - 400),
    ]
    assert books(settlement, config) == Books(balance=400, claimed=400)
    assert token.balanceOf(payer.address) == DEPOSIT - 400


def test_finalize_withdraw__is_not_capped_by_claims_that_leave_enough(
    settlement, config, deposit, voucher_claim, payer, receiver, warp
):
    deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, 500, sender=payer.address)
    settlement.claim([voucher_claim(config, 400)], sender=receiver.address)
    warp(900)
    settlement.finalizeWithdraw(config, sender=payer.address)
    assert books(settlement, config) == Books(balance=DEPOSIT - 500, claimed=400)


def test_finalize_withdraw__ends_without_a_transfer_when_all_was_claimed(
    settlement, config, token, deposit, voucher_claim, payer, receiver, warp, events
):
    channel_id = deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, DEPOSIT, sender=payer.address)
    settlement.claim([voucher_claim(config, DEPOSIT)], sender=receiver.address)
    warp(900)

    settlement.finalizeWithdraw(config, sender=payer.address)

    assert events(settlement) == [withdraw_finalized(channel_id, payer, 0)]
    assert books(settlement, config) == Books(balance=DEPOSIT, claimed=DEPOSIT)
    assert token.balanceOf(settlement) == DEPOSIT


def test_finalize_withdraw__leaves_room_for_the_next_one(
    settlement, config, deposit, payer, now, warp
):
    deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, 400, sender=payer.address)
    warp(900)
    settlement.finalizeWithdraw(config, sender=payer.address)
    started = now()
    settlement.initiateWithdraw(config, DEPOSIT - 400, sender=payer.address)
    assert books(settlement, config) == Books(
        balance=DEPOSIT - 400, pending=DEPOSIT - 400, initiated_at=started
    )


def test_finalize_withdraw__takes_nothing_from_other_channels(
    settlement, config, channel_config, token, deposit, payer, warp
):
    other = channel_config(salt=b"\x01" * 32)
    deposit(config, DEPOSIT)
    deposit(other, 7)
    settlement.initiateWithdraw(config, DEPOSIT, sender=payer.address)
    warp(900)
    settlement.finalizeWithdraw(config, sender=payer.address)
    assert books(settlement, other) == Books(balance=7)
    assert token.balanceOf(settlement) == 7
