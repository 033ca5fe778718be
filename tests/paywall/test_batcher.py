"""Many callers, one call: who gets what, whatever becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import pytest

from farthing.paywall.batcher import QUIET_TURNS, Batcher
from tests.paywall.paywall_kit import run


class Doubling:
    """Work that remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        if 13 in items:
            raise ValueError("unlucky")
        return [2 * item for item in items]


@pytest.fixture(params=["on the loop", "on a thread"])
def executor(request: pytest.FixtureRequest) -> Executor | None:
    return None if request.param == "on the loop" else ThreadPoolExecutor(1)


def test_batch__all_that_are_ready_go_together(executor: Executor | None) -> None:
    work = Doubling()

    async def ask() -> list[int]:
        batcher = Batcher(work, executor, 10)
        return await asyncio.gather(*(batcher.submit(number) for number in range(5)))

    assert run(ask()) == [0, 2, 4, 6, 8]
    assert work.batches == [[0, 1, 2, 3, 4]]


def test_batch__one_that_asks_a_turn_later_goes_with_the_others() -> None:
    work = Doubling()

    async def later(batcher: Batcher[int, int], turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await batcher.submit(turns)

    async def ask() -> None:
        batcher = Batcher(work, None, 10)
        await asyncio.gather(*(later(batcher, turns) for turns in range(QUIET_TURNS + 2)))

    run(ask())
    assert work.batches == [list(range(QUIET_TURNS + 2))]


def test_batch__no_longer_than_the_limit(executor: Executor | None) -> None:
    work = Doubling()

    async def ask() -> list[int]:
        batcher = Batcher(work, executor, 3)
        return await asyncio.gather(*(batcher.submit(number) for number in range(7)))

    assert run(ask()) == [0, 2, 4, 6, 8, 10, 12]
    assert [len(batch) for batch in work.batches] == [3, 3, 1]


def test_batch__that_fails__every_one_of_it_fails_and_the_next_goes_on(
    executor: Executor | None,
) -> None:
    work = Doubling()

    async def ask() -> list[Any]:
        batcher = Batcher(work, executor, 2)
        asked = [batcher.submit(number) for number in (1, 13, 3)]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, second, third = run(ask())
    assert isinstance(first, ValueError) and isinstance(second, ValueError)
    assert third == 6


def test_afterwards__is_called_whatever_happened_and_stops_no_other(
    executor: Executor | None,
) -> None:
    called: list[int] = []
    told: list[Any] = []

    def afterwards(number: int) -> Callable[[], None]:
        def call() -> None:
            called.append(number)
            if number == 1:
                raise RuntimeError("afterwards")

        return call

    async def ask() -> list[Any]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        batcher = Batcher(Doubling(), executor, 2)
        asked = [batcher.submit(number, afterwards(number)) for number in (1, 2, 13)]
        asked[1].cancel()
        return await asyncio.gather(*asked, return_exceptions=True)

    first, second, third = run(ask())
    assert first == 2
    assert isinstance(second, asyncio.CancelledError) and isinstance(third, ValueError)
    assert called == [1, 2, 13]
    assert [str(error) for error in told] == ["afterwards"]


def test_abandoned__gets_the_result_nobody_waits_for(executor: Executor | None) -> None:
    abandoned: list[tuple[int, int]] = []

    async def ask() -> int:
        batcher = Batcher(
            Doubling(), executor, 10, lambda item, result: abandoned.append((item, result))
        )
        gone, stays = batcher.submit(1), batcher.submit(2)
        gone.cancel()
        return await stays

    assert run(ask()) == 4
    assert abandoned == [(1, 2)]


@pytest.mark.parametrize("unlucky", [0, 13])
def test_at_once__is_tried_first_and_leaves_to_the_work_what_it_cannot_do(unlucky: int) -> None:
    work, at_once = Doubling(), Doubling()
    is_free = True

    def try_at_once(items: Sequence[int]) -> list[int] | None:
        return at_once(items) if is_free else None

    async def ask() -> list[Any]:
        nonlocal is_free
        results = []
        batcher = Batcher(work, ThreadPoolExecutor(1), 10, at_once=try_at_once)
        for turn in range(3):
            is_free = turn != 1
            asked = (batcher.submit(number) for number in (1, unlucky))
            results += await asyncio.gather(*asked, return_exceptions=True)
        return [each if isinstance(each, int) else str(each) for each in results]

    assert run(ask()) == (["unlucky"] * 6 if unlucky else [2, 0] * 3)
    assert (work.batches, at_once.batches) == ([[1, unlucky]], [[1, unlucky]] * 2)
