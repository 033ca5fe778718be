"""How things stand: read from a real chain and a real ledger."""

from __future__ import annotations

import socket
from dataclasses import replace as dataclass_replace
from typing import Any

from msgspec.structs import replace

from farthing.chain.cursor import Cursor, Point
from farthing.chain.watcher import Watcher
from farthing.ledger import Ledger
from farthing.opening import Contracts, open_contracts
from farthing.operations.parts import DIFFERENCES
from farthing.operations.standing import Look, Standing
from farthing.protocol import FarthingError
from farthing.settings import Settings
from tests.conftest import rpc
from tests.escrow_world import AUTHORIZER, DELAY, PAYER, RECEIVER, SECOND_PAYER, STRANGER, World
from tests.operations.kit import charge, ledger_of, meet
from tests.stub_node import forward, method, result, stub_node

THEN = 1_700_000_000


def taken(settings: Settings, ledger: Ledger, **options: Any) -> Standing:
    options = {"sender": RECEIVER.address, "authorizer": AUTHORIZER.address, **options}
    look = Look(settings, ledger, lambda: open_contracts(settings), **options)
    return look.take()


def test_take__of_a_new_ledger(settings: Settings, node_world: World) -> None:
    with ledger_of(settings) as ledger:
        standing = taken(settings, ledger, clock=lambda: THEN)
    assert standing.time == THEN
    assert standing.chain.error == ""
    assert standing.chain.head == node_world.w3.eth.block_number
    assert standing.chain.coins == node_world.w3.eth.get_balance(RECEIVER.address)
    # Blocks of a development chain come when somebody wants one.
    assert (standing.chain.age, standing.chain.lag, standing.chain.credited) == (0, 0, 0)
    assert not standing.chain.is_paused
    assert standing.unredeemed.value == 0
    assert standing.waiting.count == 0
    assert (standing.beats, standing.differences, standing.is_restored) == ({}, [], False)


def test_take__what_is_not_redeemed(settings: Settings, node_world: World) -> None:
    with ledger_of(settings) as ledger:
        for payer, amount, time in ((PAYER, 700, THEN + 9), (SECOND_PAYER, 50, THEN)):
            config = node_world.deposit(payer, 10_000)
            meet(ledger, node_world, config)
            charge(ledger, node_world, config, amount, payer=payer, time=time)
        first = taken(settings, ledger).unredeemed
        config = node_world.config()
        node_world.settlement.initiate_withdraw(node_world.sender(PAYER), config, 10_000)
        meet(ledger, node_world, config)
        withdrawing = taken(settings, ledger).unredeemed
    assert (first.value, first.channels, first.oldest_at) == (750, 2, THEN)
    assert (first.withdrawing, first.deadline, first.foreign) == (0, 0, 0)
    pending = node_world.settlement.pending_withdrawal(node_world.channel_id(config))
    assert pending is not None
    assert (withdrawing.withdrawing, withdrawing.deadline) == (700, pending.initiated_at + DELAY)


def test_take__a_withdrawal_that_is_not_worth_its_gas(
    settings: Settings, node_world: World
) -> None:
    config = node_world.deposit(PAYER, 10_000)
    node_world.settlement.initiate_withdraw(node_world.sender(PAYER), config, 10_000)
    rpc(node_world.w3, "anvil_setNextBlockBaseFeePerGas", hex(10**9))
    rpc(node_world.w3, "anvil_mine")
    with ledger_of(settings) as ledger:
        meet(ledger, node_world, config)
        charge(ledger, node_world, config, 700)
        dear = taken(settings, ledger, coin_price=3_000 * 10**6).unredeemed
        cheap = taken(settings, ledger, coin_price=1).unredeemed
    assert (dear.value, dear.withdrawing, dear.deadline) == (700, 0, 0)
    assert cheap.withdrawing == 700


def test_take__channels_of_another_key(settings: Settings, node_world: World) -> None:
    config = node_world.deposit(PAYER, 10_000)
    with ledger_of(settings) as ledger:
        meet(ledger, node_world, config)
        charge(ledger, node_world, config, 700)
        standing = taken(settings, ledger, authorizer=STRANGER.address)
        unknown = taken(settings, ledger, authorizer="")
    owed = standing.unredeemed
    assert (owed.foreign, owed.foreign_channels) == (700, 1)
    assert owed.foreign_key == AUTHORIZER.address
    assert unknown.unredeemed.foreign == 0


def test_take__claimed_and_not_paid_out(settings: Settings, node_world: World) -> None:
    config = node_world.deposit(PAYER, 10_000)
    row = node_world.row(PAYER, config, 300)
    node_world.settlement.claim(node_world.sender(AUTHORIZER), [row])
    with ledger_of(settings) as ledger:
        assert taken(settings, ledger).chain.credited == 300


def test_take__a_paused_token(settings: Settings, node_world: World) -> None:
    contracts = open_contracts(settings)
    with ledger_of(settings) as ledger:
        look = Look(settings, ledger, lambda: contracts)
        assert not look.take().chain.is_paused
        # The token becomes one that answers 1 to whatever it is asked.
        address = node_world.token.address
        rpc(node_world.w3, "anvil_setCode", address, "0x600160005260206000f3")
        assert look.take().chain.is_paused
        # And one that answers nothing.
        rpc(node_world.w3, "anvil_setCode", address, "0x00")
        assert not look.take().chain.is_paused


def test_take__no_node(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    chain = replace(settings.chain, rpc=url)
    with ledger_of(settings) as ledger:
        standing = taken(dataclass_replace(settings, chain=chain), ledger)
    assert standing.chain.error.startswith(f"{settings.path}: chain.rpc: no node answers at {url}")
    assert standing.chain.coins is None


def test_take__the_node_has_become_another_chains(
    settings: Settings, node_url: str, node_world: World
) -> None:
    chain_id = [settings.chain.id]

    def answer(body: bytes) -> bytes:
        return (
            result(hex(chain_id[0])) if method(body) == "eth_chainId" else forward(node_url, body)
        )

    with stub_node(answer) as url, ledger_of(settings) as ledger:
        moved = dataclass_replace(settings, chain=replace(settings.chain, rpc=url))
        look = Look(moved, ledger, lambda: open_contracts(moved), sender=RECEIVER.address)
        assert look.take().chain.error == ""
        chain_id[0] = 5
        assert "the node is on chain 5, not on 31337" in look.take().chain.error
        chain_id[0] = settings.chain.id
        assert look.take().chain.error == ""


def test_take__opens_the_contracts_anew_after_a_fault(settings: Settings) -> None:
    opened: list[Contracts] = []
    contracts = open_contracts(settings)

    def once() -> Contracts:
        if not opened:
            opened.append(contracts)
            raise FarthingError("no node answers.")
        return contracts

    with ledger_of(settings) as ledger:
        look = Look(settings, ledger, once)
        assert look.take().chain.error == "no node answers."
        assert look.take().chain.error == ""


def test_take__how_far_the_watcher_is(settings: Settings, node_world: World) -> None:
    w3 = node_world.w3
    rpc(w3, "anvil_mine", hex(40), hex(10))
    head = w3.eth.block_number
    with ledger_of(settings) as ledger:
        for behind, lag in ((12, 0), (13, 10), (32, 200)):
            point = Point(head - behind, "0x" + "00" * 32)
            name = Watcher(node_world.settlement, []).name
            ledger.remember(name, Cursor(point).to_text())
            assert taken(settings, ledger).chain.lag == lag


def test_take__transactions_on_their_way(settings: Settings) -> None:
    lease = ("key", "test")
    with ledger_of(settings) as ledger:
        for number in range(3):
            ledger.enqueue(
                sender=RECEIVER.address,
                kind="redeem",
                subject=bytes([number]) * 32,
                to=STRANGER.address,
                data=b"",
                gas=1,
                time=THEN + number,
            )
        ledger.take_lease(lease, 60)
        ledger.move_transaction(1, lease, "failed", time=THEN, reason="it ran out of gas.")
        ledger.move_transaction(2, lease, "queued", time=THEN, reason="the key has no coins.")
        soon = taken(settings, ledger, clock=lambda: THEN + 60).waiting
        late = taken(settings, ledger, clock=lambda: THEN + 90_000).waiting
    assert (soon.count, soon.oldest_at, soon.reason) == (2, THEN + 1, "the key has no coins.")
    assert soon.failed == "transaction 1 (redeem) failed: it ran out of gas."
    assert late.failed == ""


def test_take__what_the_watcher_found(settings: Settings) -> None:
    with ledger_of(settings) as ledger:
        ledger.remember(DIFFERENCES, '["channel 0x1: differs"]')
        ledger.remember("restored", "5")
        standing = taken(settings, ledger)
    assert standing.differences == ["channel 0x1: differs"]
    assert standing.is_restored
