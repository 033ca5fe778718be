"""One payer at several processes that share a ledger: nothing is given twice, no cap exceeded."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from farthing.ledger import open_ledger
from tests.paywall.payer_worker import CAP, FREE, PRICES, sell, sell_and_die
from tests.paywall.paywall_kit import CHEAP, Payer, Shop, run

PROCESSES, TIMES = 3, 12
_spawn = multiprocessing.get_context("spawn")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    found: str = request.getfixturevalue("postgres_url")
    return found


def all_sell(url: str, path: str) -> list[tuple[int, int]]:
    """What all processes' payments came to."""
    with _spawn.Manager() as manager, _spawn.Pool(PROCESSES) as pool:
        barrier: Any = manager.Barrier(PROCESSES)
        calls = [(barrier, number, url, path, TIMES) for number in range(PROCESSES)]
        sold = pool.starmap(sell, calls, chunksize=1)
    ledger = open_ledger(url)
    assert ledger.prove() == []
    ledger.close()
    return [each for one in sold for each in one]


def test_quota__several_processes__each_free_use_once(url: str) -> None:
    sold = all_sell(url, "/quota")
    assert sold.count((200, 0)) == FREE


def test_cap__several_processes__to_the_unit(url: str) -> None:
    sold = all_sell(url, "/quota")
    assert sold.count((200, CHEAP)) == CAP
    assert sold.count((429, 0)) == PROCESSES * TIMES - FREE - CAP


def test_own__several_processes__each_item_is_bought_once(url: str) -> None:
    sold = all_sell(url, "/own/{}")
    assert sold.count((200, CHEAP)) == TIMES
    assert sold.count((200, 0)) == (PROCESSES - 1) * TIMES


@pytest.mark.parametrize(
    ("path", "is_charged", "reason"),
    [
        ("/own/1", True, "owned"),
        ("/own/1", False, "bought 1"),
        ("/quota", True, f"free, 2 of {FREE}"),
        ("/quota", False, f"free, 1 of {FREE}"),
    ],
)
def test_kill__while_it_sells__the_next_program_knows_what_was_charged(
    url: str, path: str, is_charged: bool, reason: str
) -> None:
    open_ledger(url).close()
    process = _spawn.Process(target=sell_and_die, args=(0, url, path, is_charged))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    shop = Shop(open_ledger(url), prices=PRICES)
    payer = Payer(salt=1)
    shop.open_channel(payer)
    # What it had reserved is free again.
    assert run(shop.get(path, payer.header(CHEAP))).status == 200
    assert [charge.reason for charge in shop.charges(payer)] == [reason]
    assert shop.ledger.prove() == []
    run(shop.paywall.close())
