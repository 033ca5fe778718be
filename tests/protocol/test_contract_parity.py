"""The same ids, digests and verdicts as the contract itself, compiled and run."""

from pathlib import Path

import boa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from protocol_samples import ALICE, amounts, configs, uint256s, words

from farthing.protocol import (
    MAX_SIGNATURE,
    MAX_WITHDRAW_DELAY,
    MIN_WITHDRAW_DELAY,
    ZERO_ADDRESS,
    ClaimBatch,
    Domain,
    Refund,
    Voucher,
    VoucherClaim,
    recover,
    sign,
)
from farthing.protocol.signatures import SECP256K1_ORDER

CONTRACTS = Path(__file__).parents[2] / "contracts"
RECOVERY = """
# pragma version ==0.4.3
# pragma evm-version cancun
from modules import signatures

@external
@view
def recover(digest: bytes32, signature: Bytes[signatures.MAX_SIGNATURE]) -> address:
    return signatures._recover(digest, signature)

@external
@view
def max_signature() -> uint256:
    return signatures.MAX_SIGNATURE
"""


@pytest.fixture(scope="module", autouse=True)
def _contracts_on_the_path():
    boa.interpret.set_search_paths([str(CONTRACTS)])
    yield
    boa.interpret.set_search_paths(None)


@pytest.fixture(scope="module")
def settlement(_contracts_on_the_path):
    return boa.load(str(CONTRACTS / "BatchSettlement.vy"))


@pytest.fixture(scope="module")
def recovery(_contracts_on_the_path):
    return boa.loads(RECOVERY)


@pytest.fixture(scope="module")
def domain(settlement):
    return Domain(settlement.eip712Domain()[3], settlement.address)


def test_bounds__are_the_contracts(settlement, recovery):
    assert settlement.MIN_WITHDRAW_DELAY() == MIN_WITHDRAW_DELAY
    assert settlement.MAX_WITHDRAW_DELAY() == MAX_WITHDRAW_DELAY
    assert recovery.max_signature() == MAX_SIGNATURE


@settings(max_examples=50)
@given(config=configs)
def test_channel_id__any_config__is_the_contracts(settlement, domain, config):
    assert config.channel_id(domain) == settlement.getChannelId(config.as_tuple())


@settings(max_examples=50)
@given(channel_id=words, amount=amounts, nonce=uint256s)
def test_voucher_and_refund__any__have_the_contracts_digest(
    settlement, domain, channel_id, amount, nonce
):
    voucher, refund = Voucher(channel_id, amount), Refund(channel_id, nonce, amount)
    assert voucher.digest(domain) == settlement.getVoucherDigest(channel_id, amount)
    assert refund.digest(domain) == settlement.getRefundDigest(channel_id, nonce, amount)


@settings(max_examples=20)
@given(rows=st.lists(st.tuples(configs, amounts, st.binary(max_size=70)), min_size=1, max_size=4))
def test_claim_batch__any_rows__have_the_contracts_digest(settlement, domain, rows):
    claims = [
        VoucherClaim(config, ceiling, signature, ceiling // 2)
        for config, ceiling, signature in rows
    ]
    expected = settlement.getClaimBatchDigest([claim.as_tuple() for claim in claims])
    assert ClaimBatch.of(claims, domain).digest(domain) == expected


signed = sign(ALICE, Voucher(bytes(32), 1), Domain(1, ALICE.address))
half_order = SECP256K1_ORDER // 2
numbers = st.one_of(
    st.integers(0, 2**256 - 1),
    st.sampled_from([0, 1, half_order, half_order + 1, SECP256K1_ORDER - 1, SECP256K1_ORDER]),
    st.sampled_from([int.from_bytes(signed[:32], "big"), int.from_bytes(signed[32:64], "big")]),
)
near_signatures = st.builds(
    lambda r, s, v, rest: r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([v]) + rest,
    numbers,
    numbers,
    st.one_of(st.sampled_from([27, 28]), st.integers(0, 255)),
    st.one_of(st.just(b""), st.binary(max_size=3)),
)


@settings(max_examples=400)
@given(digest=words, signature=st.one_of(near_signatures, st.binary(max_size=80)))
@example(digest=Voucher(bytes(32), 1).digest(Domain(1, ALICE.address)), signature=signed)
@example(digest=bytes(32), signature=bytes(MAX_SIGNATURE))
@example(digest=bytes(32), signature=signed[:32] + half_order.to_bytes(32, "big") + b"\x1b")
@example(digest=bytes(32), signature=signed[:32] + (half_order + 1).to_bytes(32, "big") + b"\x1b")
def test_recover__any_signature__is_the_contracts_verdict(recovery, digest, signature):
    assert (recover(digest, signature) or ZERO_ADDRESS) == recovery.recover(digest, signature)
