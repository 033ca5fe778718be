"""Payers that are plain keys: their addresses had no code when the chain was asked.

Which of the two a payer is decides who says whether a signature is its own, so the chain is asked
before one without an authorizer is served; but not each time, and not while it does not answer.

That an answer is old adds no risk. A payer can give its address code whenever it likes (EIP-7702),
also in the block after it was served on an answer of this moment, and from then on what it signed
with its key may be worth nothing. Either way it can get what its channel owes, and the exposure cap
bounds that.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from farthing.chain.connection import NodeUnreachable
from farthing.chain.sender import TransactionRefused
from farthing.protocol.payments import PaymentRefused
from farthing.protocol.signatures import IsContract

# Payers that are remembered: those that were asked about last.
MOST = 4_096
# Seconds for which a chain that did not answer is not asked about one that is remembered.
BLIND = 5.0


class Check(Protocol):
    """`checks.check_signature` of a payment, once it is told who knows of its payer's code."""

    def __call__(self, *, is_contract: IsContract) -> None: ...


class PlainPayers:
    """Remembers them, and since when. Its methods may be called from several threads.

    Args:
        seconds: After how long the chain is asked again.
        most: How many are remembered.
        clock: Seconds.
    """

    def __init__(
        self, seconds: float, most: int = MOST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._blind_until = 0.0
        self._lock = threading.Lock()

    def check(self, payer: str, is_contract: IsContract, check: Check) -> None:
        """Runs a check of what a payer has signed, with what is known of its code or is found out.

        Args:
            payer: Who has signed.
            is_contract: Asks the chain.
            check: Takes what tells whether the payer has code; raises `PaymentRefused` when the
                signature is not its own.

        Raises:
            NodeUnreachable, TransactionRefused: The chain does not say, and nothing is known.
        """
        if self._is_plain(payer):
            # What its key did not sign may be signed by the wallet that it has become since.
            with suppress(PaymentRefused):
                check(is_contract=_has_no_code)
                return
        try:
            has_code = is_contract(payer)
        except (NodeUnreachable, TransactionRefused):
            if not self._was_plain(payer):
                raise
            check(is_contract=_has_no_code)
            return
        if has_code:
            self._forget(payer)
        check(is_contract=lambda _: has_code)
        if not has_code:
            # Only now that it has shown its key: a wallet that is not yet there has no code either.
            self._remember(payer)

    def _is_plain(self, payer: str) -> bool:
        """Whether it is known to be one, and the chain need not or cannot be asked just now."""
        now = self._clock()
        with self._lock:
            seen = self._seen.get(payer)
            return seen is not None and (now < seen + self._seconds or now < self._blind_until)

    def _was_plain(self, payer: str) -> bool:
        """Whether it is remembered as one; the chain did not answer."""
        with self._lock:
            self._blind_until = self._clock() + BLIND
            return payer in self._seen

    def _remember(self, payer: str) -> None:
        with self._lock:
            self._seen[payer] = self._clock()
            self._seen.move_to_end(payer)
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)

    def _forget(self, payer: str) -> None:
        with self._lock:
            self._seen.pop(payer, None)


def _has_no_code(payer: str) -> bool:
    return False
