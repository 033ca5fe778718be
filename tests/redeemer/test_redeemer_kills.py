"""A redeemer that is killed at any of its steps, again and again: every row is paid once.

The process is a fork that redeems as a server does and is killed, as `kill -9` does it, when it
passes a point for a random time. Whoever comes after it goes on.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from farthing.chain.connection import connect
from farthing.chain.settlement import Settlement
from farthing.protocol import ChannelConfig
from farthing.protocol import Reason as RowReason
from farthing.redeemer import Booked
from tests.conftest import rpc
from tests.escrow_world import World, party
from tests.redeemer.shop import CONFIRMATIONS, DEPOSIT, FREE, Shop

KILLS = int(os.environ.get("REDEEMER_KILLS", "20"))
CHANNELS = 6
ROUNDS = 5
# Below this every channel can be charged in every round of kills.
MOST_ROUNDS = DEPOSIT // 2


def points(shop: Shop) -> dict[str, tuple[Any, str, bool]]:
    """Where it can be killed: the object, its method, and whether before or after it."""
    redeemer, queue = shop.redeemer, shop.queue
    return {
        "leased": (shop.ledger, "take_lease", False),
        "books read": (redeemer._desk.lens, "read", False),
        "simulated": (redeemer._desk.node, "simulate", False),
        "run or asking or booking remembered": (shop.ledger, "remember", False),
        "before the order": (queue._journal, "enqueue", True),
        "ordered": (queue._journal, "enqueue", False),
        "before signing": (queue._journal, "sign", True),
        "signed": (queue._journal, "sign", False),
        "sent": (queue._node, "send", False),
        "state written": (queue._journal, "move_transaction", False),
        "before the mirrors": (shop.ledger, "mirror_many", True),
        "mirrored": (shop.ledger, "mirror_many", False),
        "lease given back": (shop.ledger, "give_lease", False),
    }


POINTS = 13


def deadly(step: Callable[..., Any], before: bool, passes: int) -> Callable[..., Any]:
    left = passes

    @wraps(step)
    def taken(*values: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if before and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = step(*values, **named)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return taken


def opened(url: str, deployed: World, path: Path) -> Shop:
    """A shop with connections of its own."""
    w3 = connect(url)
    world = replace(deployed, w3=w3, settlement=Settlement(w3, deployed.settlement.address))
    return Shop(world, str(path), policy=FREE)


def work(shop: Shop) -> list[Booked]:
    """Redeems until there is nothing more, and the chain goes on."""
    booked = []
    for _ in range(ROUNDS):
        step = shop.redeemer.step(now=True)
        assert step.problems == []
        booked += step.booked
        shop.queue.step()
        rpc(shop.world.w3, "anvil_mine", hex(CONFIRMATIONS + 1))
        shop.queue.step()
    assert shop.redeemer.is_idle()
    return booked


def mortal(url: str, deployed: World, path: Path, point: int, passes: int) -> None:
    shop = opened(url, deployed, path)
    owner, name, before = list(points(shop).values())[point]
    setattr(owner, name, deadly(getattr(owner, name), before, passes))
    work(shop)


def kill(url: str, world: World, path: Path, point: int, passes: int) -> bool:
    """Whether it was killed; it ends by itself when it does not pass the point so often."""
    process = multiprocessing.get_context("fork").Process(
        target=mortal, args=(url, world, path, point, passes)
    )
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def test_redeemer__killed_at_any_step_pays_every_row_once(
    node_world: World, node_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    shop = Shop(node_world, str(path), policy=FREE)
    configs: list[ChannelConfig] = shop.open(*[1] * CHANNELS)
    owed = CHANNELS
    chance = random.Random(7)
    killed: Counter[int] = Counter()
    booked: dict[int, Booked] = {}
    turn = 0
    while killed.total() < KILLS:
        # A second one is killed while it recovers.
        for _ in range(chance.choice([1, 1, 2])):
            point = turn % POINTS
            if kill(node_url, node_world, path, point, chance.choice([1, 1, 2, 3])):
                killed[point] += 1
            turn += 1
        booked |= {each.transaction_id: each for each in work(opened(node_url, node_world, path))}
        assert shop.received() == owed
        assert shop.claimed(*configs) == [owed // CHANNELS] * CHANNELS
        for number, config in enumerate(configs):
            shop.charge(party(f"customer {number}"), config, 1)
        owed += CHANNELS
        assert owed // CHANNELS < MOST_ROUNDS
    # Nothing was sent for rows that another transaction had paid for already.
    sent = shop.ledger.transactions(limit=10_000)
    assert {each.state for each in sent} == {"final"}
    assert all(RowReason.STALE not in each.skipped for each in booked.values())
    rows = [(row.channel_id, row.total) for each in sent for row in shop.ledger.rows(each.id)]
    assert len(rows) == len(set(rows))
    assert KILLS < 3 * POINTS or len(killed) == POINTS


def rival(url: str, deployed: World, path: Path, holder: str, rounds: int) -> None:
    """Redeems beside another, each with a queue of the same key."""
    shop = opened(url, deployed, path).beside(holder=holder)
    for _ in range(rounds):
        shop.redeemer.step(now=True)
        shop.queue.step()
        rpc(shop.world.w3, "evm_mine")


def test_redeemer__two_at_a_time_pay_every_row_once(
    node_world: World, node_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    shop = Shop(node_world, str(path), policy=FREE)
    configs = shop.open(*[1] * CHANNELS)
    for owed in range(1, 6):
        rivals = [
            multiprocessing.get_context("fork").Process(
                target=rival, args=(node_url, node_world, path, holder, 12)
            )
            for holder in ("left", "right")
        ]
        for each in rivals:
            each.start()
        for each in rivals:
            each.join()
            assert each.exitcode == 0
        work(opened(node_url, node_world, path))
        assert shop.received() == owed * CHANNELS
        for number, config in enumerate(configs):
            shop.charge(party(f"customer {number}"), config, 1)
    sent = shop.ledger.transactions(limit=10_000)
    assert [each.state for each in sent] == ["final"] * 5
    for each in sent:
        receipt = shop.queue.receipt(each.id)
        assert receipt is not None
        outcomes = shop.settlement.redeemed(receipt).outcomes
        assert [outcome.reason for outcome in outcomes] == [RowReason.REDEEMED] * CHANNELS
