"""The parts beside the paywall: watcher and queue, made from the settings."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable

import msgspec

from farthing.chain.fees import FeePolicy
from farthing.chain.queue import TransactionQueue
from farthing.chain.watcher import Payee, Watcher
from farthing.ledger import Ledger
from farthing.opening import Contracts, Keys, open_books, open_contracts
from farthing.operations.restored import catch_up, is_restored
from farthing.operations.supervisor import Part
from farthing.protocol import values
from farthing.redeemer.follower import Followed, Follower
from farthing.settings import GWEI_DECIMALS, Settings

log = logging.getLogger("farthing.operations")

# Under what name the ledger keeps what the watcher found that does not fit together.
DIFFERENCES = "differences"
# How many of them.
MOST_DIFFERENCES = 20
# Seconds between two steps of the queue.
QUEUE_PAUSE = 1.0


def holder(part: str) -> str:
    """A name for what holds a lease: no two at a time have the same."""
    return f"{part} {socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}"


def fee_policy(settings: Settings) -> FeePolicy:
    """What transactions may cost."""
    cap = settings.units("fees.cap", settings.fees.cap, GWEI_DECIMALS)
    return FeePolicy(cap=cap, replace_after=settings.fees.replace_after)


def open_watcher(settings: Settings, keys: Keys, contracts: Contracts) -> Watcher:
    """A watcher of the publisher's channels."""
    receiver = values.address("receiver", settings.terms.receiver)
    payee = Payee(receiver, keys.authorizer.address, contracts.token.address)
    wanted = settings.watcher
    return Watcher(
        contracts.settlement,
        [payee],
        confirmations=wanted.confirmations,
        range_blocks=wanted.range_blocks,
        start_block=wanted.start_block,
    )


def open_queue(
    settings: Settings, keys: Keys, contracts: Contracts, ledger: Ledger, name: str
) -> TransactionQueue:
    """The queue of the sending key. The ledger should be its own."""
    return TransactionQueue(
        contracts.settlement.w3,
        keys.sender,
        ledger,
        confirmations=settings.watcher.confirmations,
        fees=fee_policy(settings),
        holder=holder(name),
    )


class WatcherPart:
    """Follows the chain, and ends the time in which a restored ledger is not charged on."""

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self._poll_seconds = settings.watcher.poll_seconds
        watcher = open_watcher(settings, keys, open_contracts(settings))
        self._ledger = open_books(settings)
        receiver = settings.terms.receiver
        own = (keys.sender.address, keys.authorizer.address, receiver)
        self._follower = Follower(self._ledger, watcher, own)
        self.note = ""

    def step(self) -> float:
        followed = self._follower.step()
        self.note = _watched(followed)
        for withdrawal in followed.withdrawals:
            log.warning(
                "a payer takes money back: its channel has to be redeemed before",
                extra={
                    "fields": {
                        "channel": "0x" + withdrawal.channel_id.hex(),
                        "amount": str(withdrawal.amount),
                        "deadline": withdrawal.deadline,
                    }
                },
            )
        self._write_down(followed)
        if followed.caught_up and is_restored(self._ledger):
            catch_up(self._ledger)
        return self._poll_seconds if followed.caught_up else 0.0

    def close(self) -> None:
        self._ledger.close()

    def _write_down(self, followed: Followed) -> None:
        found = [
            f"channel 0x{each.channel_id.hex()}: {each.problem}" for each in followed.differences
        ]
        if followed.rewound is not None:
            found.append(
                f"block {followed.rewound.seen} was final and is gone; the chain was read again "
                f"from block {followed.rewound.back_to}: give more watcher.confirmations"
            )
        if not found or is_restored(self._ledger):
            # A restored ledger differs of course. What that comes to is told when it catches up.
            return
        for each in found:
            log.error("%s", each)
        known = read_differences(self._ledger)
        kept = list(dict.fromkeys([*known, *found]))[-MOST_DIFFERENCES:]
        if kept != known:
            self._ledger.remember(DIFFERENCES, msgspec.json.encode(kept).decode())


def read_differences(ledger: Ledger) -> list[str]:
    """What the watcher found that does not fit together, since somebody looked last."""
    text = ledger.recall(DIFFERENCES)
    return msgspec.json.decode(text, type=list[str]) if text else []


def forget_differences(ledger: Ledger) -> None:
    """Somebody has looked."""
    ledger.remember(DIFFERENCES, "")


def _watched(followed: Followed) -> str:
    if followed.behind:
        return f"at block {followed.head - followed.behind:,}, {followed.behind:,} behind"
    if not followed.caught_up:
        return f"at block {followed.head:,}, looking at all channels"
    return f"at block {followed.head:,}"


class QueuePart:
    """Sends what is queued, whoever ordered it."""

    def __init__(self, settings: Settings, keys: Keys) -> None:
        contracts = open_contracts(settings)
        self._ledger = open_books(settings)
        self._queue = open_queue(settings, keys, contracts, self._ledger, "queue")
        self.note = ""

    def step(self) -> float:
        for changed in self._queue.step():
            found = changed.transaction
            fields = {
                "transaction": found.id,
                "kind": found.kind,
                "before": changed.before,
                "state": found.state,
                "nonce": found.nonce,
                "reason": found.reason,
            }
            log.info("transaction", extra={"fields": fields})
        if self._queue.problem and self._queue.problem != self.note:
            log.info("%s", self._queue.problem)
        self.note = self._queue.problem
        return QUEUE_PAUSE

    def close(self) -> None:
        self._ledger.close()


def part_openers(
    settings: Settings, keys: Keys, names: frozenset[str]
) -> dict[str, Callable[[], Part]]:
    """How to open each part of these names, and the queue that their transactions go through."""
    openers: dict[str, Callable[[], Part]] = {}
    if "watcher" in names:
        openers["watcher"] = lambda: WatcherPart(settings, keys)
    openers["queue"] = lambda: QueuePart(settings, keys)
    return openers
