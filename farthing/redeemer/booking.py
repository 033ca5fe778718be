"""What became of transactions that redeem, by the chain alone: receipts, events, books re-read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from farthing.chain.journal import FAILED, FINAL, LIVE, REFUSED
from farthing.chain.settlement import NothingRedeemed, Snapshot
from farthing.ledger import Mirror, QueuedTransaction
from farthing.protocol import Reason
from farthing.redeemer.desk import Desk
from farthing.redeemer.plan import CLAIM, REDEEM, SETTLE

KINDS = (REDEEM, CLAIM, SETTLE)
# A text in the ledger: every transaction up to that id is booked.
_BOOKED = "redeemer booked"
# And one with the addresses that something may have to be settled for.
_RECEIVERS = "redeemer receivers"


@dataclass(frozen=True)
class Booked:
    """What came of a transaction, by the chain.

    Attributes:
        kind: `REDEEM`, `CLAIM` or `SETTLE`.
        channels: How many it was to claim for.
        amount: What its channels' totals rose by, or what it settled.
        paid: What of it the token says that it moved to the receiver.
        credited: What of it a token refused to pay out; it is settled later.
        fee: What it cost, in wei.
        skipped: How many rows brought nothing, by the contract's reason.
        problem: What a person should look at, in one sentence; empty when all is well.
    """

    transaction_id: int
    kind: str
    channels: int
    amount: int = 0
    paid: int = 0
    credited: int = 0
    fee: int = 0
    skipped: Mapping[Reason, int] = field(default_factory=dict)
    problem: str = ""


class Bookkeeper:
    """Looks on the chain what became of a redeemer's transactions."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._ledger = desk.ledger
        # What was booked since the start, of what comes after the text in the ledger.
        self._booked: set[int] = set()
        self._untold: list[Booked] = []

    def book(self) -> list[Booked]:
        """What became of the transactions that are through, until `told` is called.

        It is written down only when it is asked for again: who dies meanwhile finds it once more.
        """
        self._remember_booked()
        for each in self.to_book():
            found = self._look(each)
            if found is not None:
                if found.problem:
                    found = replace(found, problem=found.problem.rstrip(".") + ".")
                if found.credited or found.kind == CLAIM:
                    self._remember_receivers(each)
                self._untold.append(found)
                self._booked.add(each.id)
        return list(self._untold)

    def told(self) -> None:
        """What `book` has found has reached whoever wants to know."""
        self._untold.clear()

    def _remember_booked(self) -> None:
        open_ids = [each.id for each in (*self.live(), *self.to_book())]
        open_ids += [each.transaction_id for each in self._untold]
        done = min(open_ids) - 1 if open_ids else max(self._booked, default=0)
        if done > int(self._ledger.recall(_BOOKED) or 0):
            self._ledger.remember(_BOOKED, str(done))

    def _look(self, through: QueuedTransaction) -> Booked | None:
        """What became of a transaction; None when the node does not know yet."""
        rows = {row.channel_id: row.total for row in self._ledger.rows(through.id)}
        this = Booked(through.id, through.kind, len(rows), fee=through.fee)
        name = f"transaction {through.id}, a {through.kind},"
        if through.state in (FAILED, REFUSED):
            what = "failed" if through.state == FAILED else "was not sent"
            return replace(
                this, problem=f"{name} {what}, its rows are redeemed again: {through.reason}"
            )
        receipt = self._desk.queue.receipt(through.id)
        if receipt is None or bytes(receipt["blockHash"]) != through.block_hash:
            return None
        if through.kind == SETTLE:
            settled = self._desk.settlement.settled(receipt)
            problem = "" if settled.amount else f"{name} settled nothing"
            if settled.moved != settled.amount:
                problem = _not_moved(name, settled.amount, settled.moved, self._desk.show)
            return replace(this, amount=settled.amount, paid=settled.moved, problem=problem)
        if not self._mirror(rows, through):
            return None
        if through.kind == CLAIM:
            claimed = self._desk.settlement.claimed(receipt)
            problem = "" if claimed else f"{name} succeeded and claimed nothing"
            return replace(this, amount=claimed, problem=problem)
        try:
            redeemed = self._desk.settlement.redeemed(receipt)
        except NothingRedeemed as error:
            return replace(this, problem=f"{name} succeeded and redeemed nothing: {error}")
        due = redeemed.amount - redeemed.credited
        skipped = Counter(each.reason for each in redeemed.outcomes)
        del skipped[Reason.REDEEMED]
        problem = ""
        if redeemed.moved != due:
            problem = _not_moved(name, due, redeemed.moved, self._desk.show)
        elif bad := {each: n for each, n in skipped.items() if each is not Reason.STALE}:
            said = ", ".join(f"{n} {each.sentence()}" for each, n in bad.items())
            problem = f"{name} skipped rows: {said}"
        return replace(
            this,
            amount=redeemed.amount,
            paid=redeemed.moved,
            credited=redeemed.credited,
            skipped=skipped,
            problem=problem,
        )

    def receivers(self) -> set[str]:
        """Whom something was ever claimed for without being paid out at once."""
        return set((self._ledger.recall(_RECEIVERS) or "").split())

    def _remember_receivers(self, through: QueuedTransaction) -> None:
        known = self.receivers()
        channels = [self._ledger.channel(row.channel_id) for row in self._ledger.rows(through.id)]
        found = known | {channel.config.receiver for channel in channels if channel is not None}
        if found != known:
            self._ledger.remember(_RECEIVERS, " ".join(sorted(found)))

    def _mirror(self, rows: Mapping[bytes, int], through: QueuedTransaction) -> bool:
        """Writes down what the chain says of a transaction's channels; False when the node is
        behind its block."""
        asked_at = time.time_ns() // 1_000_000
        head = self._desk.node.head()
        if head.number < through.block:
            return False
        found = self._desk.lens.read(rows, head.number, "0x" + head.hash.hex())
        seen = []
        for channel_id, snapshot in zip(rows, found, strict=True):
            channel = self._ledger.channel(channel_id)
            if channel is not None:
                seen.append((channel_id, channel.config, _mirror(snapshot, asked_at)))
        self._ledger.mirror_many(seen)
        return True

    def live(self) -> list[QueuedTransaction]:
        """Transactions that are on their way."""
        return [each for each in self._listed(LIVE) if each.kind in KINDS]

    def to_book(self) -> list[QueuedTransaction]:
        """Transactions that are through, and of which it is not known yet what came of them."""
        after = int(self._ledger.recall(_BOOKED) or 0)
        return [
            each
            for each in self._listed((FINAL, FAILED, REFUSED), after)
            if each.kind in KINDS and each.id not in self._booked
        ]

    def _listed(self, states: Sequence[str], after: int = 0) -> Iterator[QueuedTransaction]:
        while page := self._ledger.transactions(states=states, after=after):
            yield from page
            after = page[-1].id


def _mirror(found: Snapshot, asked_at: int) -> Mirror:
    return Mirror(
        found.balance,
        found.total_claimed,
        found.withdraw_amount,
        found.withdraw_requested_at,
        found.refund_nonce,
        asked_at,
        found.block,
    )


def _not_moved(name: str, due: int, moved: int, show: Callable[[int], str]) -> str:
    return (
        f"{name} paid {show(due)} by the contract and {show(moved)} by the token: look at the "
        "token before you take more of it"
    )
