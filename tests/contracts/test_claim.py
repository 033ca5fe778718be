"""The receiver's side claims vouchers directly, row by row, all rows or none."""

from __future__ import annotations

import pytest
from contract_support import (
    MAX_UINT128,
    ZERO_ADDRESS,
    Books,
    books,
    claimed,
    claims_call,
)

DEPOSIT = 1_000_000


@pytest.fixture
def other(channel_config):
    """A second channel between the same parties."""
    return channel_config(salt=b"\x01" * 32)


@pytest.mark.parametrize("claimer", ["receiver", "receiver authorizer"])
def test_claim__records_what_the_voucher_allows(
    settlement, config, token, deposit, voucher_claim, receiver, events, account, claimer
):
    sender = account(claimer)
    channel_id = deposit(config, DEPOSIT)

    settlement.claim([voucher_claim(config, 400)], sender=sender.address)

    assert events(settlement) == [claimed(channel_id, sender, 400, 400)]
    assert books(settlement, config) == Books(balance=DEPOSIT, claimed=400)
    assert settlement.receivers(receiver.address, token.address) == (400, 0)
    assert token.balanceOf(settlement) == DEPOSIT
    assert token.balanceOf(receiver.address) == 0


@pytest.mark.parametrize("claimer", ["payer", "payer authorizer", "stranger"])
def test_claim__refuses_everybody_else(
    settlement, config, deposit, voucher_claim, expect_error, account, claimer
):
    deposit(config, DEPOSIT)
    sender = account(claimer)
    with expect_error("NotAuthorizedToClaim()"):
        settlement.claim([voucher_claim(config, 400)], sender=sender.address)


def test_claim__refuses_a_batch_with_one_row_of_somebody_else(
    settlement, config, channel_config, deposit, voucher_claim, receiver, stranger, expect_error
):
    foreign = channel_config(receiver=stranger.address)
    deposit(config, DEPOSIT)
    deposit(foreign, DEPOSIT)
    with expect_error("NotAuthorizedToClaim()"):
        settlement.claim(
            [voucher_claim(config, 400), voucher_claim(foreign, 400)], sender=receiver.address
        )
    assert books(settlement, config) == Books(balance=DEPOSIT)


def test_claim__asks_who_claims_before_it_skips_a_row(
    settlement, config, voucher_claim, stranger, expect_error
):
    with expect_error("NotAuthorizedToClaim()"):
        settlement.claim([voucher_claim(config, 0)], sender=stranger.address)


# ---------------------------------------------------------------- cumulative totals


def test_claim__adds_only_the_difference(
    settlement, config, token, deposit, voucher_claim, receiver, events
):
    channel_id = deposit(config, DEPOSIT)
    settlement.claim([voucher_claim(config, 500, total=200)], sender=receiver.address)

    settlement.claim([voucher_claim(config, 500, total=500)], sender=receiver.address)

    assert events(settlement) == [claimed(channel_id, receiver, 300, 500)]
    assert books(settlement, config) == Books(balance=DEPOSIT, claimed=500)
    assert settlement.receivers(receiver.address, token.address) == (500, 0)


@pytest.mark.parametrize("total", [0, 1, 400])
def test_claim__skips_a_row_that_is_not_news_without_looking_at_it(
    settlement, config, token, deposit, voucher_claim, receiver, events, total
):
    deposit(config, DEPOSIT)
    settlement.claim([voucher_claim(config, 400)], sender=receiver.address)

    # Neither its ceiling nor its signature is good.
    row = voucher_claim(config, 0, total=total, signature=b"\x01")
    settlement.claim([row], sender=receiver.address)

    assert events(settlement) == []
    assert books(settlement, config) == Books(balance=DEPOSIT, claimed=400)
    assert settlement.receivers(receiver.address, token.address) == (400, 0)


def test_claim__skips_a_row_of_nothing_in_an_unknown_channel(
    settlement, config, voucher_claim, receiver, events
):
    settlement.claim([voucher_claim(config, 400, total=0)], sender=receiver.address)
    assert events(settlement) == []
    assert books(settlement, config) == Books()


def test_claim__applies_the_rows_around_a_skipped_one(
    settlement, config, other, token, deposit, voucher_claim, receiver, events
):
    one, two = deposit(config, DEPOSIT), deposit(other, DEPOSIT)
    rows = [voucher_claim(config, 5), voucher_claim(config, 4), voucher_claim(other, 7)]

    settlement.claim(rows, sender=receiver.address)

    assert events(settlement) == [claimed(one, receiver, 5, 5), claimed(two, receiver, 7, 7)]
    assert settlement.receivers(receiver.address, token.address) == (12, 0)


def test_claim__applies_the_same_channel_twice(
    settlement, config, token, deposit, voucher_claim, receiver, events
):
    channel_id = deposit(config, DEPOSIT)
    rows = [voucher_claim(config, 5), voucher_claim(config, 9)]

    settlement.claim(rows, sender=receiver.address)

    assert events(settlement) == [
        claimed(channel_id, receiver, 5, 5),
        claimed(channel_id, receiver, 4, 9),
    ]
    assert books(settlement, config) == Books(balance=DEPOSIT, claimed=9)
    assert settlement.receivers(receiver.address, token.address) == (9, 0)


# ---------------------------------------------------------------- limits


def test_claim__goes_up_to_the_ceiling_and_no_further(
    settlement, config, deposit, voucher_claim, receiver, expect_error
):
    deposit(config, DEPOSIT)
    with expect_error("ClaimExceedsCeiling()"):
        settlement.claim([voucher_claim(config, 400, total=401)], sender=receiver.address)
    settlement.claim([voucher_claim(config, 400, total=400)], sender=receiver.address)
    assert books(settlement, config) == Books(balance=DEPOSIT, claimed=400)


def test_claim__goes_up_to_the_balance_and_no_further(
    settlement, config, deposit, voucher_claim, receiver, expect_error
):
    deposit(config, DEPOSIT)
    ceiling = MAX_UINT128
    with expect_error("ClaimExceedsBalance()"):
        settlement.claim(
            [voucher_claim(config, ceiling, total=DEPOSIT + 1)], sender=receiver.address
        )
    settlement.claim([voucher_claim(config, ceiling, total=DEPOSIT)], sender=receiver.address)
    assert books(settlement, config) == Books(balance=DEPOSIT, claimed=DEPOSIT)


def test_claim__refuses_an_unknown_channel(
    settlement, config, voucher_claim, receiver, expect_error
):
    with expect_error("ClaimExceedsBalance()"):
        settlement.claim([voucher_claim(config, 1)], sender=receiver.address)


def test_claim__checks_in_the_official_order(
    settlement, config, deposit, voucher_claim, receiver, expect_error
):
    deposit(config, DEPOSIT)
    bad = {"signature": b"\x01"}
    with expect_error("ClaimExceedsCeiling()"):
        settlement.claim(
            [voucher_claim(config, 0, total=DEPOSIT + 1, **bad)], sender=receiver.address
        )
    with expect_error("ClaimExceedsBalance()"):
        settlement.claim([voucher_claim(config, DEPOSIT + 1, **bad)], sender=receiver.address)
    with expect_error("InvalidSignature()"):
        settlement.claim([voucher_claim(config, DEPOSIT, **bad)], sender=receiver.address)


def test_claim__is_not_held_up_by_a_withdrawal_in_waiting(
    settlement, config, deposit, voucher_claim, payer, receiver, now
):
    deposit(config, DEPOSIT)
    started = now()
    settlement.initiateWithdraw(config, DEPOSIT, sender=payer.address)

    settlement.claim([voucher_claim(config, DEPOSIT)], sender=receiver.address)

    assert books(settlement, config) == Books(
        balance=DEPOSIT, claimed=DEPOSIT, pending=DEPOSIT, initiated_at=started
    )


def test_claim__after_a_withdrawal_gets_only_what_is_left(
    settlement, config, deposit, voucher_claim, payer, receiver, warp, expect_error
):
    deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, DEPOSIT - 300, sender=payer.address)
    warp(900)
    settlement.finalizeWithdraw(config, sender=payer.address)

    with expect_error("ClaimExceedsBalance()"):
        settlement.claim([voucher_claim(config, 301)], sender=receiver.address)
    settlement.claim([voucher_claim(config, 301, total=300)], sender=receiver.address)

    assert books(settlement, config) == Books(balance=300, claimed=300)


# ---------------------------------------------------------------- whose signature


def test_claim__needs_the_payer_authorizers_signature(
    settlement, config, deposit, voucher_claim, payer, receiver, stranger, expect_error
):
    deposit(config, DEPOSIT)
    # Where there is an authorizer, not even the payer signs in its place.
    for signer in (payer, receiver, stranger):
        with expect_error("InvalidSignature()"):
            settlement.claim([voucher_claim(config, 4, by=signer)], sender=receiver.address)


def test_claim__needs_the_payers_signature_where_there_is_no_authorizer(
    settlement,
    channel_config,
    deposit,
    voucher_claim,
    payer,
    payer_authorizer,
    receiver,
    expect_error,
):
    config = channel_config(payerAuthorizer=ZERO_ADDRESS)
    deposit(config, DEPOSIT)
    with expect_error("InvalidSignature()"):
        settlement.claim([voucher_claim(config, 4, by=payer_authorizer)], sender=receiver.address)
    settlement.claim([voucher_claim(config, 4, by=payer)], sender=receiver.address)
    assert books(settlement, config) == Books(balance=DEPOSIT, claimed=4)


def test_claim__refuses_a_signature_for_another_channel_or_ceiling(
    settlement, config, other, deposit, voucher_claim, sign_voucher, receiver, expect_error
):
    deposit(config, DEPOSIT)
    for signature in (sign_voucher(other, 400), sign_voucher(config, 401)):
        with expect_error("InvalidSignature()"):
            settlement.claim(
                [voucher_claim(config, 400, signature=signature)], sender=receiver.address
            )


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    ("error", "bad"),
    [
        ("ClaimExceedsCeiling()", {"ceiling": 5, "total": 6}),
        ("ClaimExceedsBalance()", {"ceiling": DEPOSIT + 1}),
        ("InvalidSignature()", {"ceiling": 5, "signature": b"\x01" * 65}),
    ],
)
def test_claim__applies_nothing_when_one_row_is_bad(
    settlement,
    channel_config,
    deposit,
    voucher_claim,
    receiver,
    token,
    expect_error,
    error,
    bad,
    index,
):
    configs = [channel_config(salt=bytes([n]) * 32) for n in range(3)]
    for config in configs:
        deposit(config, DEPOSIT)
    rows = [voucher_claim(config, 5) for config in configs]
    rows[index] = voucher_claim(configs[index], **bad)

    with expect_error(error):
        settlement.claim(rows, sender=receiver.address)

    assert [books(settlement, config) for config in configs] == [Books(balance=DEPOSIT)] * 3
    assert settlement.receivers(receiver.address, token.address) == (0, 0)


# ---------------------------------------------------------------- several accounts


def test_claim__credits_every_receiver_and_token_its_own(
    settlement,
    channel_config,
    token,
    deploy,
    deposit,
    voucher_claim,
    account,
    receiver_authorizer,
):
    second_token = deploy("mocks/TestUSD.vy")
    alice, bob = account("alice").address, account("bob").address
    # Runs of rows: alice, bob, alice, alice in another token, bob in that token, alice again.
    plan = [
        (alice, token, 1),
        (bob, token, 20),
        (alice, token, 300),
        (alice, second_token, 4_000),
        (bob, second_token, 50_000),
        (alice, token, 600_000),
    ]
    rows = []
    for n, (receiver, money, amount) in enumerate(plan):
        config = channel_config(receiver=receiver, token=money.address, salt=bytes([n]) * 32)
        deposit(config, amount, token=money)
        rows.append(voucher_claim(config, amount))

    settlement.claim(rows, sender=receiver_authorizer.address)

    assert settlement.receivers(alice, token.address) == (600_301, 0)
    assert settlement.receivers(bob, token.address) == (20, 0)
    assert settlement.receivers(alice, second_token.address) == (4_000, 0)
    assert settlement.receivers(bob, second_token.address) == (50_000, 0)


def test_claim__fills_an_account_to_128_bits_and_no_further(
    settlement, config, other, token, deposit, voucher_claim, receiver, expect_error
):
    deposit(config, MAX_UINT128)
    deposit(other, MAX_UINT128)
    settlement.claim([voucher_claim(config, MAX_UINT128 - 1)], sender=receiver.address)

    with expect_error(None):
        settlement.claim([voucher_claim(other, 2)], sender=receiver.address)
    settlement.claim([voucher_claim(other, 1)], sender=receiver.address)
    assert settlement.receivers(receiver.address, token.address) == (MAX_UINT128, 0)
    settlement.settle(receiver.address, token.address)
    assert settlement.receivers(receiver.address, token.address) == (MAX_UINT128, MAX_UINT128)
    with expect_error(None):
        settlement.claim([voucher_claim(config, MAX_UINT128)], sender=receiver.address)
    assert token.balanceOf(receiver.address) == MAX_UINT128


def test_claim__refuses_a_batch_whose_sum_passes_128_bits(
    settlement, config, other, deposit, voucher_claim, receiver, expect_error
):
    deposit(config, MAX_UINT128)
    deposit(other, MAX_UINT128)
    rows = [voucher_claim(config, MAX_UINT128), voucher_claim(other, MAX_UINT128)]
    with expect_error(None):
        settlement.claim(rows, sender=receiver.address)


# ---------------------------------------------------------------- size of a batch


def test_claim__refuses_an_empty_batch(settlement, stranger, expect_error):
    with expect_error("EmptyBatch()"):
        settlement.claim([], sender=stranger.address)


def test_claim__takes_a_hundred_rows(settlement, config, deposit, voucher_claim, receiver, events):
    channel_id = deposit(config, DEPOSIT)
    skipped = voucher_claim(config, 0, signature=b"")
    rows = [voucher_claim(config, 1), *[skipped] * 98, voucher_claim(config, 2)]

    settlement.claim(rows, sender=receiver.address)

    assert events(settlement) == [
        claimed(channel_id, receiver, 1, 1),
        claimed(channel_id, receiver, 1, 2),
    ]


def test_claim__refuses_a_hundred_and_one_rows(settlement, config, stranger, expect_error):
    row = ((config, 0), b"", 0)
    with expect_error("BatchTooLong()"):
        settlement.claim([row] * 101, sender=stranger.address)


def test_claim__refuses_still_more_rows_without_a_reason(
    settlement, config, call_by_signature, expect_error
):
    row = ((config, 0), b"", 0)
    with expect_error("BatchTooLong()"):
        call_by_signature(settlement, None, raw=claims_call("claim", [row] * 101))
    with expect_error(None):
        call_by_signature(settlement, None, raw=claims_call("claim", [row] * 102))


def test_claim__refuses_a_signature_beyond_its_bound(
    settlement, config, deposit, voucher_claim, receiver, call_by_signature, expect_error
):
    deposit(config, DEPOSIT)
    row = voucher_claim(config, 4, signature=b"\x01" * 256)
    with expect_error("InvalidSignature()"):
        settlement.claim([row], sender=receiver.address)
    encoded = settlement.claim.prepare_calldata([row])
    longer = encoded.replace(
        (256).to_bytes(32) + b"\x01" * 256, (257).to_bytes(32) + b"\x01" * 257 + bytes(31)
    )
    assert longer != encoded
    with expect_error(None):
        call_by_signature(settlement, None, raw=longer, sender=receiver.address)
