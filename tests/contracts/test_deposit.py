"""A deposit opens or tops up a channel, and counts only what really arrived."""

from __future__ import annotations

import boa
import pytest
from contract_support import (
    MAX_UINT128,
    ZERO_ADDRESS,
    Books,
    books,
    channel_closed,
    channel_created,
    deposited,
    refunded,
    transfer,
)

AMOUNT = 1_000_000

RECORDER = """
# pragma version ==0.4.3
from ethereum.ercs import IERC20

payer: public(address)
token: public(address)
amount: public(uint256)
channel_id: public(bytes32)
data: public(Bytes[2_048])

@external
def collect(payer: address, token: address, amount: uint256, id: bytes32, data: Bytes[2_048]):
    self.payer = payer
    self.token = token
    self.amount = amount
    self.channel_id = id
    self.data = data
    assert extcall IERC20(token).transferFrom(payer, msg.sender, amount)
"""


def test_deposit__opens_a_channel(
    settlement, config, token, open_collector, fund, payer, stranger, events
):
    fund(token, payer.address, AMOUNT)
    channel_id = settlement.getChannelId(config)

    settlement.deposit(config, AMOUNT, open_collector.address, b"", sender=stranger.address)

    assert events(settlement) == [
        transfer(payer, settlement, AMOUNT),
        channel_created(channel_id, config),
        deposited(channel_id, stranger, AMOUNT, AMOUNT),
    ]
    assert books(settlement, config) == Books(balance=AMOUNT)
    assert token.balanceOf(settlement) == AMOUNT
    assert token.balanceOf(payer.address) == 0


def test_deposit__tops_up_an_open_channel(
    settlement, config, token, open_collector, deposit, fund, payer, stranger, events
):
    channel_id = deposit(config, AMOUNT)
    fund(token, payer.address, 5)

    settlement.deposit(config, 5, open_collector.address, b"", sender=stranger.address)

    assert events(settlement) == [
        transfer(payer, settlement, 5),
        deposited(channel_id, stranger, 5, AMOUNT + 5),
    ]
    assert books(settlement, config) == Books(balance=AMOUNT + 5)
    assert token.balanceOf(settlement) == AMOUNT + 5


def test_deposit__tops_up_a_channel_with_claims_and_leaves_them(
    settlement, config, deposit, voucher_claim, receiver, events
):
    deposit(config, AMOUNT)
    settlement.claim([voucher_claim(config, AMOUNT)], sender=receiver.address)

    deposit(config, 5)

    assert [event.name for event in events(settlement)] == ["Transfer", "Deposited"]
    assert books(settlement, config) == Books(balance=AMOUNT + 5, claimed=AMOUNT)


def test_deposit__opens_again_a_channel_that_was_emptied_without_a_claim(
    settlement, config, token, deposit, receiver, payer, events
):
    channel_id = deposit(config, AMOUNT)
    settlement.refund(config, AMOUNT, sender=receiver.address)
    assert events(settlement) == [
        refunded(channel_id, receiver, AMOUNT),
        channel_closed(channel_id, config),
        transfer(settlement, payer, AMOUNT),
    ]

    deposit(config, 7)

    assert events(settlement)[1] == channel_created(channel_id, config)
    assert books(settlement, config) == Books(balance=7, refund_nonce=1)


def test_deposit__does_not_cancel_a_withdrawal(settlement, config, deposit, payer, now):
    deposit(config, AMOUNT)
    started = now()
    settlement.initiateWithdraw(config, 400, sender=payer.address)

    deposit(config, AMOUNT)

    assert books(settlement, config) == Books(balance=2 * AMOUNT, pending=400, initiated_at=started)


def test_deposit__tells_the_collector_everything(settlement, config, token, payer):
    recorder = boa.loads(RECORDER)
    token.mint(payer.address, AMOUNT)
    token.approve(recorder.address, AMOUNT, sender=payer.address)
    data = b"\x01" * 2_048

    settlement.deposit(config, AMOUNT, recorder.address, data)

    assert recorder.payer() == payer.address
    assert recorder.token() == token.address
    assert recorder.amount() == AMOUNT
    assert recorder.channel_id() == settlement.getChannelId(config)
    assert recorder.data() == data


def test_deposit__keeps_channels_apart(settlement, channel_config, deposit):
    one, two = channel_config(), channel_config(salt=b"\x01" * 32)
    deposit(one, 10)
    deposit(two, 20)
    assert books(settlement, one) == Books(balance=10)
    assert books(settlement, two) == Books(balance=20)


@pytest.mark.parametrize("field", ["payer", "receiver", "receiverAuthorizer", "token"])
def test_deposit__refuses_a_zero_address(
    settlement, channel_config, open_collector, field, expect_error
):
    config = channel_config(**{field: ZERO_ADDRESS})
    with expect_error("InvalidChannel()"):
        settlement.deposit(config, AMOUNT, open_collector.address, b"")


def test_deposit__accepts_a_channel_without_payer_authorizer(settlement, channel_config, deposit):
    config = channel_config(payerAuthorizer=ZERO_ADDRESS)
    deposit(config, AMOUNT)
    assert books(settlement, config) == Books(balance=AMOUNT)


@pytest.mark.parametrize("delay", [0, 899, 2_592_001, 2**40 - 1])
def test_deposit__refuses_a_delay_out_of_range(
    settlement, channel_config, open_collector, delay, expect_error
):
    with expect_error("WithdrawDelayOutOfRange()"):
        settlement.deposit(channel_config(withdrawDelay=delay), AMOUNT, open_collector.address, b"")


@pytest.mark.parametrize("delay", [900, 901, 2_591_999, 2_592_000])
def test_deposit__accepts_a_delay_at_the_edges(settlement, channel_config, deposit, delay):
    config = channel_config(withdrawDelay=delay)
    deposit(config, AMOUNT)
    assert books(settlement, config) == Books(balance=AMOUNT)


def test_deposit__refuses_nothing(settlement, config, open_collector, expect_error):
    with expect_error("ZeroDeposit()"):
        settlement.deposit(config, 0, open_collector.address, b"")


def test_deposit__refuses_no_collector(settlement, config, expect_error):
    with expect_error("InvalidCollector()"):
        settlement.deposit(config, AMOUNT, ZERO_ADDRESS, b"")


def test_deposit__checks_in_the_official_order(settlement, channel_config, expect_error):
    delay = {"withdrawDelay": 1}
    with expect_error("InvalidChannel()"):
        settlement.deposit(channel_config(token=ZERO_ADDRESS, **delay), 0, ZERO_ADDRESS, b"")
    with expect_error("WithdrawDelayOutOfRange()"):
        settlement.deposit(channel_config(**delay), 0, ZERO_ADDRESS, b"")
    with expect_error("ZeroDeposit()"):
        settlement.deposit(channel_config(), 0, ZERO_ADDRESS, b"")


def test_deposit__fills_a_channel_to_128_bits_and_no_further(
    settlement, config, token, open_collector, deposit, fund, payer, expect_error
):
    deposit(config, MAX_UINT128 - 1)
    fund(token, payer.address, 2)
    with expect_error("DepositOverflow()"):
        settlement.deposit(config, 2, open_collector.address, b"")
    deposit(config, 1)
    with expect_error("DepositOverflow()"):
        settlement.deposit(config, 1, open_collector.address, b"")
    assert books(settlement, config) == Books(balance=MAX_UINT128)


def test_deposit__refuses_an_overflow_before_it_asks_the_collector(
    settlement, config, deposit, stranger, expect_error
):
    deposit(config, MAX_UINT128)
    with expect_error("DepositOverflow()"):
        settlement.deposit(config, 1, stranger.address, b"")


@pytest.mark.parametrize("surplus", [-AMOUNT, -1, 1])
def test_deposit__refuses_a_collector_that_brings_another_amount(
    settlement, config, token, hostile_collector, fund, payer, surplus, expect_error
):
    fund(token, payer.address, AMOUNT + 1, spender=hostile_collector)
    hostile_collector.pull(surplus)
    with expect_error("DepositCollectionFailed()"):
        settlement.deposit(config, AMOUNT, hostile_collector.address, b"")
    assert books(settlement, config) == Books()
    assert token.balanceOf(payer.address) == AMOUNT + 1


def test_deposit__refuses_a_collector_that_brings_nothing(
    settlement, config, channel_config, deposit, hostile_collector, expect_error
):
    deposit(channel_config(salt=b"\x01" * 32), AMOUNT)
    hostile_collector.doNothing()
    with expect_error("DepositCollectionFailed()"):
        settlement.deposit(config, AMOUNT, hostile_collector.address, b"")


def test_deposit__passes_on_the_collectors_own_error(
    settlement, config, erc3009_collector, deploy, token, expect_error
):
    foreign = deploy("collectors/ERC3009DepositCollector.vy", token.address)
    with expect_error("OnlyX402BatchSettlement()"):
        settlement.deposit(config, AMOUNT, foreign.address, b"")
    assert books(settlement, config) == Books()


def test_deposit__fails_on_a_collector_or_token_without_code(
    settlement, config, channel_config, open_collector, stranger, expect_error
):
    with expect_error(None):
        settlement.deposit(config, AMOUNT, stranger.address, b"")
    with expect_error(None):
        settlement.deposit(
            channel_config(token=stranger.address), AMOUNT, open_collector.address, b""
        )


def test_deposit__refuses_collector_data_beyond_its_bound(
    settlement, config, open_collector, expect_error, call_by_signature
):
    call = settlement.deposit.prepare_calldata(config, AMOUNT, open_collector.address, b"\x01" * 32)
    longer = call.replace((32).to_bytes(32) + b"\x01" * 32, (4_097).to_bytes(32) + b"\x01" * 4_128)
    with expect_error(None):
        call_by_signature(settlement, None, raw=longer)
