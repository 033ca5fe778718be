"""Anybody may bring a redemption that the receiver's authorizer signed, and no other."""

from __future__ import annotations

import boa
import pytest
from eth_utils import function_signature_to_4byte_selector
from redemption import (
    EMPTY,
    STALE,
    batch,
    channel_id,
    outcome,
    redeemed,
    redemption_digest,
    selectors_of,
    sign_batch,
    signed_row,
    transfer,
)

DEPOSIT = 1_000


@pytest.fixture
def own_config(channel_config, payer):
    return channel_config(payerAuthorizer=payer.address)


@pytest.fixture
def call(settlement, own_config, deposit, payer):
    """A redemption of 300 from one channel and of nothing from another."""
    deposit(own_config, DEPOSIT)
    rows = [
        signed_row(settlement, own_config, 300, payer),
        signed_row(settlement, own_config._replace(salt=b"\x01" * 32), 200, payer, 201),
    ]
    return batch(own_config, rows).call


@pytest.fixture
def outcomes(settlement, own_config):
    other = own_config._replace(salt=b"\x01" * 32)
    return [
        outcome(channel_id(settlement, own_config), total=300),
        outcome(channel_id(settlement, other), reason=EMPTY),
    ]


@pytest.fixture
def assert_untouched(settlement, token, own_config, receiver):
    def check():
        assert settlement.channels(channel_id(settlement, own_config)) == (DEPOSIT, 0)
        assert settlement.receivers(receiver.address, token.address) == (0, 0)
        assert token.balanceOf(receiver.address) == 0
        assert token.balanceOf(settlement.address) == DEPOSIT

    return check


def test_redeem_with_signature__pays_the_receiver(
    settlement, token, own_config, call, outcomes, receiver, receiver_authorizer, stranger, events
):
    signature = sign_batch(settlement, call, receiver_authorizer)

    settlement.redeemWithSignature(call, signature, sender=stranger.address)

    assert events(settlement) == [
        redeemed(own_config, 300, outcomes),
        transfer(settlement.address, receiver.address, 300),
    ]
    assert settlement.channels(channel_id(settlement, own_config)) == (DEPOSIT, 300)
    assert token.balanceOf(receiver.address) == 300
    assert token.balanceOf(settlement.address) == DEPOSIT - 300


def test_redeem_with_signature__by_a_contract_wallet_pays_the_receiver(
    settlement, token, own_config, deposit, payer, receiver, wallet, wallet_owner, stranger, events
):
    config = own_config._replace(receiverAuthorizer=wallet.address)
    deposit(config, DEPOSIT)
    call = batch(config, [signed_row(settlement, config, 300, payer)]).call

    settlement.redeemWithSignature(
        call, sign_batch(settlement, call, wallet_owner), sender=stranger.address
    )

    assert events(settlement) == [
        redeemed(config, 300, [outcome(channel_id(settlement, config), total=300)]),
        transfer(settlement.address, receiver.address, 300),
    ]


@pytest.mark.parametrize("misbehave", ["revertAlways", "burnGas"])
def test_redeem_with_signature__by_a_hostile_wallet_is_refused(
    settlement, own_config, deposit, payer, hostile_wallet, stranger, expect_error, misbehave
):
    config = own_config._replace(receiverAuthorizer=hostile_wallet.address)
    deposit(config, DEPOSIT)
    call = batch(config, [signed_row(settlement, config, 300, payer)]).call
    getattr(hostile_wallet, misbehave)()
    with expect_error("InvalidSignature()"):
        settlement.redeemWithSignature(call, b"\0" * 65, sender=stranger.address)
    assert settlement.channels(channel_id(settlement, config)) == (DEPOSIT, 0)


@pytest.mark.parametrize("rows", [127, 128])
def test_redeem_with_signature__takes_a_full_batch(
    settlement, own_config, deposit, payer, receiver_authorizer, stranger, events, rows
):
    """128 rows with 128 extras make the longest call there is."""
    deposit(own_config, DEPOSIT)
    full = [
        signed_row(settlement, own_config, total, payer, ceiling=DEPOSIT)
        for total in range(1, rows + 1)
    ]
    call = batch(own_config, full).call
    settlement.redeemWithSignature(
        call, sign_batch(settlement, call, receiver_authorizer), sender=stranger.address
    )
    identity = channel_id(settlement, own_config)
    assert events(settlement)[0] == redeemed(
        own_config, rows, [outcome(identity, total=total) for total in range(1, rows + 1)]
    )


def test_redeem_with_signature__again_moves_nothing(
    settlement, token, own_config, call, outcomes, receiver, receiver_authorizer, stranger, events
):
    signature = sign_batch(settlement, call, receiver_authorizer)
    settlement.redeemWithSignature(call, signature, sender=stranger.address)

    settlement.redeemWithSignature(call, signature, sender=stranger.address)

    stale = outcome(channel_id(settlement, own_config), reason=STALE)
    assert events(settlement) == [redeemed(own_config, 0, [stale, outcomes[1]])]
    assert token.balanceOf(receiver.address) == 300


def test_redeem_with_signature__passes_an_error_of_the_batch_on(
    settlement, own_config, receiver_authorizer, stranger, expect_error
):
    empty = batch(own_config, []).call
    with expect_error("EmptyBatch()"):
        settlement.redeemWithSignature(
            empty, sign_batch(settlement, empty, receiver_authorizer), sender=stranger.address
        )


# ---------------------------------------------------------------- whose signature


@pytest.mark.parametrize("signer", ["receiver", "payer", "stranger"])
def test_redeem_with_signature__by_another_key_is_refused(
    settlement, call, receiver, payer, stranger, expect_error, assert_untouched, signer
):
    key = {"receiver": receiver, "payer": payer, "stranger": stranger}[signer]
    with expect_error("InvalidSignature()"):
        settlement.redeemWithSignature(
            call, sign_batch(settlement, call, key), sender=stranger.address
        )
    assert_untouched()


def test_redeem_with_signature__needs_one_even_from_the_receiver(
    settlement, call, receiver, receiver_authorizer, expect_error, assert_untouched
):
    for sender in (receiver, receiver_authorizer):
        with expect_error("InvalidSignature()"):
            settlement.redeemWithSignature(call, b"", sender=sender.address)
    assert_untouched()


def test_redeem_with_signature__of_no_authorizer_is_refused(
    settlement, own_config, payer, stranger, expect_error
):
    nobody = own_config._replace(receiverAuthorizer="0x" + "00" * 20)
    call = batch(nobody, [signed_row(settlement, nobody, 300, payer)]).call
    for signature in (b"", b"\0" * 65, b"\0" * 64 + b"\x1b"):
        with expect_error("InvalidSignature()"):
            settlement.redeemWithSignature(call, signature, sender=stranger.address)


def test_redeem_with_signature__with_settlement_as_authorizer_is_refused(
    settlement, own_config, deposit, payer, stranger, expect_error
):
    config = own_config._replace(receiverAuthorizer=settlement.address)
    deposit(config, DEPOSIT)
    call = batch(config, [signed_row(settlement, config, 300, payer)]).call
    with expect_error("InvalidSignature()"):
        settlement.redeemWithSignature(call, b"\0" * 65, sender=stranger.address)


def test_redeem_with_signature__on_another_chain_is_refused(
    settlement, call, receiver_authorizer, stranger, expect_error, assert_untouched, monkeypatch
):
    signature = sign_batch(settlement, call, receiver_authorizer)
    monkeypatch.setattr(boa.env.evm.patch, "chain_id", 5)
    with expect_error("InvalidSignature()"):
        settlement.redeemWithSignature(call, signature, sender=stranger.address)
    # Signed for there it gets through, and finds that the channel is of the first chain.
    settlement.redeemWithSignature(
        call, sign_batch(settlement, call, receiver_authorizer), sender=stranger.address
    )
    monkeypatch.undo()
    assert_untouched()


def test_redeem_with_signature__at_another_contract_is_refused(
    settlement, deploy, call, receiver_authorizer, stranger, expect_error
):
    other = deploy("BatchSettlement.vy")
    with expect_error("InvalidSignature()"):
        other.redeemWithSignature(
            call, sign_batch(settlement, call, receiver_authorizer), sender=stranger.address
        )


def test_redeem_with_signature__takes_no_voucher_nor_claim_batch_signature(
    settlement, own_config, call, voucher_claim, sign_claim_batch, payer, stranger, expect_error
):
    signature = sign_claim_batch([voucher_claim(own_config, 300, by=payer)])
    with expect_error("InvalidSignature()"):
        settlement.redeemWithSignature(call, signature, sender=stranger.address)


@pytest.mark.parametrize("length", [0, 64, 66])
def test_redeem_with_signature__of_another_length_is_refused(
    settlement, call, receiver_authorizer, stranger, expect_error, assert_untouched, length
):
    signature = (sign_batch(settlement, call, receiver_authorizer) + b"\0")[:length]
    with expect_error("InvalidSignature()"):
        settlement.redeemWithSignature(call, signature, sender=stranger.address)
    assert_untouched()


# ---------------------------------------------------------------- what was signed


def test_redeem_with_signature__with_any_byte_changed_is_refused(
    settlement, call, receiver_authorizer, stranger, expect_error, assert_untouched
):
    signature = sign_batch(settlement, call, receiver_authorizer)
    authorizer = range(36, 68)
    # Every eighth byte, and the last: each word of the call four times.
    for index in sorted({*range(4, len(call), 8), len(call) - 1} - set(authorizer)):
        changed = bytearray(call)
        changed[index] ^= 1
        with expect_error("InvalidSignature()"):
            settlement.redeemWithSignature(bytes(changed), signature, sender=stranger.address)
    assert_untouched()


@pytest.mark.parametrize("index", [48, 67])
def test_redeem_with_signature__for_another_authorizer_is_refused(
    settlement, call, receiver_authorizer, stranger, expect_error, index
):
    changed = bytearray(call)
    changed[index] ^= 1
    with expect_error("InvalidSignature()"):
        settlement.redeemWithSignature(
            bytes(changed),
            sign_batch(settlement, call, receiver_authorizer),
            sender=stranger.address,
        )


@pytest.mark.parametrize("index", [36, 47])
def test_redeem_with_signature__for_no_address_is_refused(
    settlement, call, receiver_authorizer, stranger, expect_error, index
):
    changed = bytearray(call)
    changed[index] ^= 1
    with expect_error(None):
        settlement.redeemWithSignature(
            bytes(changed),
            sign_batch(settlement, bytes(changed), receiver_authorizer),
            sender=stranger.address,
        )


@pytest.mark.parametrize("change", [lambda call: call + b"\0", lambda call: call[:-1]])
def test_redeem_with_signature__longer_or_shorter_than_signed_is_refused(
    settlement, call, receiver_authorizer, stranger, expect_error, assert_untouched, change
):
    signature = sign_batch(settlement, call, receiver_authorizer)
    with expect_error("InvalidSignature()"):
        settlement.redeemWithSignature(change(call), signature, sender=stranger.address)
    assert_untouched()


def test_redeem_with_signature__with_two_rows_exchanged_is_refused(
    settlement, own_config, call, payer, receiver_authorizer, stranger, expect_error
):
    at = 4 + 32 * 7
    first, second = call[at : at + 96], call[at + 96 : at + 192]
    exchanged = call[:at] + second + first + call[at + 192 :]
    with expect_error("InvalidSignature()"):
        settlement.redeemWithSignature(
            exchanged, sign_batch(settlement, call, receiver_authorizer), sender=stranger.address
        )


def test_get_redemption_digest__is_what_is_signed(
    settlement, call, receiver_authorizer, monkeypatch
):
    typed = receiver_authorizer.sign_typed_data(
        {
            "name": "x402 Batch Settlement",
            "version": "1",
            "chainId": 1,
            "verifyingContract": settlement.address,
        },
        {"Redemption": [{"name": "call", "type": "bytes"}]},
        {"call": call},
    )
    assert bytes(typed.message_hash or b"") == redemption_digest(settlement, call)
    assert settlement.getRedemptionDigest(call) == redemption_digest(settlement, call)
    assert settlement.getRedemptionDigest(b"") == redemption_digest(settlement, b"")
    monkeypatch.setattr(boa.env.evm.patch, "chain_id", 5)
    assert settlement.getRedemptionDigest(call) == redemption_digest(settlement, call)


# ---------------------------------------------------------------- no other call to itself


def test_redeem_with_signature__of_any_other_function_is_refused(
    settlement, call, receiver_authorizer, stranger, expect_error, assert_untouched
):
    selectors = selectors_of(settlement)
    assert (
        selectors.pop(
            "redeem((address,address,address,uint40),(uint256,uint256,uint256)[],uint256[])"
        )
        == call[:4]
    )
    assert {"payOut(address,address,uint256)", "multicall(bytes[])"} <= set(selectors)
    for selector in [*selectors.values(), b"\0" * 4, bytes([*call[:3], call[3] ^ 1])]:
        other = selector + call[4:]
        with expect_error("NotARedemption()"):
            settlement.redeemWithSignature(
                other, sign_batch(settlement, other, receiver_authorizer), sender=stranger.address
            )
    assert_untouched()


def test_redeem_with_signature__of_a_payout_is_refused(
    settlement, token, call, receiver_authorizer, stranger, expect_error, assert_untouched
):
    payout = bytes(
        settlement.payOut.prepare_calldata(token.address, receiver_authorizer.address, 300)
    )
    with expect_error("NotARedemption()"):
        settlement.redeemWithSignature(
            payout, sign_batch(settlement, payout, receiver_authorizer), sender=stranger.address
        )
    assert_untouched()


@pytest.mark.parametrize("length", [0, 3, 4, 36, 67])
def test_redeem_with_signature__of_too_little_is_refused(
    settlement, call, receiver_authorizer, stranger, expect_error, length
):
    short = call[:length]
    with expect_error("NotARedemption()"):
        settlement.redeemWithSignature(
            short, sign_batch(settlement, short, receiver_authorizer), sender=stranger.address
        )


def test_redeem_with_signature__of_terms_alone_does_not_decode(
    settlement, call, receiver_authorizer, stranger, expect_error
):
    short = call[:68]
    with expect_error(None):
        settlement.redeemWithSignature(
            short, sign_batch(settlement, short, receiver_authorizer), sender=stranger.address
        )


def test_pay_out__by_anybody_is_refused(
    settlement, token, call, receiver, receiver_authorizer, payer, stranger, expect_error,
    assert_untouched,
):  # fmt: skip
    for sender in (stranger, payer, receiver, receiver_authorizer):
        with expect_error("OnlySelf()"):
            settlement.payOut(token.address, sender.address, 1, sender=sender.address)
    assert_untouched()


def test_pay_out__through_multicall_is_refused(
    settlement, token, call, receiver, expect_error, assert_untouched
):
    payout = bytes(settlement.payOut.prepare_calldata(token.address, receiver.address, 1))
    with expect_error("OnlySelf()"):
        settlement.multicall([payout], sender=receiver.address)
    assert_untouched()


@pytest.fixture
def payout_and_redeem(settlement, token, call, stranger):
    """Calls that only settlement itself may make, as they would come from elsewhere."""
    return {
        "OnlySelf()": bytes(settlement.payOut.prepare_calldata(token.address, stranger.address, 1)),
        "NotAuthorizedToClaim()": call,
    }


def test_self__cannot_be_played_through_a_nested_multicall(
    settlement, payout_and_redeem, stranger, expect_error, assert_untouched
):
    for error, inner in payout_and_redeem.items():
        nested = bytes(settlement.multicall.prepare_calldata([inner]))
        with expect_error(error):
            settlement.multicall([nested], sender=stranger.address)
    assert_untouched()


def test_self__cannot_be_played_as_collector(
    settlement, own_config, call, stranger, expect_error, assert_untouched
):
    """Settlement calls `collect` and `receiveWithAuthorization`, and has neither itself."""
    with expect_error(None):
        settlement.deposit(own_config, 1, settlement.address, call, sender=stranger.address)
    assert_untouched()


def test_self__cannot_be_played_as_token(
    settlement, own_config, call, open_collector, stranger, expect_error, assert_untouched
):
    config = own_config._replace(token=settlement.address)
    with expect_error(None):
        settlement.deposit(config, 1, open_collector.address, b"", sender=stranger.address)
    with expect_error(None):
        settlement.depositWithAuthorization(config, 1, 0, 1, 0, b"", sender=stranger.address)
    assert_untouched()


def test_self__cannot_be_played_from_a_collector(
    settlement, token, own_config, payout_and_redeem, fund, hostile_collector, payer, stranger,
):  # fmt: skip
    """A collector that calls back does so as itself; `redeem` meets the lock before its sender."""
    identity = channel_id(settlement, own_config)
    for error, inner in payout_and_redeem.items():
        fund(token, payer.address, 1, hostile_collector)
        hostile_collector.callBack(settlement.address, inner)
        settlement.deposit(own_config, 1, hostile_collector.address, b"", sender=stranger.address)
        assert not hostile_collector.callSucceeded()
        selector = function_signature_to_4byte_selector(error) if error == "OnlySelf()" else b""
        assert hostile_collector.callError() == selector
    assert settlement.channels(identity) == (DEPOSIT + 2, 0)
    assert token.balanceOf(stranger.address) == 0


def test_self__cannot_be_played_from_a_wallet(
    settlement, own_config, payout_and_redeem, deposit, hostile_wallet, payer, stranger,
    expect_error,
):  # fmt: skip
    """The authorizer is asked before anything is locked, by a static call."""
    config = own_config._replace(receiverAuthorizer=hostile_wallet.address)
    deposit(config, DEPOSIT)
    call = batch(config, [signed_row(settlement, config, 300, payer)]).call
    for inner in payout_and_redeem.values():
        hostile_wallet.callBack(settlement.address, inner)
        with expect_error("InvalidSignature()"):
            settlement.redeemWithSignature(call, b"", sender=stranger.address)
    assert settlement.channels(channel_id(settlement, config)) == (DEPOSIT, 0)
