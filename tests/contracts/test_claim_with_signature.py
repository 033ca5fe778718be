"""Anybody brings a batch of vouchers that the receiver authorizer has signed."""

from __future__ import annotations

import pytest
from contract_support import Books, books, claimed

DEPOSIT = 1_000_000


@pytest.fixture
def other(channel_config):
    """A second channel between the same parties."""
    return channel_config(salt=b"\x01" * 32)


def test_claim_with_signature__records_what_the_vouchers_allow(
    settlement,
    config,
    other,
    token,
    deposit,
    voucher_claim,
    sign_claim_batch,
    receiver,
    stranger,
    events,
):
    one, two = deposit(config, DEPOSIT), deposit(other, DEPOSIT)
    rows = [voucher_claim(config, 400, total=350), voucher_claim(other, 7)]

    settlement.claimWithSignature(rows, sign_claim_batch(rows), sender=stranger.address)

    assert events(settlement) == [claimed(one, stranger, 350, 350), claimed(two, stranger, 7, 7)]
    assert books(settlement, config) == Books(balance=DEPOSIT, claimed=350)
    assert books(settlement, other) == Books(balance=DEPOSIT, claimed=7)
    assert settlement.receivers(receiver.address, token.address) == (357, 0)
    assert token.balanceOf(settlement) == 2 * DEPOSIT


def test_claim_with_signature__needs_the_authorizer_of_the_first_row(
    settlement,
    config,
    deposit,
    voucher_claim,
    sign_claim_batch,
    receiver,
    payer_authorizer,
    stranger,
    expect_error,
):
    deposit(config, DEPOSIT)
    rows = [voucher_claim(config, 400)]
    for signer in (receiver, payer_authorizer, stranger):
        with expect_error("InvalidSignature()"):
            # Not even the authorizer's own call makes up for its signature.
            settlement.claimWithSignature(
                rows, sign_claim_batch(rows, by=signer), sender=config.receiverAuthorizer
            )


def test_claim_with_signature__refuses_a_batch_other_than_the_signed_one(
    settlement, config, other, deposit, voucher_claim, sign_claim_batch, expect_error
):
    deposit(config, DEPOSIT)
    deposit(other, DEPOSIT)
    one, two = voucher_claim(config, 400), voucher_claim(other, 7)
    signature = sign_claim_batch([one, two])
    lower_total = voucher_claim(other, 7, total=6)
    other_ceiling = voucher_claim(other, 8, total=7)
    for rows in ([one], [two, one], [one, two, two], [one, lower_total], [one, other_ceiling]):
        with expect_error("InvalidSignature()"):
            settlement.claimWithSignature(rows, signature)


def test_claim_with_signature__refuses_rows_of_another_authorizer(
    settlement,
    config,
    channel_config,
    deposit,
    voucher_claim,
    sign_claim_batch,
    stranger,
    expect_error,
):
    foreign = channel_config(receiverAuthorizer=stranger.address)
    deposit(config, DEPOSIT)
    deposit(foreign, DEPOSIT)
    rows = [voucher_claim(config, 400), voucher_claim(foreign, 400)]
    with expect_error("NotReceiverAuthorizer()"):
        settlement.claimWithSignature(rows, sign_claim_batch(rows))
    with expect_error("InvalidSignature()"):
        settlement.claimWithSignature(rows, sign_claim_batch(rows, by=stranger))
    assert books(settlement, config) == Books(balance=DEPOSIT)


def test_claim_with_signature__asks_the_authorizer_before_it_skips_a_row(
    settlement, config, channel_config, voucher_claim, sign_claim_batch, stranger, expect_error
):
    foreign = channel_config(receiverAuthorizer=stranger.address)
    rows = [voucher_claim(config, 0), voucher_claim(foreign, 0)]
    with expect_error("NotReceiverAuthorizer()"):
        settlement.claimWithSignature(rows, sign_claim_batch(rows))


def test_claim_with_signature__checks_the_rows_as_claim_does(
    settlement, config, deposit, voucher_claim, sign_claim_batch, stranger, expect_error
):
    deposit(config, DEPOSIT)
    for error, row in (
        ("ClaimExceedsCeiling()", voucher_claim(config, 4, total=5)),
        ("ClaimExceedsBalance()", voucher_claim(config, DEPOSIT + 1)),
        ("InvalidSignature()", voucher_claim(config, 4, by=stranger)),
    ):
        rows = [voucher_claim(config, 3), row]
        with expect_error(error):
            settlement.claimWithSignature(rows, sign_claim_batch(rows))
    assert books(settlement, config) == Books(balance=DEPOSIT)


def test_claim_with_signature__moves_nothing_the_second_time(
    settlement, config, token, deposit, voucher_claim, sign_claim_batch, receiver, events
):
    deposit(config, DEPOSIT)
    rows = [voucher_claim(config, 400)]
    signature = sign_claim_batch(rows)
    settlement.claimWithSignature(rows, signature)

    settlement.claimWithSignature(rows, signature)

    assert events(settlement) == []
    assert settlement.receivers(receiver.address, token.address) == (400, 0)


def test_claim_with_signature__credits_every_receiver_and_token_its_own(
    settlement, channel_config, token, deploy, deposit, voucher_claim, sign_claim_batch, account
):
    second_token = deploy("mocks/TestUSD.vy")
    alice, bob = account("alice").address, account("bob").address
    plan = [
        (alice, token, 1),
        (bob, token, 20),
        (alice, token, 300),
        (alice, second_token, 4_000),
        (bob, second_token, 50_000),
    ]
    rows = []
    for n, (receiver, money, amount) in enumerate(plan):
        config = channel_config(receiver=receiver, token=money.address, salt=bytes([n]) * 32)
        deposit(config, amount, token=money)
        rows.append(voucher_claim(config, amount))

    settlement.claimWithSignature(rows, sign_claim_batch(rows))

    assert settlement.receivers(alice, token.address) == (301, 0)
    assert settlement.receivers(bob, token.address) == (20, 0)
    assert settlement.receivers(alice, second_token.address) == (4_000, 0)
    assert settlement.receivers(bob, second_token.address) == (50_000, 0)


def test_claim_with_signature__goes_on_where_single_claims_stopped(
    settlement, channel_config, token, deposit, voucher_claim, sign_claim_batch, receiver, events
):
    configs = [channel_config(salt=bytes([n]) * 32) for n in range(3)]
    for config, amount in zip(configs, (1_000, 2_000, 500), strict=True):
        deposit(config, amount)
    for config, total in zip(configs, (150, 200, 50), strict=True):
        settlement.claim([voucher_claim(config, total)], sender=receiver.address)

    rows = [
        voucher_claim(config, total) for config, total in zip(configs, (250, 500, 200), strict=True)
    ]
    settlement.claimWithSignature(rows, sign_claim_batch(rows))
    assert [event.args["claimAmount"] for event in events(settlement)] == [100, 300, 150]
    assert settlement.receivers(receiver.address, token.address) == (950, 0)

    settlement.settle(receiver.address, token.address)
    assert token.balanceOf(receiver.address) == 950
    assert [books(settlement, config).balance for config in configs] == [1_000, 2_000, 500]


def test_claim_with_signature__refuses_an_empty_batch(settlement, sign_claim_batch, expect_error):
    with expect_error("EmptyBatch()"):
        settlement.claimWithSignature([], sign_claim_batch([]))


def test_claim_with_signature__takes_a_hundred_rows_and_no_more(
    settlement, config, deposit, voucher_claim, sign_claim_batch, receiver, token, expect_error
):
    deposit(config, DEPOSIT)
    skipped = voucher_claim(config, 0, signature=b"")
    with expect_error("BatchTooLong()"):
        settlement.claimWithSignature([skipped] * 101, b"")
    rows = [*[skipped] * 99, voucher_claim(config, 2)]
    settlement.claimWithSignature(rows, sign_claim_batch(rows))
    assert settlement.receivers(receiver.address, token.address) == (2, 0)
