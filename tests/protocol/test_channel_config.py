"""Channel configs: what they refuse, their forms, their ids."""

import dataclasses
import json

import pytest
from hypothesis import given
from protocol_samples import ALICE, BOB, CONFIG, DOMAIN, TOKEN, configs

from farthing.protocol import (
    X402_SETTLEMENT,
    ZERO_ADDRESS,
    ChannelConfig,
    Domain,
    InvalidField,
    Permit2Domain,
    TokenDomain,
)

FIELDS = [field.name for field in dataclasses.fields(ChannelConfig)]


def test_config__lower_case_addresses__equals_the_checksummed():
    lowered = dataclasses.replace(CONFIG, payer=CONFIG.payer.lower(), token=TOKEN.lower())
    assert lowered == CONFIG
    assert (lowered.payer, lowered.token) == (ALICE.address, TOKEN)


@pytest.mark.parametrize("field", ["payer", "receiver", "receiver_authorizer", "token"])
def test_config__zero_address__is_refused_by_name(field):
    with pytest.raises(InvalidField, match=f"^{field} must not be the zero address"):
        dataclasses.replace(CONFIG, **{field: ZERO_ADDRESS})


def test_config__zero_payer_authorizer__is_taken():
    assert dataclasses.replace(CONFIG, payer_authorizer=ZERO_ADDRESS).as_tuple()[1] == ZERO_ADDRESS


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("wrong", [None, True, -1, 1.5, "", "nonsense", b"", 2**256, [], {}])
def test_config__nonsense_in_a_field__is_refused_by_name(field, wrong):
    with pytest.raises(InvalidField) as caught:
        dataclasses.replace(CONFIG, **{field: wrong})
    assert caught.value.field == field
    assert caught.value.value is wrong


@pytest.mark.parametrize("field", FIELDS)
def test_config__assignment__is_refused(field):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(CONFIG, field, getattr(CONFIG, field))


def test_config__as_tuple__has_the_contracts_order():
    config = ChannelConfig(
        "0x" + "01" * 20, "0x" + "02" * 20, "0x" + "03" * 20, "0x" + "04" * 20, "0x" + "05" * 20,
        1_000, b"\x06" * 32,
    )  # fmt: skip
    assert config.as_tuple() == (
        "0x" + "01" * 20, "0x" + "02" * 20, "0x" + "03" * 20, "0x" + "04" * 20, "0x" + "05" * 20,
        1_000, b"\x06" * 32,
    )  # fmt: skip


def test_config__to_json__is_x402s():
    assert CONFIG.to_json() == {
        "payer": ALICE.address,
        "payerAuthorizer": ALICE.address,
        "receiver": BOB.address,
        "receiverAuthorizer": BOB.address,
        "token": TOKEN,
        "withdrawDelay": 900,
        "salt": "0x" + "00" * 32,
    }


@given(configs)
def test_config__through_json_and_back__is_the_same(config):
    assert ChannelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(("key", "field"), zip(CONFIG.to_json(), FIELDS, strict=True))
def test_config_from_json__missing_or_wrong__is_refused_by_name(key, field):
    data = CONFIG.to_json()
    missing = {name: value for name, value in data.items() if name != key}
    for broken in (missing, data | {key: None}, data | {key: "900"}, data | {key: [data[key]]}):
        with pytest.raises(InvalidField) as caught:
            ChannelConfig.from_json(broken)
        assert caught.value.field == field


@pytest.mark.parametrize("wrong", [None, [], "{}", 7])
def test_config_from_json__not_an_object__is_refused(wrong):
    with pytest.raises(InvalidField, match=r"^channel_config must be a JSON object"):
        ChannelConfig.from_json(wrong)


def test_config_from_json__unknown_field__changes_nothing():
    assert ChannelConfig.from_json(CONFIG.to_json() | {"more": 1}) == CONFIG


@given(configs)
def test_of_checked__is_the_config(config):
    again = ChannelConfig.of_checked(config.as_tuple())
    assert again == config and hash(again) == hash(config)
    assert again.channel_id(DOMAIN) == config.channel_id(DOMAIN)


@given(configs)
def test_channel_id__another_chain_contract_or_field__is_another(config):
    other_salt = bytes([config.salt[0] ^ 1]) + config.salt[1:]
    ids = [
        config.channel_id(DOMAIN),
        config.channel_id(Domain(DOMAIN.chain_id + 1, DOMAIN.contract)),
        config.channel_id(Domain(DOMAIN.chain_id, TOKEN)),
        dataclasses.replace(config, salt=other_salt).channel_id(DOMAIN),
        dataclasses.replace(config, withdraw_delay=config.withdraw_delay ^ 1).channel_id(DOMAIN)
        if config.withdraw_delay != 2_592_000
        else dataclasses.replace(config, withdraw_delay=900).channel_id(DOMAIN),
    ]
    assert len(set(ids)) == len(ids)
    assert all(len(channel_id) == 32 for channel_id in ids)


def test_domain__kept_as_given__with_a_checksum():
    domain = Domain(1, X402_SETTLEMENT.lower())
    assert domain == Domain(1, X402_SETTLEMENT)
    assert domain.contract == X402_SETTLEMENT
    assert len(domain.separator) == 32


@pytest.mark.parametrize("make", [Domain, Permit2Domain, lambda *a: TokenDomain("USDC", "2", *a)])
@pytest.mark.parametrize(
    ("chain_id", "contract", "field"),
    [
        (-1, TOKEN, "chain_id"),
        (True, TOKEN, "chain_id"),
        ("1", TOKEN, "chain_id"),
        (2**256, TOKEN, "chain_id"),
        (1, ZERO_ADDRESS, "contract"),
        (1, "0x00", "contract"),
    ],
)
def test_domain__wrong_place__is_refused_by_name(make, chain_id, contract, field):
    with pytest.raises(InvalidField) as caught:
        make(chain_id, contract)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("name", "version", "field"),
    [("", "1", "name"), (None, "1", "name"), ("USDC", "", "version"), ("USDC", 2, "version")],
)
def test_token_domain__no_name_or_version__is_refused_by_name(name, version, field):
    with pytest.raises(InvalidField) as caught:
        TokenDomain(name, version, 1, TOKEN)
    assert caught.value.field == field
