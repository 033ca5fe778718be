"""The redeemer on a real node: what it orders, what comes of it, and what it makes of failures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from farthing.chain.connection import NodeUnreachable
from farthing.chain.settlement import ReceiverAccount, Settlement
from farthing.protocol import ZERO_ADDRESS, ChannelConfig
from farthing.protocol import Reason as RowReason
from farthing.redeemer import Plan, Reason
from farthing.redeemer import redeemer as redeemer_module
from farthing.redeemer.orders import Orders
from tests.conftest import rpc
from tests.escrow_world import RECEIVER, STRANGER, World, party
from tests.redeemer.shop import DEPOSIT, FREE, Shop, replaced_code

STUCK = bytes.fromhex("60006000fd")
"""Code that reverts whatever it is asked."""
YES = bytes.fromhex("600160005260206000f3")
"""Code that says yes and does nothing."""
WALLET = bytes.fromhex("631626ba7e60e01b5f5260205ff3")
"""A contract wallet to which every signature is its own."""


def dearer(world: World, wei: int) -> None:
    """Two blocks at this base fee, later than anything waits before it is offered dearer."""
    for _ in range(2):
        rpc(world.w3, "anvil_setNextBlockBaseFeePerGas", hex(wei))
        rpc(world.w3, "evm_increaseTime", 60)
        rpc(world.w3, "evm_mine")


@pytest.fixture
def shop(node_world: World, tmp_path: Path) -> Iterator[Shop]:
    yield Shop(node_world, str(tmp_path / "ledger.db"))
    # The node keeps the price of the last block when it goes back to the first.
    dearer(node_world, 10**9)


def official(shop: Shop) -> Shop:
    """The same without the function by which the packed redemption is found."""
    world = shop.world
    code = bytes(world.w3.eth.get_code(world.settlement.address))
    without = code.replace(keccak(text="MAX_ROWS()")[:4], keccak(text="MAX_ROWS_NOT()")[:4])
    rpc(world.w3, "anvil_setCode", world.settlement.address, "0x" + without.hex())
    found = replace(world, settlement=Settlement(world.w3, world.settlement.address))
    assert not found.settlement.has_redeem
    return shop.beside(world=found)


# ---------------------------------------------------------------- the way of a redemption


def test_step__redeems_and_books_what_came_of_it(shop: Shop) -> None:
    configs = shop.open(10, 20, 30)
    step = shop.step()
    assert step.why.startswith("Redeems 60 of 3 channels, for 1 seconds have passed since")
    assert (len(step.submitted), step.booked, step.problems) == (1, [], [])
    assert shop.states() == [("redeem", "mined")]
    # What the chain may yet undo is booked by nobody.
    assert [shop.ledger.channel(shop.id_of(c)).state.mirror.total_claimed for c in configs] == [
        0
    ] * 3  # type: ignore[union-attr]
    assert shop.received() == 60

    step = shop.finish()
    ((booked),) = step.booked
    assert (booked.kind, booked.channels, booked.amount, booked.paid) == ("redeem", 3, 60, 60)
    assert (booked.credited, booked.skipped, booked.problem) == (0, {}, "")
    (sent,) = shop.ledger.transactions()
    assert booked.fee == sent.fee > 0
    assert list(shop.ledger.redeemable()) == []
    assert step.why == "Nothing to redeem: nothing is charged that is not claimed."
    # Once, also by another one later.
    assert shop.finish().booked == []
    assert shop.beside().redeemer.step().booked == []
    assert shop.redeemer.is_idle()


def test_step__sent_by_a_stranger_with_the_authorizers_signature(shop: Shop) -> None:
    shop = shop.beside(account=STRANGER)
    configs = shop.open(10, 20)
    shop.step()
    assert shop.finish().booked[0].paid == 30
    assert shop.claimed(*configs) == [10, 20]


def test_step__what_is_on_its_way_is_not_ordered_again(shop: Shop) -> None:
    (config,) = shop.open(10)
    assert len(shop.redeemer.step().submitted) == 1
    for _ in range(3):
        step = shop.redeemer.step()
        assert step.submitted == []
        assert step.why == "Nothing to redeem: 10 of 1 channel is on its way in a transaction."
    # What is charged since is, beside it.
    shop.charge(party("customer 0"), config, 5)
    assert len(shop.redeemer.step(now=True).submitted) == 1
    shop.send()
    assert (shop.claimed(config), shop.received()) == ([15], 15)
    assert [each.amount for each in shop.finish().booked] == [10, 5]


def test_step__waits_and_says_until_when(shop: Shop) -> None:
    shop.redeemer.policy = replace(FREE, interval=86_400)
    shop.open(10)
    step = shop.step()
    assert (step.submitted, step.why.startswith("Waits until ")) == ([], True)
    assert len(shop.step(now=True).submitted) == 1


def test_step__a_run_begins_no_other_before_the_interval_is_over(shop: Shop) -> None:
    shop = shop.beside(policy=replace(FREE, interval=86_400), age=100_000)
    shop.open(10)
    assert len(shop.step().submitted) == 1
    shop.open(20)
    step = shop.step()
    assert (step.submitted, step.why.startswith("Waits until ")) == ([], True)


def test_step__a_run_that_had_no_room_goes_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redeemer_module, "OUTSTANDING", 1)
    shop = shop.beside(policy=replace(FREE, interval=86_400), age=100_000)
    configs = [shop.open(10 + n, withdraw_delay=900 + n)[0] for n in range(3)]
    assert len(shop.redeemer.step().submitted) == 1
    # Nor has it now.
    assert shop.redeemer.step().submitted == []
    shop.send()
    assert shop.claimed(*configs) == [0, 0, 12]
    # What is in a block is in nobody's way.
    step = shop.step()
    assert len(step.submitted) == 1
    assert " goes on." in step.why
    shop.step()
    assert shop.claimed(*configs) == [10, 11, 12]
    shop.open(20)
    assert shop.finish().submitted == []


def test_step__what_one_asks_another_does(shop: Shop) -> None:
    shop.redeemer.policy = replace(FREE, interval=86_400)
    shop.open(10)
    shop.beside(holder="second").redeemer.ask()
    assert len(shop.step().submitted) == 1
    assert shop.step().why.startswith("Nothing to redeem")


def test_plan__changes_nothing(shop: Shop) -> None:
    shop.open(10)
    plan = shop.redeemer.plan(now=True)
    assert (plan.value, plan.channels) == (10, 1)
    assert shop.ledger.transactions() == []
    assert shop.redeemer.plan().why == plan.why.replace(
        "it was asked for", shop.redeemer.plan().why.split(", for ")[1][:-1]
    )
    assert any(line.startswith("Redeems  10 of 1 channel in 1") for line in plan.lines(str))


def test_step__with_a_ledger_in_postgresql(node_world: World, postgres_url: str) -> None:
    shop = Shop(node_world, postgres_url)
    configs = shop.open(10, 20)
    assert len(shop.step().submitted) == 1
    assert shop.claimed(*configs) == [10, 20]
    assert [each.paid for each in shop.finish().booked] == [30]
    assert list(shop.ledger.redeemable()) == []


def test_step__looks_through_all_channels_only_so_often(shop: Shop) -> None:
    shop = shop.beside(look_seconds=3_600, policy=replace(FREE, interval=86_400))
    payer = party("leaver")
    config = shop.open_for(payer, 700)
    first = shop.step()
    (other,) = shop.open(10)
    assert shop.step().plan is first.plan
    # A withdrawal is seen at once, and so is somebody who asks.
    shop.withdraw(payer, config, DEPOSIT)
    assert len(shop.step().submitted) == 1
    assert shop.claimed(config, other) == [700, 0]
    assert len(shop.step(now=True).submitted) == 1
    assert shop.claimed(config, other) == [700, 10]


def test_step__what_was_booked_is_told_though_the_node_fails_then(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.open(10)
    shop.step()
    rpc(shop.world.w3, "anvil_mine", "0x10")
    shop.queue.step()

    def fail(policy: object, *values: object) -> Plan:
        raise NodeUnreachable("http://nowhere", "it is gone")

    with monkeypatch.context() as patched:
        patched.setattr(shop.redeemer, "_plan", fail)
        with pytest.raises(NodeUnreachable):
            shop.redeemer.step()
    # Also by another process, after a crash.
    assert [each.amount for each in shop.beside().redeemer.step().booked] == [10]
    assert [each.amount for each in shop.redeemer.step().booked] == [10]
    assert shop.redeemer.step().booked == []


# ---------------------------------------------------------------- prices


def test_step__a_high_base_fee_makes_it_wait(shop: Shop) -> None:
    # At 1 gwei a redemption of one row costs 5.7e-5 coins: 57 units of the 900.
    shop.redeemer.policy = replace(FREE, coin_price=10**6, max_cost_percent=Decimal(50))
    shop.open(900)
    rpc(shop.world.w3, "anvil_setNextBlockBaseFeePerGas", hex(10**12))
    rpc(shop.world.w3, "evm_mine")
    step = shop.step()
    assert step.submitted == []
    assert step.why.startswith("Waits for cheaper gas or larger charges: at ")
    rpc(shop.world.w3, "anvil_setNextBlockBaseFeePerGas", hex(10**8))
    rpc(shop.world.w3, "evm_mine")
    assert len(shop.step().submitted) == 1


def test_step__a_coin_that_is_worth_more_makes_it_wait(shop: Shop) -> None:
    shop.open(900)
    shop.redeemer.policy = replace(FREE, coin_price=10**9)
    assert shop.step().submitted == []
    shop.redeemer.policy = replace(FREE, coin_price=10**5)
    assert len(shop.step().submitted) == 1


def waiting(shop: Shop) -> tuple[LocalAccount, ChannelConfig, int]:
    """Half of 900 pays for gas of 7.8 gwei, and the base fee is at 50 before it is mined."""
    payer = party("leaver")
    config = shop.open_for(payer, 900)
    shop.redeemer.policy = replace(FREE, coin_price=10**6, max_cost_percent=Decimal(50))
    rpc(shop.world.w3, "anvil_setNextBlockBaseFeePerGas", hex(10**8))
    rpc(shop.world.w3, "evm_mine")
    (number,) = shop.redeemer.step().submitted
    rpc(shop.world.w3, "evm_setAutomine", False)
    shop.queue.step()
    rpc(shop.world.w3, "anvil_dropAllTransactions")
    rpc(shop.world.w3, "evm_setAutomine", True)
    dearer(shop.world, 50 * 10**9)
    shop.queue.step()
    return payer, config, number


def test_step__gas_that_becomes_dear_before_it_is_mined__costs_no_more_than_it_may(
    shop: Shop,
) -> None:
    _, config, number = waiting(shop)
    (found,) = shop.ledger.transactions()
    assert found.fee_limit is not None and 7 * 10**9 < found.fee_limit < 8 * 10**9
    assert shop.redeemer.step().submitted == []
    shop.queue.step()
    assert len(shop.ledger.attempts(number)) == 1
    dearer(shop.world, 10**8)
    shop.send()
    shop.finish()
    (found,) = shop.ledger.transactions()
    assert found.state == "final"
    assert 2 * found.fee * 10**6 <= 900 * 10**18
    assert shop.claimed(config) == [900]


def test_step__gas_that_becomes_dear__and_then_the_payer_withdraws(shop: Shop) -> None:
    payer, config, number = waiting(shop)
    shop.withdraw(payer, config, DEPOSIT)
    assert shop.redeemer.step().submitted == []
    dearer(shop.world, 50 * 10**9)
    shop.queue.step()
    assert len(shop.ledger.attempts(number)) == 2
    rpc(shop.world.w3, "evm_mine")
    assert shop.claimed(config) == [900]


def test_step__many_that_wait_for_cheaper_gas__leave_room_for_a_withdrawal(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeemer_module, "OUTSTANDING", 1)
    waiting(shop)
    payer = party("another")
    config = shop.open_for(payer, 800)
    shop.withdraw(payer, config, DEPOSIT)
    shop.redeemer.policy = FREE
    step = shop.redeemer.step()
    assert len(step.submitted) == 1
    assert [each.fee_limit is None for each in shop.ledger.transactions()] == [False, True]
    shop.open(700)
    assert shop.redeemer.step().submitted == []


# ---------------------------------------------------------------- withdrawals


def test_step__a_withdrawal_is_redeemed_before_the_payer_can_take_it(shop: Shop) -> None:
    shop.redeemer.policy = replace(FREE, interval=86_400, min_value=10**9)
    payer = party("leaver")
    config = shop.open_for(payer, 700)
    others = shop.open(600)
    assert shop.step().submitted == []
    shop.withdraw(payer, config, DEPOSIT)
    step = shop.step()
    assert step.why.startswith("Redeems 700 of 1 channel, for payers withdraw, the first at ")
    assert shop.claimed(config, *others) == [700, 0]
    # The payer gets what is left, and nothing of what it owes.
    rpc(shop.world.w3, "evm_increaseTime", config.withdraw_delay)
    rpc(shop.world.w3, "evm_mine")
    shop.settlement.finalize_withdraw(shop.world.sender(payer), config)
    assert shop.world.token.balance_of(payer.address) == DEPOSIT - 700
    assert shop.received() == 700


def test_step__what_the_chain_lost_meanwhile_is_not_sent(shop: Shop) -> None:
    """The ledger has not heard yet that the payer took everything."""
    payer = party("leaver")
    gone, stays = shop.open_for(payer, 700), shop.open(600)[0]
    rpc(shop.world.w3, "anvil_setBalance", payer.address, hex(10**18))
    shop.settlement.initiate_withdraw(shop.world.sender(payer), gone, DEPOSIT)
    rpc(shop.world.w3, "evm_increaseTime", gone.withdraw_delay)
    rpc(shop.world.w3, "evm_mine")
    shop.settlement.finalize_withdraw(shop.world.sender(payer), gone)
    shop.step()
    assert shop.claimed(gone, stays) == [0, 600]
    (sent,) = shop.ledger.transactions()
    assert [row.channel_id for row in shop.ledger.rows(sent.id)] == [shop.id_of(stays)]


def test_step__the_same_rows_once_more_after_a_top_up(shop: Shop) -> None:
    """A row that brought nothing in a transaction that is final is sent again when it would."""
    payer = party("leaver")
    config = shop.open_for(payer, 700)
    shop.redeemer.step()
    # Before the queue sends it, somebody else takes the money back to the payer.
    shop.settlement.refund(shop.world.sender(RECEIVER), config, DEPOSIT)
    shop.send()
    ((booked),) = shop.finish().booked
    assert (booked.amount, booked.skipped) == (0, {RowReason.EMPTY: 1})
    assert booked.problem == (
        "transaction 1, a redeem, skipped rows: 1 empty: the channel is unknown, or nothing is "
        "left in it."
    )
    assert [each.reason for each in shop.redeemer.plan(now=True).left] == [Reason.EMPTY]
    world = shop.world
    world.operator.transact(world.token.plan_mint([payer.address], DEPOSIT))
    collector = world.deployment.erc3009_collector
    data = world.consent(payer, config, DEPOSIT, salt=1)
    shop.settlement.deposit(world.operator, config, DEPOSIT, collector, data)
    shop.look(config)
    assert len(shop.step(now=True).submitted) == 1
    assert shop.claimed(config) == [700]


# ---------------------------------------------------------------- tokens


def test_step__a_paused_token_is_credited_and_settled_later(shop: Shop) -> None:
    shop.open(10, 20)
    with replaced_code(shop.world, shop.world.token.address, STUCK):
        shop.step()
        step = shop.finish()
        ((booked),) = step.booked
        assert (booked.amount, booked.paid, booked.credited, booked.problem) == (30, 0, 30, "")
        (note,) = step.plan.notes  # type: ignore[union-attr]
        assert note.startswith(f"30 claimed before for {RECEIVER.address} waits, for the token")
    step = shop.step()
    assert step.why == "Settles 30 that was claimed before."
    ((booked),) = shop.finish().booked
    assert (booked.kind, booked.amount, booked.paid, booked.problem) == ("settle", 30, 30, "")
    assert shop.received() == 30
    # A second time too.
    shop.open(40)
    with replaced_code(shop.world, shop.world.token.address, STUCK):
        shop.step(now=True)
        shop.finish()
    shop.step()
    assert shop.received() == 70


def test_step__a_token_that_says_yes_and_moves_nothing(shop: Shop) -> None:
    shop.open(10)
    with replaced_code(shop.world, shop.world.token.address, YES):
        shop.step()
        ((booked),) = shop.finish().booked
    assert (booked.amount, booked.paid) == (10, 0)
    assert booked.problem == (
        "transaction 1, a redeem, paid 10 by the contract and 0 by the token: look at the token "
        "before you take more of it."
    )


def test_step__a_settlement_that_costs_too_much_waits(shop: Shop) -> None:
    shop.open(10)
    with replaced_code(shop.world, shop.world.token.address, STUCK):
        shop.step()
        shop.finish()
    shop.redeemer.policy = replace(FREE, coin_price=10**9)
    step = shop.step()
    assert step.submitted == []
    (note,) = step.plan.notes  # type: ignore[union-attr]
    assert note.startswith(f"10 claimed before for {RECEIVER.address} waits, for paying it out ")


# ---------------------------------------------------------------- claims


def test_step__the_official_contract_is_claimed_from_and_settled(shop: Shop) -> None:
    shop = official(shop)
    configs = shop.open(10, 20, 30)
    step = shop.step()
    assert shop.states() == [("claim", "mined")]
    assert step.problems == []
    assert shop.claimed(*configs) == [10, 20, 30]
    assert shop.received() == 0
    step = shop.finish()
    ((booked),) = step.booked
    assert (booked.kind, booked.channels, booked.amount) == ("claim", 3, 60)
    assert step.why == "Settles 60 that was claimed before."
    shop.send()
    assert shop.received() == 60
    ((booked),) = shop.finish().booked
    assert (booked.kind, booked.amount, booked.paid) == ("settle", 60, 60)
    account = shop.settlement.receiver_account(RECEIVER.address, shop.world.token.address)
    assert account == ReceiverAccount(60, 60)


def test_step__no_more_is_claimed_than_the_channel_holds(shop: Shop) -> None:
    shop = official(shop)
    config, other = shop.open(700, 10)
    shop.settlement.refund(shop.world.sender(RECEIVER), config, DEPOSIT - 400)
    assert shop.step().problems == []
    assert shop.claimed(config, other) == [400, 10]


def test_step__claims_for_an_earlier_payout_address_are_settled_too(shop: Shop) -> None:
    shop = official(shop)
    shop.open(10)
    shop.open(20, receiver=STRANGER.address)
    shop.step()
    shop.finish()
    shop.send()
    # Another process knows it from the ledger.
    shop = shop.beside()
    shop.step()
    assert (shop.received(), shop.world.token.balance_of(STRANGER.address)) == (10, 20)


def test_step__one_bad_row_does_not_keep_the_others_from_being_claimed(shop: Shop) -> None:
    shop = official(shop)
    good = shop.open(10, 20, 30)
    payer = party("forger")
    bad = shop.open_for(payer, 0)
    shop.charge(STRANGER, bad, 40)
    more = shop.open(50)
    step = shop.step()
    (problem,) = step.problems
    assert problem.startswith(f"channel 0x{shop.id_of(bad).hex()} cannot be claimed, and is left: ")
    assert shop.claimed(*good, bad, *more) == [10, 20, 30, 0, 50]


@pytest.mark.parametrize("more", [b"", b"a wallet may want more"])
def test_step__a_contract_payer_is_claimed_and_the_others_redeemed(shop: Shop, more: bytes) -> None:
    payer = party("wallet")
    wallet = shop.open_for(payer, 0, payer_authorizer=ZERO_ADDRESS)
    key = shop.open_for(party("key"), 20, payer_authorizer=ZERO_ADDRESS)
    shop.charge(payer, wallet, 300, more)
    (plain,) = shop.open(5)
    with replaced_code(shop.world, payer.address, WALLET):
        step = shop.step()
        assert step.problems == []
        assert sorted(shop.states()) == [("claim", "mined"), ("redeem", "mined")]
        assert shop.claimed(wallet, key, plain) == [300, 20, 5]
        step = shop.finish()
        assert sorted(each.amount for each in step.booked) == [25, 300]
        shop.send()
    assert shop.received() == 325


# ---------------------------------------------------------------- failures


def test_step__another_redeemer_has_the_lease(shop: Shop) -> None:
    shop.open(10)
    other = shop.beside(holder="second")
    assert shop.ledger.take_lease(("redeemer", "first"), 60)
    step = other.redeemer.step()
    assert step.why == "Waits: another redeemer of this ledger is at work."
    assert (step.plan, step.submitted) == (None, [])
    shop.ledger.give_lease(("redeemer", "first"))
    assert len(other.redeemer.step().submitted) == 1
    assert shop.redeemer.step().submitted == []


def test_orders__what_another_redeemer_ordered_meanwhile(shop: Shop) -> None:
    """A redeemer that was so slow that it lost its lease orders nothing twice."""
    shop.open(10, 20)
    desk = shop.redeemer._desk
    plan = shop.redeemer.plan(now=True)
    assert shop.beside(holder="second").redeemer.step(now=True).submitted == [1]
    orders = Orders(desk, desk.node.head(), plan.gas)
    for planned in plan.batches:
        orders.redeem(planned)
    assert (orders.submitted, orders.problems) == ([], [])
    assert len(shop.ledger.transactions()) == 1


def test_step__what_was_refused_is_ordered_again(shop: Shop) -> None:
    (config,) = shop.open(10)
    shop.redeemer.step()
    (sent,) = shop.ledger.transactions()
    lease = ("key", "test")
    assert shop.ledger.take_lease(lease, 60)
    shop.ledger.move_transaction(sent.id, lease, "refused", time=1, reason="no coins.")
    step = shop.step(now=True)
    assert step.problems == [
        "transaction 1, a redeem, was not sent, its rows are redeemed again: no coins."
    ]
    assert len(step.submitted) == 1
    assert shop.claimed(config) == [10]


@pytest.mark.parametrize("deeper", [0, 1, 5])
def test_step__a_reorganisation_brings_the_rows_back_and_pays_once(shop: Shop, deeper: int) -> None:
    rpc(shop.world.w3, "anvil_mine", hex(8))
    configs = shop.open(10, 20)
    rpc(shop.world.w3, "anvil_mine", hex(8))
    shop.step()
    assert shop.received() == 30
    (sent,) = shop.ledger.transactions()
    head = shop.world.w3.eth.block_number
    rpc(shop.world.w3, "anvil_reorg", head - sent.block + 1 + deeper, [])
    assert shop.received() == 0
    assert shop.redeemer.step(now=True).submitted == []
    shop.send()
    shop.send()
    assert (shop.received(), shop.claimed(*configs)) == (30, [10, 20])
    ((booked),) = shop.finish().booked
    assert booked.amount == 30
    assert len(shop.ledger.transactions()) == 1


def test_step__channels_of_another_key_and_token_are_left(shop: Shop) -> None:
    shop.open(10)
    shop.open(20, receiver_authorizer=STRANGER.address)
    plan = shop.redeemer.plan(now=True)
    assert [(each.reason, each.value) for each in plan.left] == [(Reason.OTHER_KEY, 20)]
    assert plan.value == 10
