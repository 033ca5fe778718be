"""Which transaction has used a nonce: found in the chain's own blocks, for no node can be asked."""

from __future__ import annotations

from typing import Protocol

from farthing.chain.checked_node import AnswerUnusable

# Blocks back for which any node keeps the accounts' counts. What it does not keep is older, and no
# node behind the same URL is that late.
KEPT_BLOCKS = 64


class Blocks(Protocol):
    """What has to be known of a chain; a `CheckedNode` knows it."""

    def count(self, address: str, block: int | None = None) -> int: ...
    def sent_in(self, number: int, sender: str) -> dict[int, bytes]: ...


def find_user(blocks: Blocks, address: str, nonce: int, last: int) -> bytes | None:
    """The hash of the transaction of ``address`` with that nonce, in a block up to ``last``.

    None when it is in a block so old that the node has forgotten the count there.

    Raises:
        AnswerUnusable: The answers do not fit together, so that nothing is known.
    """
    used, back = last, 1
    while True:
        unused = max(last - back, -1)
        try:
            if unused == -1 or blocks.count(address, unused) <= nonce:
                break
        except AnswerUnusable:
            if back > KEPT_BLOCKS:
                return None
            raise
        used, back = unused, 2 * back
    # Used in the block `used`, and not yet in `unused`.
    while used - unused > 1:
        middle = (used + unused) // 2
        if blocks.count(address, middle) > nonce:
            used = middle
        else:
            unused = middle
    user = blocks.sent_in(used, address).get(nonce)
    if user is None:
        raise AnswerUnusable(f"nonce {nonce}", f"block {used} does not have it")
    return user
