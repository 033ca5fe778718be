"""Anybody has a receiver paid what was claimed for it and not yet paid."""

from __future__ import annotations

from contract_support import Books, books, settled, transfer

DEPOSIT = 1_000_000


def test_settle__pays_the_receiver_whoever_asks(
    settlement, config, token, deposit, voucher_claim, receiver, stranger, events
):
    deposit(config, DEPOSIT)
    settlement.claim([voucher_claim(config, 400)], sender=receiver.address)

    settlement.settle(receiver.address, token.address, sender=stranger.address)

    assert events(settlement) == [
        transfer(settlement, receiver, 400),
        settled(receiver, token, stranger, 400),
    ]
    assert settlement.receivers(receiver.address, token.address) == (400, 400)
    assert token.balanceOf(receiver.address) == 400
    assert token.balanceOf(settlement) == DEPOSIT - 400
    # A channel keeps its history: claims and payments do not lower its balance.
    assert books(settlement, config) == Books(balance=DEPOSIT, claimed=400)


def test_settle__does_nothing_where_nothing_is_owed(
    settlement, config, token, deposit, receiver, stranger, events
):
    deposit(config, DEPOSIT)
    settlement.settle(receiver.address, token.address)
    assert events(settlement) == []
    # Not even the token is asked, or is there.
    settlement.settle(receiver.address, stranger.address)
    assert events(settlement) == []
    assert token.balanceOf(settlement) == DEPOSIT


def test_settle__pays_once(settlement, config, token, deposit, voucher_claim, receiver, events):
    deposit(config, DEPOSIT)
    settlement.claim([voucher_claim(config, 400)], sender=receiver.address)
    settlement.settle(receiver.address, token.address)

    settlement.settle(receiver.address, token.address)

    assert events(settlement) == []
    assert token.balanceOf(receiver.address) == 400


def test_settle__pays_only_what_came_since(
    settlement, config, token, deposit, voucher_claim, receiver, events
):
    deposit(config, DEPOSIT)
    settlement.claim([voucher_claim(config, 400)], sender=receiver.address)
    settlement.settle(receiver.address, token.address)
    settlement.claim([voucher_claim(config, 1_000)], sender=receiver.address)

    settlement.settle(receiver.address, token.address, sender=receiver.address)

    assert events(settlement) == [
        transfer(settlement, receiver, 600),
        settled(receiver, token, receiver, 600),
    ]
    assert settlement.receivers(receiver.address, token.address) == (1_000, 1_000)


def test_settle__sweeps_all_channels_of_one_receiver_and_token(
    settlement,
    channel_config,
    token,
    deploy,
    deposit,
    voucher_claim,
    account,
    receiver,
    receiver_authorizer,
):
    second_token = deploy("mocks/TestUSD.vy")
    bob = account("bob")
    one = channel_config()
    two = channel_config(salt=b"\x01" * 32)
    of_bob = channel_config(receiver=bob.address)
    in_second = channel_config(token=second_token.address)
    for config in (one, two, of_bob):
        deposit(config, DEPOSIT)
    deposit(in_second, DEPOSIT, token=second_token)
    rows = [
        voucher_claim(config, amount)
        for config, amount in ((one, 1), (two, 20), (of_bob, 300), (in_second, 4_000))
    ]
    settlement.claim(rows, sender=receiver_authorizer.address)

    settlement.settle(receiver.address, token.address)

    assert token.balanceOf(receiver.address) == 21
    assert token.balanceOf(bob.address) == 0
    assert second_token.balanceOf(receiver.address) == 0
    settlement.settle(bob.address, token.address)
    settlement.settle(receiver.address, second_token.address)
    assert token.balanceOf(bob.address) == 300
    assert second_token.balanceOf(receiver.address) == 4_000
    assert token.balanceOf(settlement) == 3 * DEPOSIT - 321
    assert second_token.balanceOf(settlement) == DEPOSIT - 4_000


def test_settle__pays_what_was_claimed_before_the_rest_was_withdrawn(
    settlement, config, token, deposit, voucher_claim, payer, receiver, warp
):
    deposit(config, DEPOSIT)
    settlement.initiateWithdraw(config, DEPOSIT, sender=payer.address)
    settlement.claim([voucher_claim(config, 400)], sender=receiver.address)
    warp(900)
    settlement.finalizeWithdraw(config, sender=payer.address)

    settlement.settle(receiver.address, token.address)

    assert token.balanceOf(receiver.address) == 400
    assert token.balanceOf(payer.address) == DEPOSIT - 400
    assert token.balanceOf(settlement) == 0
