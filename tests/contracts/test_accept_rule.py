"""What Python accepts the contract redeems, and what Python refuses the contract skips.

Thousands of signatures, good and spoiled in every way a row has room for, in full batches with a
channel for each row. The usual run is short; all hundred thousand are tried with
`FUZZ_SIGNATURES=100000 python -m pytest tests/contracts/test_accept_rule.py`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

import boa
import pytest
from eth_abi import decode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from farthing.chain.settlement import Channel
from farthing.protocol import (
    MAX_ROWS,
    ZERO_ADDRESS,
    ChannelConfig,
    Domain,
    Outcome,
    Reason,
    Terms,
    Voucher,
    VoucherClaim,
    decode_outcomes,
    is_packable,
    is_payer_signature,
    redeem_call,
    sign,
)
from farthing.protocol.signatures import SECP256K1_ORDER as ORDER
from farthing.redeemer import Batch, predict

SIGNATURES = int(os.environ.get("FUZZ_SIGNATURES", "10000"))
DEPOSIT = 10**9
PARITY = 1 << 255
WORD = 1 << 256
REDEEMED_TOPIC = keccak(text="Redeemed(address,address,uint256,uint256[],uint256[2])")
# In a call of `redeem`: where its rows start, and how long one is.
ROWS_OFFSET, ROW_LENGTH, HEAD_LENGTH = 4 + 7 * 32, 96, 32


class Words(NamedTuple):
    """A signature as a row carries it: r, and s with the parity in its top bit."""

    r: int
    vs: int

    @property
    def s(self) -> int:
        return self.vs % PARITY

    @property
    def parity(self) -> int:
        return self.vs & PARITY

    @property
    def signature(self) -> bytes:
        """The 65 bytes that the contract reads from the words."""
        v = 27 + (self.vs >> 255)
        return self.r.to_bytes(32, "big") + self.s.to_bytes(32, "big") + bytes((v,))

    @property
    def raw(self) -> bytes:
        return self.r.to_bytes(32, "big") + self.vs.to_bytes(32, "big")

    @classmethod
    def of(cls, signature: bytes) -> Words:
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        return cls(r, s | (signature[64] - 27) << 255)


Spoil = Callable[[Words, Random], Words]

# Of a good signature, what a forger might try. A high s and the parity share the top bit.
SPOILS: dict[str, Spoil] = {
    "good": lambda good, random: good,
    "bit of r": lambda good, random: Words(good.r ^ 1 << random.randrange(256), good.vs),
    "bit of s or parity": lambda good, random: Words(good.r, good.vs ^ 1 << random.randrange(256)),
    "parity": lambda good, random: Words(good.r, good.vs ^ PARITY),
    "malleable": lambda good, random: Words(good.r, ORDER - good.s | good.parity ^ PARITY),
    "malleable, high bit cut": lambda good, random: Words(
        good.r, (ORDER - good.s) % PARITY | good.parity ^ PARITY
    ),
    "malleable, parity kept": lambda good, random: Words(
        good.r, (ORDER - good.s) % PARITY | good.parity
    ),
    "s just high": lambda good, random: Words(
        good.r, random.choice([ORDER // 2 + 1, PARITY - 1]) | random.choice([0, PARITY])
    ),
    "s just low": lambda good, random: Words(good.r, ORDER // 2 | random.choice([0, PARITY])),
    "r zero": lambda good, random: Words(0, good.vs),
    "s zero": lambda good, random: Words(good.r, good.parity),
    "both zero": lambda good, random: Words(0, random.choice([0, PARITY])),
    "r at the order or above": lambda good, random: Words(
        ORDER + random.choice([0, 1, random.randrange(WORD - ORDER)]), good.vs
    ),
    "r below the order": lambda good, random: Words(ORDER - 1, good.vs),
    "r and s changed round": lambda good, random: Words(good.s, good.r % PARITY | good.parity),
    "cut short": lambda good, random: Words(
        good.r, good.vs >> 8 * (n := random.randrange(1, 32)) << 8 * n
    ),
    "cut in r": lambda good, random: Words(
        good.r >> 8 * (n := random.randrange(1, 32)) << 8 * n, 0
    ),
    "moved a byte": lambda good, random: Words(good.r >> 8, (good.r << 248 | good.vs >> 8) % WORD),
    "random": lambda good, random: Words(random.randrange(WORD), random.randrange(WORD)),
    "random, low s": lambda good, random: Words(
        random.randrange(1, ORDER), random.randrange(1, ORDER // 2)
    ),
    "all ones": lambda good, random: Words(WORD - 1, WORD - 1),
}
# What a good signature can be of that is not this voucher.
OF_ANOTHER = ("other signer", "other amount", "other channel")


class Funded(NamedTuple):
    config: ChannelConfig
    signer: LocalAccount


class Stage(NamedTuple):
    """A settlement contract with a channel for every row of a batch."""

    settlement: Any
    domain: Domain
    channels: list[Funded]
    books: dict[bytes, Channel]

    def signed(self, channel: Funded, total: int, by: LocalAccount) -> Words:
        voucher = Voucher(channel.config.channel_id(self.domain), total)
        return Words.of(sign(by, voucher, self.domain))

    def words(self, place: int, total: int, kind: str, random: Random) -> Words:
        channel, other = self.channels[place], self.channels[place - 1]
        if kind == "other signer":
            return self.signed(channel, total, other.signer)
        if kind == "other amount":
            return self.signed(channel, total + random.choice([-1, 1]), channel.signer)
        if kind == "other channel":
            return self.signed(other, total, channel.signer)
        return SPOILS[kind](self.signed(channel, total, channel.signer), random)

    def redeem(self, call: bytes, sender: str) -> list[Outcome]:
        """What the contract makes of a call, by its event; then it is as if it had not been."""
        with boa.env.anchor():
            done = boa.env.raw_call(self.settlement.address, sender=sender, data=call)
        for _, _, topics, data in done.get_raw_log_entries():
            if topics[0] == int.from_bytes(REDEEMED_TOPIC, "big"):
                _, redeemed, skipped = decode(["uint256", "uint256[]", "uint256[2]"], data)
                return decode_outcomes(redeemed, skipped)
        raise AssertionError("nothing was redeemed")


@pytest.fixture(scope="module")
def stage(
    settlement: Any,
    deposit: Callable[..., bytes],
    channel_config: Callable[..., Any],
    receiver: LocalAccount,
) -> Stage:
    domain = Domain(boa.env.evm.patch.chain_id, str(settlement.address))
    channels, books = [], {}
    for n in range(MAX_ROWS):
        payer = signer = Account.from_key(keccak(text=f"accept rule {n}"))
        authorizer = payer.address
        if n % 4 == 1:
            signer = Account.from_key(keccak(text=f"accept rule {n}, authorizer"))
            authorizer = signer.address
        elif n % 4 == 2:
            authorizer = ZERO_ADDRESS
        struct = channel_config(
            payer=payer.address,
            payerAuthorizer=authorizer,
            receiver=receiver.address,
            receiverAuthorizer=receiver.address,
        )
        deposit(struct, DEPOSIT)
        config = ChannelConfig(*struct)
        channels.append(Funded(config, signer))
        books[config.channel_id(domain)] = Channel(DEPOSIT, 0)
    return Stage(settlement, domain, channels, books)


def by_python(stage: Stage, rows: Sequence[tuple[Funded, int, Words]]) -> list[Outcome]:
    """The rows' outcomes by `is_payer_signature`, and by `predict` where a row can be packed."""
    outcomes, claims, places = [], [], []
    for place, (channel, total, words) in enumerate(rows):
        claim = VoucherClaim(channel.config, total, words.signature, total)
        channel_id = channel.config.channel_id(stage.domain)
        digest = Voucher(channel_id, total).digest(stage.domain)
        if is_payer_signature(
            channel.config, digest, words.signature, is_contract=lambda address: False
        ):
            outcomes.append(Outcome(place, Reason.REDEEMED, channel_id[:20], total))
        else:
            outcomes.append(Outcome(place, Reason.BAD_SIGNATURE))
        if is_packable(claim):
            claims.append(claim)
            places.append(place)
        else:
            assert outcomes[-1].reason is Reason.BAD_SIGNATURE
    batch = Batch.of(claims, stage.domain)
    predicted = predict(batch, stage.domain, stage.books).outcomes
    assert [(o.reason, o.total) for o in predicted] == [
        (outcomes[place].reason, outcomes[place].total) for place in places
    ]
    return outcomes


def call_of(stage: Stage, rows: Sequence[tuple[Funded, int, Words]]) -> bytes:
    """The call with any words for signatures: packed with good ones, then they are replaced."""
    any_signature = b"\x01" * 64 + b"\x1b"
    claims = [
        VoucherClaim(channel.config, total, any_signature, total) for channel, total, _ in rows
    ]
    call = bytearray(redeem_call(Terms.of(claims[0].channel), claims))
    for place, (_, _, words) in enumerate(rows):
        start = ROWS_OFFSET + ROW_LENGTH * place + HEAD_LENGTH
        call[start : start + 64] = words.raw
    return bytes(call)


def test_accept_rule__is_the_contracts(stage: Stage, receiver: LocalAccount) -> None:
    kinds = [*SPOILS, *OF_ANOTHER]
    seen: Counter[tuple[str, Reason]] = Counter()
    for batch in range(-(-SIGNATURES // MAX_ROWS)):
        random = Random(batch)
        total = random.randrange(2, DEPOSIT)
        chosen = ["good" if random.random() < 0.2 else random.choice(kinds) for _ in stage.channels]
        rows = [
            (channel, total, stage.words(place, total, kind, random))
            for place, (channel, kind) in enumerate(zip(stage.channels, chosen, strict=True))
        ]
        expected = by_python(stage, rows)
        assert stage.redeem(call_of(stage, rows), receiver.address) == expected, f"batch {batch}"
        # One cut in 256 takes nothing away but a zero, and leaves the good signature.
        good = [
            words == stage.signed(channel, total, channel.signer) for channel, total, words in rows
        ]
        assert [outcome.reason is Reason.REDEEMED for outcome in expected] == good
        seen.update((kind, o.reason) for kind, o in zip(chosen, expected, strict=True))

    assert seen.total() >= SIGNATURES
    assert seen["good", Reason.REDEEMED] > SIGNATURES // 10
    assert {kind for kind, reason in seen if reason is Reason.BAD_SIGNATURE} == {*kinds} - {"good"}
