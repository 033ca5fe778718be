"""Events are those of one contract, in their order, whatever else is in the receipt."""

from farthing.chain.artifacts import artifact
from farthing.chain.events import Event, read_events
from tests.escrow_world import PAYER, RECEIVER, World


def test_read_events__of_one_contract_only(world: World) -> None:
    config = world.config()
    data = world.consent(PAYER, config, 70)
    collector = world.deployment.erc3009_collector
    receipt = world.settlement.deposit(world.operator, config, 70, collector, data)
    # The token logs in the same transaction: the nonce used, and a transfer to the collector and
    # on to the escrow or straight to it.
    others = [log for log in receipt["logs"] if log["address"] == world.token.address]
    assert len(others) >= 2
    found = world.settlement.events(receipt)
    assert [event.name for event in found] == ["ChannelCreated", "Deposited"]
    assert len(found) + len(others) == len(receipt["logs"])


def test_read_events__of_the_token_in_the_same_receipt(world: World) -> None:
    receipt = world.token.transfer(world.sender(PAYER), RECEIVER.address, 9)
    contract = world.w3.eth.contract(
        world.w3.to_checksum_address(world.token.address), abi=artifact("TestUSD").abi
    )
    (event,) = read_events(contract, receipt)
    assert isinstance(event, Event)
    assert event.name == "Transfer"
    assert sorted(event.args.values(), key=str) == sorted(
        [PAYER.address, RECEIVER.address, 9], key=str
    )


def test_read_events__none_of_ours(world: World) -> None:
    receipt = world.token.transfer(world.sender(PAYER), RECEIVER.address, 9)
    assert world.settlement.events(receipt) == []


def test_read_events__anonymous_and_unknown_logs(world: World) -> None:
    """A log without a topic, and one whose topic the interface does not know."""
    receipt = world.token.transfer(world.sender(PAYER), RECEIVER.address, 9)
    address = world.settlement.address
    (log,) = receipt["logs"]
    unknown = {**log, "address": address}
    anonymous = {**log, "address": address, "topics": []}
    assert world.settlement.events({**receipt, "logs": [anonymous, unknown]}) == []  # type: ignore[typeddict-item]
