"""Vouchers, refunds, claim batches and claim rows."""

import dataclasses

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from protocol_samples import CONFIG, DOMAIN, amounts, configs, words

from farthing.protocol import (
    ClaimBatch,
    ClaimEntry,
    InvalidField,
    Refund,
    Voucher,
    VoucherClaim,
)

WORD = bytes(range(32))
NOT_UINT128 = [-1, 2**128, True, 1.0, "1", None]


@pytest.mark.parametrize("message", [Voucher, lambda c, a: Refund(c, 0, a)])
@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33), "0x" + "00" * 32, None])
def test_message__wrong_channel_id__is_refused_by_name(message, wrong):
    with pytest.raises(InvalidField) as caught:
        message(wrong, 1)
    assert caught.value.field == "channel_id"


@pytest.mark.parametrize("wrong", NOT_UINT128)
@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda wrong: Voucher(WORD, wrong), "max_claimable_amount"),
        (lambda wrong: Refund(WORD, 0, wrong), "amount"),
        (lambda wrong: ClaimEntry(WORD, wrong, 0), "max_claimable_amount"),
        (lambda wrong: ClaimEntry(WORD, 0, wrong), "total_claimed"),
        (lambda wrong: VoucherClaim(CONFIG, wrong, b"", 0), "max_claimable_amount"),
        (lambda wrong: VoucherClaim(CONFIG, 2**128 - 1, b"", wrong), "total_claimed"),
    ],
)
def test_message__wrong_amount__is_refused_by_name(make, field, wrong):
    with pytest.raises(InvalidField) as caught:
        make(wrong)
    assert (caught.value.field, caught.value.value) == (field, wrong)


@pytest.mark.parametrize("wrong", [-1, 2**256, True, 1.0, "1", None])
def test_refund__wrong_nonce__is_refused_by_name(wrong):
    with pytest.raises(InvalidField) as caught:
        Refund(WORD, wrong, 1)
    assert caught.value.field == "nonce"


def test_refund__nonce_over_128_bits__is_taken():
    assert Refund(WORD, 2**256 - 1, 1).nonce == 2**256 - 1


def test_claim_entry__wrong_channel_id__is_refused_by_name():
    with pytest.raises(InvalidField, match=r"^channel_id must be 32 bytes"):
        ClaimEntry(b"", 1, 1)


@given(words, amounts)
def test_voucher__digest__is_the_struct_hash_in_its_domain(channel_id, amount):
    voucher = Voucher(channel_id, amount)
    type_hash = keccak(b"Voucher(bytes32 channelId,uint128 maxClaimableAmount)")
    struct_hash = keccak(type_hash + channel_id + amount.to_bytes(32, "big"))
    assert voucher.struct_hash() == struct_hash
    assert voucher.digest(DOMAIN) == keccak(b"\x19\x01" + DOMAIN.separator + struct_hash)


@pytest.mark.parametrize("wrong", [[], [ClaimEntry(WORD, 1, 1)], (b"",), None])
def test_claim_batch__not_a_tuple_of_entries__is_refused(wrong):
    with pytest.raises(InvalidField, match=r"^entries must be a tuple of ClaimEntry"):
        ClaimBatch(wrong)


def test_claim_batch__no_rows__is_refused():
    with pytest.raises(InvalidField, match=r"^entries must hold at least one row"):
        ClaimBatch(())


def test_claim_batch__other_order__is_another_digest():
    one, two = ClaimEntry(WORD, 1, 1), ClaimEntry(WORD, 2, 2)
    assert ClaimBatch((one, two)).digest(DOMAIN) != ClaimBatch((two, one)).digest(DOMAIN)


@given(configs, amounts, st.binary(max_size=256), st.data())
def test_voucher_claim__any_row__gives_its_forms(config, ceiling, signature, data):
    total = data.draw(st.integers(0, ceiling))
    claim = VoucherClaim(config, ceiling, signature, total)
    channel_id = config.channel_id(DOMAIN)
    assert claim.as_tuple() == ((config.as_tuple(), ceiling), signature, total)
    assert claim.entry(DOMAIN) == ClaimEntry(channel_id, ceiling, total)
    assert claim.voucher(DOMAIN) == Voucher(channel_id, ceiling)
    assert ClaimBatch.of([claim, claim], DOMAIN).entries == (claim.entry(DOMAIN),) * 2


def test_voucher_claim__total_at_and_over_the_ceiling():
    assert VoucherClaim(CONFIG, 10, b"", 10).total_claimed == 10
    with pytest.raises(InvalidField) as caught:
        VoucherClaim(CONFIG, 10, b"", 11)
    assert caught.value.field == "total_claimed"
    assert str(caught.value) == "total_claimed must not exceed the voucher's ceiling of 10, got 11"


@pytest.mark.parametrize("wrong", [None, CONFIG.as_tuple(), CONFIG.to_json()])
def test_voucher_claim__channel_of_another_type__is_refused_by_name(wrong):
    with pytest.raises(InvalidField, match=r"^channel must be a ChannelConfig"):
        VoucherClaim(wrong, 1, b"", 1)


@pytest.mark.parametrize("wrong", [bytes(257), "0x00", bytearray(65), None])
def test_voucher_claim__signature_the_contract_never_takes__is_refused_by_name(wrong):
    with pytest.raises(InvalidField, match=r"^signature must be at most 256 bytes"):
        VoucherClaim(CONFIG, 1, wrong, 1)


@pytest.mark.parametrize(
    "message",
    [
        Voucher(WORD, 1),
        Refund(WORD, 0, 1),
        ClaimEntry(WORD, 1, 1),
        ClaimBatch((ClaimEntry(WORD, 1, 1),)),
        VoucherClaim(CONFIG, 1, b"", 1),
    ],
)
def test_message__assignment__is_refused(message):
    name = dataclasses.fields(message)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(message, name, getattr(message, name))
