from dataclasses import replace

import pytest
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from farthing.chain.deployment import place
from farthing.chain.reverts import ClaimExceedsBalance
from farthing.chain.settlement import Channel, ReceiverAccount, Settlement
from farthing.protocol import MAX_ROWS, InvalidField, Reason, VoucherClaim
from farthing.redeemer import batches as batches_module
from farthing.redeemer import redeem
from tests.conftest import rpc
from tests.escrow_world import AUTHORIZER, PAYER, RECEIVER, STRANGER, World, party


def channels(world: World, count: int, amount: int = 1_000) -> list[VoucherClaim]:
    """One claim each for channels of their own: 10, 20, 30 … units."""
    payers = [party(f"reader {n}") for n in range(count)]
    world.operator.transact(world.token.plan_mint([payer.address for payer in payers], amount))
    return [
        world.row(payer, world.deposit(payer, amount), 10 * (n + 1))
        for n, payer in enumerate(payers)
    ]


@pytest.fixture
def official(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The contract taken for one that has no packed redemption, as the official one has none."""
    monkeypatch.setattr(world.settlement, "has_redeem", False)
    return world


def gas_since(world: World, block: int) -> list[int]:
    blocks = range(block + 1, world.w3.eth.block_number + 1)
    return [world.w3.eth.get_block(number)["gasUsed"] for number in blocks]


@pytest.mark.parametrize("sender", [STRANGER, RECEIVER, AUTHORIZER])
@pytest.mark.parametrize(
    ("rows", "batches"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (5, [5]), (MAX_ROWS, [5])]
)
def test_redeem__packed_and_paid_out(
    world: World, sender: LocalAccount, rows: int, batches: list[int]
) -> None:
    claims = channels(world, 5)
    before = world.w3.eth.block_number
    told: list[int] = []
    sending = world.sender(sender)
    done = redeem(world.settlement, sending, AUTHORIZER, claims, rows=rows, on_batch=told.append)

    assert told == batches
    assert (done.batches, done.paid) == (len(batches), 150)
    assert (done.credited, done.skipped) == (0, [])
    assert world.token.balance_of(RECEIVER.address) == 150
    assert world.escrowed() == 5 * 1_000 - 150
    for claim in claims:
        channel = world.settlement.channel(world.channel_id(claim.channel))
        assert channel == Channel(1_000, claim.total_claimed)
    # One transaction each, and the gas is theirs.
    gas = gas_since(world, before)
    assert (len(gas), sum(gas)) == (len(batches), done.gas)


def test_redeem__at_the_official_contract_is_claimed_and_settled(official: World) -> None:
    claims = channels(official, 5)
    before = official.w3.eth.block_number
    told: list[int] = []
    sender = official.sender(STRANGER)
    done = redeem(official.settlement, sender, AUTHORIZER, iter(claims), on_batch=told.append)
    assert (told, done.batches, done.paid) == ([5], 1, 150)
    assert official.token.balance_of(RECEIVER.address) == 150
    account = official.settlement.receiver_account(RECEIVER.address, official.token.address)
    assert account == ReceiverAccount(150, 150)
    gas = gas_since(official, before)
    assert (len(gas), sum(gas)) == (2, done.gas)


def test_redeem__asks_the_contract_whether_it_redeems(node_world: World) -> None:
    """The same code without the function that is asked for: no flag says so but the contract."""
    claims = channels(node_world, 3)
    assert node_world.settlement.has_redeem
    code = bytes(node_world.w3.eth.get_code(node_world.settlement.address))
    max_rows, nobodys = keccak(text="MAX_ROWS()")[:4], keccak(text="MAX_ROWS_NOT()")[:4]
    assert code.count(max_rows) == 1
    address = node_world.settlement.address
    rpc(node_world.w3, "anvil_setCode", address, "0x" + code.replace(max_rows, nobodys).hex())

    world = replace(node_world, settlement=Settlement(node_world.w3, address))
    assert not world.settlement.has_redeem
    done = redeem(world.settlement, world.operator, AUTHORIZER, claims)
    assert (done.batches, done.paid) == (1, 60)
    account = world.settlement.receiver_account(RECEIVER.address, world.token.address)
    assert account == ReceiverAccount(60, 60)


@pytest.mark.parametrize("has_redeem", [True, False])
def test_redeem__nothing(world: World, monkeypatch: pytest.MonkeyPatch, has_redeem: bool) -> None:
    monkeypatch.setattr(world.settlement, "has_redeem", has_redeem)
    before = world.w3.eth.block_number
    done = redeem(world.settlement, world.operator, AUTHORIZER, [])
    assert (done.batches, done.gas, done.paid, done.skipped) == (0, 0, 0, [])
    assert world.w3.eth.block_number == before


@pytest.mark.parametrize(("has_redeem", "batches"), [(True, 3), (False, 1)])
def test_redeem__every_receiver_and_token(
    world: World, monkeypatch: pytest.MonkeyPatch, has_redeem: bool, batches: int
) -> None:
    monkeypatch.setattr(world.settlement, "has_redeem", has_redeem)
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
    claims.append(world.row(PAYER, config, 450))

    done = redeem(world.settlement, world.operator, AUTHORIZER, claims)
    assert (done.batches, done.paid) == (batches, 100 + 200 + 450)
    assert world.token.balance_of(RECEIVER.address) == 100
    assert other.token.balance_of(RECEIVER.address) == 200
    assert world.token.balance_of(STRANGER.address) == 450


def test_redeem__skips_a_bad_row_and_says_why(world: World) -> None:
    claims = channels(world, 4)
    forged = world.row(STRANGER, claims[1].channel, 20)
    unknown = world.row(STRANGER, world.config(payer_authorizer=STRANGER.address), 5)
    done = redeem(
        world.settlement, world.operator, AUTHORIZER, [claims[0], forged, *claims[2:], unknown]
    )
    assert (done.batches, done.paid) == (1, 10 + 30 + 40)
    reasons = {skipped.claim: skipped.reason for skipped in done.skipped}
    assert reasons == {forged: Reason.BAD_SIGNATURE, unknown: Reason.EMPTY}
    assert world.settlement.channel(world.channel_id(forged.channel)) == Channel(1_000, 0)
    assert world.token.balance_of(RECEIVER.address) == 80


def test_redeem__a_refused_batch_of_claims_leaves_the_earlier_ones(
    official: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "MAX_CLAIMS", 2)
    claims = channels(official, 4)
    good, claims[3] = claims[3], official.row(party("reader 3"), claims[3].channel, 1_001)
    told: list[int] = []
    with pytest.raises(ClaimExceedsBalance) as caught:
        redeem(official.settlement, official.operator, AUTHORIZER, claims, on_batch=told.append)
    # The row is counted within its batch.
    assert (told, caught.value.row) == ([2], 1)
    account = official.settlement.receiver_account(RECEIVER.address, official.token.address)
    assert account == ReceiverAccount(30, 0)
    assert official.token.balance_of(RECEIVER.address) == 0

    # The next redemption pays out what the first one claimed, too.
    done = redeem(official.settlement, official.operator, AUTHORIZER, [claims[2], good])
    assert done.paid == 100
    assert official.token.balance_of(RECEIVER.address) == 100


@pytest.mark.parametrize("rows", [0, -1, MAX_ROWS + 1])
def test_redeem__a_batch_size_no_contract_takes(world: World, rows: int) -> None:
    claims = [world.row(PAYER, world.deposit(PAYER, 500), 100)]
    before = world.w3.eth.block_number
    with pytest.raises(InvalidField) as caught:
        redeem(world.settlement, world.operator, AUTHORIZER, claims, rows=rows)
    assert caught.value.field == "rows"
    assert str(caught.value) == f"rows must be 1 to 128, got {rows}"
    assert world.w3.eth.block_number == before
