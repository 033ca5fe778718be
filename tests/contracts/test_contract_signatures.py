"""Strict ECDSA, ERC-1271 with bounds, and which of the two counts for whom."""

from __future__ import annotations

import pytest
from contract_support import ZERO_ADDRESS, Books, books
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DEPOSIT = 1_000_000
ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
MAGIC = bytes.fromhex("1626ba7e")

# Each takes a good signature apart and puts it together wrongly.
MALFORMED = {
    "empty": lambda r, s, v: b"",
    "one byte short": lambda r, s, v: (r + s + v)[:-1],
    "one byte long": lambda r, s, v: r + s + v + b"\0",
    "compact": lambda r, s, v: r + (int.from_bytes(s) | ((v[0] - 27) << 255)).to_bytes(32),
    "v of 0 or 1": lambda r, s, v: r + s + bytes([v[0] - 27]),
    "v of 29 or 30": lambda r, s, v: r + s + bytes([v[0] + 2]),
    "v of 26 or 25": lambda r, s, v: (
        r + s + bytes([53 - v[0]]) if v[0] == 27 else r + s + bytes([25])
    ),
    "v of a chain": lambda r, s, v: r + s + bytes([v[0] + 10]),
    "the other v": lambda r, s, v: r + s + bytes([55 - v[0]]),
    "high s": lambda r, s, v: r + (ORDER - int.from_bytes(s)).to_bytes(32) + bytes([55 - v[0]]),
    "r of zero": lambda r, s, v: bytes(32) + s + v,
    "s of zero": lambda r, s, v: r + bytes(32) + v,
    "r beyond the order": lambda r, s, v: ORDER.to_bytes(32) + s + v,
    "s and r swapped": lambda r, s, v: s + r + v,
    "all zero": lambda r, s, v: bytes(65),
    "all ones": lambda r, s, v: b"\xff" * 65,
}


def spoil(kind, signature):
    return MALFORMED[kind](signature[:32], signature[32:64], signature[64:])


@pytest.fixture
def unguarded(channel_config):
    """A channel without payer authorizer."""
    return channel_config(payerAuthorizer=ZERO_ADDRESS)


@pytest.mark.parametrize("kind", MALFORMED)
def test_ecdsa__is_strict_for_a_payer_authorizer(
    settlement, config, deposit, voucher_claim, sign_voucher, receiver, expect_error, kind
):
    deposit(config, DEPOSIT)
    signature = spoil(kind, sign_voucher(config, 4))
    with expect_error("InvalidSignature()"):
        settlement.claim([voucher_claim(config, 4, signature=signature)], sender=receiver.address)


@pytest.mark.parametrize("kind", MALFORMED)
def test_ecdsa__is_strict_for_a_payer(
    settlement,
    unguarded,
    deposit,
    voucher_claim,
    sign_voucher,
    payer,
    receiver,
    expect_error,
    kind,
):
    deposit(unguarded, DEPOSIT)
    signature = spoil(kind, sign_voucher(unguarded, 4, by=payer))
    with expect_error("InvalidSignature()"):
        settlement.claim(
            [voucher_claim(unguarded, 4, signature=signature)], sender=receiver.address
        )


@pytest.mark.parametrize("kind", MALFORMED)
def test_ecdsa__is_strict_for_a_receiver_authorizer(
    settlement, config, deposit, voucher_claim, sign_claim_batch, sign_refund, expect_error, kind
):
    deposit(config, DEPOSIT)
    rows = [voucher_claim(config, 4)]
    with expect_error("InvalidSignature()"):
        settlement.claimWithSignature(rows, spoil(kind, sign_claim_batch(rows)))
    with expect_error("InvalidSignature()"):
        settlement.refundWithSignature(config, 4, 0, spoil(kind, sign_refund(config, 0, 4)))


def test_ecdsa__takes_both_values_of_v(
    settlement, config, deposit, voucher_claim, sign_voucher, receiver
):
    deposit(config, DEPOSIT)
    by_v = {}
    ceiling = 0
    while len(by_v) < 2:
        ceiling += 1
        by_v[sign_voucher(config, ceiling)[64]] = ceiling
    assert set(by_v) == {27, 28}
    for ceiling in sorted(by_v.values()):
        settlement.claim([voucher_claim(config, ceiling)], sender=receiver.address)
        assert books(settlement, config) == Books(DEPOSIT, ceiling)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(signature=st.binary(max_size=256))
def test_ecdsa__refuses_random_bytes(
    settlement, config, deposit, voucher_claim, receiver, expect_error, signature
):
    deposit(config, DEPOSIT)
    with expect_error("InvalidSignature()"):
        settlement.claim([voucher_claim(config, 4, signature=signature)], sender=receiver.address)


@pytest.mark.parametrize("kind", ["empty", "all zero", "v of 0 or 1"])
def test_ecdsa__never_takes_the_zero_address_for_a_signer(
    settlement, channel_config, voucher_claim, sign_refund, sign_claim_batch, expect_error, kind
):
    # Nobody can fund such a channel; a failed recovery still must not pass for its authorizer.
    config = channel_config(receiverAuthorizer=ZERO_ADDRESS)
    with expect_error("InvalidSignature()"):
        settlement.refundWithSignature(config, 4, 0, spoil(kind, sign_refund(config, 0, 4)))
    rows = [voucher_claim(config, 0)]
    with expect_error("InvalidSignature()"):
        settlement.claimWithSignature(rows, spoil(kind, sign_claim_batch(rows)))
    assert books(settlement, config) == Books()


# ---------------------------------------------------------------- contract wallets


def test_erc1271__payer_signs_by_its_wallet(
    settlement,
    channel_config,
    wallet,
    wallet_owner,
    deposit,
    voucher_claim,
    receiver,
    stranger,
    expect_error,
):
    config = channel_config(payer=wallet.address, payerAuthorizer=ZERO_ADDRESS)
    deposit(config, DEPOSIT)
    with expect_error("InvalidSignature()"):
        settlement.claim([voucher_claim(config, 4, by=stranger)], sender=receiver.address)
    settlement.claim([voucher_claim(config, 4, by=wallet_owner)], sender=receiver.address)
    assert books(settlement, config) == Books(DEPOSIT, 4)


def test_erc1271__receiver_authorizer_signs_by_its_wallet(
    settlement,
    channel_config,
    wallet,
    wallet_owner,
    deposit,
    voucher_claim,
    sign_claim_batch,
    sign_refund,
    stranger,
    expect_error,
):
    config = channel_config(receiverAuthorizer=wallet.address)
    deposit(config, DEPOSIT)
    rows = [voucher_claim(config, 4)]
    with expect_error("InvalidSignature()"):
        settlement.claimWithSignature(rows, sign_claim_batch(rows, by=stranger))
    with expect_error("InvalidSignature()"):
        settlement.refundWithSignature(config, 6, 0, sign_refund(config, 0, 6, by=stranger))
    settlement.claimWithSignature(rows, sign_claim_batch(rows, by=wallet_owner))
    settlement.refundWithSignature(config, 6, 0, sign_refund(config, 0, 6, by=wallet_owner))
    assert books(settlement, config) == Books(DEPOSIT - 6, 4, refund_nonce=1)


def test_erc1271__does_not_count_for_a_payer_authorizer(
    settlement,
    channel_config,
    hostile_wallet,
    wallet,
    wallet_owner,
    deposit,
    voucher_claim,
    receiver,
    expect_error,
):
    hostile_wallet.answerWith(MAGIC.ljust(32, b"\0"), 32)
    for authorizer in (hostile_wallet, wallet):
        config = channel_config(payerAuthorizer=authorizer.address)
        deposit(config, DEPOSIT)
        with expect_error("InvalidSignature()"):
            settlement.claim([voucher_claim(config, 4, by=wallet_owner)], sender=receiver.address)


def test_erc1271__wallets_act_as_payer_and_receiver(
    settlement, channel_config, wallet, deposit, voucher_claim, warp
):
    config = channel_config(payer=wallet.address, receiver=wallet.address)
    deposit(config, DEPOSIT)

    def act(function, *args):
        data = getattr(settlement, function).prepare_calldata(*args)
        wallet.execute(settlement.address, data)

    act("initiateWithdraw", config, 10)
    warp(900)
    act("finalizeWithdraw", config)
    act("claim", [voucher_claim(config, 4)])
    act("refund", config, 6)
    assert books(settlement, config) == Books(DEPOSIT - 16, 4, refund_nonce=1)


@pytest.mark.parametrize("size", [32, 33, 64, 32_768])
@pytest.mark.parametrize("length", [0, 65, 66, 256])
def test_erc1271__reads_the_first_word_of_any_answer_and_gives_any_signature(
    settlement, channel_config, hostile_wallet, deposit, voucher_claim, receiver, size, length
):
    config = channel_config(payer=hostile_wallet.address, payerAuthorizer=ZERO_ADDRESS)
    deposit(config, DEPOSIT)
    hostile_wallet.answerWith(MAGIC.ljust(32, b"\0"), size)
    row = voucher_claim(config, 4, signature=b"\x01" * length)
    settlement.claim([row], sender=receiver.address)
    assert books(settlement, config) == Books(DEPOSIT, 4)


@pytest.mark.parametrize("length", [768])
def test_erc1271__gives_an_authorizers_wallet_a_long_signature(
    settlement, channel_config, hostile_wallet, deposit, length, expect_error, call_by_signature
):
    config = channel_config(receiverAuthorizer=hostile_wallet.address)
    deposit(config, DEPOSIT)
    hostile_wallet.answerWith(MAGIC.ljust(32, b"\0"), 32)
    settlement.refundWithSignature(config, 4, 0, b"\x01" * length)
    assert books(settlement, config) == Books(DEPOSIT - 4, refund_nonce=1)
    encoded = settlement.refundWithSignature.prepare_calldata(config, 4, 1, b"\x01" * length)
    tail = length.to_bytes(32) + b"\x01" * length
    longer = encoded.replace(tail, (length + 1).to_bytes(32) + b"\x01" * (length + 32))
    assert longer != encoded
    with expect_error(None):
        call_by_signature(settlement, None, raw=longer)


HOSTILE_ANSWERS = {
    "nothing": (MAGIC, 0),
    "the selector alone": (MAGIC, 4),
    "one byte less than a word": (MAGIC, 31),
    "no": (b"", 32),
    "the refusal": (b"\xff\xff\xff\xff", 32),
    "the selector and something": (MAGIC + b"\x01", 32),
    "the selector and something at the end": (MAGIC.ljust(31, b"\0") + b"\x01", 32),
    "true": ((1).to_bytes(32), 32),
    "the selector at the end": (bytes(28) + MAGIC, 32),
    "a huge no": (b"\xff" * 32, 32_768),
}


def refused_by_every_check(
    settlement, channel_config, hostile_wallet, deposit, voucher_claim, receiver, expect_error
):
    """No claim and no refund passes that only the wallet could have allowed; others do pass."""
    as_payer = channel_config(payer=hostile_wallet.address, payerAuthorizer=ZERO_ADDRESS)
    as_authorizer = channel_config(receiverAuthorizer=hostile_wallet.address)
    honest = channel_config()
    for config in (as_payer, as_authorizer, honest):
        deposit(config, DEPOSIT)
    with expect_error("InvalidSignature()"):
        settlement.claim([voucher_claim(as_payer, 4)], sender=receiver.address)
    with expect_error("InvalidSignature()"):
        settlement.claimWithSignature([voucher_claim(as_authorizer, 4)], b"")
    with expect_error("InvalidSignature()"):
        settlement.refundWithSignature(as_authorizer, 4, 0, b"")
    settlement.claim([voucher_claim(honest, 4)], sender=receiver.address)
    assert books(settlement, as_payer) == books(settlement, as_authorizer) == Books(DEPOSIT)
    assert books(settlement, honest) == Books(DEPOSIT, 4)


@pytest.mark.parametrize("answer", HOSTILE_ANSWERS)
def test_erc1271__refuses_every_answer_but_the_right_word(
    settlement,
    channel_config,
    hostile_wallet,
    deposit,
    voucher_claim,
    receiver,
    expect_error,
    answer,
):
    word, size = HOSTILE_ANSWERS[answer]
    hostile_wallet.answerWith(word.ljust(32, b"\0"), size)
    refused_by_every_check(
        settlement, channel_config, hostile_wallet, deposit, voucher_claim, receiver, expect_error
    )


def test_erc1271__refuses_a_wallet_that_reverts(
    settlement, channel_config, hostile_wallet, deposit, voucher_claim, receiver, expect_error
):
    hostile_wallet.revertAlways()
    refused_by_every_check(
        settlement, channel_config, hostile_wallet, deposit, voucher_claim, receiver, expect_error
    )


def test_erc1271__refuses_a_wallet_that_burns_gas_and_bounds_the_fire(
    settlement, channel_config, hostile_wallet, deposit, voucher_claim, receiver, expect_error
):
    hostile_wallet.burnGas()
    refused_by_every_check(
        settlement, channel_config, hostile_wallet, deposit, voucher_claim, receiver, expect_error
    )
    config = channel_config(payer=hostile_wallet.address, payerAuthorizer=ZERO_ADDRESS)
    with expect_error("InvalidSignature()"):
        settlement.claim([voucher_claim(config, 4)], sender=receiver.address)
    (asked,) = (
        call.msg
        for call in settlement._computation.children
        if call.msg.to == bytes.fromhex(hostile_wallet.address[2:])
    )
    assert (asked.gas, asked.is_static) == (500_000, True)


def test_erc1271__refuses_a_wallet_that_tries_to_change_anything(
    settlement,
    channel_config,
    hostile_wallet,
    token,
    deposit,
    voucher_claim,
    receiver,
    expect_error,
):
    mint = token.mint.prepare_calldata(receiver.address, 1)
    hostile_wallet.callBack(token.address, mint)
    refused_by_every_check(
        settlement, channel_config, hostile_wallet, deposit, voucher_claim, receiver, expect_error
    )
    assert token.balanceOf(receiver.address) == 0


def test_erc1271__lets_a_wallet_look_at_settlement(
    settlement, channel_config, hostile_wallet, deposit, voucher_claim, receiver
):
    config = channel_config(payer=hostile_wallet.address, payerAuthorizer=ZERO_ADDRESS)
    channel_id = deposit(config, DEPOSIT)
    look = settlement.channels.prepare_calldata(channel_id)
    hostile_wallet.callBack(settlement.address, look)
    settlement.claim([voucher_claim(config, 4)], sender=receiver.address)
    assert books(settlement, config) == Books(DEPOSIT, 4)
