from __future__ import annotations

from typing import Any

import pytest
from eth_utils.crypto import keccak
from web3 import Web3

from farthing.chain import sender as sender_module
from farthing.chain.connection import NodeUnreachable, connect
from farthing.chain.reverts import (
    ContractReverted,
    ERC20InsufficientBalance,
    InvalidChannel,
    ZeroDeposit,
)
from farthing.chain.sender import (
    IN_FLIGHT,
    Sender,
    Transaction,
    TransactionLost,
    TransactionRefused,
)
from tests.escrow_world import PAYER, RECEIVER, STRANGER, World, party
from tests.stub_node import forward, method, result, stub_node

NOBODY = "0x" + "11" * 20


def transfer(world: World, amount: int, gas: int | None = None) -> Transaction:
    return world.token._transaction("transfer", NOBODY, amount, gas=gas)


def count(world: World, address: str) -> int:
    return world.w3.eth.get_transaction_count(Web3.to_checksum_address(address))


# ---------------------------------------------------------------- counting


def test_transact__counts_nonces_from_the_chain(world: World) -> None:
    first = world.sender(PAYER)
    assert count(world, PAYER.address) == 0
    for expected in (1, 2, 3):
        receipt = first.transact(transfer(world, 1))
        assert (receipt["status"], receipt["from"]) == (1, PAYER.address)
        assert count(world, PAYER.address) == expected
    # Another sender of the same account goes on where the first one stopped.
    world.sender(PAYER).transact(transfer(world, 1))
    assert count(world, PAYER.address) == 4
    assert world.token.balance_of(NOBODY) == 4


def test_transact__goes_on_after_a_refusal(world: World) -> None:
    payer = world.sender(PAYER)
    payer.transact(transfer(world, 1))
    with pytest.raises(ERC20InsufficientBalance):
        payer.transact(transfer(world, 10**12))
    payer.transact(transfer(world, 2))
    assert count(world, PAYER.address) == 2
    assert world.token.balance_of(NOBODY) == 3


def test_transact__goes_on_after_a_mined_failure(world: World) -> None:
    payer = world.sender(PAYER)
    with pytest.raises(ERC20InsufficientBalance):
        payer.transact(transfer(world, 10**12, gas=100_000))
    payer.transact(transfer(world, 2))
    # The failure was mined, so it took a nonce.
    assert count(world, PAYER.address) == 2
    assert world.token.balance_of(NOBODY) == 2


def test_transact__deploys_without_a_recipient(world: World) -> None:
    # PUSH1 1 PUSH1 0 RETURN: the code is one zero byte.
    receipt = world.operator.transact(Transaction(None, bytes.fromhex("60016000f3")))
    assert receipt["contractAddress"] is not None
    assert world.w3.eth.get_code(receipt["contractAddress"]) == b"\0"


@pytest.mark.parametrize("transactions", [0, 1, IN_FLIGHT - 1, IN_FLIGHT, IN_FLIGHT + 1, 40])
def test_transact_all__receipts_in_their_order(world: World, transactions: int) -> None:
    payer = world.sender(PAYER)
    planned = [transfer(world, amount) for amount in range(1, transactions + 1)]
    receipts = list(payer.transact_all(planned))
    moved = [int(receipt["logs"][0]["data"].hex(), 16) for receipt in receipts]
    assert moved == list(range(1, transactions + 1))
    assert count(world, PAYER.address) == transactions


def test_transact_all__never_more_in_flight_than_nodes_take(world: World) -> None:
    payer = world.sender(PAYER)
    asked = 0

    def plan() -> Any:
        nonlocal asked
        for _ in range(2 * IN_FLIGHT + 5):
            asked += 1
            yield transfer(world, 1)

    in_flight = [asked - received for received, _ in enumerate(payer.transact_all(plan()))]
    assert max(in_flight) == IN_FLIGHT
    assert asked == 2 * IN_FLIGHT + 5


def test_transact_all__nonces_in_order_on_a_node_that_mines_later(node_world: World) -> None:
    """Several wait in the node's pool at once; none is skipped and none sent twice."""
    payer = node_world.sender(PAYER)
    planned = [transfer(node_world, amount, gas=100_000) for amount in range(1, 41)]
    receipts = list(payer.transact_all(planned))
    blocks = [receipt["blockNumber"] for receipt in receipts]
    assert blocks == sorted(blocks)
    assert [int(r["logs"][0]["data"].hex(), 16) for r in receipts] == list(range(1, 41))
    assert node_world.token.balance_of(NOBODY) == sum(range(1, 41))


def test_transact_all__stops_at_the_first_that_fails(world: World) -> None:
    payer = world.sender(PAYER)
    planned = [transfer(world, 1), transfer(world, 10**12, gas=100_000), transfer(world, 5)]
    receipts = payer.transact_all(planned)
    assert next(receipts)["status"] == 1
    with pytest.raises(ERC20InsufficientBalance):
        next(receipts)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("gas", [None, 100_000])
def test_transact__a_refusal_is_typed_with_and_without_estimate(
    any_world: World, gas: int | None
) -> None:
    config = any_world.config()
    arguments = (config.as_tuple(), 0, any_world.deployment.erc3009_collector, b"")
    with pytest.raises(ZeroDeposit) as caught:
        any_world.operator.transact(
            any_world.settlement._transaction("deposit", *arguments, gas=gas)
        )
    assert type(caught.value) is ZeroDeposit
    assert caught.value.data == keccak(text="ZeroDeposit()")[:4]


def test_transact__an_unknown_function(any_world: World) -> None:
    for gas in (None, 100_000):
        with pytest.raises(ContractReverted) as caught:
            any_world.operator.transact(Transaction(any_world.settlement.address, b"\1\2\3\4", gas))
        assert type(caught.value) is ContractReverted
        assert caught.value.data == b""


def test_transact__too_little_gas(any_world: World) -> None:
    with pytest.raises(TransactionRefused) as caught:
        any_world.sender(PAYER).transact(transfer(any_world, 1, gas=25_000))
    assert caught.value.reason == "it ran out of its 25,000 gas"
    assert any_world.token.balance_of(NOBODY) == 0


@pytest.mark.parametrize("gas", [None, 100_000])
def test_transact__no_coins_for_gas(any_world: World, gas: int | None) -> None:
    poor = party("poor")
    with pytest.raises(TransactionRefused) as caught:
        any_world.sender(poor).transact(transfer(any_world, 0, gas))
    assert caught.value.sender == poor.address
    assert poor.address in str(caught.value)
    assert "send this account some of the chain's coin for gas" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert count(any_world, poor.address) == 0


def test_transact__who_may_not(world: World) -> None:
    with pytest.raises(InvalidChannel) as caught:
        world.settlement.initiate_withdraw(world.sender(STRANGER), world.config(), 1)
    assert type(caught.value) is InvalidChannel


def test_transact__a_signer_that_fails(world: World) -> None:
    class Locked:
        address = RECEIVER.address

        def sign_transaction(self, transaction_dict: Any, /) -> Any:
            raise ValueError("the device is locked")

    with pytest.raises(TransactionRefused, match="the device is locked"):
        Sender(world.w3, Locked()).transact(transfer(world, 0))
    assert count(world, RECEIVER.address) == 0


# ---------------------------------------------------------------- lost


def test_transact__the_receipt_never_comes(
    node_world: World, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "RECEIPT_SECONDS", 0)

    def hostile(body: bytes) -> bytes:
        if method(body) == "eth_getTransactionReceipt":
            return result(None)
        return forward(node_url, body)

    with stub_node(hostile) as url:
        sender = Sender(connect(url), PAYER)
        with pytest.raises(TransactionLost) as caught:
            sender.transact(transfer(node_world, 3))
    assert_mined(node_world, caught.value)
    assert str(caught.value) == (
        f"no receipt came for transaction {caught.value.hash.to_0x_hex()} (waited 0 s): "
        "look it up before you send again."
    )


@pytest.mark.parametrize("garbage", [b"<html>", b"[]", result({}), result("x")])
def test_transact__the_receipt_is_garbage(node_world: World, node_url: str, garbage: bytes) -> None:
    def hostile(body: bytes) -> bytes:
        if method(body) == "eth_getTransactionReceipt":
            return garbage
        return forward(node_url, body)

    with stub_node(hostile) as url:
        sender = Sender(connect(url), PAYER)
        with pytest.raises(TransactionLost) as caught:
            sender.transact(transfer(node_world, 3))
    assert_mined(node_world, caught.value)


def test_transact__the_node_takes_it_and_hangs_up(node_world: World, node_url: str) -> None:
    def hostile(body: bytes) -> bytes | None:
        answer = forward(node_url, body)
        return None if method(body) == "eth_sendRawTransaction" else answer

    with stub_node(hostile) as url:
        sender = Sender(connect(url), PAYER)
        with pytest.raises(TransactionLost) as caught:
            sender.transact(transfer(node_world, 3))
    assert_mined(node_world, caught.value)


def test_transact__the_node_is_gone_before_it_was_sent(node_world: World, node_url: str) -> None:
    with stub_node(lambda body: forward(node_url, body)) as url:
        sender = Sender(connect(url), PAYER)
    with pytest.raises(NodeUnreachable) as caught:
        sender.transact(transfer(node_world, 3))
    assert caught.value.url == url
    assert count(node_world, PAYER.address) == 0


def test_transact__after_a_loss_the_chain_is_asked_for_the_nonce(
    node_world: World, node_url: str
) -> None:
    spoiled = [True]

    def hostile(body: bytes) -> bytes | None:
        answer = forward(node_url, body)
        return None if method(body) == "eth_sendRawTransaction" and spoiled else answer

    with stub_node(hostile) as url:
        sender = Sender(connect(url), PAYER)
        with pytest.raises(TransactionLost):
            sender.transact(transfer(node_world, 3))
        spoiled.clear()
        sender.transact(transfer(node_world, 4))
    assert node_world.token.balance_of(NOBODY) == 7


def assert_mined(world: World, lost: TransactionLost) -> None:
    """The hash of a lost transaction leads to it."""
    receipt = world.w3.eth.get_transaction_receipt(lost.hash)
    assert (receipt["status"], receipt["from"]) == (1, PAYER.address)
    assert world.token.balance_of(NOBODY) == 3
