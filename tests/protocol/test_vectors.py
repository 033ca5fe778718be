"""Against vectors.json, which ``make_vectors.py`` made with the ``x402`` package alone."""

import json
from pathlib import Path

import pytest
from eth_account import Account

from farthing.protocol import (
    PERMIT2,
    X402_ERC3009_COLLECTOR,
    X402_PERMIT2_COLLECTOR,
    X402_SETTLEMENT,
    ChannelConfig,
    ClaimBatch,
    DepositAuthorization,
    Domain,
    Permit,
    Permit2Deposit,
    Permit2Domain,
    Refund,
    TokenDomain,
    Voucher,
    VoucherClaim,
    recover,
    sign,
)

DOCUMENT = json.loads((Path(__file__).parent / "vectors.json").read_text())


@pytest.fixture(params=DOCUMENT["cases"], ids=lambda case: case["channel_id"][:10])
def case(request):
    return request.param


@pytest.fixture
def domain(case):
    return Domain(case["chain_id"], case["contract"])


def unhex(text):
    return bytes.fromhex(text.removeprefix("0x"))


def check_signed(case, expected, message, domain):
    assert message.digest(domain) == unhex(expected["digest"])
    signature = unhex(expected["signature"])
    assert sign(Account.from_key(case["private_key"]), message, domain) == signature
    assert recover(message.digest(domain), signature) == case["signer"]


def test_vectors__made_by_the_version_we_stand_by():
    assert DOCUMENT["made_by"] == "x402 2.25.0"
    assert len(DOCUMENT["cases"]) == 10
    assert {case["contract"] for case in DOCUMENT["cases"]} == {X402_SETTLEMENT}


def test_vector__channel_id(case, domain):
    config = ChannelConfig.from_json(case["config"])
    assert config.channel_id(domain) == unhex(case["channel_id"])
    assert config.to_json() == case["config"]


def test_vector__voucher(case, domain):
    expected = case["voucher"]
    voucher = Voucher(unhex(case["channel_id"]), int(expected["max_claimable_amount"]))
    check_signed(case, expected, voucher, domain)


def test_vector__refund(case, domain):
    expected = case["refund"]
    nonce, amount = int(expected["nonce"]), int(expected["amount"])
    check_signed(case, expected, Refund(unhex(case["channel_id"]), nonce, amount), domain)


def test_vector__claim_batch(case, domain):
    expected = case["claim_batch"]
    claims = [
        VoucherClaim(
            ChannelConfig.from_json(claim["voucher"]["channel"]),
            int(claim["voucher"]["maxClaimableAmount"]),
            unhex(claim["signature"]),
            int(claim["totalClaimed"]),
        )
        for claim in expected["claims"]
    ]
    check_signed(case, expected, ClaimBatch.of(claims, domain), domain)


def test_vector__erc3009_deposit(case):
    expected = case["erc3009"]
    deposit = DepositAuthorization(
        payer=case["config"]["payer"],
        collector=X402_ERC3009_COLLECTOR,
        amount=int(expected["amount"]),
        valid_after=0,
        valid_before=int(expected["valid_before"]),
        channel_id=unhex(case["channel_id"]),
        salt=int(expected["salt"], 16),
    )
    token = TokenDomain("USD Coin", "2", case["chain_id"], case["config"]["token"])
    assert deposit.nonce == unhex(expected["nonce"])
    assert deposit.digest(token) == unhex(expected["digest"])
    data = deposit.collector_data(unhex(expected["signature"]))
    assert data == unhex(expected["collector_data"])


def test_vector__permit2_deposit(case):
    expected = case["permit2"]
    deposit = Permit2Deposit(
        token=case["config"]["token"],
        amount=int(expected["amount"]),
        collector=X402_PERMIT2_COLLECTOR,
        nonce=int(expected["nonce"]),
        deadline=int(expected["deadline"]),
        channel_id=unhex(case["channel_id"]),
    )
    assert deposit.digest(Permit2Domain(case["chain_id"])) == unhex(expected["digest"])
    data = deposit.collector_data(unhex(expected["signature"]))
    assert data == unhex(expected["collector_data"])


def test_vector__permit(case):
    expected = case["permit"]
    value, nonce, deadline = (int(expected[name]) for name in ("value", "nonce", "deadline"))
    permit = Permit(case["config"]["payer"], PERMIT2, value, nonce, deadline)
    token = TokenDomain("USD Coin", "2", case["chain_id"], case["config"]["token"])
    assert permit.digest(token) == unhex(expected["digest"])
    assert permit.data(unhex(expected["signature"])) == unhex(expected["data"])
