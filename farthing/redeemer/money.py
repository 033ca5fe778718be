"""What gas costs, counted in the token that is redeemed."""

from dataclasses import dataclass
from fractions import Fraction

# Of the chain's smallest coin unit in one coin.
WEI = 10**18


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


def pays(value: int, cost: int, share: Fraction) -> bool:
    """Whether something may cost so much that brings so much: ``share`` of it at most, and never
    as much as it brings."""
    return value > cost and cost * share.denominator <= value * share.numerator
