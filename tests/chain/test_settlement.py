"""The settlement contract's binding: each method on the in-process chain, with exact books."""

import pytest

from farthing.chain.checked_node import AnswerUnusable, CheckedNode
from farthing.chain.connection import connect
from farthing.chain.json_rpc import NodeRefused
from farthing.chain.reverts import (
    ClaimExceedsBalance,
    EmptyBatch,
    InvalidRefundNonce,
    InvalidSignature,
    NotAuthorizedToClaim,
    NotAuthorizedToRefund,
    NotReceiverAuthorizer,
    WithdrawalNotPending,
    WithdrawDelayNotElapsed,
)
from farthing.chain.settlement import (
    MAX_CLAIMS,
    Channel,
    ClaimTooLong,
    NotASettlement,
    PendingWithdrawal,
    ReceiverAccount,
    Settled,
    Settlement,
)
from farthing.protocol import Refund, VoucherClaim, sign
from tests.escrow_world import (
    AUTHORIZER,
    DELAY,
    FUNDS,
    PAYER,
    RECEIVER,
    SECOND_PAYER,
    STRANGER,
    World,
    party,
)
from tests.faulty_node import Fault, faulty_node

# ---------------------------------------------------------------- deposit


def test_deposit__new_channel_and_top_up(world: World) -> None:
    config = world.config()
    channel_id = world.channel_id(config)
    collector = world.deployment.erc3009_collector
    assert world.settlement.channel(channel_id) == Channel(0, 0)
    for salt, (amount, balance) in enumerate([(700, 700), (300, 1_000)]):
        data = world.consent(PAYER, config, amount, salt)
        receipt = world.settlement.deposit(world.operator, config, amount, collector, data)
        deposited = (
            "Deposited",
            {
                "channelId": channel_id,
                "sender": world.operator.address,
                "amount": amount,
                "newBalance": balance,
            },
        )
        events = world.events(receipt)
        assert events[-1] == deposited
        assert [name for name, _ in events[:-1]] == ([] if salt else ["ChannelCreated"])
    assert world.settlement.channel(channel_id) == Channel(1_000, 0)
    assert world.settlement.channel(channel_id).available == 1_000
    assert world.token.balance_of(PAYER.address) == FUNDS - 1_000
    assert world.escrowed() == 1_000


def test_deposit__event_carries_the_channel(world: World) -> None:
    config = world.config()
    data = world.consent(PAYER, config, 5)
    collector = world.deployment.erc3009_collector
    receipt = world.settlement.deposit(world.operator, config, 5, collector, data)
    name, args = world.events(receipt)[0]
    assert (name, args["channelId"]) == ("ChannelCreated", world.channel_id(config))
    assert tuple(args["config"].values()) == config.as_tuple()


def test_plan_deposit__many_at_once(world: World) -> None:
    collector = world.deployment.erc3009_collector
    planned = []
    for payer, config in ((PAYER, world.config()), (SECOND_PAYER, world.second_config())):
        data = world.consent(payer, config, 40)
        planned.append(world.settlement.plan_deposit(config, 40, collector, data))
    receipts = list(world.operator.transact_all(planned))
    assert [len(world.events(receipt)) for receipt in receipts] == [2, 2]
    assert world.escrowed() == 80


# ---------------------------------------------------------------- claim and settle


@pytest.mark.parametrize("claimer", [RECEIVER, AUTHORIZER])
def test_claim__two_channels_then_settle(world: World, claimer: object) -> None:
    first = world.deposit(PAYER, 1_000)
    second = world.deposit(SECOND_PAYER, 500)
    rows = [world.row(PAYER, first, 600), world.row(SECOND_PAYER, second, 500, total=50)]
    sender = world.sender(claimer)  # type: ignore[arg-type]
    receipt = world.settlement.claim(sender, rows)

    assert world.events(receipt) == [
        (
            "Claimed",
            {
                "channelId": world.channel_id(config),
                "sender": sender.address,
                "claimAmount": amount,
                "newTotalClaimed": amount,
            },
        )
        for config, amount in ((first, 600), (second, 50))
    ]
    assert world.settlement.channel(world.channel_id(first)) == Channel(1_000, 600)
    assert world.settlement.channel(world.channel_id(second)).available == 450
    account = world.settlement.receiver_account(RECEIVER.address, world.token.address)
    assert account == ReceiverAccount(650, 0)
    # A claim moves no token; a settlement does, once.
    assert world.token.balance_of(RECEIVER.address) == 0

    settled = world.settlement.settle(world.operator, RECEIVER.address, world.token.address)
    assert settled.amount == 650
    assert settled.gas > 21_000
    assert world.token.balance_of(RECEIVER.address) == 650
    assert world.escrowed() == 850
    account = world.settlement.receiver_account(RECEIVER.address, world.token.address)
    assert account == ReceiverAccount(650, 650)


def test_settle__nothing_due(world: World) -> None:
    settled = world.settlement.settle(world.operator, RECEIVER.address, world.token.address)
    assert settled == Settled(0, settled.gas, 0)


def test_claim__a_stale_row_moves_nothing(world: World) -> None:
    config = world.deposit(PAYER, 1_000)
    authorizer = world.sender(AUTHORIZER)
    world.settlement.claim(authorizer, [world.row(PAYER, config, 600)])
    receipt = world.settlement.claim(authorizer, [world.row(PAYER, config, 600)])
    assert world.events(receipt) == []
    assert world.settlement.channel(world.channel_id(config)) == Channel(1_000, 600)


def test_claim_with_signature__anyone_sends(world: World) -> None:
    config = world.deposit(PAYER, 1_000)
    rows = [world.row(PAYER, config, 600)]
    signature = world.settlement.sign_claims(AUTHORIZER, rows)
    stranger = world.sender(STRANGER)
    receipt = world.settlement.claim_with_signature(stranger, rows, signature)
    assert [(name, args["sender"]) for name, args in world.events(receipt)] == [
        ("Claimed", STRANGER.address)
    ]
    assert world.settlement.channel(world.channel_id(config)) == Channel(1_000, 600)


# ---------------------------------------------------------------- a refused batch


def bad_rows(world: World, at: int) -> list[VoucherClaim]:
    """Four claims of which the one at index ``at`` is signed by a stranger."""
    config = world.deposit(PAYER, 1_000)
    rows = [world.row(PAYER, config, 10 * (n + 1)) for n in range(4)]
    rows[at] = world.row(STRANGER, config, 10 * (at + 1))
    return rows


@pytest.mark.parametrize("at", [0, 2, 3])
def test_claim__names_the_row_with_a_wrong_signature(world: World, at: int) -> None:
    rows = bad_rows(world, at)
    with pytest.raises(InvalidSignature) as caught:
        world.settlement.claim(world.sender(AUTHORIZER), rows)
    assert type(caught.value) is InvalidSignature
    assert caught.value.row == at
    channel_id = world.channel_id(world.config())
    assert caught.value.detail == (
        f"channel 0x{channel_id.hex()}, claim {10 * (at + 1)} under a ceiling of "
        f"{10 * (at + 1)}, balance 1000, claimed before 0"
    )
    assert world.settlement.channel(channel_id) == Channel(1_000, 0)


@pytest.mark.parametrize("at", [0, 1])
def test_claim__names_the_row_above_its_balance(world: World, at: int) -> None:
    first, second = world.deposit(PAYER, 1_000), world.deposit(SECOND_PAYER, 500)
    rows = [world.row(PAYER, first, 600), world.row(SECOND_PAYER, second, 100)]
    rows[at] = [world.row(PAYER, first, 1_001), world.row(SECOND_PAYER, second, 501)][at]
    with pytest.raises(ClaimExceedsBalance) as caught:
        world.settlement.claim(world.sender(AUTHORIZER), rows)
    assert type(caught.value) is ClaimExceedsBalance
    assert caught.value.row == at
    assert f"balance {(1_000, 500)[at]}, claimed before 0" in str(caught.value)
    assert world.escrowed() == 1_500


def test_claim__names_the_row_on_a_node_too(node_world: World) -> None:
    with pytest.raises(InvalidSignature) as caught:
        node_world.settlement.claim(node_world.sender(AUTHORIZER), bad_rows(node_world, 2))
    assert (type(caught.value), caught.value.row) == (InvalidSignature, 2)


@pytest.mark.parametrize("at", [0, 3])
def test_claim_with_signature__names_the_row_with_a_wrong_signature(world: World, at: int) -> None:
    rows = bad_rows(world, at)
    signature = world.settlement.sign_claims(AUTHORIZER, rows)
    with pytest.raises(InvalidSignature) as caught:
        world.settlement.claim_with_signature(world.operator, rows, signature)
    assert (type(caught.value), caught.value.row) == (InvalidSignature, at)


def test_claim_with_signature__the_batch_signature_is_about_no_row(world: World) -> None:
    rows = [world.row(PAYER, world.deposit(PAYER, 1_000), 600)]
    signature = world.settlement.sign_claims(STRANGER, rows)
    with pytest.raises(InvalidSignature) as caught:
        world.settlement.claim_with_signature(world.operator, rows, signature)
    assert (type(caught.value), caught.value.row) == (InvalidSignature, None)


def test_claim_with_signature__rows_of_two_authorizers(world: World) -> None:
    config = world.deposit(PAYER, 1_000)
    other = world.config(receiver_authorizer=STRANGER.address)
    rows = [world.row(PAYER, config, 600), world.row(PAYER, other, 600)]
    signature = world.settlement.sign_claims(AUTHORIZER, rows)
    with pytest.raises(NotReceiverAuthorizer) as caught:
        world.settlement.claim_with_signature(world.operator, rows, signature)
    assert type(caught.value) is NotReceiverAuthorizer


def test_claim__a_row_that_only_fails_alone_is_not_the_one(world: World) -> None:
    first, second = world.deposit(PAYER, 1_000), world.deposit(SECOND_PAYER, 500)
    rows = [
        world.row(PAYER, first, 600),
        # Skipped as old news, so its signature is never looked at.
        world.row(STRANGER, first, 500),
        world.row(SECOND_PAYER, second, 501),
    ]
    with pytest.raises(ClaimExceedsBalance) as caught:
        world.settlement.claim(world.sender(AUTHORIZER), rows)
    assert (type(caught.value), caught.value.row) == (ClaimExceedsBalance, 2)


def test_claim__by_a_stranger(world: World) -> None:
    rows = [world.row(PAYER, world.deposit(PAYER, 1_000), 600)]
    with pytest.raises(NotAuthorizedToClaim) as caught:
        world.settlement.claim(world.sender(STRANGER), rows)
    assert (type(caught.value), caught.value.row) == (NotAuthorizedToClaim, 0)


def test_claim__no_rows(world: World) -> None:
    with pytest.raises(EmptyBatch) as caught:
        world.settlement.claim(world.sender(AUTHORIZER), [])
    assert (type(caught.value), caught.value.row) == (EmptyBatch, None)


def test_claim__more_rows_than_the_contract_takes(world: World) -> None:
    row = world.row(PAYER, world.config(), 1)
    before = world.w3.eth.block_number
    for send in (
        lambda rows: world.settlement.claim(world.operator, rows),
        lambda rows: world.settlement.claim_with_signature(world.operator, rows, b""),
    ):
        with pytest.raises(ClaimTooLong) as caught:
            send([row] * (MAX_CLAIMS + 1))
        assert caught.value.rows == MAX_CLAIMS + 1
        assert str(caught.value) == "a claim has at most 100 rows, this one 101: split it."
    assert world.w3.eth.block_number == before


def test_claim__as_many_rows_as_the_contract_takes(world: World) -> None:
    config = world.deposit(PAYER, 1_000)
    rows = [world.row(PAYER, config, n + 1) for n in range(MAX_CLAIMS)]
    receipt = world.settlement.claim(world.sender(AUTHORIZER), rows)
    assert len(world.events(receipt)) == MAX_CLAIMS
    assert world.settlement.channel(world.channel_id(config)) == Channel(1_000, MAX_CLAIMS)


# ---------------------------------------------------------------- withdraw


def test_withdraw__after_the_delay(world: World) -> None:
    config = world.deposit(PAYER, 1_000)
    channel_id = world.channel_id(config)
    payer = world.sender(PAYER)
    assert world.settlement.pending_withdrawal(channel_id) is None

    receipt = world.settlement.initiate_withdraw(payer, config, 400)
    asked_at = world.now()
    assert world.events(receipt) == [
        (
            "WithdrawInitiated",
            {"channelId": channel_id, "amount": 400, "finalizeAfter": asked_at + DELAY},
        )
    ]
    pending = world.settlement.pending_withdrawal(channel_id)
    assert pending == PendingWithdrawal(400, asked_at)
    with pytest.raises(WithdrawDelayNotElapsed):
        world.settlement.finalize_withdraw(payer, config)

    world.travel(DELAY)
    receipt = world.settlement.finalize_withdraw(payer, config)
    assert world.events(receipt) == [
        (
            "WithdrawFinalized",
            {"channelId": channel_id, "sender": PAYER.address, "amount": 400},
        )
    ]
    assert world.settlement.pending_withdrawal(channel_id) is None
    assert world.settlement.channel(channel_id) == Channel(600, 0)
    assert world.token.balance_of(PAYER.address) == FUNDS - 600
    assert world.escrowed() == 600
    with pytest.raises(WithdrawalNotPending):
        world.settlement.finalize_withdraw(payer, config)


# ---------------------------------------------------------------- refund


def test_refund__part_then_the_rest(world: World) -> None:
    config = world.deposit(PAYER, 1_000)
    channel_id = world.channel_id(config)
    receiver = world.sender(RECEIVER)
    receipt = world.settlement.refund(receiver, config, 300)
    refunded = {"channelId": channel_id, "sender": RECEIVER.address, "amount": 300}
    assert world.events(receipt) == [("Refunded", refunded)]
    assert world.settlement.refund_nonce(channel_id) == 1
    assert world.settlement.channel(channel_id) == Channel(700, 0)

    # More than there is gives back what there is, and closes the channel.
    receipt = world.settlement.refund(receiver, config, 5_000)
    assert [name for name, _ in world.events(receipt)] == ["Refunded", "ChannelClosed"]
    assert world.settlement.refund_nonce(channel_id) == 2
    assert world.token.balance_of(PAYER.address) == FUNDS
    assert world.escrowed() == 0
    with pytest.raises(NotAuthorizedToRefund):
        world.settlement.refund(world.sender(STRANGER), config, 1)


def test_refund_with_signature__once(world: World) -> None:
    config = world.deposit(PAYER, 1_000)
    channel_id = world.channel_id(config)
    signature = sign(AUTHORIZER, Refund(channel_id, 0, 250), world.settlement.domain)
    stranger = world.sender(STRANGER)
    receipt = world.settlement.refund_with_signature(stranger, config, 250, 0, signature)
    refunded = {"channelId": channel_id, "sender": STRANGER.address, "amount": 250}
    assert world.events(receipt) == [("Refunded", refunded)]
    assert world.token.balance_of(PAYER.address) == FUNDS - 750
    with pytest.raises(InvalidRefundNonce):
        world.settlement.refund_with_signature(stranger, config, 250, 0, signature)
    assert world.settlement.channel(channel_id) == Channel(750, 0)


# ---------------------------------------------------------------- another contract, or none


def test_settlement__no_code(world: World) -> None:
    nobody = party("nobody").address
    with pytest.raises(NotASettlement) as caught:
        Settlement(world.w3, nobody)
    assert caught.value.address == nobody
    assert f"at {nobody} (there is no code)" in str(caught.value)


def test_settlement__a_contract_without_a_domain(world: World) -> None:
    with pytest.raises(NotASettlement) as caught:
        Settlement(world.w3, world.deployment.erc3009_collector)
    assert "(it has no EIP-712 domain)" in str(caught.value)


def test_settlement__a_contract_with_another_domain(world: World) -> None:
    with pytest.raises(NotASettlement) as caught:
        Settlement(world.w3, world.token.address)
    assert "its domain is ('Test USD', " in str(caught.value)


@pytest.mark.parametrize("method", ["eth_chainId", "eth_getCode", "eth_call"])
def test_settlement__a_node_that_is_busy(node_world: World, node_url: str, method: str) -> None:
    with faulty_node(node_url) as node:
        w3 = connect(node.url)
        node.then(method, Fault.REFUSE)
        with pytest.raises(NodeRefused, match="limit exceeded"):
            Settlement(w3, node_world.settlement.address)


def test_checked_node__a_node_that_is_busy(node_world: World, node_url: str) -> None:
    with faulty_node(node_url) as node:
        w3 = connect(node.url)
        node.then("eth_chainId", Fault.REFUSE)
        with pytest.raises(AnswerUnusable, match="limit exceeded"):
            CheckedNode(w3)
