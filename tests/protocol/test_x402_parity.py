"""The same bytes as the ``x402`` package, both ways, over thousands of random values."""

import random

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from protocol_samples import DOMAIN, random_amount, random_config, theirs
from x402.mechanisms.evm.batch_settlement.authorizer_signer import (
    LocalAuthorizerSigner,
    sign_claim_batch,
    sign_refund,
)
from x402.mechanisms.evm.batch_settlement.client.voucher import sign_voucher
from x402.mechanisms.evm.batch_settlement.constants import (
    CLAIM_BATCH_TYPES,
    REFUND_TYPES,
    VOUCHER_TYPES,
)
from x402.mechanisms.evm.batch_settlement.facilitator.utils import (
    verify_batch_settlement_voucher_typed_data,
)
from x402.mechanisms.evm.batch_settlement.types import VoucherClaim as TheirClaim
from x402.mechanisms.evm.batch_settlement.utils import (
    compute_channel_id,
    get_batch_settlement_eip712_domain,
)
from x402.mechanisms.evm.signers import EthAccountSigner

from farthing.protocol import (
    X402_SETTLEMENT,
    ClaimBatch,
    ClaimEntry,
    Domain,
    Refund,
    Voucher,
    VoucherClaim,
    is_payer_signature,
    recover,
    sign,
)

NETWORK = f"eip155:{DOMAIN.chain_id}"
ROUNDS = 2_000


@pytest.fixture
def rng(request):
    """Another sequence for every test, the same in every run."""
    return random.Random(request.node.name)


def their_digest(chain_id, types, message):
    signable = encode_typed_data(get_batch_settlement_eip712_domain(chain_id), types, message)
    return keccak(b"\x19\x01" + signable.header + signable.body)


def test_channel_id__random_configs_and_chains__is_x402s(rng):
    for _ in range(ROUNDS):
        config, chain_id = random_config(rng), rng.getrandbits(rng.randint(1, 63))
        ours = config.channel_id(Domain(chain_id, X402_SETTLEMENT))
        assert "0x" + ours.hex() == compute_channel_id(theirs(config), chain_id)


def test_voucher_digest__random__is_x402s(rng):
    for _ in range(ROUNDS):
        chain_id = rng.getrandbits(63)
        voucher = Voucher(rng.randbytes(32), random_amount(rng))
        message = {
            "channelId": voucher.channel_id,
            "maxClaimableAmount": voucher.max_claimable_amount,
        }
        ours = voucher.digest(Domain(chain_id, X402_SETTLEMENT))
        assert ours == their_digest(chain_id, VOUCHER_TYPES, message)


def test_refund_digest__random__is_x402s(rng):
    for _ in range(ROUNDS):
        chain_id = rng.getrandbits(63)
        refund = Refund(rng.randbytes(32), rng.getrandbits(256), random_amount(rng))
        message = {"channelId": refund.channel_id, "nonce": refund.nonce, "amount": refund.amount}
        ours = refund.digest(Domain(chain_id, X402_SETTLEMENT))
        assert ours == their_digest(chain_id, REFUND_TYPES, message)


def test_claim_batch_digest__random__is_x402s(rng):
    for _ in range(ROUNDS // 4):
        chain_id = rng.getrandbits(63)
        entries = tuple(
            ClaimEntry(rng.randbytes(32), random_amount(rng), random_amount(rng))
            for _ in range(rng.randint(1, 12))
        )
        claims = [
            {
                "channelId": entry.channel_id,
                "maxClaimableAmount": entry.max_claimable_amount,
                "totalClaimed": entry.total_claimed,
            }
            for entry in entries
        ]
        ours = ClaimBatch(entries).digest(Domain(chain_id, X402_SETTLEMENT))
        assert ours == their_digest(chain_id, CLAIM_BATCH_TYPES, {"claims": claims})


def test_voucher_signature__random__each_takes_the_others(rng):
    for number in range(ROUNDS):
        account = Account.from_key(rng.randbytes(32))
        config = random_config(rng)
        config = type(config)(config.payer, account.address, *config.as_tuple()[2:])
        voucher = Voucher(config.channel_id(DOMAIN), random_amount(rng))
        channel_id = "0x" + voucher.channel_id.hex()

        amount = str(voucher.max_claimable_amount)
        by_them = sign_voucher(EthAccountSigner(account), channel_id, amount, NETWORK)
        by_us = sign(account, voucher, DOMAIN)
        assert "0x" + by_us.hex() == by_them.signature
        assert is_payer_signature(config, voucher.digest(DOMAIN), by_us)

        # Every other signature goes to both checks for another amount, which neither may take.
        signed_for = voucher.max_claimable_amount ^ (number % 2)
        right = number % 2 == 0
        digest = Voucher(voucher.channel_id, signed_for).digest(DOMAIN)
        assert is_payer_signature(config, digest, by_us) is right
        assert (
            verify_batch_settlement_voucher_typed_data(
                None,
                channel_id=channel_id,
                max_claimable_amount=str(signed_for),
                payer_authorizer=config.payer_authorizer,
                payer=config.payer,
                signature="0x" + by_us.hex(),
                chain_id=DOMAIN.chain_id,
            )
            is right
        )


def test_refund_signature__random__is_x402s_and_names_the_authorizer(rng):
    for _ in range(ROUNDS // 2):
        account = Account.from_key(rng.randbytes(32))
        refund = Refund(rng.randbytes(32), rng.getrandbits(256), random_amount(rng))
        by_them = sign_refund(
            LocalAuthorizerSigner(account),
            "0x" + refund.channel_id.hex(),
            refund.amount,
            refund.nonce,
            NETWORK,
        )
        assert recover(refund.digest(DOMAIN), bytes.fromhex(by_them[2:])) == account.address
        assert "0x" + sign(account, refund, DOMAIN).hex() == by_them


def test_claim_batch_signature__random__is_x402s_and_names_the_authorizer(rng):
    for _ in range(ROUNDS // 10):
        account = Account.from_key(rng.randbytes(32))
        claims = []
        for _ in range(rng.randint(1, 8)):
            ceiling = random_amount(rng)
            claims.append(
                VoucherClaim(
                    random_config(rng), ceiling, rng.randbytes(65), rng.randint(0, ceiling)
                )
            )
        their_claims = [
            TheirClaim(
                theirs(claim.channel),
                str(claim.max_claimable_amount),
                "0x" + claim.signature.hex(),
                str(claim.total_claimed),
            )
            for claim in claims
        ]
        by_them = sign_claim_batch(LocalAuthorizerSigner(account), their_claims, NETWORK)
        batch = ClaimBatch.of(claims, DOMAIN)
        assert recover(batch.digest(DOMAIN), bytes.fromhex(by_them[2:])) == account.address
        assert "0x" + sign(account, batch, DOMAIN).hex() == by_them
