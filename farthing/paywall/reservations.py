"""One request at a time for each channel, in this process and in all that share the ledger.

Likewise for each payer, where prices have rules for payers.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Generic, TypeAlias, TypeVar

import msgspec

from farthing.ledger import ChannelState, Ledger, LedgerUnavailable, NotReserved
from farthing.paywall.batcher import Batcher

State = TypeVar("State")

# Requests of one channel that may wait for another at a time, in this process. A client that asks
# again because it lost an answer is one or two; more than this is somebody else.
MAX_WAITING = 64
# Seconds between two looks at a channel that another process holds, doubled up to the last.
FIRST_POLL, LAST_POLL = 0.002, 0.05
BATCH = 256
# Seconds between two looks for what is held too long.
SWEEP = 0.25


class Reservation(msgspec.Struct, Generic[State], eq=False):
    """A channel or payer that is held. ``state`` is what it was when it was reserved."""

    name: bytes
    state: State
    expires_at: float


ChannelReservation: TypeAlias = Reservation[ChannelState]


class Reservations(Generic[State]):
    """Gives out reservations; to be used by one event loop.

    Args:
        ledger: Whose channels or payers they are.
        reserve: Its method that reserves them, by names of 32 bytes.
        executor: Where a ledger is asked that must be waited for; one thread of its own.
        wait: Seconds a request waits for another of the same name.
        hold: Seconds a request may hold its channel. Then others may go on, and it is the fence of
            `Ledger.commit` that keeps the channel from being charged by both.
    """

    def __init__(
        self,
        ledger: Ledger,
        reserve: Callable[[Sequence[bytes]], list[State | NotReserved]],
        executor: Executor,
        wait: float,
        hold: float,
    ) -> None:
        self._ledger = ledger
        self._reserve_now = reserve
        self._wait = wait
        self._hold = hold
        self._waiting: dict[bytes, deque[asyncio.Future[None]]] = {}
        # The oldest first.
        self._held: dict[Reservation[State], None] = {}
        self._is_sweeping = False
        where = None if ledger.is_local else executor
        self._reserve = Batcher(reserve, where, BATCH, self._decline)
        self._release: Batcher[bytes, None] = Batcher(self._release_all, where, BATCH)

    def take_free(self, names: Sequence[bytes]) -> list[Reservation[State] | None]:
        """Reserves what nobody holds or waits for, at once; None for each other.

        That is the way of nearly every payment. The others go by `take`, which waits, and says
        what is wrong: a channel that is not known, a ledger that does not answer.
        """
        free = [each for each in dict.fromkeys(names) if each not in self._waiting]
        if not self._ledger.is_local or not free:
            return [None] * len(names)
        try:
            states = self._reserve_now(free)
        except LedgerUnavailable:
            return [None] * len(names)
        taken = {
            name: self._hold_one(name, state)
            for name, state in zip(free, states, strict=True)
            if not isinstance(state, NotReserved)
        }
        for name in taken:
            self._waiting[name] = deque()
        # Of two of one channel, the first has it.
        return [taken.pop(name, None) for name in names]

    async def take(self, name: bytes) -> Reservation[State] | NotReserved:
        """Reserves a channel, after those that asked before, or says why not.

        Raises:
            LedgerUnavailable: The database could not be asked.
        """
        deadline = time.monotonic() + self._wait
        waiting = self._waiting.get(name)
        if waiting is None:
            self._waiting[name] = deque()
        elif not await self._turn(name, waiting, deadline):
            return NotReserved.BUSY
        try:
            state = await self._ask(name, deadline)
        except BaseException:
            self._next(name)
            raise
        if isinstance(state, NotReserved):
            self._next(name)
            return state
        return self._hold_one(name, state)

    def _hold_one(self, name: bytes, state: State) -> Reservation[State]:
        reservation = Reservation(name, state, time.monotonic() + self._hold)
        self._held[reservation] = None
        if not self._is_sweeping:
            self._is_sweeping = True
            loop = asyncio.get_running_loop()
            loop.call_later(SWEEP, self._sweep, loop)
        return reservation

    def give(self, reservation: Reservation[State]) -> None:
        """Gives a channel back; what was given back before is left alone."""
        if reservation not in self._held:
            return
        del self._held[reservation]
        name = reservation.name
        if self._ledger.is_local:
            try:
                self._ledger.release([name])
            finally:
                self._next(name)
        else:
            released = self._release.submit(name)
            released.add_done_callback(partial(self._released, name))

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Gives back what is held too long; one timer for all, not one for each request."""
        now = time.monotonic()
        for reservation in [each for each in self._held if each.expires_at <= now]:
            self.give(reservation)
        self._is_sweeping = bool(self._held)
        if self._is_sweeping:
            loop.call_later(SWEEP, self._sweep, loop)

    async def _turn(
        self, name: bytes, waiting: deque[asyncio.Future[None]], deadline: float
    ) -> bool:
        if len(waiting) >= MAX_WAITING:
            return False
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        waiting.append(turn)
        try:
            await asyncio.wait_for(asyncio.shield(turn), deadline - time.monotonic())
        except TimeoutError:
            if turn.done():
                return True
            # Out of the line, so that it does not fill up with those who have gone.
            waiting.remove(turn)
            return False
        except asyncio.CancelledError:
            # It may have been told that it is its turn, and then has to pass that on.
            if turn.done():
                self._next(name)
            else:
                waiting.remove(turn)
            raise
        return True

    def _next(self, name: bytes) -> None:
        waiting = self._waiting[name]
        if waiting:
            waiting.popleft().set_result(None)
        else:
            del self._waiting[name]

    async def _ask(self, name: bytes, deadline: float) -> State | NotReserved:
        poll = FIRST_POLL
        while True:
            asked = self._reserve.submit(name)
            try:
                state = await asked
            except asyncio.CancelledError:
                # The answer may have come in the same turn; if it comes later it is declined too.
                if asked.done() and not asked.cancelled() and asked.exception() is None:
                    self._decline(name, asked.result())
                raise
            if state is not NotReserved.BUSY or time.monotonic() >= deadline:
                return state
            await asyncio.sleep(poll)
            poll = min(2 * poll, LAST_POLL)

    def _decline(self, name: bytes, state: State | NotReserved) -> None:
        """Gives back what the ledger reserved for somebody who has gone, and nothing else's."""
        if isinstance(state, NotReserved):
            return
        if self._ledger.is_local:
            self._ledger.release([name])
        else:
            # A ledger that cannot be reached has lost its reservations with the connection.
            self._release.submit(name).add_done_callback(lambda done: done.exception())

    def _release_all(self, names: Sequence[bytes]) -> list[None]:
        self._ledger.release(names)
        return [None] * len(names)

    def _released(self, name: bytes, released: asyncio.Future[None]) -> None:
        # A ledger that cannot be reached has lost its reservations with the connection.
        released.exception()
        self._next(name)
