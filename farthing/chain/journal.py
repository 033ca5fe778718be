"""What a transaction queue needs of whatever keeps its transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

# States of a transaction: not yet signed; signed, and not seen on the chain; in a block that may be
# undone; in one that is final, where it succeeded, or failed; given up before it was sent.
QUEUED, SIGNED, MINED = "queued", "signed", "mined"
FINAL, FAILED, REFUSED = "final", "failed", "refused"
LIVE = (QUEUED, SIGNED, MINED)


class Queued(Protocol):
    """A transaction as a journal keeps it; see `farthing.ledger.QueuedTransaction`."""

    @property
    def id(self) -> int: ...
    @property
    def sender(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def subject(self) -> bytes: ...
    @property
    def to(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def gas(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def nonce(self) -> int | None: ...
    @property
    def block(self) -> int: ...
    @property
    def block_hash(self) -> bytes: ...
    @property
    def succeeded(self) -> bool: ...
    @property
    def gas_used(self) -> int: ...
    @property
    def fee(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def fee_limit(self) -> int | None: ...


class Attempted(Protocol):
    """One signing of a transaction; see `farthing.ledger.Attempt`."""

    @property
    def hash(self) -> bytes: ...
    @property
    def raw(self) -> bytes: ...
    @property
    def nonce(self) -> int: ...
    @property
    def max_fee(self) -> int: ...
    @property
    def tip(self) -> int: ...
    @property
    def time(self) -> int: ...


class Journal(Protocol):
    """Where a queue writes down what it is about to do. A `farthing.ledger.Ledger` is one.

    What is written is durable when a method returns. A method that takes the lease writes only if
    its holder still has it, and raises otherwise.
    """

    def take_lease(self, lease: tuple[str, str], seconds: float) -> bool: ...
    def give_lease(self, lease: tuple[str, str]) -> None: ...
    def enqueue(
        self,
        *,
        sender: str,
        kind: str,
        subject: bytes,
        to: str,
        data: bytes,
        gas: int,
        time: int,
        rows: Sequence[tuple[bytes, int]] = (),
        fee_limit: int | None = None,
        refund: Any = None,
    ) -> int: ...
    def transaction(self, transaction_id: int, /) -> Queued | None: ...
    def find_transaction(self, kind: str, subject: bytes, /) -> Queued | None: ...
    def transactions(
        self,
        *,
        sender: str | None = None,
        states: Sequence[str] | None = None,
        after: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Sequence[Queued]: ...
    def attempts(self, transaction_id: int, /) -> Sequence[Attempted]: ...
    def sign(
        self,
        transaction_id: int,
        lease: tuple[str, str],
        *,
        hash: bytes,
        raw: bytes,
        nonce: int,
        max_fee: int,
        tip: int,
        time: int,
    ) -> None: ...
    def move_transaction(
        self,
        transaction_id: int,
        lease: tuple[str, str],
        state: str,
        *,
        time: int,
        block: int = 0,
        block_hash: bytes = b"",
        succeeded: bool = False,
        gas_used: int = 0,
        fee: int = 0,
        reason: str = "",
    ) -> None: ...
