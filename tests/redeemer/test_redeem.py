from dataclasses import replace

import pytest

from farthing.chain.deployment import place
from farthing.chain.reverts import ClaimExceedsBalance
from farthing.chain.settlement import Channel, ReceiverAccount
from farthing.protocol import InvalidField, VoucherClaim
from farthing.redeemer import redeem
from tests.escrow_world import AUTHORIZER, PAYER, RECEIVER, STRANGER, World, party


def channels(world: World, count: int, amount: int = 1_000) -> list[VoucherClaim]:
    """One claim each for channels of their own: 10, 20, 30 … units."""
    payers = [party(f"reader {n}") for n in range(count)]
    world.operator.transact(world.token.plan_mint([payer.address for payer in payers], amount))
    return [
        world.row(payer, world.deposit(payer, amount), 10 * (n + 1))
        for n, payer in enumerate(payers)
    ]


@pytest.mark.parametrize(
    ("rows", "batches"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (5, [5]), (100, [5])]
)
def test_redeem__in_batches_and_paid_out(world: World, rows: int, batches: list[int]) -> None:
    claims = channels(world, 5)
    first_block = world.w3.eth.block_number + 1
    told: list[int] = []
    sender = world.sender(STRANGER)
    done = redeem(world.settlement, sender, AUTHORIZER, claims, rows=rows, on_batch=told.append)

    assert told == batches
    assert (done.batches, done.paid) == (len(batches), 150)
    assert world.token.balance_of(RECEIVER.address) == 150
    assert world.escrowed() == 5 * 1_000 - 150
    for claim in claims:
        channel = world.settlement.channel(world.channel_id(claim.channel))
        assert channel == Channel(1_000, claim.total_claimed)
    # The gas is that of everything the sender sent: the batches and one settlement.
    blocks = range(first_block, world.w3.eth.block_number + 1)
    assert len(blocks) == len(batches) + 1
    assert done.gas == sum(world.w3.eth.get_block(number)["gasUsed"] for number in blocks)


def test_redeem__takes_an_iterator(world: World) -> None:
    claims = iter(channels(world, 3))
    done = redeem(world.settlement, world.operator, AUTHORIZER, claims, rows=2)
    assert (done.batches, done.paid) == (2, 60)


def test_redeem__nothing(world: World) -> None:
    before = world.w3.eth.block_number
    done = redeem(world.settlement, world.operator, AUTHORIZER, [])
    assert (done.batches, done.gas, done.paid) == (0, 0, 0)
    assert world.w3.eth.block_number == before


def test_redeem__every_receiver_and_token_once(world: World) -> None:
    other_token = place(world.operator, "TestUSD").address
    other = replace(world, token=type(world.token)(world.w3, other_token))
    other.operator.transact(other.token.plan_mint([PAYER.address], 1_000))
    claims = [
        world.row(PAYER, world.deposit(PAYER, 500), 100),
        other.row(PAYER, other.deposit(PAYER, 500), 200),
    ]
    # A second receiver with the same authorizer, in a channel of the first token.
    config = world.config(receiver=STRANGER.address)
    data = world.consent(PAYER, config, 500, salt=7)
    collector = world.deployment.erc3009_collector
    world.settlement.deposit(world.operator, config, 500, collector, data)
    claims += [world.row(PAYER, config, 400), world.row(PAYER, config, 450)]

    done = redeem(world.settlement, world.operator, AUTHORIZER, claims)
    assert (done.batches, done.paid) == (1, 100 + 200 + 450)
    assert world.token.balance_of(RECEIVER.address) == 100
    assert other.token.balance_of(RECEIVER.address) == 200
    assert world.token.balance_of(STRANGER.address) == 450


def test_redeem__a_refused_batch_leaves_the_earlier_ones(world: World) -> None:
    claims = channels(world, 4)
    last = claims[3].channel
    good, claims[3] = claims[3], world.row(party("reader 3"), last, 1_001)
    told: list[int] = []
    with pytest.raises(ClaimExceedsBalance) as caught:
        redeem(world.settlement, world.operator, AUTHORIZER, claims, rows=2, on_batch=told.append)
    # The row is counted within its batch.
    assert (told, caught.value.row) == ([2], 1)
    account = world.settlement.receiver_account(RECEIVER.address, world.token.address)
    assert account == ReceiverAccount(30, 0)
    assert world.token.balance_of(RECEIVER.address) == 0

    # The next redemption pays out what the first one claimed, too.
    done = redeem(world.settlement, world.operator, AUTHORIZER, [claims[2], good])
    assert done.paid == 100
    assert world.token.balance_of(RECEIVER.address) == 100


@pytest.mark.parametrize("rows", [0, -1, 101])
def test_redeem__a_batch_size_no_contract_takes(world: World, rows: int) -> None:
    claims = [world.row(PAYER, world.deposit(PAYER, 500), 100)]
    before = world.w3.eth.block_number
    with pytest.raises(InvalidField) as caught:
        redeem(world.settlement, world.operator, AUTHORIZER, claims, rows=rows)
    assert caught.value.field == "rows"
    assert str(caught.value) == f"rows must be 1 to 100, got {rows}"
    assert world.w3.eth.block_number == before
