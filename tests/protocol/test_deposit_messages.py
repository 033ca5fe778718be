"""What a payer signs to fund a channel, against eth-account's typed data and x402's encoders."""

import dataclasses

import pytest
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from protocol_samples import ALICE, TOKEN, uint256s, used_addresses, words
from x402.mechanisms.evm.batch_settlement import encoding
from x402.mechanisms.evm.batch_settlement.constants import (
    BATCH_PERMIT2_WITNESS_TYPES,
    RECEIVE_AUTHORIZATION_TYPES,
)
from x402.mechanisms.evm.constants import EIP2612_PERMIT_TYPES, PERMIT2_ADDRESS

from farthing.protocol import (
    PERMIT2,
    X402_ERC3009_COLLECTOR,
    ZERO_ADDRESS,
    DepositAuthorization,
    InvalidField,
    Permit,
    Permit2Deposit,
    Permit2Domain,
    TokenDomain,
    recover,
    sign,
)

WORD = bytes(range(32))
AUTHORIZATION = DepositAuthorization(ALICE.address, X402_ERC3009_COLLECTOR, 5, 0, 100, WORD, 7)
PERMIT2_DEPOSIT = Permit2Deposit(TOKEN, 5, X402_ERC3009_COLLECTOR, 1, 100, WORD)
PERMIT = Permit(ALICE.address, PERMIT2, 5, 0, 100)

deposits = st.integers(1, 2**128 - 1)
signatures = st.binary(max_size=200)


def their_digest(domain, types, message):
    signable = encode_typed_data(domain, types, message)
    return keccak(b"\x19\x01" + signable.header + signable.body)


def token_domain(name, version, chain_id, token):
    return {"name": name, "version": version, "chainId": chain_id, "verifyingContract": token}


names = st.text(min_size=1, max_size=20, alphabet=st.characters(exclude_categories=["Cs"]))


@given(
    names, names, uint256s, used_addresses, used_addresses, deposits, uint256s, words, uint256s,
    signatures,
)  # fmt: skip
def test_erc3009__any_deposit__matches_x402(
    name, version, chain_id, token, payer, amount, before, channel_id, salt, signature
):
    before = max(before, 1)
    ours = DepositAuthorization(payer, token, amount, before - 1, before, channel_id, salt)
    nonce = encoding.build_erc3009_deposit_nonce("0x" + channel_id.hex(), hex(salt))
    assert "0x" + ours.nonce.hex() == nonce
    assert ours.digest(TokenDomain(name, version, chain_id, token)) == their_digest(
        token_domain(name, version, chain_id, token),
        RECEIVE_AUTHORIZATION_TYPES,
        {
            "from": payer,
            "to": token,
            "value": amount,
            "validAfter": before - 1,
            "validBefore": before,
            "nonce": bytes.fromhex(nonce[2:]),
        },
    )
    assert ours.collector_data(signature) == encoding.build_erc3009_collector_data(
        str(before - 1), str(before), hex(salt), "0x" + signature.hex()
    )


@given(
    uint256s, used_addresses, used_addresses, deposits, uint256s, uint256s, words, signatures,
    signatures,
)  # fmt: skip
def test_permit2__any_deposit__matches_x402(
    chain_id, token, collector, amount, nonce, deadline, channel_id, signature, permit_data
):
    ours = Permit2Deposit(token, amount, collector, nonce, deadline, channel_id)
    domain = {"name": "Permit2", "chainId": chain_id, "verifyingContract": PERMIT2_ADDRESS}
    assert ours.digest(Permit2Domain(chain_id)) == their_digest(
        domain,
        BATCH_PERMIT2_WITNESS_TYPES,
        {
            "permitted": {"token": token, "amount": amount},
            "spender": collector,
            "nonce": nonce,
            "deadline": deadline,
            "witness": {"channelId": channel_id},
        },
    )
    for data in (b"", permit_data):
        assert ours.collector_data(signature, data) == encoding.build_permit2_collector_data(
            str(nonce), str(deadline), "0x" + signature.hex(), data
        )


@given(
    names, names, uint256s, used_addresses, used_addresses, used_addresses, uint256s, uint256s,
    uint256s, words, words, st.sampled_from([27, 28]),
)  # fmt: skip
def test_permit__any_permit__matches_x402(
    name, version, chain_id, token, owner, spender, value, nonce, deadline, r, s, v
):
    ours = Permit(owner, spender, value, nonce, deadline)
    assert ours.digest(TokenDomain(name, version, chain_id, token)) == their_digest(
        token_domain(name, version, chain_id, token),
        EIP2612_PERMIT_TYPES,
        {
            "owner": owner,
            "spender": spender,
            "value": value,
            "nonce": nonce,
            "deadline": deadline,
        },
    )
    assert ours.data(r + s + bytes([v])) == encoding.build_eip2612_permit_data(
        str(value), str(deadline), v, "0x" + r.hex(), "0x" + s.hex()
    )


@pytest.mark.parametrize("message", [AUTHORIZATION, PERMIT2_DEPOSIT, PERMIT])
def test_deposit__signed__is_the_payers(message):
    domain = Permit2Domain(1) if message is PERMIT2_DEPOSIT else TokenDomain("USDC", "2", 1, TOKEN)
    assert recover(message.digest(domain), sign(ALICE, message, domain)) == ALICE.address


@pytest.mark.parametrize("channel_id", [WORD, bytes(32)])
def test_erc3009__nonce__changes_with_channel_and_salt(channel_id):
    here = dataclasses.replace(AUTHORIZATION, channel_id=channel_id)
    assert here.nonce != dataclasses.replace(here, salt=8).nonce
    assert here.nonce != dataclasses.replace(here, channel_id=WORD[::-1]).nonce


@pytest.mark.parametrize("message", [AUTHORIZATION, PERMIT2_DEPOSIT, PERMIT])
@pytest.mark.parametrize("wrong", [None, True, -1, 1.5, "", b"", ZERO_ADDRESS, 2**256])
def test_deposit__nonsense_in_a_field__is_refused_by_name(message, wrong):
    for field in dataclasses.fields(message):
        with pytest.raises(InvalidField) as caught:
            dataclasses.replace(message, **{field.name: wrong})
        assert caught.value.field == field.name


@pytest.mark.parametrize("message", [AUTHORIZATION, PERMIT2_DEPOSIT])
def test_deposit__of_nothing_or_over_128_bits__is_refused(message):
    with pytest.raises(InvalidField, match=r"^amount must be at least 1, got 0$"):
        dataclasses.replace(message, amount=0)
    with pytest.raises(InvalidField, match=r"^amount must be 0 to "):
        dataclasses.replace(message, amount=2**128)


def test_erc3009__never_valid__is_refused():
    with pytest.raises(InvalidField, match=r"^valid_before must be later than valid_after, got 7$"):
        dataclasses.replace(AUTHORIZATION, valid_after=7, valid_before=7)


@pytest.mark.parametrize("wrong", [b"", bytes(64), bytes(66), "0" * 65, None])
def test_permit__signature_not_65_bytes__is_refused(wrong):
    with pytest.raises(InvalidField, match=r"^signature must be 65 bytes r, s, v"):
        PERMIT.data(wrong)


@pytest.mark.parametrize("message", [AUTHORIZATION, PERMIT2_DEPOSIT])
def test_collector_data__signature_over_the_bound__is_refused(message):
    with pytest.raises(InvalidField, match=r"^signature must be at most 768 bytes"):
        message.collector_data(bytes(769))
