"""Reserving at once what is free: nothing is taken from those who hold a channel or wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from farthing.ledger import ChannelState, Ledger, LedgerUnavailable, NotReserved
from farthing.paywall.reservations import Reservation, Reservations
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import Payer, run

FIRST, SECOND, STRANGER = Payer(), Payer(salt=1), Payer(salt=2)
WAIT, HOLD = 5.0, 60.0


@pytest.fixture
def ledger(open_shop: OpenShop) -> Ledger:
    shop = open_shop()
    for payer in (FIRST, SECOND):
        shop.open_channel(payer)
    return shop.ledger


def reservations(ledger: Ledger) -> Reservations[ChannelState]:
    return Reservations(ledger, ledger.reserve, ThreadPoolExecutor(1), WAIT, HOLD)


def ids(*payers: Payer) -> list[bytes]:
    return [payer.channel_id for payer in payers]


def test_take_free__known_unknown_and_twice__the_first_of_each_known(ledger: Ledger) -> None:
    async def scenario() -> None:
        all_of = reservations(ledger)
        asked = ids(STRANGER, FIRST, SECOND, FIRST)
        unknown, first, second, again = all_of.take_free(asked)
        assert (unknown, again) == (None, None)
        assert first is not None and first.name == FIRST.channel_id
        assert second is not None and second.name == SECOND.channel_id
        all_of.give(first)
        (once_more,) = all_of.take_free(ids(FIRST))
        assert once_more is not None

    run(scenario())


def test_take_free__held_by_another_of_the_ledger__is_left_to_it(ledger: Ledger) -> None:
    async def scenario() -> None:
        all_of = reservations(ledger)
        assert ledger.reserve(ids(FIRST)) != [NotReserved.BUSY]
        free = all_of.take_free(ids(FIRST, SECOND))
        assert free[0] is None and free[1] is not None
        # What it could not have it does not give back.
        all_of.give(free[1])
        assert ledger.reserve(ids(FIRST)) == [NotReserved.BUSY]

    run(scenario())


def test_take_free__somebody_waits__goes_behind_them(ledger: Ledger) -> None:
    async def scenario() -> None:
        all_of = reservations(ledger)
        (held,) = all_of.take_free(ids(FIRST))
        assert held is not None
        line = [asyncio.create_task(all_of.take(FIRST.channel_id)) for _ in range(2)]
        await asyncio.sleep(0)
        all_of.give(held)
        # It is the next one's turn, who has not had the time to take it.
        assert all_of.take_free(ids(FIRST)) == [None]
        for task in line:
            taken = await task
            assert isinstance(taken, Reservation)
            all_of.give(taken)

    run(scenario())


def test_take_free__the_ledger_fails__nothing_and_take_says_why(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_down = True
    reserve = ledger.reserve

    def reserve_or_fail(channel_ids: Sequence[bytes]) -> list[ChannelState | NotReserved]:
        if is_down:
            raise LedgerUnavailable("test", "disk full")
        return reserve(channel_ids)

    monkeypatch.setattr(ledger, "reserve", reserve_or_fail)

    async def scenario() -> None:
        nonlocal is_down
        all_of = reservations(ledger)
        assert all_of.take_free(ids(FIRST)) == [None]
        with pytest.raises(LedgerUnavailable, match="disk full"):
            await all_of.take(FIRST.channel_id)
        is_down = False
        (taken,) = all_of.take_free(ids(FIRST))
        assert taken is not None

    run(scenario())


def test_take_free__a_ledger_that_must_be_waited_for__is_not_asked(ledger: Ledger) -> None:
    ledger.is_local = False

    async def scenario() -> None:
        assert reservations(ledger).take_free(ids(FIRST)) == [None]

    run(scenario())
    assert ledger.reserve(ids(FIRST)) != [NotReserved.BUSY]
