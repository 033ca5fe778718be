"""Alerts: each is raised once and cleared once, whoever restarts, and told to who asked.

Which alerts stand and what is still to be told is one short text in the ledger. It is written down
before anything is sent, so an alert is told at least once; each message has an id to know it by.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

import msgspec
from msgspec.structs import replace

from farthing.ledger import LedgerUnavailable
from farthing.protocol import FarthingError

log = logging.getLogger("farthing.alerts")

# Under what name the ledger keeps them.
TEXT = "alerts"
# An alert is cleared when its problem has not been seen for so many seconds, so that what comes and
# goes at a threshold is not told each time.
CLEAR_AFTER = 120
# Seconds until a message that was not taken is sent again: the first time, and at most.
FIRST_RETRY = 10
LONGEST_RETRY = 3_600
# Messages kept for one that takes none. Beyond that the oldest are dropped, and that is logged.
OUTBOX = 200


class Problem(msgspec.Struct, frozen=True):
    """Something that somebody has to see to.

    Attributes:
        name: Which kind it is, such as ``gas_low``; docs/operations.md has them all.
        sentence: What is wrong, and what to do.
    """

    name: str
    sentence: str


class Alert(msgspec.Struct, frozen=True):
    """A problem that stands.

    Attributes:
        raised_at: When it was first seen, unix seconds.
    """

    name: str
    sentence: str
    raised_at: int


class Message(msgspec.Struct, frozen=True):
    """What is told of an alert.

    Attributes:
        id: No other message has it. One that comes twice is the same.
        event: ``"raised"`` or ``"cleared"``.
        alert: The alert's name.
        sentence: What is, or was, wrong.
        time: When, unix seconds.
    """

    id: str
    event: str
    alert: str
    sentence: str
    time: int


class DeliveryFailed(FarthingError):
    """A message was not taken; it is sent again later."""


class Sink(Protocol):
    """Where messages go."""

    def send(self, message: Message) -> None:
        """Sends one. Raises `DeliveryFailed` when it was not taken, or may not have been."""


class Store(Protocol):
    """Where the alerts are kept: the ledger."""

    def remember(self, name: str, value: str) -> None: ...

    def recall(self, name: str) -> str | None: ...


class Pending(msgspec.Struct, frozen=True):
    """A message that a sink has not taken yet."""

    sink: str
    message: Message
    tries: int = 0
    due: int = 0


class Kept(msgspec.Struct, frozen=True):
    """What is written down."""

    alerts: list[Alert] = []
    pending: list[Pending] = []


def standing_alerts(store: Store) -> list[Alert]:
    """The alerts that stand, oldest first."""
    return _read(store).alerts


class Alerts:
    """Raises, clears and tells.

    Args:
        store: The ledger.
        sinks: By name. A sink that is new is not told of what was raised before.
        clock: Unix seconds.
    """

    def __init__(
        self, store: Store, sinks: Mapping[str, Sink], clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._sinks = sinks
        self._clock = clock
        self._kept = _read(store)
        self._is_written = True
        # When a problem was seen last. Of one that another process raised, or this one before it
        # was started again, from when on it is looked for.
        self._seen_at = {alert.name: int(clock()) for alert in self._kept.alerts}

    @property
    def alerts(self) -> list[Alert]:
        """Those that stand, oldest first."""
        return self._kept.alerts

    def see(self, problems: Iterable[Problem]) -> None:
        """Takes what is wrong now: raises what is new, and clears what is over."""
        now = int(self._clock())
        self._read_again()
        for known in self._kept.alerts:
            self._seen_at.setdefault(known.name, now)
        standing = {alert.name: alert for alert in self._kept.alerts}
        told = []
        for problem in problems:
            self._seen_at[problem.name] = now
            alert = standing.get(problem.name)
            if alert is None:
                standing[problem.name] = Alert(problem.name, problem.sentence, now)
                told.append(_message("raised", standing[problem.name], now))
                log.warning(problem.sentence, extra=_fields("raised", problem.name))
            else:
                # It is told once. Whoever looks it up sees how it is now.
                standing[problem.name] = replace(alert, sentence=problem.sentence)
        for known in self._kept.alerts:
            if now - self._seen_at[known.name] >= CLEAR_AFTER:
                del standing[known.name], self._seen_at[known.name]
                told.append(_message("cleared", known, now))
                log.info("over: %s", known.sentence, extra=_fields("cleared", known.name))
        new = [Pending(sink, each) for each in told for sink in self._sinks]
        self._keep(Kept(list(standing.values()), _bounded(self._kept.pending + new)))

    def deliver(self) -> None:
        """Sends what is due. Of each sink the oldest first: raised before cleared."""
        for name, sink in self._sinks.items():
            while (pending := self._first(name)) is not None and pending.due <= self._clock():
                try:
                    sink.send(pending.message)
                except DeliveryFailed as error:
                    self._put_off(pending, str(error))
                    break
                self._replace(pending, None)
        # What was for a sink that is not there any more.
        kept = [each for each in self._kept.pending if each.sink in self._sinks]
        self._keep(replace(self._kept, pending=kept))

    def _first(self, sink: str) -> Pending | None:
        return next((each for each in self._kept.pending if each.sink == sink), None)

    def _put_off(self, pending: Pending, reason: str) -> None:
        pause = min(FIRST_RETRY * 2 ** min(pending.tries, 16), LONGEST_RETRY)
        due = int(self._clock()) + pause
        log.warning("%s; it is sent again in %d seconds", reason.rstrip("."), pause)
        self._replace(pending, replace(pending, tries=pending.tries + 1, due=due))

    def _replace(self, pending: Pending, by: Pending | None) -> None:
        changed = [by if each is pending else each for each in self._kept.pending]
        self._keep(replace(self._kept, pending=[each for each in changed if each is not None]))

    def _read_again(self) -> None:
        """Another process may have looked after the alerts meanwhile."""
        if self._is_written:
            with suppress(LedgerUnavailable):
                self._kept = _read(self._store)

    def _keep(self, kept: Kept) -> None:
        if kept == self._kept and self._is_written:
            return
        self._kept = kept
        try:
            self._store.remember(TEXT, msgspec.json.encode(kept).decode())
            self._is_written = True
        except LedgerUnavailable as error:
            # That itself is something to be told, so it goes on.
            self._is_written = False
            log.warning("alerts could not be written down: %s", error)


def _read(store: Store) -> Kept:
    text = store.recall(TEXT)
    return Kept() if text is None else msgspec.json.decode(text, type=Kept)


def _message(event: str, alert: Alert, now: int) -> Message:
    number = f"{alert.name}-{alert.raised_at}-{event}"
    return Message(number, event, alert.name, alert.sentence, now)


def _bounded(pending: list[Pending]) -> list[Pending]:
    dropped = len(pending) - OUTBOX
    if dropped <= 0:
        return pending
    log.error("%d messages that nobody took are dropped: see to webhook and mail server", dropped)
    return pending[dropped:]


def _fields(event: str, name: str) -> dict[str, dict[str, str]]:
    return {"fields": {"alert": name, "event": event}}
