"""A process that sells to one payer, beside others that sell to it over other channels."""

from __future__ import annotations

import os
from typing import Any

from farthing.ledger import open_ledger
from farthing.paywall import Cap, FreeQuota, Limits, Own, PayerLimits, Price
from tests.paywall.paywall_kit import CHEAP, DECIMALS, Payer, Shop, run

FREE, CAP = 7, 20
PRICES: dict[str, Any] = {
    "/quota": Price("0.0001", FreeQuota(FREE, "P1Y")),
    "/own/{item}": Price("0.0001", Own("{item}")),
}
LIMITS = Limits(
    wait_seconds=30,
    payers=PayerLimits(rules=(Cap("0.002", "P1Y").bind("", DECIMALS),)),
)


def sell(barrier: Any, number: int, url: str, path: str, times: int) -> list[tuple[int, int]]:
    """Statuses and charges of so many payments, over a channel of this process's own."""
    shop = Shop(open_ledger(url), prices=PRICES, limits=LIMITS)
    payer, charged, done = Payer(salt=number), 0, []
    shop.open_channel(payer)
    barrier.wait()
    for turn in range(times):
        got = run(shop.get(path.format(turn), payer.header(charged + CHEAP)))
        amount = int(got.paid["extra"]["chargedAmount"]) if got.status == 200 else 0
        charged += amount
        done.append((got.status, amount))
    run(shop.paywall.close())
    return done


def sell_and_die(number: int, url: str, path: str, is_charged: bool) -> None:
    """Sells once, and ends as if it were killed: as soon as the charge is on the disk, or before it
    is asked for."""
    ledger = open_ledger(url)
    shop = Shop(ledger, prices=PRICES)
    payer = Payer(salt=number)
    shop.open_channel(payer)

    def commit_and_die(charges: Any) -> list[bool]:
        if is_charged:
            ledger.commit(charges)
        os._exit(9)

    # Whichever way a commit would go here.
    shop.paywall.books.commits._at_once = None
    shop.paywall.books.commits._work = commit_and_die
    run(shop.get(path, payer.header(CHEAP)))
