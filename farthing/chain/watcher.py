"""Follows what happens to channels on the chain, from where it stopped, whatever a node answers.

A chain is final up to some blocks below its head; above that it may still be reorganised. Final
blocks are read in ranges and only once, and the cursor stands at the last of them. Those above, the
window, are read one by one and by their hashes. When the head's ancestors turn out to be others
than those in the window, what happened in the blocks that are gone is as much news as what
happened in those that came.

What is found is only which channels were touched. How they stand is read from the chain, as of the
head, so that nothing is ever added up from events.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from msgspec import Struct, field

from farthing.chain.checked_node import AnswerUnusable
from farthing.chain.connection import NodeUnreachable, WrongChain
from farthing.chain.cursor import Cursor, Point
from farthing.chain.json_rpc import NodeRefused, ask, look_up, number
from farthing.chain.lens import Lens
from farthing.chain.logs import (
    Log,
    RawLog,
    created_config,
    created_parties,
    event_topics,
    read_log,
)
from farthing.chain.settlement import Settlement, Snapshot
from farthing.protocol import ChannelConfig
from farthing.protocol.errors import FarthingError
from farthing.protocol.values import non_zero_address

# Blocks asked for at a time. Where a node wants fewer, fewer are asked for.
RANGE_BLOCKS = 500
# Events after which a reading ends and what it found is written down.
MOST_EVENTS = 20_000
# Ranges after which it does so too.
MOST_RANGES = 50
# So many ranges have to go well before more is asked for than went wrong.
MORE_AFTER = 50
# Nodes that leave out what is above their limit have a round one.
ROUND = 1_000
# Blocks above the cursor's that may come to be of another fork without anybody being told.
CONFIRMATIONS = 12


class NodeBehind(FarthingError):
    """The node knows less of the chain than was seen before.

    Attributes:
        head: Number of its latest block.
        seen: Number of the latest block seen before.
    """

    def __init__(self, head: int, seen: int) -> None:
        self.head = head
        self.seen = seen
        super().__init__(
            f"the node is at block {head} and block {seen} was seen before: wait until it has "
            "caught up, or use another node."
        )


@dataclass(frozen=True)
class Payee:
    """The parties of a channel that make it this publisher's. Raises `InvalidField` as
    `ChannelConfig` does."""

    receiver: str
    receiver_authorizer: str
    token: str

    def __post_init__(self) -> None:
        for name in ("receiver", "receiver_authorizer", "token"):
            non_zero_address(name, getattr(self, name))


class Block(Struct, frozen=True):
    """A block's number, its hash and its parent's, in hex."""

    number: int
    hash: str
    parent: str


class Seen(Struct, frozen=True):
    """A block that is not final yet, and the contract's events in it."""

    block: Block
    logs: tuple[Log, ...]


@dataclass(frozen=True)
class State:
    """What the next reading goes on from.

    Attributes:
        cursor: To be kept. The rest is found again after a restart.
        window: The blocks above it that were seen, lowest first.
    """

    cursor: Cursor
    window: tuple[Seen, ...] = ()


@dataclass(frozen=True)
class Rewound:
    """A reorganisation deeper than the confirmations: read again from an earlier block.

    Attributes:
        seen: Number of the block that was taken for final and is gone.
        back_to: Number of the block up to which the chain agrees with what was read.
    """

    seen: int
    back_to: int


@dataclass(frozen=True)
class Update:
    """What a reading found.

    Attributes:
        state: To go on from, once what was found is written down.
        head: The chain's latest block; how channels stand is read as of it.
        asked_at: When the head was asked for, unix milliseconds.
        behind: How many final blocks are still to be read.
        touched: The first `ID_PREFIX` bytes of the ids of channels that something happened to, or
            turned out not to have happened to.
        created: Channels of the payees that are new on the chain, by id.
        claims: Transactions that claimed or redeemed, by hash, and the channels they did it to.
        events: How many of each kind there were.
        rewound: Set when the chain has become another one further down than it should.
    """

    state: State
    head: Block
    asked_at: int
    behind: int
    touched: frozenset[bytes]
    created: dict[bytes, ChannelConfig]
    claims: dict[str, set[bytes]]
    events: Counter[str]
    rewound: Rewound | None


class Watcher:
    """Reads what happened at one settlement contract. It keeps nothing itself: see `State`.

    Args:
        settlement: The contract.
        payees: Whose new channels are told of.
        confirmations: So many blocks on top of one make it final.
        range_blocks: Blocks asked for at a time, at most; ``most_ranges``: so many times a reading.
        start_block: Where to begin with no cursor; without it, where the chain is now.
        clock: Unix seconds.
    """

    def __init__(
        self,
        settlement: Settlement,
        payees: Iterable[Payee],
        *,
        confirmations: int = CONFIRMATIONS,
        range_blocks: int = RANGE_BLOCKS,
        most_ranges: int = MOST_RANGES,
        start_block: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settlement = settlement
        self._w3 = settlement.w3
        self._chain_id = settlement.domain.chain_id
        self._payees = {
            tuple(
                bytes.fromhex(party[2:]).rjust(32, b"\0")
                for party in (payee.receiver, payee.receiver_authorizer, payee.token)
            )
            for payee in payees
        }
        self._confirmations = confirmations
        self._most_blocks = range_blocks
        self._blocks = range_blocks
        self._most_ranges = most_ranges
        self._went_well = 0
        self._start_block = start_block
        self._clock = clock
        self._lens = Lens(self._w3, settlement.address, self._chain_id)

    @property
    def name(self) -> str:
        """Names the cursor of this contract on this chain."""
        return f"cursor eip155:{self._chain_id} {self.settlement.address}"

    def read(self, state: State | None) -> Update:
        """Reads on from ``state``; from the start without it. At most `MOST_EVENTS` or so at once:
        until nothing is `Update.behind` it is to be called again.

        Raises, and the same state may be tried again:
            NodeUnreachable: The node does not answer.
            NodeRefused: It answers with an error.
            NodeBehind: It knows less than was seen before.
            WrongChain: It is on another chain.
            AnswerUnusable: What it answers does not fit together.
        """
        asked_at = int(self._clock() * 1_000)
        found = number("eth_chainId", ask(self._w3, "eth_chainId", as_=str))
        if found != self._chain_id:
            raise WrongChain(self._chain_id, found)
        head = self._block("latest")
        state = state or State(Cursor(self._beginning(head)))
        gone: tuple[Seen, ...] = ()
        rewound = None
        if not self._agrees(head, state):
            back = self._agreeing(head, state.cursor)
            rewound = Rewound(state.cursor.at.block, back.at.block)
            state, gone = State(back), state.window
        return self._read_on(state, head, asked_at, gone, rewound)

    def snapshots(self, channel_ids: Iterable[bytes], head: Block) -> list[Snapshot]:
        """What the chain says of each channel as of ``head``, in their order; see `Lens.read`."""
        return self._lens.read(channel_ids, head.number, head.hash)

    def sender_of(self, transaction: str) -> str | None:
        """Who sent a transaction, in lower-case hex; None when the chain does not have it."""
        sent = look_up(self._w3, "eth_getTransactionByHash", transaction, as_=_RawSent)
        return None if sent is None else sent.sender.lower()

    # ------------------------------------------------------------ internal: forks

    def _beginning(self, head: Block) -> Point:
        final = max(0, head.number - self._confirmations)
        if self._start_block is not None:
            final = min(final, max(0, self._start_block - 1))
        return Point(final, self._hash(final))

    def _agrees(self, head: Block, state: State) -> bool:
        """Whether the chain still has the block at the cursor.

        Raises:
            NodeBehind: The node does not have it yet, or not all that was seen above it.
        """
        at, *earlier = (state.cursor.at, *state.cursor.earlier)
        seen = [at.hash, *(seen.block.hash for seen in state.window)]
        if head.hash in seen[:-1]:
            raise NodeBehind(head.number, state.window[-1].block.number)
        if head.number >= at.block:
            return self._hash(at.block) == at.hash
        for point in earlier:
            if point.block <= head.number:
                if self._hash(point.block) != point.hash:
                    return False
                break
        raise NodeBehind(head.number, at.block + len(state.window))

    def _agreeing(self, head: Block, cursor: Cursor) -> Cursor:
        """The cursor where it stood before the chain became another one."""
        for place, point in enumerate(cursor.earlier, 1):
            if point.block <= head.number and self._hash(point.block) == point.hash:
                return Cursor(point, cursor.earlier[place:])
        return Cursor(self._beginning(head))

    def _ancestors(
        self, head: Block, state: State, final: int
    ) -> tuple[tuple[Seen, ...], list[Block], Block]:
        """The head's ancestors: those of the window, those that are new, lowest first, and the one
        that these stand on."""
        places = {seen.block.hash: place for place, seen in enumerate(state.window)}
        new: list[Block] = []
        block = head
        while block.hash not in places and block.number > final:
            new.append(block)
            parent = self._block(block.parent)
            if (parent.hash, parent.number) != (block.parent, block.number - 1):
                raise AnswerUnusable("eth_getBlockByHash", "it is of another block")
            block = parent
        kept = state.window[: places[block.hash] + 1] if block.hash in places else ()
        return kept, new[::-1], block

    # ------------------------------------------------------------ internal: events

    def _read_on(
        self,
        state: State,
        head: Block,
        asked_at: int,
        gone: tuple[Seen, ...],
        rewound: Rewound | None,
    ) -> Update:
        at = state.cursor.at
        final = max(at.block, head.number - self._confirmations)
        kept, new, root = self._ancestors(head, state, final)
        gone += state.window[len(kept) :]
        hashes = {block.number: block.hash for block in (root, *new)}
        hashes |= {each.block.number: each.block.hash for each in kept}
        if hashes.get(at.block, at.hash) != at.hash:
            raise AnswerUnusable("eth_getBlockByHash", "it is of another fork")
        reached, settled = self._settled(at.block + 1, final)
        point = Point(reached, hashes.get(reached) or self._hash(reached))
        hashes[reached] = point.hash
        # Those of blocks below the window are all there is of their number.
        if any(hashes.get(log.block, log.block_hash) != log.block_hash for log in settled):
            raise AnswerUnusable("eth_getLogs", "it is of another fork")
        seen = tuple(Seen(block, tuple(self._logs_of(block))) for block in new)

        # What was seen in the window is no news when it becomes final.
        known = {log.key for each in (*gone, *kept) for log in each.logs}
        still = {log.key for log in settled}
        news = [log for log in settled if log.key not in known]
        news += [log for each in seen for log in each.logs]
        undone = [log for each in gone for log in each.logs if log.key not in still]
        cursor = state.cursor if point == at else state.cursor.moved(point)
        window = tuple(each for each in (*kept, *seen) if each.block.number > reached)
        return Update(
            state=State(cursor, window),
            head=head,
            asked_at=asked_at,
            behind=final - reached,
            touched=frozenset(channel for log in (*news, *undone) for channel in log.channels),
            created=self._created(news),
            claims=_claims(news),
            events=Counter(log.event for log in news),
            rewound=rewound,
        )

    def _settled(self, first: int, last: int) -> tuple[int, list[Log]]:
        """Events of final blocks, and the block up to which all of them are there."""
        logs: list[Log] = []
        reached = first - 1
        for _ in range(self._most_ranges):
            if reached == last or len(logs) >= MOST_EVENTS:
                break
            try:
                end, found = self._range(reached + 1, last)
            except FarthingError:
                if reached < first:
                    raise
                # What is there is good; the next reading begins with what failed.
                break
            logs += found
            reached = end
        return reached, logs

    def _range(self, first: int, last: int) -> tuple[int, list[Log]]:
        """Events from ``first`` on, as far as the node gives them at once, at most to ``last``."""
        while True:
            end = min(last, first + self._blocks - 1)
            try:
                raw = self._logs({"fromBlock": hex(first), "toBlock": hex(end)})
            except NodeRefused:
                if end == first:
                    raise
            except (NodeUnreachable, AnswerUnusable):
                # Perhaps it was too much. The next reading tells.
                self._ask_for_less(end - first + 1)
                raise
            else:
                if end == first or not raw or len(raw) % ROUND:
                    break
            self._ask_for_less(end - first + 1)
        logs = [read_log(log) for log in raw]
        if any(not first <= log.block <= end for log in logs):
            raise AnswerUnusable("eth_getLogs", "it is of other blocks")
        self._went_well += 1
        if self._went_well % MORE_AFTER == 0:
            self._blocks = min(self._most_blocks, 2 * self._blocks)
        return end, logs

    def _ask_for_less(self, blocks: int) -> None:
        self._blocks = max(1, blocks // 2)
        self._went_well = 0

    def _logs_of(self, block: Block) -> list[Log]:
        logs = [read_log(log) for log in self._logs({"blockHash": block.hash})]
        if any((log.block, log.block_hash) != (block.number, block.hash) for log in logs):
            raise AnswerUnusable("eth_getLogs", "it is of another block")
        return logs

    def _logs(self, where: dict[str, str]) -> list[RawLog]:
        wanted = {"address": self.settlement.address, "topics": [list(event_topics())]}
        return ask(self._w3, "eth_getLogs", where | wanted, as_=list[RawLog])

    def _created(self, logs: Iterable[Log]) -> dict[bytes, ChannelConfig]:
        return {
            log.topics[0]: created_config(log)
            for log in logs
            if log.event == "ChannelCreated" and created_parties(log) in self._payees
        }

    # ------------------------------------------------------------ internal: blocks

    def _block(self, which: str) -> Block:
        """A block by its hash, or the ``latest``.

        Raises:
            NodeRefused: The node does not have it.
        """
        method = "eth_getBlockByNumber" if which == "latest" else "eth_getBlockByHash"
        raw = look_up(self._w3, method, which, False, as_=_RawBlock)
        if raw is None:
            raise NodeRefused(method, f"block {which} is unknown to it")
        return Block(number(method, raw.number), raw.hash, raw.parent_hash)

    def _hash(self, block: int) -> str:
        method = "eth_getBlockByNumber"
        raw = look_up(self._w3, method, hex(block), False, as_=_RawBlock)
        if raw is None:
            raise NodeRefused(method, f"block {block} is unknown to it")
        if number(method, raw.number) != block:
            raise AnswerUnusable(method, "it is of another block")
        return raw.hash


class _RawBlock(Struct, rename="camel"):
    number: str
    hash: str
    parent_hash: str


class _RawSent(Struct):
    sender: str = field(name="from")


def _claims(logs: Iterable[Log]) -> dict[str, set[bytes]]:
    claims: dict[str, set[bytes]] = {}
    for log in logs:
        if log.event in ("Claimed", "Redeemed"):
            claims.setdefault(log.transaction, set()).update(log.channels)
    return claims
