"""The mocks misbehave as they say, so that a test which uses them tests something."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

AMOUNT = 1_000
MAGIC = bytes.fromhex("1626ba7e")
MAGIC_WORD = MAGIC + b"\0" * 28
DIGEST = keccak(text="something to sign")
QUESTION = "isValidSignature(bytes32,bytes)"


def call_data(contract: Any, function: str, *args: Any) -> bytes:
    return bytes(getattr(contract, function).prepare_calldata(*args))


# ---------------------------------------------------------------- wallets


def test_wallet__says_yes_to_its_owner_alone(
    wallet: Any, wallet_owner: LocalAccount, stranger: LocalAccount, sign: Any
) -> None:
    assert wallet.isValidSignature(DIGEST, sign(wallet_owner, DIGEST)) == MAGIC
    for wrong in (sign(stranger, DIGEST), sign(wallet_owner, b"\1" * 32), b"", b"\0" * 65):
        assert wallet.isValidSignature(DIGEST, wrong) == b"\xff" * 4


def test_wallet__calls_and_passes_reverts_on(
    wallet: Any, token: Any, stranger: LocalAccount, expect_error: Any
) -> None:
    token.mint(wallet.address, AMOUNT)
    wallet.execute(token.address, call_data(token, "transfer", stranger.address, AMOUNT))
    assert token.balanceOf(stranger.address) == AMOUNT
    with expect_error(
        "ERC20InsufficientBalance(address,uint256,uint256)", wallet.address, 0, AMOUNT
    ):
        wallet.execute(token.address, call_data(token, "transfer", stranger.address, AMOUNT))


@pytest.mark.parametrize(
    ("word", "size", "accepted"),
    [
        (MAGIC_WORD, 32, True),
        (MAGIC_WORD, 32_768, True),
        (MAGIC_WORD, 31, False),
        (MAGIC_WORD, 4, False),
        (MAGIC_WORD, 0, False),
        (b"\xff" * 32, 32, False),
        (b"\0" * 31 + b"\1", 32, False),
        (MAGIC + b"\0" * 27 + b"\1", 32, False),
        (b"\0" * 28 + MAGIC, 32, False),
    ],
)
def test_hostile_wallet__answers_with_any_word_and_size(
    word: bytes,
    size: int,
    accepted: bool,
    hostile_wallet: Any,
    deposit: Any,
    channel_config: Any,
    settlement: Any,
    receiver: LocalAccount,
    call_by_signature: Any,
    voucher_claim: Any,
    expect_error: Any,
) -> None:
    hostile_wallet.answerWith(word, size)
    answer = call_by_signature(hostile_wallet, QUESTION, DIGEST, b"")
    assert answer == word[:size].ljust(size, b"\0")

    config = channel_config(payer=hostile_wallet.address, payerAuthorizer="0x" + "00" * 20)
    channel_id = deposit(config, AMOUNT)
    row = voucher_claim(config, AMOUNT, signature=b"whatever")
    if accepted:
        settlement.claim([row], sender=receiver.address)
    else:
        with expect_error("InvalidSignature()"):
            settlement.claim([row], sender=receiver.address)
    assert settlement.channels(channel_id) == (AMOUNT, AMOUNT * accepted)


@pytest.mark.parametrize("misbehave", ["revertAlways", "burnGas"])
def test_hostile_wallet__fails_only_its_own_check(
    misbehave: str,
    hostile_wallet: Any,
    deposit: Any,
    channel_config: Any,
    settlement: Any,
    receiver: LocalAccount,
    call_by_signature: Any,
    voucher_claim: Any,
    expect_error: Any,
) -> None:
    getattr(hostile_wallet, misbehave)()
    error = ("Error(string)", "hostile wallet") if misbehave == "revertAlways" else (None,)
    with expect_error(*error):
        call_by_signature(hostile_wallet, QUESTION, DIGEST, b"")
    config = channel_config(payer=hostile_wallet.address, payerAuthorizer="0x" + "00" * 20)
    deposit(config, AMOUNT)
    with expect_error("InvalidSignature()"):
        settlement.claim([voucher_claim(config, 1, signature=b"")], sender=receiver.address)


def test_hostile_wallet__calls_back_before_it_answers(
    hostile_wallet: Any,
    settlement: Any,
    token: Any,
    deposit: Any,
    channel_config: Any,
    receiver: LocalAccount,
    call_by_signature: Any,
    voucher_claim: Any,
    expect_error: Any,
) -> None:
    # As a plain call it calls out and says yes.
    hostile_wallet.callBack(token.address, call_data(token, "mint", receiver.address, 3))
    assert call_by_signature(hostile_wallet, QUESTION, DIGEST, b"") == MAGIC_WORD
    assert token.balanceOf(receiver.address) == 3
    # Asked by settlement it is held static, and can read at most.
    config = channel_config(payer=hostile_wallet.address, payerAuthorizer="0x" + "00" * 20)
    channel_id = deposit(config, AMOUNT)
    row = voucher_claim(config, AMOUNT, signature=b"")
    with expect_error("InvalidSignature()"):
        settlement.claim([row], sender=receiver.address)
    hostile_wallet.callBack(
        settlement.address, call_data(settlement, "settle", receiver.address, token.address)
    )
    with expect_error("InvalidSignature()"):
        settlement.claim([row], sender=receiver.address)
    hostile_wallet.callBack(settlement.address, call_data(settlement, "channels", channel_id))
    settlement.claim([row], sender=receiver.address)
    assert settlement.channels(channel_id) == (AMOUNT, AMOUNT)
    assert token.balanceOf(receiver.address) == 3


# ---------------------------------------------------------------- collectors


@pytest.mark.parametrize("surplus", [-1, 1])
def test_hostile_collector__pulls_another_amount(
    surplus: int,
    hostile_collector: Any,
    settlement: Any,
    token: Any,
    fund: Any,
    config: Any,
    expect_error: Any,
) -> None:
    fund(token, config.payer, 2 * AMOUNT, hostile_collector)
    hostile_collector.pull(surplus)
    with expect_error("DepositCollectionFailed()"):
        settlement.deposit(config, AMOUNT, hostile_collector.address, b"")
    hostile_collector.pull(0)
    settlement.deposit(config, AMOUNT, hostile_collector.address, b"")
    assert token.balanceOf(settlement.address) == AMOUNT
    hostile_collector.pull(surplus)
    hostile_collector.collect(config.payer, token.address, 10, b"\0" * 32, b"", sender=config.payer)
    assert token.balanceOf(config.payer) == AMOUNT


def test_hostile_collector__does_nothing(
    hostile_collector: Any, settlement: Any, token: Any, fund: Any, config: Any, expect_error: Any
) -> None:
    fund(token, config.payer, AMOUNT, hostile_collector)
    hostile_collector.doNothing()
    with expect_error("DepositCollectionFailed()"):
        settlement.deposit(config, AMOUNT, hostile_collector.address, b"")
    assert token.balanceOf(config.payer) == AMOUNT


def test_hostile_collector__keeps_what_came_of_its_call(
    hostile_collector: Any, settlement: Any, token: Any, fund: Any, config: Any
) -> None:
    fund(token, config.payer, 2 * AMOUNT, hostile_collector)
    hostile_collector.callBack(token.address, call_data(token, "mint", config.receiver, 9))
    settlement.deposit(config, AMOUNT, hostile_collector.address, b"")
    assert hostile_collector.callSucceeded()
    assert token.balanceOf(config.receiver) == 9

    hostile_collector.callBack(
        settlement.address, call_data(settlement, "settle", config.receiver, token.address)
    )
    settlement.deposit(config, AMOUNT, hostile_collector.address, b"")
    assert not hostile_collector.callSucceeded()
    # The lock refuses without a reason.
    assert hostile_collector.callError() == b""


def test_open_collector__asks_nobody(
    open_collector: Any, token: Any, fund: Any, payer: LocalAccount, stranger: LocalAccount
) -> None:
    fund(token, payer.address, AMOUNT)
    open_collector.collect(
        payer.address, token.address, AMOUNT, b"\0" * 32, b"", sender=stranger.address
    )
    assert token.balanceOf(stranger.address) == AMOUNT


# ---------------------------------------------------------------- tokens


@pytest.fixture
def awkward(awkward_token: Any, payer: LocalAccount, stranger: LocalAccount) -> Any:
    """The payer has some, and `stranger` may move half of it."""
    awkward_token.mint(payer.address, AMOUNT)
    awkward_token.approve(stranger.address, AMOUNT // 2, sender=payer.address)
    return awkward_token


@pytest.fixture(params=["transfer", "transferFrom"])
def move(
    request: Any, awkward: Any, payer: LocalAccount, receiver: LocalAccount, stranger: LocalAccount
) -> Any:
    """Moves an amount from payer to receiver, in either way."""

    def go(amount: int) -> bool:
        if request.param == "transfer":
            return bool(awkward.transfer(receiver.address, amount, sender=payer.address))
        return bool(
            awkward.transferFrom(payer.address, receiver.address, amount, sender=stranger.address)
        )

    return go


@pytest.fixture(params=["payer", "receiver"])
def side(request: Any) -> str:
    """The address of either side of the transfer."""
    return str(request.getfixturevalue(request.param).address)


def test_awkward_token__behaves_until_told_otherwise(
    awkward: Any, move: Any, payer: LocalAccount, receiver: LocalAccount, events: Any
) -> None:
    assert move(100)
    assert events(awkward) == [
        ("Transfer", {"sender": payer.address, "receiver": receiver.address, "value": 100})
    ]
    assert awkward.balanceOf(payer.address) == AMOUNT - 100
    assert awkward.balanceOf(receiver.address) == 100


def test_awkward_token__holds_allowances(
    awkward: Any, payer: LocalAccount, stranger: LocalAccount, expect_error: Any
) -> None:
    with expect_error(None):
        awkward.transferFrom(payer.address, stranger.address, 501, sender=stranger.address)
    awkward.transferFrom(payer.address, stranger.address, 500, sender=stranger.address)
    assert awkward.allowance(payer.address, stranger.address) == 0


def test_awkward_token__keeps_a_fee(awkward: Any, move: Any, receiver: LocalAccount) -> None:
    awkward.setFee(3)
    assert move(100)
    assert awkward.balanceOf(receiver.address) == 97
    assert awkward.totalSupply() == AMOUNT - 3


def test_awkward_token__answers_false_and_moves_nothing(
    awkward: Any, move: Any, payer: LocalAccount
) -> None:
    awkward.setAnswersFalse(True)
    assert not move(100)
    assert awkward.balanceOf(payer.address) == AMOUNT


def test_awkward_token__is_paused(awkward: Any, move: Any, expect_error: Any) -> None:
    awkward.setPaused(True)
    with expect_error("Error(string)", "paused"):
        move(100)
    awkward.setPaused(False)
    assert move(100)


def test_awkward_token__blocks_an_address(
    side: str, awkward: Any, move: Any, expect_error: Any
) -> None:
    awkward.setBlocked(side, True)
    with expect_error("Error(string)", "blocked"):
        move(100)
    awkward.setBlocked(side, False)
    assert move(100)


def test_awkward_token__burns_all_gas(awkward: Any, move: Any, expect_error: Any) -> None:
    awkward.setBurnsGas(True)
    with expect_error(None):
        move(100)
    # An invalid instruction, not a revert: nothing of the gas comes back.
    assert awkward._computation.get_gas_remaining() == 0


@pytest.mark.parametrize("balance", [0, AMOUNT - 1, AMOUNT + 1])
def test_awkward_token__rebases(balance: int, awkward: Any, payer: LocalAccount) -> None:
    awkward.rebase(payer.address, balance)
    assert awkward.balanceOf(payer.address) == awkward.totalSupply() == balance


def test_awkward_token__calls_the_hooks_of_both_sides(
    side: str,
    awkward: Any,
    move: Any,
    token: Any,
    stranger: LocalAccount,
    payer: LocalAccount,
) -> None:
    mint = call_data(token, "mint", stranger.address, 1)
    awkward.setHook(side, token.address, mint)
    assert move(100)
    assert (awkward.hookCalls(), awkward.hookSucceeded()) == (1, True)
    assert token.balanceOf(stranger.address) == 1

    awkward.setHook(side, token.address, call_data(token, "transfer", "0x" + "00" * 20, 1))
    assert move(100)
    assert (awkward.hookCalls(), awkward.hookSucceeded()) == (2, False)
    error = keccak(text="ERC20InvalidReceiver(address)")[:4] + b"\0" * 32
    assert awkward.hookError() == error

    awkward.setHook(side, "0x" + "00" * 20, b"")
    assert move(100)
    assert awkward.hookCalls() == 2
    assert awkward.balanceOf(payer.address) == AMOUNT - 300


def test_no_return_token__moves_and_returns_nothing(
    no_return_token: Any,
    payer: LocalAccount,
    receiver: LocalAccount,
    stranger: LocalAccount,
    call_by_signature: Any,
    expect_error: Any,
) -> None:
    token = no_return_token
    token.mint(payer.address, AMOUNT)
    for signature, args, sender in (
        ("approve(address,uint256)", (stranger.address, 100), payer),
        ("transfer(address,uint256)", (receiver.address, 10), payer),
        ("transferFrom(address,address,uint256)", (payer.address, receiver.address, 60), stranger),
    ):
        assert call_by_signature(token, signature, *args, sender=sender.address) == b""
    assert token.balanceOf(receiver.address) == 70
    assert token.allowance(payer.address, stranger.address) == 40
    with expect_error(None):
        token.transferFrom(payer.address, receiver.address, 41, sender=stranger.address)
    with expect_error(None):
        token.transfer(receiver.address, AMOUNT, sender=payer.address)


# ---------------------------------------------------------------- Permit2


def permit2_call(
    permit2: Any, token: Any, owner: str, signature: bytes, requested: int = AMOUNT
) -> None:
    permit2.permitWitnessTransferFrom(
        ((token.address, AMOUNT), 0, 2**48),
        (owner, requested),
        owner,
        b"\0" * 32,
        "bytes32 witness)TokenPermissions(address token,uint256 amount)",
        signature,
    )


def test_permit2__names_what_is_wrong_with_a_signature(
    permit2: Any,
    token: Any,
    payer: LocalAccount,
    stranger: LocalAccount,
    sign: Any,
    expect_error: Any,
) -> None:
    with expect_error("InvalidSignatureLength()"):
        permit2_call(permit2, token, payer.address, b"\0" * 64)
    with expect_error("InvalidSignature()"):
        permit2_call(permit2, token, payer.address, b"\0" * 65)
    with expect_error("InvalidSigner()"):
        permit2_call(permit2, token, payer.address, sign(stranger, DIGEST))


def test_permit2__moves_at_most_what_was_signed(
    permit2: Any, token: Any, payer: LocalAccount, expect_error: Any
) -> None:
    with expect_error("InvalidAmount(uint256)", AMOUNT):
        permit2_call(permit2, token, payer.address, b"", requested=AMOUNT + 1)


def test_permit2__domain_has_no_version(permit2: Any) -> None:
    words = [
        keccak(text="EIP712Domain(string name,uint256 chainId,address verifyingContract)"),
        keccak(text="Permit2"),
        (1).to_bytes(32),
        bytes.fromhex(permit2.address[2:]).rjust(32, b"\0"),
    ]
    assert permit2.DOMAIN_SEPARATOR() == keccak(b"".join(words))
