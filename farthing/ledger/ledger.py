"""What a ledger does, whichever database it is kept in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from farthing.ledger.records import (
    Answer,
    Attempt,
    Channel,
    ChannelState,
    Charge,
    Difference,
    Entitled,
    Mirror,
    NewCharge,
    NotReserved,
    QueuedTransaction,
    Redeemable,
    RefundHold,
    Refusal,
    Row,
    Standing,
    Totals,
)
from farthing.protocol import ChannelConfig

# A text with that name is in every copy that `Ledger.backup` makes, and is put into a PostgreSQL
# ledger that is opened and was restored from a dump: when that was, unix seconds. What was charged
# since the copy was made is missing, so whoever would charge has to ask the chain first, and has
# it remembered as "" once that is done.
RESTORED = "restored"

# Bytes of a body from which on an answer is not left to expire when nobody can ask for it any more:
# a thousand readers a second, of pages of 50 kB each, would fill a disk in ten minutes.
LARGE = 4_096


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
        reserved, or its payer's books have, if it changes them. Of two for one channel and fence,
        the first is made. A charge that was made before with the same ``request_id``, and is its
        channel's latest, counts as made.
        """

    def commit_at_once(self, charges: Sequence[NewCharge]) -> list[bool] | None:
        """`commit`, if nobody has to be waited for but the disk; else None, and nothing is done."""
        return None

    @abstractmethod
    def answer(self, channel_id: bytes) -> Answer | None:
        """The answer kept with the channel's latest charge, if one is still kept."""

    # ------------------------------------------------------------ payers

    @abstractmethod
    def reserve_payers(self, payer_ids: Sequence[bytes]) -> list[int | NotReserved]:
        """Reserves each payer for the caller, as `reserve` does channels; the versions of their
        books.

        A payer that is not known has version 0. `release` gives it back.
        """

    @abstractmethod
    def standing(
        self, payer_id: bytes, tallies: Sequence[str], entitlements: Sequence[tuple[str, str]]
    ) -> Standing:
        """What is known of a payer: tallies by name, entitlements by kind and item."""

    @abstractmethod
    def entitlements(
        self, payer: str | None = None, *, after: Entitled | None = None, limit: int = 1000
    ) -> list[Entitled]:
        """What payers have bought, by payer, kind and item; at most ``limit``.

        Args:
            payer: Only this address's.
            after: The last of the page before.
        """

    @abstractmethod
    def count_refusals(self, refusals: Sequence[Refusal]) -> None:
        """Adds to how often payers were refused."""

    @abstractmethod
    def refusals(self, *, since: int = 0, limit: int = 1000) -> list[Refusal]:
        """How often payers were refused on the days that began then or later, newest first."""

    # ------------------------------------------------------------ the chain's side

    @abstractmethod
    def mirror(self, channel_id: bytes, config: ChannelConfig, mirror: Mirror) -> ChannelState:
        """Writes down what the chain says of a channel, durably; the state with it.

        A channel the ledger does not know begins with everything charged that the chain says is
        claimed, as x402 has it for a server that lost its state. A mirror older than the one that
        is kept (by ``synced_at``, or as `Mirror.is_late` has it) changes nothing.
        """

    @abstractmethod
    def mirror_many(self, seen: Sequence[tuple[bytes, ChannelConfig, Mirror]]) -> None:
        """`mirror` for many channels. Commits of others come between a thousand and the next."""

    @abstractmethod
    def held_refund(self, channel_id: bytes, nonce: int) -> int:
        """What is on its way back to the payer of a channel whose next refund has that nonce."""

    # ------------------------------------------------------------ transactions
    #
    # ``lease`` is a name and a holder. What is written under a lease is written in one transaction
    # with the look at who has it, or `LeaseLost` is raised. One that has run out and was not taken
    # by anybody is still its holder's. Times are the caller's, but the lease's are not.

    @abstractmethod
    def take_lease(self, lease: tuple[str, str], seconds: float) -> bool:
        """Takes a lease that is free or has run out, or extends one's own; whether it did.

        By the database's clock, and this machine's for SQLite.
        """

    @abstractmethod
    def give_lease(self, lease: tuple[str, str]) -> None:
        """Gives a lease back, if this holder has it."""

    @abstractmethod
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
        refund: RefundHold | None = None,
    ) -> int:
        """Orders a transaction, durably, with the channels and totals it claims for; its id.

        ``fee_limit`` is in wei, below 2**63.

        With a subject there is one transaction of its kind at a time, whatever became of it unless
        it failed or was refused: then nothing is written and its id returned.

        What a ``refund`` gives back counts as withdrawn from now on and in every later mirror: the
        transaction may come at any time. It does until the chain says that the refund's nonce is
        used, or, from the next mirror on, until the transaction has failed or was refused.

        Raises:
            ChannelMoved: The refund's channel has other charges than its fence is for.
        """

    @abstractmethod
    def transaction(self, transaction_id: int) -> QueuedTransaction | None:
        """The transaction with that id."""

    @abstractmethod
    def find_transaction(self, kind: str, subject: bytes) -> QueuedTransaction | None:
        """The latest of that kind and subject."""

    @abstractmethod
    def transactions(
        self,
        *,
        sender: str | None = None,
        states: Sequence[str] | None = None,
        after: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> list[QueuedTransaction]:
        """Transactions by id, oldest first or newest first, at most ``limit``.

        Those that come after the one with the id ``after`` in that order; 0 begins.
        """

    @abstractmethod
    def attempts(self, transaction_id: int) -> list[Attempt]:
        """Its signings, oldest first; also those with a nonce it no longer has."""

    @abstractmethod
    def rows(self, transaction_id: int) -> list[Row]:
        """What it claims, by channel id."""

    @abstractmethod
    def lift_fee_limits(self) -> None:
        """Takes the limit from transactions queued or signed that claim for a channel whose payer
        withdraws: it must not wait for cheaper gas until the money is gone."""

    @abstractmethod
    def in_flight(self) -> dict[bytes, int]:
        """The highest total that a transaction queued, signed or mined carries for each channel."""

    @abstractmethod
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
    ) -> None:
        """Saves an `Attempt`, durably, and with it the nonce; the transaction is ``"signed"`` then.

        The same attempt may be saved again. Two transactions of one sender that are signed or mined
        cannot have one nonce: the second is refused with `LedgerUnavailable`.

        Raises:
            LeaseLost: Somebody else has the lease.
        """

    @abstractmethod
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
    ) -> None:
        """Writes down every other change of a transaction, also back to an earlier state.

        Its nonce stays, but for ``"queued"`` and ``"refused"``, which have none.

        Raises:
            LeaseLost: Somebody else has the lease.
        """

    # ------------------------------------------------------------ looking

    @abstractmethod
    def channel(self, channel_id: bytes) -> Channel | None:
        """All the ledger knows of a channel."""

    @abstractmethod
    def channels(
        self,
        *,
        after: bytes = b"",
        limit: int = 1000,
        payer: str | None = None,
        withdrawing: bool = False,
    ) -> list[Channel]:
        """Channels with an id above ``after``, lowest first, at most ``limit``.

        Args:
            payer: Only this payer's; looks through all.
            withdrawing: Only those whose payer has asked its deposit back; finds them at once.
        """

    @abstractmethod
    def redeemable(self, min_value: int = 1) -> Iterator[Redeemable]:
        """Every channel of which ``min_value`` or more is charged and not claimed, by channel id.

        Read in pages as they are asked for, so that no commit waits and memory stays small: each
        channel is as it was at one moment, which is not the same for all.
        """

    @abstractmethod
    def charges(
        self,
        *,
        channel_id: bytes | None = None,
        route: str | None = None,
        since: int | None = None,
        until: int | None = None,
        after: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> list[Charge]:
        """Charges by id, oldest first or newest first, at most ``limit``.

        Those that come after the one with the id ``after`` in that order; 0 begins. A channel's
        charges are found from its last one backwards, so that the newest first are quick and a page
        of the oldest first costs as much as all that come after it.

        Args:
            channel_id: Only this channel's.
            route: Only those for it.
            since: Only those made then or later, unix seconds.
            until: Only those made before.
        """

    @abstractmethod
    def totals(self) -> Totals:
        """The ledger in a few numbers. Reads everything; not for a request."""

    @abstractmethod
    def prove(self) -> list[Difference]:
        """Every place where the ledger does not agree with itself; none, if the books are right.

        For each channel: charges link back one by one to the first, each total is the one before
        plus the amount, the last is what was charged; the latest voucher covers it. For each
        entitlement: a charge of its payer's gave it.
        """

    # ------------------------------------------------------------ housekeeping

    @abstractmethod
    def forget_answers(self, now: int) -> int:
        """Removes answers that expired before ``now``; how many. May leave some for next time.

        Large ones that nobody can ask for any more, for their channel has a later charge, are
        removed with that charge, or here.
        """

    @abstractmethod
    def remember(self, name: str, value: str) -> None:
        """Keeps a short text under a name, durably: a chain cursor, for example."""

    @abstractmethod
    def recall(self, name: str) -> str | None:
        """The text kept under a name."""

    @abstractmethod
    def backup(self, path: Path) -> None:
        """Copies the whole ledger, as it is at one moment, into a new file marked `RESTORED`.

        Others may go on charging meanwhile.

        Raises:
            BackupRefused: There is something at ``path``, or it is PostgreSQL, for which
                ``pg_dump`` is the way.
        """

    @abstractmethod
    def close(self) -> None:
        """Gives back what is reserved, and the connections."""
