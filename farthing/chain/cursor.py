"""How far a chain was read, and the marks by which it is known again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise

from msgspec import Struct


class Point(Struct, frozen=True):
    """A block of one fork: its number, and its hash in hex."""

    block: int
    hash: str


@dataclass(frozen=True)
class Cursor:
    """How far the chain was read: all blocks up to ``at``, which was final then.

    Attributes:
        at: The last block that was read.
        earlier: Blocks read before it, latest first and ever further apart, to find out how far
            back a chain agrees that turns out to be another.
    """

    at: Point
    earlier: tuple[Point, ...] = ()

    def moved(self, to: Point) -> Cursor:
        """The cursor at a later block."""
        kept = [self.at]
        for point, older in pairwise(self.earlier):
            # It goes when its neighbours stay within twice the distance of each other.
            if to.block - older.block > 2 * (to.block - kept[-1].block):
                kept.append(point)
        return Cursor(to, (*kept, *self.earlier[-1:]))

    def to_text(self) -> str:
        """The cursor, to be kept in a database."""
        return json.dumps([[point.block, point.hash] for point in (self.at, *self.earlier)])

    @classmethod
    def from_text(cls, text: str) -> Cursor:
        """Reads what `to_text` wrote."""
        at, *earlier = (Point(block, hash_) for block, hash_ in json.loads(text))
        return cls(at, tuple(earlier))
