"""Values the protocol tests share: Hypothesis strategies, and the two forms of one channel."""

import random

from eth_account import Account
from eth_hash.auto import keccak
from hypothesis import strategies as st
from x402.mechanisms.evm.batch_settlement.types import ChannelConfig as TheirConfig

from farthing.protocol import X402_SETTLEMENT, ZERO_ADDRESS, ChannelConfig, Domain

DOMAIN = Domain(8453, X402_SETTLEMENT)
ALICE = Account.from_key(keccak(b"alice"))
BOB = Account.from_key(keccak(b"bob"))
TOKEN = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
CONFIG = ChannelConfig(
    ALICE.address, ALICE.address, BOB.address, BOB.address, TOKEN, 900, bytes(32)
)

words = st.binary(min_size=32, max_size=32)
amounts = st.integers(0, 2**128 - 1)
uint256s = st.integers(0, 2**256 - 1)
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
used_addresses = addresses.filter(lambda address: address != ZERO_ADDRESS)
configs = st.builds(
    ChannelConfig,
    payer=used_addresses,
    payer_authorizer=st.one_of(st.just(ZERO_ADDRESS), addresses),
    receiver=used_addresses,
    receiver_authorizer=used_addresses,
    token=used_addresses,
    withdraw_delay=st.integers(900, 2_592_000),
    salt=words,
)


def random_address(rng: random.Random) -> str:
    return "0x" + rng.randbytes(20).hex()


def random_config(rng: random.Random) -> ChannelConfig:
    return ChannelConfig(
        payer=random_address(rng),
        payer_authorizer=rng.choice([ZERO_ADDRESS, random_address(rng)]),
        receiver=random_address(rng),
        receiver_authorizer=random_address(rng),
        token=random_address(rng),
        withdraw_delay=rng.randint(900, 2_592_000),
        salt=rng.randbytes(32),
    )


def random_amount(rng: random.Random) -> int:
    """Every size of amount as often as the next, with both ends."""
    return rng.choice([0, 2**128 - 1, rng.getrandbits(rng.randint(1, 128))])


def theirs(config: ChannelConfig) -> TheirConfig:
    return TheirConfig.from_dict(config.to_json())
