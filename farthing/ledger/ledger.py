"""What a ledger does, whichever database it is kept in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from farthing.ledger.records import (
    Answer,
    Channel,
    ChannelState,
    Charge,
    Deposit,
    Difference,
    Mirror,
    NewCharge,
    NotReserved,
    Totals,
)
from farthing.protocol import ChannelConfig


class Ledger(ABC):
    """The publisher's books: what was charged, and the vouchers that prove it.

    Many processes may have the same ledger open. `reserve` and `release` keep two requests of one
    channel from running at a time; what decides who is charged is `commit`, a compare-and-set.

    One thread at a time may call a method, except that `commit` has a lock and a connection of its
    own and may run beside any other.

    Every method raises `LedgerUnavailable` when the database fails; nothing was changed then, or,
    if a connection broke in the middle of `commit`, the same call may be made again: what was
    written the first time is found to be there.
    """

    # Whether `reserve` and `release` answer without waiting on a network, so that an event loop may
    # call them itself.
    is_local: bool

    # ------------------------------------------------------------ the way of a payment

    @abstractmethod
    def reserve(self, channel_ids: Sequence[bytes]) -> list[ChannelState | NotReserved]:
        """Reserves each channel for the caller, and reads its state once it is reserved.

        A reservation lasts until `release`, or until this process ends, however it ends.
        """

    @abstractmethod
    def release(self, channel_ids: Sequence[bytes]) -> None:
        """Gives reservations back. A channel that is not reserved here is passed over."""

    @abstractmethod
    def commit(self, charges: Sequence[NewCharge]) -> list[bool]:
        """Makes charges, all in one transaction that is durable when this returns.

        For each, whether it was made: it is not when its channel has moved on since it was
        reserved. Of two for one channel and fence, the first is made. A charge that was made before
        with the same ``request_id``, and is its channel's latest, counts as made.
        """

    @abstractmethod
    def answer(self, channel_id: bytes) -> Answer | None:
        """The answer kept with the channel's latest charge, if one is still kept."""

    # ------------------------------------------------------------ the chain's side

    @abstractmethod
    def mirror(self, channel_id: bytes, config: ChannelConfig, mirror: Mirror) -> ChannelState:
        """Writes down what the chain says of a channel, durably; the state with it.

        A channel the ledger does not know begins with everything charged that the chain says is
        claimed, as x402 has it for a server that lost its state. A mirror older than the one that
        is kept (by ``synced_at``) changes nothing.
        """

    @abstractmethod
    def deposit(self, authorization: bytes) -> Deposit | None:
        """The deposit of that name, if it was ever written down."""

    @abstractmethod
    def save_deposit(self, deposit: Deposit, time: int) -> None:
        """Writes a deposit down, durably, in place of what was kept under its name."""

    # ------------------------------------------------------------ looking

    @abstractmethod
    def channel(self, channel_id: bytes) -> Channel | None:
        """All the ledger knows of a channel."""

    @abstractmethod
    def charges(
        self, *, channel_id: bytes | None = None, after: int = 0, limit: int = 1000
    ) -> list[Charge]:
        """Charges with an id above ``after``, lowest first, at most ``limit``; of one channel or
        of all."""

    @abstractmethod
    def totals(self) -> Totals:
        """The ledger in a few numbers. Reads everything; not for a request."""

    @abstractmethod
    def prove(self) -> list[Difference]:
        """Every place where the ledger does not agree with itself; none, if the books are right.

        For each channel: charges link back one by one to the first, each total is the one before
        plus the amount, the last is what was charged; the latest voucher covers it.
        """

    # ------------------------------------------------------------ housekeeping

    @abstractmethod
    def forget_answers(self, now: int) -> int:
        """Removes answers that expired before ``now``; how many. May leave some for next time."""

    @abstractmethod
    def remember(self, name: str, value: str) -> None:
        """Keeps a short text under a name, durably: a chain cursor, for example."""

    @abstractmethod
    def recall(self, name: str) -> str | None:
        """The text kept under a name."""

    @abstractmethod
    def close(self) -> None:
        """Gives back what is reserved, and the connections."""
