"""What gas costs, counted in the token that is redeemed."""

from dataclasses import dataclass
from fractions import Fraction

# Of the chain's smallest coin unit in one coin.
WEI = 10**18
# More than any gas will ever cost; what a ledger can keep.
MOST_WEI = 2**62


@dataclass(frozen=True)
class GasPrice:
    """The price of gas at a moment.

    Attributes:
        wei: What one gas costs, in the chain's smallest coin unit.
        coin_price: What one coin (10**18 wei) is worth, in the token's smallest units. 0 where gas
            is not to be counted.
    """

    wei: int
    coin_price: int

    def cost(self, gas: int) -> int:
        """What so much gas costs, in the token's smallest units, rounded up."""
        return -(-gas * self.wei * self.coin_price // WEI)

    def most(self, value: int, gas: int, share: Fraction) -> int | None:
        """The highest price of gas, in wei, at which `pays` still holds; None where gas is not
        counted."""
        if not self.coin_price:
            return None
        bound = min(value - 1, value * share.numerator // share.denominator)
        return min(bound * WEI // (gas * self.coin_price), MOST_WEI)


def pays(value: int, cost: int, share: Fraction) -> bool:
    """Whether something may cost so much that brings so much: ``share`` of it at most, and never
    as much as it brings."""
    return value > cost and cost * share.denominator <= value * share.numerator
