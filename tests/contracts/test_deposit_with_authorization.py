"""A deposit by ERC-3009, straight into escrow: what was signed, where it was signed for, once."""

from __future__ import annotations

import boa
import pytest
from eth_abi import encode
from eth_utils import keccak
from redemption import (
    LATE,
    ZERO_ADDRESS,
    channel_id,
    deposit_nonce,
    signed_authorization,
    transfer,
)

AMOUNT = 1_000
SALT = 300

# A token that takes an authorization from anybody and moves as much as it likes.
LYING_TOKEN = """
# pragma version ==0.4.3
# pragma evm-version cancun

balanceOf: public(HashMap[address, uint256])
moves: public(uint256)
callTarget: address
callData: Bytes[4_096]
callSucceeded: public(bool)
callError: public(Bytes[256])

@external
def setMoves(moves: uint256):
    self.moves = moves

@external
def setCall(target: address, data: Bytes[4_096]):
    self.callTarget = target
    self.callData = data

@external
def transfer(to: address, amount: uint256) -> bool:
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount
    return True

@external
def receiveWithAuthorization(
    owner: address, to: address, amount: uint256, validAfter: uint256, validBefore: uint256,
    nonce: bytes32, signature: Bytes[256]
):
    self.balanceOf[to] += self.moves
    if self.callTarget != empty(address):
        self.callSucceeded, self.callError = raw_call(
            self.callTarget, self.callData, max_outsize=256, revert_on_failure=False
        )
"""


@pytest.fixture(scope="module", autouse=True)
def lying_token():
    return boa.loads(LYING_TOKEN)


@pytest.fixture
def sign_for(settlement, token, payer):
    """`sign_for(config, amount)`: what the payer signs, good as it stands."""

    def sign(config, amount=AMOUNT, *, by=payer, salt=SALT, **parts):
        return signed_authorization(settlement, token, config, amount, by, salt=salt, **parts)

    return sign


@pytest.fixture
def rich_payer(token, payer):
    token.mint(payer.address, 10 * AMOUNT)
    return payer


@pytest.fixture
def assert_nothing_moved(settlement, token, config, rich_payer):
    def check():
        assert settlement.channels(channel_id(settlement, config)) == (0, 0)
        assert token.balanceOf(rich_payer.address) == 10 * AMOUNT
        assert token.balanceOf(settlement.address) == 0

    return check


def _authorization_used(payer, nonce):
    return "AuthorizationUsed", {"authorizer": payer.address, "nonce": nonce}


def _deposited(identity, sender, amount, new_balance):
    return "Deposited", {
        "channelId": identity,
        "sender": sender.address,
        "amount": amount,
        "newBalance": new_balance,
    }


def test_deposit_with_authorization__opens_a_channel(
    settlement, token, config, rich_payer, stranger, sign_for, events
):
    settlement.depositWithAuthorization(config, AMOUNT, *sign_for(config), sender=stranger.address)

    identity = channel_id(settlement, config)
    assert events(settlement) == [
        _authorization_used(rich_payer, deposit_nonce(settlement, config, SALT)),
        transfer(rich_payer.address, settlement.address, AMOUNT),
        ("ChannelCreated", {"channelId": identity, "config": config}),
        _deposited(identity, stranger, AMOUNT, AMOUNT),
    ]
    assert settlement.channels(identity) == (AMOUNT, 0)
    assert token.balanceOf(rich_payer.address) == 9 * AMOUNT
    assert token.balanceOf(settlement.address) == AMOUNT
    assert token.balanceOf(stranger.address) == 0


def test_deposit_with_authorization__tops_a_channel_up(
    settlement, token, config, deposit, rich_payer, payer_authorizer, sign_for, stranger, events
):
    identity = deposit(config, 5)
    settlement.depositWithAuthorization(config, AMOUNT, *sign_for(config), sender=stranger.address)
    assert events(settlement) == [
        _authorization_used(rich_payer, deposit_nonce(settlement, config, SALT)),
        transfer(rich_payer.address, settlement.address, AMOUNT),
        _deposited(identity, stranger, AMOUNT, AMOUNT + 5),
    ]
    assert settlement.channels(identity) == (AMOUNT + 5, 0)
    assert token.balanceOf(settlement.address) == AMOUNT + 5


def test_deposit_with_authorization__keeps_what_was_claimed(
    settlement, config, deposit, voucher_claim, rich_payer, receiver, sign_for, events
):
    identity = deposit(config, 5)
    settlement.claim([voucher_claim(config, 5)], sender=receiver.address)
    settlement.depositWithAuthorization(config, AMOUNT, *sign_for(config))
    assert "ChannelCreated" not in [event.name for event in events(settlement)]
    assert settlement.channels(identity) == (AMOUNT + 5, 5)


def test_deposit_with_authorization__by_a_wallet_is_the_token_s_decision(
    settlement, token, channel_config, wallet, wallet_owner, sign_for
):
    config = channel_config(payer=wallet.address)
    token.mint(wallet.address, AMOUNT)
    settlement.depositWithAuthorization(config, AMOUNT, *sign_for(config, by=wallet_owner))
    assert settlement.channels(channel_id(settlement, config)) == (AMOUNT, 0)
    assert token.balanceOf(wallet.address) == 0


def test_deposit_with_authorization__takes_one_salt_after_another(
    settlement, config, rich_payer, sign_for
):
    for salt in (0, 1, 2**256 - 1):
        settlement.depositWithAuthorization(config, AMOUNT, *sign_for(config, salt=salt))
    assert settlement.channels(channel_id(settlement, config)) == (3 * AMOUNT, 0)


def test_deposit_with_authorization__through_multicall_deposits(
    settlement, token, config, rich_payer, sign_for, stranger
):
    calls = [
        bytes(
            settlement.depositWithAuthorization.prepare_calldata(
                config, AMOUNT, *sign_for(config, salt=salt)
            )
        )
        for salt in (1, 2)
    ]
    settlement.multicall(calls, sender=stranger.address)
    assert settlement.channels(channel_id(settlement, config)) == (2 * AMOUNT, 0)


# ---------------------------------------------------------------- not what was signed


@pytest.mark.parametrize(
    "other",
    [
        {"nonce": b"\0" * 32},
        {"nonce": keccak(b"another channel")},
        {"to": "0x" + "11" * 20},
        {"value": AMOUNT + 1},
        {"value": AMOUNT - 1},
        {"validAfter": 1},
        {"validBefore": LATE + 1},
        {"from": "0x" + "11" * 20},
    ],
    ids=lambda other: next(iter(other)),
)
def test_deposit_with_authorization__that_signed_something_else_is_refused(
    settlement, config, sign_for, assert_nothing_moved, expect_error, other
):
    signed = sign_for(config, **other)
    with expect_error("InvalidSignature()"):
        settlement.depositWithAuthorization(config, AMOUNT, *signed)
    assert_nothing_moved()


@pytest.mark.parametrize(
    "change",
    [
        lambda c, w: c._replace(payerAuthorizer=w),
        lambda c, w: c._replace(receiver=w),
        lambda c, w: c._replace(receiverAuthorizer=w),
        lambda c, w: c._replace(withdrawDelay=901),
        lambda c, w: c._replace(salt=b"\x01" * 32),
    ],
    ids=["payerAuthorizer", "receiver", "receiverAuthorizer", "withdrawDelay", "salt"],
)
def test_deposit_with_authorization__cannot_be_turned_to_another_channel(
    settlement, config, sign_for, stranger, assert_nothing_moved, expect_error, change
):
    signed = sign_for(config)
    stolen = change(config, stranger.address)
    with expect_error("InvalidSignature()"):
        settlement.depositWithAuthorization(stolen, AMOUNT, *signed, sender=stranger.address)
    assert settlement.channels(channel_id(settlement, stolen)) == (0, 0)
    assert_nothing_moved()


def test_deposit_with_authorization__cannot_be_used_at_the_token_or_a_collector(
    settlement, token, config, erc3009_collector, sign_for, stranger, assert_nothing_moved,
    expect_error,
):  # fmt: skip
    after, before, salt, signature = sign_for(config)
    nonce = deposit_nonce(settlement, config, SALT)
    with expect_error("CallerMustBePayee()"):
        token.receiveWithAuthorization(
            config.payer, settlement.address, AMOUNT, after, before, nonce, signature,
            sender=stranger.address,
        )  # fmt: skip
    with expect_error("InvalidSignature()"):
        token.transferWithAuthorization(
            config.payer, settlement.address, AMOUNT, after, before, nonce, signature,
            sender=stranger.address,
        )  # fmt: skip
    data = encode(["uint256", "uint256", "uint256", "bytes"], [after, before, salt, signature])
    with expect_error("InvalidSignature()"):
        settlement.deposit(config, AMOUNT, erc3009_collector.address, data)
    assert_nothing_moved()


def test_deposit_with_authorization__for_the_collector_is_refused(
    settlement, config, erc3009_collector, sign_for, assert_nothing_moved, expect_error
):
    signed = sign_for(config, to=erc3009_collector.address)
    with expect_error("InvalidSignature()"):
        settlement.depositWithAuthorization(config, AMOUNT, *signed)
    assert_nothing_moved()


def test_deposit_with_authorization__with_another_salt_is_refused(
    settlement, config, sign_for, assert_nothing_moved, expect_error
):
    after, before, _, signature = sign_for(config)
    with expect_error("InvalidSignature()"):
        settlement.depositWithAuthorization(config, AMOUNT, after, before, SALT + 1, signature)
    assert_nothing_moved()


@pytest.mark.parametrize("amount", [AMOUNT - 1, AMOUNT + 1])
def test_deposit_with_authorization__of_another_amount_is_refused(
    settlement, config, sign_for, assert_nothing_moved, expect_error, amount
):
    with expect_error("InvalidSignature()"):
        settlement.depositWithAuthorization(config, amount, *sign_for(config))
    assert_nothing_moved()


def test_deposit_with_authorization__by_another_key_is_refused(
    settlement, config, sign_for, stranger, payer_authorizer, assert_nothing_moved, expect_error
):
    for key in (stranger, payer_authorizer):
        with expect_error("InvalidSignature()"):
            settlement.depositWithAuthorization(config, AMOUNT, *sign_for(config, by=key))
    assert_nothing_moved()


def test_deposit_with_authorization__at_another_contract_is_refused(
    deploy, settlement, config, sign_for, assert_nothing_moved, expect_error
):
    other = deploy("BatchSettlement.vy")
    with expect_error("InvalidSignature()"):
        other.depositWithAuthorization(config, AMOUNT, *sign_for(config))
    assert_nothing_moved()


def test_deposit_with_authorization__on_another_chain_is_refused(
    settlement, config, sign_for, assert_nothing_moved, expect_error, monkeypatch
):
    signed = sign_for(config)
    monkeypatch.setattr(boa.env.evm.patch, "chain_id", 5)
    with expect_error("InvalidSignature()"):
        settlement.depositWithAuthorization(config, AMOUNT, *signed)
    monkeypatch.undo()
    assert_nothing_moved()


def test_deposit_with_authorization__a_second_time_is_refused(
    settlement, config, rich_payer, sign_for, expect_error
):
    signed = sign_for(config)
    settlement.depositWithAuthorization(config, AMOUNT, *signed)
    with expect_error("AuthorizationUsedOrCanceled()"):
        settlement.depositWithAuthorization(config, AMOUNT, *signed)
    assert settlement.channels(channel_id(settlement, config)) == (AMOUNT, 0)


def test_deposit_with_authorization__too_late_or_too_early_is_refused(
    settlement, config, sign_for, now, assert_nothing_moved, expect_error
):
    with expect_error("AuthorizationExpired()"):
        settlement.depositWithAuthorization(config, AMOUNT, *sign_for(config, valid_before=now()))
    with expect_error("AuthorizationNotYetValid()"):
        settlement.depositWithAuthorization(
            config, AMOUNT, *sign_for(config, valid_after=now() + 100)
        )
    assert_nothing_moved()


def test_deposit_with_authorization__in_its_last_second_is_taken(
    settlement, config, rich_payer, sign_for, now
):
    settlement.depositWithAuthorization(
        config, AMOUNT, *sign_for(config, valid_after=now() - 1, valid_before=now() + 1)
    )
    assert settlement.channels(channel_id(settlement, config)) == (AMOUNT, 0)


def test_deposit_with_authorization__of_more_than_the_payer_has_is_refused(
    settlement, config, payer, token, sign_for, expect_error
):
    token.mint(payer.address, AMOUNT - 1)
    with expect_error(
        "ERC20InsufficientBalance(address,uint256,uint256)", payer.address, AMOUNT - 1, AMOUNT
    ):
        settlement.depositWithAuthorization(config, AMOUNT, *sign_for(config))
    assert settlement.channels(channel_id(settlement, config)) == (0, 0)


# ---------------------------------------------------------------- what `deposit` checks too


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ({"payer": ZERO_ADDRESS}, "InvalidChannel()"),
        ({"receiver": ZERO_ADDRESS}, "InvalidChannel()"),
        ({"receiverAuthorizer": ZERO_ADDRESS}, "InvalidChannel()"),
        ({"token": ZERO_ADDRESS}, "InvalidChannel()"),
        ({"withdrawDelay": 899}, "WithdrawDelayOutOfRange()"),
        ({"withdrawDelay": 2_592_001}, "WithdrawDelayOutOfRange()"),
    ],
)
def test_deposit_with_authorization__of_a_bad_channel_is_refused_as_by_deposit(
    settlement, channel_config, open_collector, sign_for, rich_payer, expect_error, parts, error
):
    config = channel_config(**parts)
    signed = sign_for(config)
    with expect_error(error):
        settlement.depositWithAuthorization(config, AMOUNT, *signed)
    with expect_error(error):
        settlement.deposit(config, AMOUNT, open_collector.address, b"")


@pytest.mark.parametrize("delay", [900, 2_592_000])
def test_deposit_with_authorization__takes_the_delays_at_the_bounds(
    settlement, channel_config, sign_for, rich_payer, delay
):
    config = channel_config(withdrawDelay=delay)
    settlement.depositWithAuthorization(config, AMOUNT, *sign_for(config))
    assert settlement.channels(channel_id(settlement, config)) == (AMOUNT, 0)


def test_deposit_with_authorization__of_nothing_is_refused(
    settlement, config, sign_for, expect_error
):
    with expect_error("ZeroDeposit()"):
        settlement.depositWithAuthorization(config, 0, *sign_for(config, 0))


def test_deposit_with_authorization__beyond_what_a_channel_holds_is_refused(
    settlement, token, config, deposit, payer, sign_for, expect_error
):
    identity = deposit(config, 2**128 - 1)
    token.mint(payer.address, 1)
    with expect_error("DepositOverflow()"):
        settlement.depositWithAuthorization(config, 1, *sign_for(config, 1))
    assert settlement.channels(identity) == (2**128 - 1, 0)


# ---------------------------------------------------------------- a token that lies


@pytest.mark.parametrize("moves", [0, AMOUNT - 1, AMOUNT + 1])
def test_deposit_with_authorization__that_did_not_bring_the_amount_is_refused(
    settlement, lying_token, channel_config, expect_error, moves
):
    config = channel_config(token=lying_token.address)
    lying_token.setMoves(moves)
    with expect_error("DepositCollectionFailed()"):
        settlement.depositWithAuthorization(config, AMOUNT, 0, LATE, SALT, b"")
    assert settlement.channels(channel_id(settlement, config)) == (0, 0)
    assert lying_token.balanceOf(settlement.address) == 0


def test_deposit_with_authorization__is_judged_by_what_it_brought(
    settlement, lying_token, channel_config
):
    config = channel_config(token=lying_token.address)
    lying_token.setMoves(AMOUNT)
    settlement.depositWithAuthorization(config, AMOUNT, 0, LATE, SALT, b"")
    assert settlement.channels(channel_id(settlement, config)) == (AMOUNT, 0)


def test_deposit_with_authorization__of_a_token_that_swallows_calls_is_refused(
    settlement, awkward_token, channel_config, payer, expect_error
):
    config = channel_config(token=awkward_token.address)
    awkward_token.mint(payer.address, AMOUNT)
    with expect_error("DepositCollectionFailed()"):
        settlement.depositWithAuthorization(config, AMOUNT, 0, LATE, SALT, b"")


def test_deposit_with_authorization__of_no_contract_is_refused(
    settlement, channel_config, stranger, expect_error
):
    config = channel_config(token=stranger.address)
    with expect_error(None):
        settlement.depositWithAuthorization(config, AMOUNT, 0, LATE, SALT, b"")


def test_deposit_with_authorization__cannot_be_nested(
    settlement, lying_token, channel_config, deposit, config
):
    """The token's one transfer cannot count twice, nor leave while it is counted."""
    mine = channel_config(
        token=lying_token.address, payer=lying_token.address, receiver=lying_token.address
    )
    lying_token.setMoves(AMOUNT)
    settlement.depositWithAuthorization(mine, AMOUNT, 0, LATE, SALT, b"")
    entries = [
        settlement.depositWithAuthorization.prepare_calldata(mine, AMOUNT, 0, LATE, SALT, b""),
        settlement.deposit.prepare_calldata(mine, AMOUNT, lying_token.address, b""),
        settlement.refund.prepare_calldata(mine, AMOUNT),
        settlement.settle.prepare_calldata(mine.receiver, mine.token),
        settlement.initiateWithdraw.prepare_calldata(mine, AMOUNT),
    ]
    for count, entry in enumerate(entries, 2):
        lying_token.setCall(settlement.address, bytes(entry))
        settlement.depositWithAuthorization(mine, AMOUNT, 0, LATE, SALT, b"")
        assert not lying_token.callSucceeded()
        assert lying_token.callError() == b""
        assert settlement.channels(channel_id(settlement, mine)) == (count * AMOUNT, 0)
        assert lying_token.balanceOf(settlement.address) == count * AMOUNT
