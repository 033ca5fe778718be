"""Many callers, one call: what an event loop asks for at a time is done together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Generic, TypeAlias, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Results = TypeVar("Results")
# A request that is read in one turn of the loop asks in the next.
QUIET_TURNS = 2

_Asked: TypeAlias = tuple[Item, asyncio.Future[Result], Callable[[], None] | None]


class Batcher(Generic[Item, Result]):
    """Collects what the loop's requests ask for, and then does it for all of them at once.

    So many requests share one transaction and one sync of the disk, and none waits for a timer.
    Where nothing is shared it pays as well: the same work many times over stays in the processor's
    caches. A batch goes on to its end whatever becomes of those who asked for it.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], list[Result]],
        executor: Executor | None,
        limit: int,
        abandoned: Callable[[Item, Result], None] | None = None,
        at_once: Callable[[Sequence[Item]], list[Result] | None] | None = None,
    ) -> None:
        """
        Args:
            work: Gets at most ``limit`` items and gives their results in the same order. What it
                raises, every item of the batch raises.
            executor: Where ``work`` runs, one batch at a time; None is on the loop itself.
            limit: Items of one batch, at most.
            abandoned: Called with an item and its result when nobody waits for it any more.
            at_once: Tried first, on the loop; None leaves the batch to ``work``.
        """
        self._work = work
        self._executor = executor
        self._limit = limit
        self._abandoned = abandoned
        self._at_once = at_once
        self._waiting: list[_Asked[Item, Result]] = []
        self._is_busy = False
        self._loop: asyncio.AbstractEventLoop

    def submit(
        self, item: Item, afterwards: Callable[[], None] | None = None
    ) -> asyncio.Future[Result]:
        """The item's result, some time.

        ``afterwards`` is called when the item has been worked on, with whatever outcome, also when
        nobody waits for the result any more.
        """
        if not self._is_busy:
            # Only for the first of a batch: it asks the system which process this is.
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((item, future, afterwards))
        if not self._is_busy:
            self._is_busy = True
            self._gather(self._loop, 0, 0)
        return future

    def _gather(self, loop: asyncio.AbstractEventLoop, seen: int, quiet: int) -> None:
        """Starts a batch once the loop has nothing more that is ready for it.

        That is no wait for a timer: a request alone goes two turns of an idle loop later.
        """
        waiting = len(self._waiting)
        quiet = quiet + 1 if waiting == seen else 0
        if quiet < QUIET_TURNS and waiting < self._limit:
            loop.call_soon(self._gather, loop, waiting, quiet)
            return
        batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
        on_loop = self._work if self._executor is None else self._at_once
        outcome = None if on_loop is None else _outcome(on_loop, batch)
        if outcome is not None:
            self._finish(loop, batch, outcome)
        elif self._executor is not None:
            self._executor.submit(self._run, loop, batch)

    def _run(self, loop: asyncio.AbstractEventLoop, batch: list[_Asked[Item, Result]]) -> None:
        loop.call_soon_threadsafe(self._finish, loop, batch, _outcome(self._work, batch))

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[_Asked[Item, Result]],
        outcome: list[Result] | BaseException,
    ) -> None:
        for position, (item, future, afterwards) in enumerate(batch):
            if afterwards is not None:
                _call(loop, afterwards)
            if isinstance(outcome, BaseException):
                if not future.cancelled():
                    future.set_exception(outcome)
            elif not future.cancelled():
                future.set_result(outcome[position])
            elif self._abandoned is not None:
                _call(loop, partial(self._abandoned, item, outcome[position]))
        if self._waiting:
            self._gather(loop, 0, 0)
        else:
            self._is_busy = False


def _outcome(
    work: Callable[[Sequence[Item]], Results], batch: list[_Asked[Item, Result]]
) -> Results | BaseException:
    try:
        return work([item for item, _, _ in batch])
    except BaseException as error:  # it is raised again, where each result is waited for
        return error


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Calls it so that what it raises stops no other, and is told to the loop."""
    try:
        function()
    except Exception as error:
        loop.call_exception_handler({"message": "after a batch", "exception": error})
