"""What is offered for a transaction's gas, in wei for each, and what once it waits too long."""

from __future__ import annotations

from dataclasses import dataclass, replace

GWEI = 10**9
# Room for the base fee to double, which takes six full blocks.
BASE_FEE_FACTOR = 2


@dataclass(frozen=True)
class Fees:
    """What one signed transaction offers.

    Attributes:
        max_fee: At most this in all.
        tip: At most this above the base fee, to whoever makes the block.
    """

    max_fee: int
    tip: int


@dataclass(frozen=True)
class FeePolicy:
    """How much is offered, and when more.

    Attributes:
        cap: The most a gas may ever cost. With a higher base fee transactions wait.
        tip: The tip offered at first is what the node suggests, and at most this; what a node
            without suggestions gets.
        replace_after: Seconds of the chain's time after which a transaction that is in no block is
            replaced by one that offers more.
    """

    cap: int = 200 * GWEI
    tip: int = 2 * GWEI
    replace_after: int = 45

    def below(self, limit: int | None) -> FeePolicy:
        """The same with a cap of at most ``limit``."""
        return self if limit is None or limit >= self.cap else replace(self, cap=limit)

    def offer(self, base_fee: int, suggested_tip: int | None = None) -> Fees | None:
        """What to offer at this base fee; None when the cap does not cover it."""
        tip = self.tip if suggested_tip is None else min(suggested_tip, self.tip)
        if base_fee + tip > self.cap:
            return None
        return Fees(min(base_fee * BASE_FEE_FACTOR + tip, self.cap), tip)

    def replacement(
        self, before: Fees, base_fee: int, suggested_tip: int | None = None
    ) -> Fees | None:
        """What to offer in place of ``before``; None when the cap is in the way.

        Nodes take a second transaction with a nonce only if it offers clearly more of both; an
        eighth is what the strictest ask for.
        """
        least = Fees(_raised(before.max_fee), _raised(before.tip))
        now = self.offer(base_fee, suggested_tip) or Fees(0, 0)
        # A tip counts only under a ceiling that leaves room for it.
        tip = max(least.tip, now.tip)
        max_fee = min(max(least.max_fee, now.max_fee, base_fee + tip), self.cap)
        if max_fee < least.max_fee or max_fee < base_fee + least.tip:
            return None
        return Fees(max_fee, min(tip, max_fee))


def _raised(fee: int) -> int:
    """An eighth more, and at least one."""
    return max(fee + 1, -(-fee * 9 // 8))
