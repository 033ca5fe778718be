"""Signing with every kind of signer, and which signatures count."""

import gc
from types import SimpleNamespace

import pytest
from coincurve import PublicKey
from eth_account import Account
from eth_account.signers.base import BaseAccount
from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes
from hypothesis import example, given
from hypothesis import strategies as st
from protocol_samples import ALICE, BOB, CONFIG, DOMAIN, amounts, words

from farthing.protocol import (
    X402_SETTLEMENT,
    ZERO_ADDRESS,
    ChainReadNeeded,
    ChannelConfig,
    Domain,
    InvalidField,
    SigningFailed,
    Voucher,
    is_payer_signature,
    is_valid_signature,
    recover,
    sign,
    signatures,
)

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
VOUCHER = Voucher(CONFIG.channel_id(DOMAIN), 12_345)
DIGEST = VOUCHER.digest(DOMAIN)
SIGNATURE = sign(ALICE, VOUCHER, DOMAIN)
# Without an authorizer the payer signs for itself.
SELF_SIGNED = ChannelConfig(
    CONFIG.payer, ZERO_ADDRESS, *CONFIG.as_tuple()[2:5], CONFIG.withdraw_delay, CONFIG.salt
)


class RemoteAccount(BaseAccount):
    """A signer that is no local key: it answers by ``answer(signed)``."""

    def __init__(self, account, answer):
        self._account, self._answer = account, answer

    @property
    def address(self):
        return self._account.address

    def sign_message(self, signable_message):
        return self._answer(self._account.sign_message(signable_message))

    def unsafe_sign_hash(self, message_hash):
        raise NotImplementedError

    def sign_transaction(self, transaction_dict):
        raise NotImplementedError


class AskingAccount(LocalAccount):
    """A local key whose owner wants to be asked."""

    def sign_message(self, signable_message):
        return None


def parts(r, s, v):
    return lambda signed: SimpleNamespace(r=r(signed.r), s=s(signed.s), v=v(signed.v))


def same(value):
    return value


def malleated(signature):
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def curve_has(r_and_s, recovery_id):
    try:
        PublicKey.from_signature_and_message(r_and_s + bytes([recovery_id]), DIGEST, hasher=None)
    except ValueError:
        return False
    return True


def never(*_):
    raise AssertionError("the chain was asked")


# ---------------------------------------------------------------- signing


@given(st.binary(min_size=32, max_size=32).filter(any), words, amounts)
def test_sign__local_key__gives_eth_accounts_own_bytes(key, channel_id, amount):
    if int.from_bytes(key, "big") >= ORDER:
        key = b"\x01" * 32
    account = Account.from_key(key)
    voucher = Voucher(channel_id, amount)
    signature = sign(account, voucher, DOMAIN)
    assert signature == account.unsafe_sign_hash(voucher.digest(DOMAIN)).signature
    assert type(signature) is bytes
    assert recover(voucher.digest(DOMAIN), signature) == account.address


def test_sign__two_keys_in_turn__each_signs_its_own():
    for account in (ALICE, BOB, ALICE, BOB):
        assert recover(DIGEST, sign(account, VOUCHER, DOMAIN)) == account.address


def test_sign__account_gone__its_key_is_forgotten():
    account = Account.from_key(b"\x07" * 32)
    sign(account, VOUCHER, DOMAIN)
    assert account in signatures._curve_keys
    held = len(signatures._curve_keys)
    del account
    gc.collect()
    assert len(signatures._curve_keys) < held


@pytest.mark.parametrize(
    "answer",
    [
        same,
        parts(same, same, lambda v: v - 27),
        parts(same, lambda s: ORDER - s, lambda v: 55 - v),
        parts(same, lambda s: ORDER - s, lambda v: 28 - v),
        parts(lambda r: r.to_bytes(32, "big"), lambda s: s.to_bytes(32, "big"), same),
    ],
    ids=["as eth-account", "v 0 or 1", "high s", "high s and v 0 or 1", "r and s as bytes"],
)
def test_sign__other_signer__gives_the_contracts_form(answer):
    assert sign(RemoteAccount(ALICE, answer), VOUCHER, DOMAIN) == SIGNATURE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: None, "did not sign"),
        (lambda _: BOB.unsafe_sign_hash(DIGEST), "returned a signature that is not its own"),
        (
            lambda _: ALICE.unsafe_sign_hash(bytes(32)),
            "returned a signature that is not its own",
        ),
        (parts(lambda _: 0, same, same), "returned something that is not an ECDSA signature"),
        (parts(lambda _: ORDER, same, same), "returned something that is not an ECDSA signature"),
        (parts(same, lambda _: 0, same), "returned something that is not an ECDSA signature"),
        (parts(same, lambda _: ORDER, same), "returned something that is not an ECDSA signature"),
        (parts(same, same, lambda _: 29), "returned something that is not an ECDSA signature"),
        (parts(same, same, lambda _: 2), "returned something that is not an ECDSA signature"),
        (parts(same, same, lambda _: -1), "returned something that is not an ECDSA signature"),
    ],
)
def test_sign__other_signer_fails__raises_with_its_address(answer, reason):
    with pytest.raises(SigningFailed) as caught:
        sign(RemoteAccount(ALICE, answer), VOUCHER, DOMAIN)
    assert (caught.value.address, caught.value.reason) == (ALICE.address, reason)
    assert str(caught.value) == (
        f"signer {ALICE.address} {reason}: check the account or the device behind it"
    )


def test_sign__subclass_of_a_local_account__is_asked():
    asking = AskingAccount(ALICE._key_obj, Account())
    with pytest.raises(SigningFailed, match="did not sign"):
        sign(asking, VOUCHER, DOMAIN)


# ---------------------------------------------------------------- recovery


def test_recover__strict_signature__names_the_signer():
    assert recover(DIGEST, SIGNATURE) == ALICE.address
    assert recover(HexBytes(DIGEST), HexBytes(SIGNATURE)) == ALICE.address


@given(words, amounts)
def test_recover__high_s__is_nobody(channel_id, amount):
    voucher = Voucher(channel_id, amount)
    signature = sign(ALICE, voucher, DOMAIN)
    twin = malleated(signature)
    assert recover(voucher.digest(DOMAIN), signature) == ALICE.address
    # The twin is a true signature of the same key; only the contract's rule keeps it out.
    assert Account._recover_hash(voucher.digest(DOMAIN), signature=twin) == ALICE.address
    assert recover(voucher.digest(DOMAIN), twin) is None


@pytest.mark.parametrize("s", [ORDER // 2, ORDER // 2 + 1])
def test_recover__s_at_half_the_order__is_the_last_one_taken(s):
    signature = SIGNATURE[:32] + s.to_bytes(32, "big") + SIGNATURE[64:]
    assert (recover(DIGEST, signature) is None) == (s > ORDER // 2)


@pytest.mark.parametrize("v", [v for v in range(256) if v not in (27, 28)])
def test_recover__v_not_27_or_28__is_nobody(v):
    assert recover(DIGEST, SIGNATURE[:64] + bytes([v])) is None


def test_recover__r_beyond_the_order__is_nobody_where_the_curve_has_a_signer():
    # A small r may stand for r plus the order; only a v of 29 or 30 says so.
    beyond = [
        (r.to_bytes(32, "big") + bytes(31) + b"\x01", v) for r in range(1, 20) for v in (29, 30)
    ]
    on_curve = [(rs, v) for rs, v in beyond if curve_has(rs, v - 27)]
    assert on_curve != []
    assert [recover(DIGEST, rs + bytes([v])) for rs, v in on_curve] == [None] * len(on_curve)


def test_recover__signer_would_be_the_zero_address__is_nobody(monkeypatch):
    monkeypatch.setattr(signatures, "keccak", lambda _: bytes(32))
    assert recover(DIGEST, SIGNATURE) is None


def test_recover__other_v__is_another():
    other = recover(DIGEST, SIGNATURE[:64] + bytes([55 - SIGNATURE[64]]))
    assert other is not None
    assert other != ALICE.address


@pytest.mark.parametrize("length", [*range(65), 66, 96, 130])
def test_recover__wrong_length__is_nobody(length):
    assert recover(DIGEST, (SIGNATURE * 2)[:length]) is None


@pytest.mark.parametrize("r", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_recover__r_out_of_range__is_nobody(r):
    assert recover(DIGEST, r.to_bytes(32, "big") + SIGNATURE[32:]) is None


def test_recover__zero_s__is_nobody():
    assert recover(DIGEST, SIGNATURE[:32] + bytes(32) + SIGNATURE[64:]) is None


@given(words, st.binary(max_size=140))
@example(bytes(32), bytes(65))
@example(bytes(32), bytes(64) + b"\x1b")
def test_recover__any_bytes__never_raises_and_never_names_nobody(digest, signature):
    assert recover(digest, signature) != ZERO_ADDRESS


@given(st.integers(0, 64), st.integers(1, 255))
def test_recover__any_byte_changed__is_not_the_signer(position, change):
    tampered = bytearray(SIGNATURE)
    tampered[position] ^= change
    assert recover(DIGEST, bytes(tampered)) != ALICE.address


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33), "0" * 32, None])
def test_recover__digest_not_32_bytes__is_refused_by_name(wrong):
    for check in (
        lambda: recover(wrong, SIGNATURE),
        lambda: is_payer_signature(CONFIG, wrong, SIGNATURE),
        lambda: is_valid_signature(ALICE.address, wrong, SIGNATURE, is_contract=lambda _: False),
    ):
        with pytest.raises(InvalidField) as caught:
            check()
        assert caught.value.field == "digest"


# ---------------------------------------------------------------- whose signature counts


def test_payer_signature__by_the_authorizer__counts_without_the_chain():
    config = ChannelConfig(BOB.address, ALICE.address, *CONFIG.as_tuple()[2:])
    assert is_payer_signature(config, DIGEST, SIGNATURE)
    assert is_payer_signature(config, DIGEST, SIGNATURE, is_contract=never, is_valid_erc1271=never)


def test_payer_signature__by_the_payer_when_an_authorizer_is_set__does_not_count():
    config = ChannelConfig(ALICE.address, BOB.address, *CONFIG.as_tuple()[2:])
    assert not is_payer_signature(
        config, DIGEST, SIGNATURE, is_contract=never, is_valid_erc1271=never
    )


def test_payer_signature__on_another_chain_contract_or_amount__does_not_count():
    others = [
        VOUCHER.digest(Domain(DOMAIN.chain_id + 1, X402_SETTLEMENT)),
        VOUCHER.digest(Domain(DOMAIN.chain_id, CONFIG.token)),
        Voucher(VOUCHER.channel_id, 12_346).digest(DOMAIN),
        Voucher(bytes(32), 12_345).digest(DOMAIN),
    ]
    assert [is_payer_signature(CONFIG, digest, SIGNATURE) for digest in others] == [False] * 4


def test_payer_signature__malleated__does_not_count():
    assert not is_payer_signature(CONFIG, DIGEST, malleated(SIGNATURE))


def test_payer_signature__no_authorizer_and_no_code__is_the_payers_ecdsa():
    asked = []
    result = is_payer_signature(
        SELF_SIGNED,
        DIGEST,
        SIGNATURE,
        is_contract=lambda address: asked.append(address) or False,
        is_valid_erc1271=never,
    )
    assert result is True
    assert asked == [ALICE.address]
    by_bob = sign(BOB, VOUCHER, DOMAIN)
    assert not is_payer_signature(SELF_SIGNED, DIGEST, by_bob, is_contract=lambda _: False)


@pytest.mark.parametrize("answer", [True, False])
def test_payer_signature__no_authorizer_and_code__is_the_wallets_word(answer):
    asked = []

    def wallet(*question):
        asked.append(question)
        return answer

    # Also for a signature that would be right by ECDSA: an account with code decides for itself.
    for signature in (b"", b"anything", SIGNATURE, bytes(256)):
        assert (
            is_payer_signature(
                SELF_SIGNED,
                DIGEST,
                signature,
                is_contract=lambda _: True,
                is_valid_erc1271=wallet,
            )
            is answer
        )
        assert asked.pop() == (ALICE.address, DIGEST, signature)
    assert asked == []


def test_payer_signature__over_256_bytes__does_not_count_and_nobody_is_asked():
    assert not is_payer_signature(
        SELF_SIGNED, DIGEST, bytes(257), is_contract=never, is_valid_erc1271=never
    )


@pytest.mark.parametrize("given_reads", [{}, {"is_contract": lambda _: True}])
def test_payer_signature__chain_needed_and_not_given__raises_with_the_address(given_reads):
    with pytest.raises(ChainReadNeeded) as caught:
        is_payer_signature(SELF_SIGNED, DIGEST, SIGNATURE, **given_reads)
    assert caught.value.address == ALICE.address
    assert str(caught.value) == (
        f"{ALICE.address} may be a contract wallet: "
        "pass is_contract and is_valid_erc1271 to check its signature"
    )


def test_payer_signature__node_down__is_no_answer():
    def down(_):
        raise ConnectionError("node down")

    with pytest.raises(ConnectionError, match="node down"):
        is_payer_signature(SELF_SIGNED, DIGEST, SIGNATURE, is_contract=down)


def test_valid_signature__lower_case_signer__is_the_same_signer():
    assert is_valid_signature(ALICE.address.lower(), DIGEST, SIGNATURE, is_contract=lambda _: False)


def test_valid_signature__zero_signer__never_counts():
    garbage = bytes(64) + b"\x1b"
    assert not is_valid_signature(ZERO_ADDRESS, DIGEST, garbage, is_contract=lambda _: False)


def test_valid_signature__not_an_address__is_refused_by_name():
    with pytest.raises(InvalidField) as caught:
        is_valid_signature("alice", DIGEST, SIGNATURE)
    assert caught.value.field == "signer"
