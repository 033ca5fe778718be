"""Many callers, one call: what an event loop asks for at a time is done together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeAlias, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_Asked: TypeAlias = tuple[Item, asyncio.Future[Result], Callable[[], None] | None]


class Batcher(Generic[Item, Result]):
    """Collects items while a batch is under way and then works on all of them at once.

    So many requests share one transaction and one sync of the disk, and none waits for a timer. A
    batch goes on to its end whatever becomes of those who asked for it.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], list[Result]],
        executor: Executor,
        limit: int,
    ) -> None:
        """``work`` gets at most ``limit`` items and gives their results in the same order; it runs
        on ``executor``, one batch at a time. What it raises, every item of the batch raises."""
        self._work = work
        self._executor = executor
        self._limit = limit
        self._waiting: list[_Asked[Item, Result]] = []
        self._is_busy = False

    def submit(
        self, item: Item, afterwards: Callable[[], None] | None = None
    ) -> asyncio.Future[Result]:
        """The item's result, some time.

        ``afterwards`` is called when the item has been worked on, with whatever outcome, also when
        nobody waits for the result any more.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future, afterwards))
        if not self._is_busy:
            self._is_busy = True
            # At the end of this turn of the loop, so that all that are ready now go together.
            loop.call_soon(self._start, loop)
        return future

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
        if not batch:
            self._is_busy = False
            return
        done = loop.run_in_executor(self._executor, self._work, [each[0] for each in batch])
        done.add_done_callback(lambda finished: self._finish(loop, batch, finished))

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[_Asked[Item, Result]],
        finished: asyncio.Future[list[Result]],
    ) -> None:
        error = finished.exception()
        results: list[Result] = [] if error else finished.result()
        for position, (_, future, afterwards) in enumerate(batch):
            if afterwards is not None:
                afterwards()
            if future.cancelled():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(results[position])
        self._start(loop)
