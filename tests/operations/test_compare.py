"""The ledger against the chain: agreement is proven, and every difference is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from farthing.ledger import Difference, Ledger
from farthing.operations.compare import compare
from farthing.settings import Settings
from tests.escrow_world import AUTHORIZER, PAYER, SECOND_PAYER, World
from tests.ledger.ledger_samples import order_refund
from tests.operations.kit import charge, ledger_of, meet


def test_compare__books_that_agree(settings: Settings, node_world: World) -> None:
    pages: list[int] = []
    with ledger_of(settings) as ledger:
        for payer in (PAYER, SECOND_PAYER):
            config = node_world.deposit(payer, 10_000)
            meet(ledger, node_world, config)
            charge(ledger, node_world, config, 700, payer=payer)
        row = node_world.row(PAYER, node_world.config(), 300)
        node_world.settlement.claim(node_world.sender(AUTHORIZER), [row])
        meet(ledger, node_world, node_world.config())
        found = compare(ledger, node_world.settlement, on_page=pages.append)
    assert found.differences == []
    assert (found.channels, found.charged, found.claimed) == (2, 1_400, 300)
    assert found.escrowed == 20_000 - 300
    assert pages == [2]


def claims_more(ledger: Ledger, world: World) -> str:
    row = world.row(PAYER, world.config(), 800)
    world.settlement.claim(world.sender(AUTHORIZER), [row])
    return "800 is claimed on chain and 700 was charged"


def deposits_more(ledger: Ledger, world: World) -> str:
    world.deposit(PAYER, 5_000, salt=1)
    return (
        "the chain has balance 15000, claimed 0, withdrawal 0; the ledger has 10000, 0, 0: a "
        "watcher writes it down, so see that one runs"
    )


def withdraws(ledger: Ledger, world: World) -> str:
    world.settlement.initiate_withdraw(world.sender(PAYER), world.config(), 9_000)
    return (
        "the chain has balance 10000, claimed 0, withdrawal 9000; the ledger has 10000, 0, 0: a "
        "watcher writes it down, so see that one runs"
    )


@pytest.mark.parametrize("happens", [claims_more, deposits_more, withdraws])
def test_compare__what_nobody_wrote_down(
    settings: Settings, node_world: World, happens: Callable[[Ledger, World], str]
) -> None:
    config = node_world.deposit(PAYER, 10_000)
    with ledger_of(settings) as ledger:
        meet(ledger, node_world, config)
        charge(ledger, node_world, config, 700)
        said = happens(ledger, node_world)
        found = compare(ledger, node_world.settlement)
        assert found.differences == [Difference(node_world.channel_id(config), said)]


def test_compare__what_is_written_down_meanwhile(settings: Settings, node_world: World) -> None:
    config = node_world.deposit(PAYER, 10_000)
    with ledger_of(settings) as ledger:
        meet(ledger, node_world, config)
        deposits_more(ledger, node_world)
        watched = lambda: meet(ledger, node_world, config)  # noqa: E731
        assert compare(ledger, node_world.settlement, settle=watched).differences == []


def test_compare__a_refund_that_is_on_its_way(settings: Settings, node_world: World) -> None:
    config = node_world.deposit(PAYER, 10_000)
    with ledger_of(settings) as ledger:
        meet(ledger, node_world, config)
        order_refund(ledger, node_world.channel_id(config), 0, 4_000)
        assert compare(ledger, node_world.settlement).differences == []


def test_compare__a_ledger_that_does_not_agree_with_itself(
    settings: Settings, node_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = [Difference(bytes(32), "has 1 charges, counts 2")]
    with ledger_of(settings) as ledger:
        any_ledger: Any = ledger
        monkeypatch.setattr(any_ledger, "prove", lambda: wrong)
        assert compare(ledger, node_world.settlement).differences == wrong
