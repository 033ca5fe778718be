"""For any vouchers in any state, `redeem` pays what `claim` and `settle` would have paid.

Both start from the same state: once all rows in one redemption, once every row in a claim of its
own and a settlement at the end, and once what redemption took in a single claim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import boa
import pytest
from eth_abi import decode
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redemption import (
    BAD_SIGNATURE,
    CURVE_ORDER,
    EMPTY,
    MAX_TOTAL,
    OVER_CEILING,
    STALE,
    ZERO_ADDRESS,
    batch,
    channel_id,
    pack,
    voucher_digest,
)

DEPOSIT = 1_000
CHANNELS = 4
MANY = 2**100


class Move(NamedTuple):
    """Something that happens to a channel before the redemption; capped by what is possible."""

    kind: str
    channel: int
    amount: int


class Voucher(NamedTuple):
    channel: int
    total: int
    # Added to the total.
    surplus: int
    signature: str

    @property
    def ceiling(self) -> int:
        return min(max(self.total + self.surplus, 0), 2**128 - 1)


channels = st.integers(0, CHANNELS - 1)
amounts = st.integers(1, DEPOSIT + 200)
moves = st.builds(
    Move, st.sampled_from(["withdraw", "refund", "claim", "claim", "top up"]), channels, amounts
)
vouchers = st.builds(
    Voucher,
    channels,
    st.one_of(st.integers(0, DEPOSIT + 200), st.integers(MAX_TOTAL - 3, MAX_TOTAL)),
    st.one_of(st.just(0), st.integers(-3, 300), st.just(2**128)),
    st.sampled_from(["good"] * 6 + ["of another key", "for another total", "malleated"]),
)


@pytest.fixture(scope="module", autouse=True)
def configs(settlement, token, channel_config, deposit, account, payer, payer_authorizer):
    """One channel of each shape, the last of them with more than rows can say."""
    shapes = [
        channel_config(payerAuthorizer=payer.address),
        channel_config(),
        channel_config(payerAuthorizer=ZERO_ADDRESS, salt=b"\x01" * 32),
        channel_config(payerAuthorizer=payer_authorizer.address, salt=b"\x02" * 32),
    ]
    for config in shapes:
        deposit(config, DEPOSIT)
    deposit(shapes[-1], MANY)
    # What else the contract holds must not be touched.
    deposit(channel_config(salt=b"\x03" * 32), DEPOSIT)
    return shapes


class Both:
    """The two ways to be paid, over the same contract."""

    def __init__(self, settlement, token, configs, deposit, keys, receiver, other):
        self.settlement = settlement
        self.token = token
        self.configs = configs
        self.deposit = deposit
        self.keys = keys
        self.receiver = receiver
        self.other = other

    # ------------------------------------------------------------ state

    def channel(self, index: int) -> tuple[int, int]:
        found: tuple[int, int] = self.settlement.channels(
            channel_id(self.settlement, self.configs[index])
        )
        return found

    def state(self) -> Any:
        return (
            [self.channel(index) for index in range(CHANNELS)],
            self.token.balanceOf(self.receiver),
            self.token.balanceOf(self.settlement.address),
        )

    def move(self, move: Move) -> None:
        config = self.configs[move.channel]
        balance, claimed = self.channel(move.channel)
        amount = min(move.amount, balance - claimed)
        if move.kind == "top up":
            self.deposit(config, move.amount)
        elif amount == 0:
            return
        elif move.kind == "claim":
            voucher = Voucher(move.channel, claimed + amount, 0, "good")
            assert self.claim([voucher]) is None
        elif move.kind == "refund":
            self.settlement.refund(config, amount, sender=self.receiver)
        else:
            self.settlement.initiateWithdraw(config, amount, sender=config.payer)
            boa.env.time_travel(seconds=config.withdrawDelay)
            self.settlement.finalizeWithdraw(config, sender=config.payer)

    # ------------------------------------------------------------ vouchers

    def signature(self, voucher: Voucher) -> bytes:
        config = self.configs[voucher.channel]
        key = self.keys[config.payerAuthorizer]
        if voucher.signature == "of another key":
            key = self.other
        ceiling = voucher.ceiling
        if voucher.signature == "for another total":
            ceiling ^= 1
        digest = voucher_digest(self.settlement, config, ceiling)
        signed = bytes(key.unsafe_sign_hash(digest).signature)
        if voucher.signature == "malleated":
            high = CURVE_ORDER - int.from_bytes(signed[32:64])
            signed = signed[:32] + high.to_bytes(32) + bytes([27 + 28 - signed[64]])
        return signed

    def redeem(self, rows: list[Voucher]) -> list[tuple[int, int]]:
        """Reason and new total of each row."""
        packed = [
            pack(self.configs[v.channel], v.total, v.ceiling, self.signature(v)) for v in rows
        ]
        self.settlement.redeem(*batch(self.configs[0], packed), sender=self.receiver)
        (_, _, _, data) = min(self.settlement._computation.get_raw_log_entries())
        _, words, skipped = decode(["uint256", "uint256[]", "uint256[2]"], data)
        totals = (word % 2**96 for word in words)
        reasons = [skipped[i // 64] >> i % 64 * 4 & 15 for i in range(len(rows))]
        return [(reason, next(totals) if reason == 0 else 0) for reason in reasons]

    def claim(self, rows: list[Voucher]) -> str | None:
        """The four bytes it reverts with, in hex."""
        claims = [((self.configs[v.channel], v.ceiling), self.signature(v), v.total) for v in rows]
        data = self.settlement.claim.prepare_calldata(claims)
        done = boa.env.execute_code(self.settlement.address, sender=self.receiver, data=data)
        return done.output.hex() if done.is_error else None

    def settle(self) -> None:
        self.settlement.settle(self.receiver, self.token.address)


@pytest.fixture(scope="module")
def both(
    settlement, token, configs, deposit, payer, payer_authorizer, receiver, account
):  # fmt: skip
    keys = {
        payer.address: payer,
        payer_authorizer.address: payer_authorizer,
        ZERO_ADDRESS: payer,
    }
    other = account("somebody else")
    return Both(settlement, token, configs, deposit, keys, receiver.address, other)


def errors() -> dict[str, int]:
    """Reasons that `claim` reverts for."""
    return {
        boa.eval('method_id("ClaimExceedsCeiling()")').hex(): OVER_CEILING,
        boa.eval('method_id("InvalidSignature()")').hex(): BAD_SIGNATURE,
    }


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@example([], [Voucher(0, 700, 0, "good"), Voucher(0, 600, 0, "good"), Voucher(0, 800, 0, "good")])
@example([Move("withdraw", 1, 900)], [Voucher(1, 700, 100, "good"), Voucher(1, 900, 0, "good")])
@example([Move("claim", 2, 500)], [Voucher(2, 500, 0, "good"), Voucher(2, 500, -1, "good")])
@example([], [Voucher(3, MAX_TOTAL, 2**128, "good"), Voucher(0, 1, 0, "malleated")])
@given(st.lists(moves, max_size=4), st.lists(vouchers, min_size=1, max_size=8))
def test_redeem__pays_what_claim_and_settle_would_have_paid(both, before, rows):
    for move in before:
        both.move(move)
    # What waits on the receiver's account from before belongs to neither way.
    both.settle()

    with boa.env.anchor():
        outcomes = both.redeem(rows)
        redeemed = both.state()

    with boa.env.anchor():
        for voucher, (reason, new_total) in zip(rows, outcomes, strict=True):
            balance, claimed = both.channel(voucher.channel)
            # Whoever claims asks for no more than there is; `redeem` does so by itself.
            asked = voucher
            if balance < voucher.total <= voucher.ceiling:
                asked = voucher._replace(total=balance, surplus=voucher.ceiling - balance)
            error = both.claim([asked])
            now_claimed = both.channel(voucher.channel)[1]
            assert now_claimed == (new_total if reason == 0 else claimed)
            assert (reason == 0) == (now_claimed > claimed)
            if error is not None:
                assert reason == errors()[error]
            elif reason != 0:
                # `claim` looks for news before it looks at the ceiling.
                assert voucher.total <= claimed or balance == claimed
                assert reason in {STALE, EMPTY, OVER_CEILING}
        both.settle()
        assert both.state() == redeemed

    good = [
        voucher._replace(total=total, surplus=voucher.ceiling - total)
        for voucher, (reason, total) in zip(rows, outcomes, strict=True)
        if reason == 0
    ]
    if good:
        assert both.claim(good) is None
        both.settle()
    assert both.state() == redeemed
