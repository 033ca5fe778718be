"""Everything that goes wrong in a soak, in an order that the seed gives."""

from __future__ import annotations

import random
from collections import Counter

from tests.faulty_node import Fault, FaultyNode
from tests.soak.blocks import Blocks
from tests.soak.publisher import CONFIRMATIONS, Publisher

# How answers go wrong. None of these makes up what a node did not say.
KINDS = (
    Fault.DROP,
    Fault.LOSE,
    Fault.DELAY,
    Fault.TWICE,
    Fault.TRUNCATE,
    Fault.REFUSE,
)
# Every fault once or more often; shuffled again when all have come.
DECK = (
    *("flaky",) * 3,
    *("down",) * 2,
    *("late",) * 1,
    *("reorganise",) * 5,
    *("drop",) * 3,
    *("spike",) * 2,
    *("poor",) * 1,
    *("kill",) * 4,
    *("stop",) * 1,
    *("rearrange",) * 1,
    *("rival",) * 2,
)
# Blocks from one fault to the next, on the average.
PACE = 7


class Weather:
    """Deals out faults.

    Attributes:
        faults: How often each came.
        history: The same in their order.
    """

    def __init__(self, node: FaultyNode, blocks: Blocks, publisher: Publisher, seed: int) -> None:
        self.faults: Counter[str] = Counter()
        self.history: list[str] = []
        self._node = node
        self._blocks = blocks
        self._publisher = publisher
        self._random = random.Random(f"{seed} weather")
        self._deck: list[str] = []
        self._clears_in = 0
        self._next_in = PACE

    @property
    def is_clear(self) -> bool:
        """Whether the node answers as it should, and gas can be paid."""
        return self._clears_in == 0

    def tick(self) -> None:
        """One block has passed."""
        if self._clears_in:
            self._clears_in -= 1
            if not self._clears_in:
                self.clear()
        self._next_in -= 1
        if self._next_in <= 0:
            self._next_in = self._random.randint(1, 2 * PACE - 1)
            self._deal()

    def clear(self) -> None:
        """The node is well again, and there are coins."""
        self._clears_in = 0
        self._node.calm()
        if self._blocks.is_poor:
            self._blocks.give_coins()

    def _deal(self) -> None:
        if not self._deck:
            self._deck = list(DECK)
            self._random.shuffle(self._deck)
        name = self._deck.pop()
        self.faults[name] += 1
        self.history.append(f"block {self._blocks.head.number}: {name}")
        getattr(self, f"_{name}")()

    # ------------------------------------------------------------ the node

    def _flaky(self) -> None:
        rate = self._random.uniform(0.02, 0.3)
        self._node.at_random(rate, self._random.randrange(2**32), KINDS)
        self._clears_in = self._random.randint(5, 25)

    def _down(self) -> None:
        self._node.always("*", Fault.DROP)
        self._clears_in = self._random.randint(3, 12)

    def _late(self) -> None:
        self._node.late_by = self._random.randint(1, 3)
        self._clears_in = self._random.randint(5, 20)

    # ------------------------------------------------------------ the chain

    def _reorganise(self) -> None:
        self._blocks.reorganise(self._random.randint(1, CONFIRMATIONS - 1))

    def _drop(self) -> None:
        self._blocks.drop()

    def _spike(self) -> None:
        self._blocks.base_fee(self._random.choice((5, 20, 60, 150)))

    def _poor(self) -> None:
        self._blocks.take_coins()
        self._clears_in = self._random.randint(3, 12)

    # ------------------------------------------------------------ the servers

    def _kill(self) -> None:
        self._publisher.kill(self._random.choice(self._publisher.servers))

    def _stop(self) -> None:
        self._publisher.stop(self._random.choice(self._publisher.servers))

    def _rearrange(self) -> None:
        self._publisher.rearrange()

    def _rival(self) -> None:
        """A second redeemer comes, or goes in one way or the other."""
        rival = self._publisher.rival
        if not rival.is_wanted:
            rival.is_wanted = True
            return
        rival.is_wanted = False
        if self._random.random() < 0.5:
            self._publisher.kill(rival)
        else:
            self._publisher.stop(rival)
