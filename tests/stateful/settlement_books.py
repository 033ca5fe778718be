"""The books of the settlement contract, kept in Python from the protocol's rules alone.

Each method tells the error a call must end with, or books the call and answers None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

REDEEMED, STALE, OVER_CEILING, BAD_SIGNATURE, EMPTY = range(5)
PAYER, RECEIVER, AUTHORIZER, STRANGER = "payer", "receiver", "authorizer", "stranger"


class Row(NamedTuple):
    """One row of a claim: which channel, what the payer signed, what is claimed in total."""

    channel: Channel
    ceiling: int
    total: int
    good_signature: bool


@dataclass
class Channel:
    config: tuple[Any, ...]
    id: bytes
    signer: Any
    """Whose signature a voucher needs: the session key's, or the payer's where there is none."""
    balance: int = 0
    claimed: int = 0
    pending: int = 0
    initiated_at: int = 0
    refund_nonce: int = 0
    highest_ceiling: int = 0
    """The highest voucher the payer's side ever signed."""
    deposited: int = 0
    returned: int = 0

    @property
    def payer(self) -> str:
        return str(self.config[0])

    @property
    def receiver(self) -> str:
        return str(self.config[2])

    @property
    def terms(self) -> tuple[str, str, str, int]:
        """What a packed redemption names once for all its rows."""
        _, _, receiver, authorizer, token, delay, _ = self.config
        return receiver, authorizer, token, delay

    @property
    def delay(self) -> int:
        return int(self.config[5])

    @property
    def available(self) -> int:
        return self.balance - self.claimed

    def give_back(self, amount: int) -> None:
        self.balance -= amount
        self.returned += amount


@dataclass
class Books:
    channels: list[Channel] = field(default_factory=list)
    claimed: Counter[str] = field(default_factory=Counter)
    """By receiver; there is one token."""
    settled: Counter[str] = field(default_factory=Counter)
    redeemed: Counter[str] = field(default_factory=Counter)
    """Paid out by packed redemptions, which do not pass through the account."""

    @property
    def held(self) -> int:
        """What the contract must hold: all that is in channels and not yet paid out."""
        paid = self.settled.total() + self.redeemed.total()
        return sum(channel.balance for channel in self.channels) - paid

    def deposit(self, channel: Channel, amount: int) -> str | None:
        if amount == 0:
            return "ZeroDeposit()"
        channel.balance += amount
        channel.deposited += amount
        return None

    def claim(self, rows: Sequence[Row], role: str) -> str | None:
        totals = {id(row.channel): row.channel.claimed for row in rows}
        for row in rows:
            if role not in (RECEIVER, AUTHORIZER):
                return "NotAuthorizedToClaim()"
            if row.total <= totals[id(row.channel)]:
                continue
            if row.total > row.ceiling:
                return "ClaimExceedsCeiling()"
            if row.total > row.channel.balance:
                return "ClaimExceedsBalance()"
            if not row.good_signature:
                return "InvalidSignature()"
            totals[id(row.channel)] = row.total
        for row in rows:
            self.claimed[row.channel.receiver] += totals[id(row.channel)] - row.channel.claimed
            row.channel.claimed = totals[id(row.channel)]
        return None

    def redeem(self, rows: Sequence[Row]) -> list[int]:
        """Books a redemption on the terms of the first row's channel; a reason for each row.

        A row says payer and authorizer; with these terms they may name another channel than the
        voucher's, or none that was ever opened.
        """
        terms = rows[0].channel.terms
        opened = {(*channel.config[:2], channel.terms): channel for channel in self.channels}
        reasons = []
        for row in rows:
            channel = opened.get((*row.channel.config[:2], terms))
            balance, claimed = (channel.balance, channel.claimed) if channel else (0, 0)
            total = min(row.total, balance)
            if row.total > row.ceiling:
                reasons.append(OVER_CEILING)
            elif row.total <= claimed:
                reasons.append(STALE)
            elif channel is None or total <= claimed:
                reasons.append(EMPTY)
            elif not row.good_signature or channel is not row.channel:
                reasons.append(BAD_SIGNATURE)
            else:
                reasons.append(REDEEMED)
                self.redeemed[channel.receiver] += total - claimed
                channel.claimed = total
        return reasons

    def settle(self, receiver: str) -> None:
        self.settled[receiver] = self.claimed[receiver]

    def initiate(self, channel: Channel, amount: int, role: str, now: int) -> str | None:
        if role != PAYER:
            return "InvalidChannel()"
        if amount == 0:
            return "NothingToWithdraw()"
        if channel.initiated_at:
            return "WithdrawalAlreadyPending()"
        if amount > channel.available:
            return "WithdrawAmountExceedsAvailable()"
        channel.pending, channel.initiated_at = amount, now
        return None

    def finalize(self, channel: Channel, role: str, now: int) -> str | None:
        if role != PAYER:
            return "NotAuthorizedToFinalizeWithdraw()"
        if not channel.initiated_at:
            return "WithdrawalNotPending()"
        if now < channel.initiated_at + channel.delay:
            return "WithdrawDelayNotElapsed()"
        channel.give_back(min(channel.pending, channel.available))
        channel.pending = channel.initiated_at = 0
        return None

    def refund(self, channel: Channel, amount: int, role: str) -> str | None:
        if role not in (RECEIVER, AUTHORIZER):
            return "NotAuthorizedToRefund()"
        if amount == 0:
            return "ZeroRefund()"
        channel.refund_nonce += 1
        amount = min(amount, channel.available)
        channel.give_back(amount)
        channel.pending = max(channel.pending - amount, 0)
        if channel.pending == 0:
            channel.initiated_at = 0
        return None
