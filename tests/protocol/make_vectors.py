"""Write vectors.json with the ``x402`` package alone; nothing of Farthing is imported here.

Run ``python tests/protocol/make_vectors.py`` after a change of the package's version. The values
are drawn from a fixed seed, so the file changes only when the package's answers do.
"""

import json
import random
from importlib.metadata import version
from pathlib import Path

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import keccak, to_checksum_address
from x402.mechanisms.evm.batch_settlement import constants, encoding
from x402.mechanisms.evm.batch_settlement.authorizer_signer import (
    LocalAuthorizerSigner,
    sign_claim_batch,
    sign_refund,
)
from x402.mechanisms.evm.batch_settlement.client.voucher import sign_voucher
from x402.mechanisms.evm.batch_settlement.types import ChannelConfig, VoucherClaim
from x402.mechanisms.evm.batch_settlement.utils import (
    compute_channel_id,
    get_batch_settlement_eip712_domain,
)
from x402.mechanisms.evm.constants import EIP2612_PERMIT_TYPES, PERMIT2_ADDRESS
from x402.mechanisms.evm.signers import EthAccountSigner

VECTORS = Path(__file__).parent / "vectors.json"
CHAINS = [1, 8453, 84532, 31337, 2**53 - 1]
AMOUNTS = [0, 1, 1_000_000, 2**64, 2**128 - 1]


def main() -> None:
    rng = random.Random(402)
    cases = [make_case(rng, number) for number in range(10)]
    document = {"made_by": f"x402 {version('x402')}", "cases": cases}
    VECTORS.write_text(json.dumps(document, indent=1) + "\n")


def make_case(rng: random.Random, number: int) -> dict:
    """One channel on one chain, and everything signed for it by one key."""
    account = Account.from_key(rng.randbytes(32))
    chain_id = CHAINS[number % len(CHAINS)]
    network = f"eip155:{chain_id}"
    config = random_config(rng, account.address if number % 3 else None)
    channel_id = compute_channel_id(config, chain_id)
    ceiling = AMOUNTS[number % len(AMOUNTS)]
    total = ceiling // 3
    nonce = rng.getrandbits(256)
    authorizer = LocalAuthorizerSigner(account)
    claims = [
        VoucherClaim(config, str(ceiling), "0x", str(total)),
        VoucherClaim(random_config(rng, None), str(2**100), "0x", str(rng.getrandbits(100))),
    ][: 1 + number % 2]

    settlement = get_batch_settlement_eip712_domain(chain_id)
    entries = [
        {
            "channelId": compute_channel_id(claim.channel, chain_id),
            "maxClaimableAmount": int(claim.max_claimable_amount),
            "totalClaimed": int(claim.total_claimed),
        }
        for claim in claims
    ]
    voucher = {"channelId": channel_id, "maxClaimableAmount": ceiling}
    refund = {"channelId": channel_id, "nonce": nonce, "amount": ceiling}
    return {
        "signer": account.address,
        "private_key": "0x" + account.key.hex(),
        "chain_id": chain_id,
        "contract": settlement["verifyingContract"],
        "config": config.to_dict(),
        "channel_id": channel_id,
        "voucher": {
            "max_claimable_amount": str(ceiling),
            "digest": digest(settlement, constants.VOUCHER_TYPES, voucher),
            "signature": sign_voucher(
                EthAccountSigner(account), channel_id, ceiling, network
            ).signature,
        },
        "refund": {
            "nonce": str(nonce),
            "amount": str(ceiling),
            "digest": digest(settlement, constants.REFUND_TYPES, refund),
            "signature": sign_refund(authorizer, channel_id, ceiling, nonce, network),
        },
        "claim_batch": {
            "claims": [claim.to_dict() for claim in claims],
            "digest": digest(settlement, constants.CLAIM_BATCH_TYPES, {"claims": entries}),
            "signature": sign_claim_batch(authorizer, claims, network),
        },
        "erc3009": make_erc3009(rng, config, chain_id, channel_id),
        "permit2": make_permit2(rng, config, chain_id, channel_id),
        "permit": make_permit(rng, config, chain_id),
    }


def make_erc3009(rng: random.Random, config: ChannelConfig, chain_id: int, channel_id: str) -> dict:
    salt = "0x" + rng.randbytes(32).hex()
    amount, before, signature = rng.getrandbits(100) + 1, rng.getrandbits(40) + 1, rng.randbytes(65)
    nonce = encoding.build_erc3009_deposit_nonce(channel_id, salt)
    message = {
        "from": config.payer,
        "to": constants.ERC3009_DEPOSIT_COLLECTOR_ADDRESS,
        "value": amount,
        "validAfter": 0,
        "validBefore": before,
        "nonce": nonce,
    }
    types = constants.RECEIVE_AUTHORIZATION_TYPES
    data = encoding.build_erc3009_collector_data("0", str(before), salt, "0x" + signature.hex())
    return {
        "amount": str(amount),
        "valid_before": str(before),
        "salt": salt,
        "signature": "0x" + signature.hex(),
        "nonce": nonce,
        "digest": digest(token_domain(config, chain_id), types, message),
        "collector_data": "0x" + data.hex(),
    }


def make_permit2(rng: random.Random, config: ChannelConfig, chain_id: int, channel_id: str) -> dict:
    amount, nonce, deadline = rng.getrandbits(100) + 1, rng.getrandbits(256), rng.getrandbits(40)
    signature = rng.randbytes(65)
    message = {
        "permitted": {"token": config.token, "amount": amount},
        "spender": constants.PERMIT2_DEPOSIT_COLLECTOR_ADDRESS,
        "nonce": nonce,
        "deadline": deadline,
        "witness": {"channelId": channel_id},
    }
    domain = {"name": "Permit2", "chainId": chain_id, "verifyingContract": PERMIT2_ADDRESS}
    data = encoding.build_permit2_collector_data(
        str(nonce), str(deadline), "0x" + signature.hex(), b""
    )
    return {
        "amount": str(amount),
        "nonce": str(nonce),
        "deadline": str(deadline),
        "signature": "0x" + signature.hex(),
        "digest": digest(domain, constants.BATCH_PERMIT2_WITNESS_TYPES, message),
        "collector_data": "0x" + data.hex(),
    }


def make_permit(rng: random.Random, config: ChannelConfig, chain_id: int) -> dict:
    value, nonce, deadline = rng.getrandbits(256), rng.getrandbits(64), rng.getrandbits(40)
    r, s = rng.randbytes(32), rng.randbytes(32)
    message = {
        "owner": config.payer,
        "spender": PERMIT2_ADDRESS,
        "value": value,
        "nonce": nonce,
        "deadline": deadline,
    }
    data = encoding.build_eip2612_permit_data(
        str(value), str(deadline), 28, "0x" + r.hex(), "0x" + s.hex()
    )
    return {
        "value": str(value),
        "nonce": str(nonce),
        "deadline": str(deadline),
        "signature": "0x" + (r + s + b"\x1c").hex(),
        "digest": digest(token_domain(config, chain_id), EIP2612_PERMIT_TYPES, message),
        "data": "0x" + data.hex(),
    }


def random_config(rng: random.Random, payer_authorizer: str | None) -> ChannelConfig:
    def address() -> str:
        return to_checksum_address("0x" + rng.randbytes(20).hex())

    return ChannelConfig(
        payer=address(),
        payer_authorizer=payer_authorizer or "0x" + "00" * 20,
        receiver=address(),
        receiver_authorizer=address(),
        token=address(),
        withdraw_delay=rng.choice([900, 2_592_000, rng.randint(900, 2_592_000)]),
        salt="0x" + rng.randbytes(32).hex(),
    )


def token_domain(config: ChannelConfig, chain_id: int) -> dict:
    return {
        "name": "USD Coin",
        "version": "2",
        "chainId": chain_id,
        "verifyingContract": config.token,
    }


def digest(domain: dict, types: dict, message: dict) -> str:
    signable = encode_typed_data(domain, types, message)
    return "0x" + keccak(b"\x19\x01" + signable.header + signable.body).hex()


if __name__ == "__main__":
    main()
