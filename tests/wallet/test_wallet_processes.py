"""Several processes with one wallet, and processes that die: never a unit above the budget."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from farthing.protocol.payments import read_payment
from farthing.wallet import Store
from tests.paywall.paywall_kit import CHEAP, DEAR, Payer, Shop
from tests.wallet.loopback import serving
from tests.wallet.wallet_kit import SESSION, budget, lane, new_store
from tests.wallet.wallet_worker import POINTS

ROOT = Path(__file__).resolve().parents[2]
PRICES = {"/cheap": CHEAP, "/dear": DEAR}
KILLS = 200
# Wallets begun for them, some more than they take: not every process gets to where it is to die.
WALLETS = 11
# Kills after which there is a new wallet with an untouched budget.
KILLS_PER_WALLET = 20
LIMIT = 15_000

Run: TypeAlias = Callable[[list[dict[str, Any]]], list[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs jobs at the same time, each in a process of its own; gives how they ended."""
    command = [sys.executable, "-m", "tests.wallet.wallet_worker", str(tmp_path / "wallet.db")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        read, write = worker.stdout, worker.stdin

        def run_one(jobs: list[dict[str, Any]]) -> list[str]:
            write.write(json.dumps(jobs) + "\n")
            write.flush()
            ends: list[str] = json.loads(read.readline())
            return ends

        yield run_one
        write.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Shop, str]]:
    with serving(tmp_path / "ledger.db") as running:
        yield running


def new_wallet(shop: Shop, url: str, path: Path, limit: int, first: int, lanes: int) -> Store:
    """A wallet with channels that hold enough; ``first`` makes them others than before."""
    store = new_store(path, budget(limit, lanes=lanes))
    for number in range(first, first + lanes):
        store.add_lane(lane(number, origin=url))
        payer = Payer(salt=number).with_config(payer_authorizer=SESSION.address)
        shop.open_channel(payer, balance=10**9)
    return store


def test_two_processes__with_one_wallet__never_overspend_by_a_unit(
    site: tuple[Shop, str], run: Run, tmp_path: Path
) -> None:
    shop, url = site
    # One unit short of the 31st payment.
    with_room_for = 31 * CHEAP - 1
    store = new_wallet(shop, url, tmp_path / "wallet.db", with_room_for, 0, lanes=2)
    job = {"url": url, "paths": ["/cheap"] * 25}
    assert run([job, job]).count("refused") >= 1
    assert store.used()[0][1] == 30 * CHEAP
    lanes = store.lanes()
    assert sum(each.signed for each in lanes) == 30 * CHEAP
    assert sum(each.charged for each in lanes) == 30 * CHEAP == shop.served * CHEAP
    store.close()


def test_kills__at_every_step__nothing_overspent_and_nothing_forgotten(
    site: tuple[Shop, str], run: Run, tmp_path: Path
) -> None:
    shop, url = site
    seen = record_ceilings(shop)
    chance = random.Random(6)
    ends: Counter[str] = Counter()
    for number in range(WALLETS):
        path = tmp_path / f"wallet{number}.db"
        store = new_wallet(shop, url, path, LIMIT, first=number, lanes=1)
        channel = store.lanes()[0].channel_id
        for kill in range(KILLS_PER_WALLET):
            point = POINTS[(number * KILLS_PER_WALLET + kill) % len(POINTS)]
            paths = [chance.choice(list(PRICES)) for _ in range(3)]
            job = {"url": url, "paths": paths, "point": point, "passes": chance.randint(1, 2)}
            (end,) = run([{**job, "file": path.name}])
            ends[end] += 1
            here = store.lane(channel)
            # Whatever left the machine was written down before, and fits the budget.
            assert seen.get(channel, 0) <= here.signed == store.used()[0][1] <= LIMIT
            assert here.charged <= shop_charged(shop, channel) <= here.upper <= here.signed
        # A payment that goes through puts all in order, if the budget still has room for one.
        (end,) = run([{"url": url, "paths": ["/cheap"], "file": path.name}])
        here = store.lane(channel)
        if end == "paid":
            assert here.charged == here.upper == shop_charged(shop, channel)
            told = [payment.charged for payment in store.history()]
            assert None not in told and sum(each or 0 for each in told) == here.charged
        else:
            assert end == "refused" and here.signed > LIMIT - DEAR - CHEAP
        store.close()
    assert set(ends) <= {"killed", "refused", "paid"}
    assert ends["killed"] >= KILLS, ends


def shop_charged(shop: Shop, channel_id: bytes) -> int:
    channel = shop.ledger.channel(channel_id)
    assert channel is not None
    return channel.state.charged


def record_ceilings(shop: Shop) -> dict[bytes, int]:
    """The highest ceiling the shop was ever sent, by channel."""
    highest: dict[bytes, int] = {}
    app = shop.app

    async def recording(scope: Any, receive: Any, send: Any) -> None:
        for name, value in scope.get("headers", ()):
            if name == b"payment-signature":
                payment = read_payment(value)
                known = highest.get(payment.channel_id, 0)
                highest[payment.channel_id] = max(known, payment.ceiling)
        await app(scope, receive, send)

    shop.app = recording
    return highest
