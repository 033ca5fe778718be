"""The parts beside the paywall: watcher, redeemer and queue, made from the settings."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from farthing.chain.journal import FINAL
from farthing.chain.queue import TransactionQueue
from farthing.chain.watcher import Payee, Watcher
from farthing.ledger import Ledger
from farthing.opening import Contracts, Keys, fee_policy, open_books, open_contracts
from farthing.operations.restored import catch_up, is_restored
from farthing.operations.supervisor import Part
from farthing.protocol import values
from farthing.protocol.amounts import from_units
from farthing.redeemer.follower import Followed, Follower
from farthing.redeemer.policy import Policy, PolicyInvalid
from farthing.redeemer.redeemer import Redeemer
from farthing.settings import Settings

log = logging.getLogger("farthing.operations")

# Under what name the ledger keeps what the watcher found that does not fit together.
DIFFERENCES = "differences"
# How many of them.
MOST_DIFFERENCES = 20
# Seconds between two steps of the queue.
QUEUE_PAUSE = 1.0
# And two of the redeemer.
REDEEMER_PAUSE = 5.0


def holder(part: str) -> str:
    """A name for what holds a lease: no two at a time have the same."""
    return f"{part} {socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}"


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
        self._watcher = open_watcher(settings, keys, open_contracts(settings))
        self._ledger = open_books(settings)
        receiver = settings.terms.receiver
        self._own = (keys.sender.address, keys.authorizer.address, receiver)
        self._follower = self._new_follower()
        self._is_catching_up = False
        self.note = ""

    def _new_follower(self) -> Follower:
        """One that has not looked at any channel yet."""
        return Follower(self._ledger, self._watcher, self._own)

    def step(self) -> float:
        if is_restored(self._ledger) and not self._is_catching_up:
            # What was looked at before may have been another ledger.
            self._follower = self._new_follower()
            self._is_catching_up = True
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
        if followed.caught_up and self._is_catching_up:
            catch_up(self._ledger)
            self._is_catching_up = False
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
        if not found or self._is_catching_up:
            # A restored ledger differs of course. What that comes to is told when it catches up.
            return
        keep_differences(self._ledger, found)


def read_differences(ledger: Ledger) -> list[str]:
    """What the watcher found that does not fit together, since somebody looked last."""
    text = ledger.recall(DIFFERENCES)
    return msgspec.json.decode(text, type=list[str]) if text else []


def keep_differences(ledger: Ledger, found: Sequence[str]) -> None:
    """Keeps, and logs, what somebody should look at."""
    for each in found:
        log.error("%s", each)
    known = read_differences(ledger)
    kept = list(dict.fromkeys([*known, *found]))[-MOST_DIFFERENCES:]
    if kept != known:
        ledger.remember(DIFFERENCES, msgspec.json.encode(kept).decode())


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
        self.note = self._queue.problem
        return QUEUE_PAUSE

    def close(self) -> None:
        self._ledger.close()


class RedeemerPart:
    """Orders redemptions by the policy, and books what came of them."""

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self._open = open_redeemer(settings, keys, open_contracts(settings))
        self.note = ""

    def step(self) -> float:
        step = self._open.redeemer.step()
        ledger = self._open.ledgers[0]
        # What failed is told as that, and its rows come back by themselves. All else is money that
        # did not move as it should have.
        ends = {each.problem: ledger.transaction(each.transaction_id) for each in step.booked}
        wrong = [text for text, end in ends.items() if text and end and end.state == FINAL]
        keep_differences(ledger, wrong)
        for problem in step.problems:
            if problem not in wrong:
                log.warning("%s", problem)
        for booked in step.booked:
            fields = {
                "transaction": booked.transaction_id,
                "kind": booked.kind,
                "channels": booked.channels,
                "amount": str(booked.amount),
                "paid": str(booked.paid),
                "fee": str(booked.fee),
            }
            log.info("booked", extra={"fields": fields})
        if step.submitted:
            log.info("%s", step.why)
        self.note = step.why
        return REDEEMER_PAUSE

    def close(self) -> None:
        self._open.close()


def policy_coin_price(settings: Settings, decimals: int) -> int:
    """What a coin is worth, in smallest units of the token; 0 where gas is not counted.

    Raises:
        SettingsInvalid: It is no amount.
    """
    text = settings.redeemer.coin_price
    if text is None or not text.strip("0."):
        return 0
    return settings.units("redeemer.coin_price", text, decimals)


def read_policy(settings: Settings, decimals: int) -> Policy:
    """The redeemer's policy.

    Raises:
        SettingsInvalid: It cannot be, or can never redeem anything.
    """
    wanted = settings.redeemer
    if wanted.coin_price is None:
        problem = (
            "it is missing: give what a coin of the chain costs in units of the token, so that no "
            "redemption costs more than it brings"
        )
        raise settings.invalid("redeemer.coin_price", problem)

    def units(name: str, text: str | None) -> int | None:
        return None if text is None else settings.units(f"redeemer.{name}", text, decimals)

    min_value = units("min_value", wanted.min_value) or 0
    cap = settings.terms.exposure_cap
    most = None if cap is None else settings.units("terms.exposure_cap", cap, decimals)
    if most is not None and min_value > most:
        problem = (
            f"{wanted.min_value!r} is more than terms.exposure_cap, which no channel ever owes, so "
            "that nothing would be redeemed: give less"
        )
        raise settings.invalid("redeemer.min_value", problem)
    try:
        return Policy(
            coin_price=policy_coin_price(settings, decimals),
            interval=wanted.interval or None,
            batch_value=units("batch_value", wanted.batch_value),
            max_age=wanted.max_age,
            min_value=min_value,
            max_cost_percent=Decimal(str(wanted.max_cost_percent)),
            margin=wanted.margin,
        )
    except PolicyInvalid as error:
        raise settings.invalid(f"redeemer.{error.field}", str(error)) from error


@dataclass(frozen=True)
class OpenRedeemer:
    """A redeemer, the queue that it orders from, and their ledgers."""

    redeemer: Redeemer
    queue: TransactionQueue
    ledgers: tuple[Ledger, Ledger]

    def close(self) -> None:
        """Closes the ledgers."""
        for ledger in self.ledgers:
            ledger.close()


def open_redeemer(settings: Settings, keys: Keys, contracts: Contracts) -> OpenRedeemer:
    """A redeemer by the policy of the settings.

    Raises:
        SettingsInvalid: The policy cannot be, or the ledger cannot be opened.
    """
    token = contracts.token
    policy = read_policy(settings, token.decimals)
    ledger, journal = open_books(settings), open_books(settings)
    queue = open_queue(settings, keys, contracts, journal, "redeemer")
    redeemer = Redeemer(
        ledger,
        contracts.settlement,
        queue,
        keys.authorizer,
        policy,
        receiver=values.address("receiver", settings.terms.receiver),
        token=token.address,
        fees=fee_policy(settings),
        holder=holder("redeemer"),
        show=lambda units: f"{from_units(units, token.decimals)} {token.symbol}",
    )
    return OpenRedeemer(redeemer, queue, (ledger, journal))


def part_openers(
    settings: Settings, keys: Keys, names: frozenset[str]
) -> dict[str, Callable[[], Part]]:
    """How to open each part of these names, and the queue that their transactions go through."""
    openers: dict[str, Callable[[], Part]] = {}
    if "watcher" in names:
        openers["watcher"] = lambda: WatcherPart(settings, keys)
    if "redeemer" in names:
        openers["redeemer"] = lambda: RedeemerPart(settings, keys)
    openers["queue"] = lambda: QueuePart(settings, keys)
    return openers
