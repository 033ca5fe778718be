from __future__ import annotations

from collections.abc import Iterable

import pytest

from farthing.chain.checked_node import AnswerUnusable
from farthing.chain.used_nonces import KEPT_BLOCKS, find_user

LAST = 1_000


class Chain:
    """An account's transactions by block; the counts of the last ``kept`` blocks are known."""

    def __init__(self, blocks: Iterable[int], kept: int = LAST) -> None:
        self.blocks = sorted(blocks)
        self.kept = kept
        self.asked = 0

    def count(self, address: str, block: int | None = None) -> int:
        assert block is not None and address == "me"
        self.asked += 1
        if block < LAST - self.kept:
            raise AnswerUnusable("a count", "missing trie node")
        return sum(each <= block for each in self.blocks)

    def sent_in(self, number: int, sender: str) -> dict[int, bytes]:
        return {nonce: b"%d" % nonce for nonce, at in enumerate(self.blocks) if at == number}


@pytest.mark.parametrize("block", [0, 1, 2, 499, 936, 937, 998, 999, 1_000])
@pytest.mark.parametrize("nonce", [0, 1])
def test_find_user__in_any_block(block: int, nonce: int) -> None:
    chain = Chain([0] * nonce + [block])
    assert find_user(chain, "me", nonce, LAST) == b"%d" % nonce
    assert chain.asked <= 22


def test_find_user__several_in_one_block() -> None:
    chain = Chain([3, 700, 700, 700, 990])
    assert [find_user(chain, "me", nonce, LAST) for nonce in range(5)] == [
        b"0",
        b"1",
        b"2",
        b"3",
        b"4",
    ]


def test_find_user__in_a_block_the_node_has_forgotten() -> None:
    assert find_user(Chain([5], kept=2 * KEPT_BLOCKS), "me", 0, LAST) is None


def test_find_user__a_node_that_forgets_at_once__nothing_is_known() -> None:
    with pytest.raises(AnswerUnusable):
        find_user(Chain([5], kept=3), "me", 0, LAST)


def test_find_user__answers_that_do_not_fit__nothing_is_known() -> None:
    class Liar(Chain):
        def sent_in(self, number: int, sender: str) -> dict[int, bytes]:
            return {}

    with pytest.raises(AnswerUnusable, match="block 500 does not have it"):
        find_user(Liar([500]), "me", 0, LAST)
