"""Keeps what the ledger knows of the chain: every channel's mirror, and how far the chain was read.

Events say which channels to look at again. Beside that all channels are looked at in turn, a page
at a time, so that an event which a node kept to itself does no lasting harm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from farthing.chain.cursor import Cursor
from farthing.chain.lens import MAX_CHANNELS
from farthing.chain.logs import ID_PREFIX
from farthing.chain.settlement import Snapshot
from farthing.chain.watcher import Rewound, State, Update, Watcher
from farthing.ledger import Channel, ChannelState, Difference, Ledger, Mirror
from farthing.protocol import ChannelConfig

# Pages of channels looked at in a step, as long as there are some that were not looked at since the
# start, or since the chain became another one. Later it is one page.
HURRY = 20
# A mirror that was written less than so many milliseconds before may tell of a block that the
# watcher's node does not have yet.
SETTLED_MS = 60_000

_ID = 32


@dataclass(frozen=True)
class Withdrawal:
    """A payer asks money back, which was not known before.

    Attributes:
        amount: Smallest units.
        deadline: Unix seconds from which on the payer can take it.
    """

    channel_id: bytes
    amount: int
    deadline: int


@dataclass(frozen=True)
class Followed:
    """What a step did.

    Attributes:
        head: Number of the chain's latest block.
        asked_at: When it was asked for, unix milliseconds.
        behind: How many final blocks are still to be read; as long as there are any, step again.
        caught_up: Whether every channel stands in the ledger as the chain has it: all is read, and
            every channel was looked at since the start.
        events: How many of each kind were news.
        written: How many mirrors were written.
        withdrawals: What is to be redeemed before the payers can take it.
        differences: What does not fit together, for somebody to look at.
        rewound: Set when the chain was reorganised further down than it should ever be.
    """

    head: int
    asked_at: int
    behind: int
    caught_up: bool
    events: Counter[str]
    written: int
    withdrawals: list[Withdrawal]
    differences: list[Difference]
    rewound: Rewound | None


@dataclass(frozen=True)
class _Look:
    """The look at all channels, one after another by their ids.

    Attributes:
        after: The last channel that was looked at; empty at the start of a round.
        is_done: Whether there was a whole round.
        is_first: Whether mirrors may be of any age, because no cursor tells how far the chain was
            read for them. Later, one that is not as the chain has it should not be there.
    """

    after: bytes = b""
    is_done: bool = False
    is_first: bool = True


@dataclass(frozen=True)
class _Case:
    """A channel, and what the chain says of it. The state is the ledger's, if it knows it."""

    channel_id: bytes
    config: ChannelConfig
    state: ChannelState | None
    snapshot: Snapshot


class Follower:
    """Takes what a watcher finds to the ledger, step by step.

    Args:
        ledger: One thread at a time may use it, so give it one of its own.
        watcher: Of the contract whose channels the ledger keeps.
        own: Addresses of the publisher's keys, which may claim. Without any, nobody is asked who
            claimed.
    """

    def __init__(self, ledger: Ledger, watcher: Watcher, own: Iterable[str] = ()) -> None:
        self._ledger = ledger
        self._watcher = watcher
        self._own = {address.lower() for address in own}
        self._state: State | None = None
        self._look = _Look()
        # Channels that something happened to, by a node behind what the ledger has of them.
        self._again: frozenset[bytes] = frozenset()

    def step(self) -> Followed:
        """Reads on, and writes down what is new. What it found before it failed is found again.

        Raises:
            FarthingError: As `Watcher.read` and `Ledger.mirror_many`; the next step tries again.
        """
        if self._state is None:
            text = self._ledger.recall(self._watcher.name)
            if text is not None:
                self._state = State(Cursor.from_text(text))
                self._look = replace(self._look, is_first=False)
        update = self._watcher.read(self._state)
        if update.rewound is not None:
            self._look = _Look()

        touched = self._touched(update)
        page, look = self._page(update)
        page = [channel for channel in page if channel.channel_id not in touched]
        channels = [
            *touched.values(),
            *((each.channel_id, each.config, each.state) for each in page),
        ]
        snapshots = self._watcher.snapshots((each[0] for each in channels), update.head)
        cases = [_Case(*each, found) for each, found in zip(channels, snapshots, strict=True)]
        unexpected = [
            case for case in cases[len(touched) :] if self._differs(case, update.asked_at)
        ]
        to_write = cases[: len(touched)] + unexpected
        differences = [
            *(found for case in cases for found in _overclaimed(case)),
            *self._foreign_claims(update, touched),
        ]
        if not self._look.is_first:
            settled = update.asked_at - SETTLED_MS
            differences += [found for case in unexpected for found in _untold(case, settled)]

        self._ledger.mirror_many(
            [
                (case.channel_id, case.config, _mirror(case.snapshot, update.asked_at))
                for case in to_write
            ]
        )
        # After the mirrors: what is read once more does no harm, what is not read does.
        if self._state is None or update.state.cursor != self._state.cursor:
            self._ledger.remember(self._watcher.name, update.state.cursor.to_text())
        self._state, self._look = update.state, look
        self._again = frozenset(
            case.channel_id[:ID_PREFIX]
            for case in cases[: len(touched)]
            if _is_late(case, update.asked_at)
        )
        return Followed(
            head=update.head.number,
            asked_at=update.asked_at,
            behind=update.behind,
            caught_up=look.is_done and not update.behind,
            events=update.events,
            written=len(to_write),
            withdrawals=[found for case in to_write for found in _withdrawal(case)],
            differences=differences,
            rewound=update.rewound,
        )

    # ------------------------------------------------------------ internal

    def _touched(
        self, update: Update
    ) -> dict[bytes, tuple[bytes, ChannelConfig, ChannelState | None]]:
        """The publisher's channels that something happened to, by their ids."""
        found: dict[bytes, tuple[bytes, ChannelConfig, ChannelState | None]] = {
            channel_id: (channel_id, config, None) for channel_id, config in update.created.items()
        }
        for prefix in update.touched | self._again:
            channel = self._find(prefix)
            if channel is not None:
                found[channel.channel_id] = (channel.channel_id, channel.config, channel.state)
        return found

    def _find(self, prefix: bytes) -> Channel | None:
        """The channel whose id starts so, if the ledger has it."""
        below = int.from_bytes(prefix, "big") << 8 * (_ID - ID_PREFIX)
        after = (below - 1).to_bytes(_ID, "big") if below else b""
        for channel in self._ledger.channels(after=after, limit=1):
            if channel.channel_id.startswith(prefix):
                return channel
        return None

    def _page(self, update: Update) -> tuple[list[Channel], _Look]:
        """The next channels to look at, and where the look is then."""
        look = self._look
        if update.behind:
            return [], look
        limit = MAX_CHANNELS if look.is_done else HURRY * MAX_CHANNELS
        page = self._ledger.channels(after=look.after, limit=limit)
        if len(page) < limit:
            return page, _Look(is_done=True, is_first=False)
        return page, replace(look, after=page[-1].channel_id)

    def _differs(self, case: _Case, asked_at: int) -> bool:
        """Whether the ledger has it otherwise than the chain."""
        assert case.state is not None
        mirror, found = case.state.mirror, case.snapshot
        if _is_same(found, mirror) or _is_late(case, asked_at):
            return False
        # A refund that was sent counts as withdrawn.
        held = self._ledger.held_refund(case.channel_id, found.refund_nonce)
        gone = min(found.balance, found.withdraw_amount + held)
        return not _is_same(replace(found, withdraw_amount=gone), mirror)

    def _foreign_claims(self, update: Update, touched: Iterable[bytes]) -> Iterable[Difference]:
        """Claims of the publisher's channels by somebody else."""
        if not self._own:
            return
        ours = {channel_id[:ID_PREFIX]: channel_id for channel_id in touched}
        for transaction, prefixes in update.claims.items():
            claimed = sorted(ours[prefix] for prefix in prefixes if prefix in ours)
            if not claimed:
                continue
            sender = self._watcher.sender_of(transaction)
            if sender is not None and sender not in self._own:
                yield Difference(
                    claimed[0],
                    f"transaction {transaction} of {sender} claimed for {len(claimed)} channels: "
                    "if that is none of your keys, somebody else has the receiver authorizer's",
                )


def _mirror(found: Snapshot, asked_at: int) -> Mirror:
    return Mirror(
        balance=found.balance,
        total_claimed=found.total_claimed,
        withdraw_amount=found.withdraw_amount,
        withdraw_requested_at=found.withdraw_requested_at,
        refund_nonce=found.refund_nonce,
        synced_at=asked_at,
        block=found.block,
    )


def _is_same(found: Snapshot, mirror: Mirror) -> bool:
    """Whether a mirror says that, whenever and of whichever block it does."""
    return _mirror(replace(found, block=mirror.block), mirror.synced_at) == mirror


def _is_late(case: _Case, asked_at: int) -> bool:
    """Whether the ledger has the channel as of a later block, and keeps that."""
    if case.state is None:
        return False
    kept = case.state.mirror
    return _mirror(case.snapshot, asked_at).is_late(kept.synced_at, kept.block)


def _withdrawal(case: _Case) -> Iterable[Withdrawal]:
    asked_at = case.snapshot.withdraw_requested_at
    before = case.state.mirror.withdraw_requested_at if case.state is not None else 0
    if asked_at not in (0, before):
        deadline = asked_at + case.config.withdraw_delay
        yield Withdrawal(case.channel_id, case.snapshot.withdraw_amount, deadline)


def _overclaimed(case: _Case) -> Iterable[Difference]:
    claimed = case.snapshot.total_claimed
    if case.state is not None and claimed > case.state.charged:
        yield Difference(
            case.channel_id,
            f"{claimed} is claimed on chain and {case.state.charged} was charged: this ledger is "
            "older than its chain, or somebody else charges for this receiver",
        )


def _untold(case: _Case, settled: int) -> Iterable[Difference]:
    assert case.state is not None
    mirror, found = case.state.mirror, case.snapshot
    # On the chain this amount never changes alone: here it does when a refund will not come.
    held = replace(found, withdraw_amount=mirror.withdraw_amount)
    if mirror.synced_at < settled and not _is_same(held, mirror):
        yield Difference(
            case.channel_id,
            f"the chain has balance {found.balance}, claimed {found.total_claimed}, withdrawal "
            f"{found.withdraw_amount} where the ledger had {mirror.balance}, "
            f"{mirror.total_claimed}, {mirror.withdraw_amount}, and no event told of it",
        )
