"""A payout happens or waits on the receiver's account, whatever token and sender do."""

from __future__ import annotations

import boa
import pytest
from eth_account.signers.local import LocalAccount
from redemption import (
    batch,
    channel_id,
    outcome,
    payout_credited,
    redeemed,
    sign_batch,
    signed_authorization,
    signed_row,
    transfer,
)

DEPOSIT = 1_000
PAYOUT_GAS = 200_000

STUBBORN_TOKEN = """
# pragma version ==0.4.3
# pragma evm-version cancun
from ethereum.ercs import IERC20

flag Mood:
    MOVES_AND_DENIES
    ANSWERS_TWO
    REVERTS_AT_LENGTH

balanceOf: public(HashMap[address, uint256])
mood: Mood
# Storage words to write in a transfer, some 22,000 gas each.
appetite: uint256
eaten: HashMap[uint256, uint256]

@external
def setMood(mood: Mood):
    self.mood = mood

@external
def setAppetite(appetite: uint256):
    self.appetite = appetite

@external
def mint(to: address, amount: uint256):
    self.balanceOf[to] += amount

@external
def approve(spender: address, amount: uint256) -> bool:
    return True

@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    self.balanceOf[owner] -= amount
    self.balanceOf[to] += amount
    return True

@external
@raw_return
def transfer(to: address, amount: uint256) -> Bytes[32]:
    for i: uint256 in range(self.appetite, bound=100):
        self.eaten[i] += 1
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount
    log IERC20.Transfer(sender=msg.sender, receiver=to, value=amount)
    if self.mood == Mood.MOVES_AND_DENIES:
        return abi_encode(False)
    if self.mood == Mood.ANSWERS_TWO:
        return abi_encode(convert(2, uint256))
    if self.mood == Mood.REVERTS_AT_LENGTH:
        excuse: uint256[3000] = empty(uint256[3000])
        raw_revert(abi_encode(excuse))
    return abi_encode(True)
"""
MOODS = {"moves and denies": 1, "answers two": 2, "reverts at length": 4}


@pytest.fixture(scope="module", autouse=True)
def stubborn_token():
    return boa.loads(STUBBORN_TOKEN)


@pytest.fixture
def make(settlement, channel_config, deposit, payer):
    """`make(token)`: a funded channel of that token, and a redemption of 300 from it."""

    def channel(token, total=300):
        config = channel_config(payerAuthorizer=payer.address, token=token.address)
        deposit(config, DEPOSIT, token=token)
        return config, batch(config, [signed_row(settlement, config, total, payer)])

    return channel


@pytest.fixture
def redeem_again(settlement, payer, receiver):
    def redeem(config, total):
        rows = batch(config, [signed_row(settlement, config, total, payer)])
        settlement.redeem(*rows, sender=receiver.address)

    return redeem


# ---------------------------------------------------------------- a token that refuses


def refuse_blocked(token, receiver: LocalAccount) -> None:
    token.setBlocked(receiver.address, True)


def refuse_paused(token, receiver: LocalAccount) -> None:
    token.setPaused(True)


def refuse_by_false(token, receiver: LocalAccount) -> None:
    token.setAnswersFalse(True)


def refuse_by_burning_gas(token, receiver: LocalAccount) -> None:
    token.setBurnsGas(True)


def relent(token, receiver: LocalAccount) -> None:
    token.setBlocked(receiver.address, False)
    token.setPaused(False)
    token.setAnswersFalse(False)
    token.setBurnsGas(False)


REFUSALS = [refuse_blocked, refuse_paused, refuse_by_false, refuse_by_burning_gas]


@pytest.mark.parametrize("refuse", REFUSALS)
def test_payout__that_the_token_refuses_is_credited_and_settled_later(
    settlement, awkward_token, make, receiver, stranger, events, refuse
):
    config, rows = make(awkward_token)
    identity = channel_id(settlement, config)
    refuse(awkward_token, receiver)

    settlement.redeem(*rows, sender=receiver.address)

    assert events(settlement) == [
        redeemed(config, 300, [outcome(identity, total=300)]),
        payout_credited(config, 300),
    ]
    assert settlement.channels(identity) == (DEPOSIT, 300)
    assert settlement.receivers(receiver.address, awkward_token.address) == (300, 0)
    assert awkward_token.balanceOf(receiver.address) == 0
    assert awkward_token.balanceOf(settlement.address) == DEPOSIT

    relent(awkward_token, receiver)
    settlement.settle(receiver.address, awkward_token.address, sender=stranger.address)
    assert events(settlement) == [
        transfer(settlement.address, receiver.address, 300),
        (
            "Settled",
            {
                "receiver": receiver.address,
                "token": awkward_token.address,
                "sender": stranger.address,
                "amount": 300,
            },
        ),
    ]
    assert settlement.receivers(receiver.address, awkward_token.address) == (300, 300)
    assert awkward_token.balanceOf(receiver.address) == 300
    assert awkward_token.balanceOf(settlement.address) == DEPOSIT - 300


@pytest.mark.parametrize("refuse", REFUSALS)
def test_payout__that_the_token_refuses_is_credited_when_relayed(
    settlement, awkward_token, make, receiver, receiver_authorizer, stranger, events, refuse
):
    config, rows = make(awkward_token)
    refuse(awkward_token, receiver)
    settlement.redeemWithSignature(
        rows.call,
        sign_batch(settlement, rows.call, receiver_authorizer),
        sender=stranger.address,
    )
    assert events(settlement) == [
        redeemed(config, 300, [outcome(channel_id(settlement, config), total=300)]),
        payout_credited(config, 300),
    ]
    assert settlement.receivers(receiver.address, awkward_token.address) == (300, 0)


def test_payout__that_the_token_refuses_leaves_settle_to_fail_with_its_reason(
    settlement, awkward_token, make, receiver, expect_error
):
    _, rows = make(awkward_token)
    awkward_token.setBlocked(receiver.address, True)
    settlement.redeem(*rows, sender=receiver.address)
    with expect_error("Error(string)", "blocked"):
        settlement.settle(receiver.address, awkward_token.address)
    assert settlement.receivers(receiver.address, awkward_token.address) == (300, 0)


def test_payout__credited_twice_adds_up(
    settlement, awkward_token, make, redeem_again, receiver, events
):
    config, rows = make(awkward_token)
    awkward_token.setPaused(True)
    settlement.redeem(*rows, sender=receiver.address)
    redeem_again(config, 500)
    assert events(settlement)[1] == payout_credited(config, 200)
    assert settlement.receivers(receiver.address, awkward_token.address) == (500, 0)


def test_payout__after_a_credit_pays_only_what_is_new(
    settlement, awkward_token, make, redeem_again, receiver, events
):
    config, rows = make(awkward_token)
    awkward_token.setPaused(True)
    settlement.redeem(*rows, sender=receiver.address)
    awkward_token.setPaused(False)

    redeem_again(config, 400)

    assert events(settlement) == [
        redeemed(config, 100, [outcome(channel_id(settlement, config), total=400)]),
        transfer(settlement.address, receiver.address, 100),
    ]
    assert settlement.receivers(receiver.address, awkward_token.address) == (300, 0)
    settlement.settle(receiver.address, awkward_token.address)
    assert awkward_token.balanceOf(receiver.address) == 400


def test_payout__credited_stands_beside_what_was_claimed(
    settlement, awkward_token, make, redeem_again, voucher_claim, payer, receiver
):
    config, _ = make(awkward_token)
    settlement.claim([voucher_claim(config, 100, by=payer)], sender=receiver.address)
    settlement.settle(receiver.address, awkward_token.address)
    awkward_token.setPaused(True)
    redeem_again(config, 250)
    assert settlement.receivers(receiver.address, awkward_token.address) == (250, 100)
    awkward_token.setPaused(False)
    settlement.settle(receiver.address, awkward_token.address)
    assert settlement.receivers(receiver.address, awkward_token.address) == (250, 250)
    assert awkward_token.balanceOf(receiver.address) == 250


def test_payout__of_nothing_does_not_ask_the_token(
    settlement, awkward_token, make, receiver, events
):
    _, rows = make(awkward_token)
    settlement.redeem(*rows, sender=receiver.address)
    awkward_token.setPaused(True)
    settlement.redeem(*rows, sender=receiver.address)
    assert [event.name for event in events(settlement)] == ["Redeemed"]


@pytest.mark.parametrize("mood", MOODS)
def test_payout__refused_after_the_money_moved_is_undone(
    settlement, stubborn_token, make, receiver, events, mood
):
    config, rows = make(stubborn_token)
    stubborn_token.setMood(MOODS[mood])

    settlement.redeem(*rows, sender=receiver.address)

    assert events(settlement) == [
        redeemed(config, 300, [outcome(channel_id(settlement, config), total=300)]),
        payout_credited(config, 300),
    ]
    assert stubborn_token.balanceOf(receiver.address) == 0
    assert stubborn_token.balanceOf(settlement.address) == DEPOSIT
    stubborn_token.setMood(0)
    settlement.settle(receiver.address, stubborn_token.address)
    assert stubborn_token.balanceOf(receiver.address) == 300


def test_payout__of_a_token_without_return_value_is_made(
    settlement, no_return_token, make, receiver, events
):
    config, rows = make(no_return_token)
    settlement.redeem(*rows, sender=receiver.address)
    assert events(settlement) == [
        redeemed(config, 300, [outcome(channel_id(settlement, config), total=300)]),
        transfer(settlement.address, receiver.address, 300),
    ]
    assert no_return_token.balanceOf(receiver.address) == 300


def test_payout__less_a_fee_of_the_token_is_made(settlement, awkward_token, make, receiver, events):
    config, rows = make(awkward_token)
    awkward_token.setFee(7)
    settlement.redeem(*rows, sender=receiver.address)
    assert events(settlement) == [
        redeemed(config, 300, [outcome(channel_id(settlement, config), total=300)]),
        transfer(settlement.address, receiver.address, 293),
    ]
    assert awkward_token.balanceOf(receiver.address) == 293
    assert awkward_token.balanceOf(settlement.address) == DEPOSIT - 300
    assert settlement.receivers(receiver.address, awkward_token.address) == (0, 0)


def test_payout__that_a_token_took_away_is_credited(settlement, awkward_token, make, receiver):
    _, rows = make(awkward_token)
    awkward_token.rebase(settlement.address, 299)
    settlement.redeem(*rows, sender=receiver.address)
    assert settlement.receivers(receiver.address, awkward_token.address) == (300, 0)
    awkward_token.rebase(settlement.address, 300)
    settlement.settle(receiver.address, awkward_token.address)
    assert awkward_token.balanceOf(receiver.address) == 300


# ---------------------------------------------------------------- a sender with little gas

CREDITED, PAID = "credited", "paid"


CASES = ["ordinary", "hungry", "greedy", "blocked", "burns gas"]


@pytest.fixture
def payout_case(make, token, awkward_token, stubborn_token, receiver):
    """`payout_case(case)`: token, config, redemption, and how it goes when it does not revert."""

    def prepare(case):
        if case == "ordinary":
            return token, *make(token), PAID
        if case in ("hungry", "greedy"):
            made = make(stubborn_token)
            # Near what a payout may spend, so that with a little less it would fail; and above it.
            stubborn_token.setAppetite({"hungry": 7, "greedy": 9}[case])
            return stubborn_token, *made, PAID if case == "hungry" else CREDITED
        made = make(awkward_token)
        refuse = {"blocked": refuse_blocked, "burns gas": refuse_by_burning_gas}[case]
        refuse(awkward_token, receiver)
        return awkward_token, *made, CREDITED

    return prepare


@pytest.fixture
def attempt(settlement, receiver):
    """`attempt(token, config, data, sender, gas)`: how one call went and that it went whole.

    Answers None for a revert, and takes everything back.
    """

    def run(token, config, data, sender, gas):
        identity = channel_id(settlement, config)
        with boa.env.anchor():
            done = boa.env.execute_code(
                settlement.address, sender=sender.address, data=data, gas=gas
            )
            state = (
                settlement.channels(identity),
                settlement.receivers(receiver.address, token.address),
                token.balanceOf(receiver.address),
                token.balanceOf(settlement.address),
            )
        results = {
            ((DEPOSIT, 0), (0, 0), 0, DEPOSIT): None,
            ((DEPOSIT, 300), (0, 0), 300, DEPOSIT - 300): PAID,
            ((DEPOSIT, 300), (300, 0), 0, DEPOSIT): CREDITED,
        }
        assert (results[state] is None) == done.is_error
        return results[state]

    return run


def sweep(run, expected):
    """From no gas to plenty: first only reverts, then only what was expected.

    Wide steps over the whole range, and every single unit around the turn.
    """
    top = 1_000_000
    assert run(top) == expected
    low, high = 0, top
    while high - low > 1:
        middle = (low + high) // 2
        if run(middle) is None:
            low = middle
        else:
            high = middle
    for gas in [*range(0, 600_000, 9_973), *range(high - 10, high + 10)]:
        assert run(gas) == (expected if gas >= high else None), gas
    return high


@pytest.mark.parametrize("case", CASES)
def test_gas__decides_between_all_and_nothing(payout_case, attempt, receiver, case):
    token, config, rows, expected = payout_case(case)
    least = sweep(lambda gas: attempt(token, config, rows.call, receiver, gas), expected)
    assert least > PAYOUT_GAS


@pytest.mark.parametrize("case", CASES)
def test_gas__decides_between_all_and_nothing_when_relayed(
    settlement, payout_case, attempt, receiver_authorizer, stranger, case
):
    token, config, rows, expected = payout_case(case)
    data = bytes(
        settlement.redeemWithSignature.prepare_calldata(
            rows.call, sign_batch(settlement, rows.call, receiver_authorizer)
        )
    )
    least = sweep(lambda gas: attempt(token, config, data, stranger, gas), expected)
    assert least > PAYOUT_GAS


def test_gas__of_a_payout_goes_in_full_to_the_token(
    settlement, stubborn_token, make, receiver, events
):
    """A token that needs nearly all of it is paid, one that needs more is credited."""
    _, rows = make(stubborn_token)
    paid = []
    for appetite in range(12):
        with boa.env.anchor():
            stubborn_token.setAppetite(appetite)
            settlement.redeem(*rows, sender=receiver.address)
            paid.append([event.name for event in events(settlement)][1] == "Transfer")
    most = paid.count(True) - 1
    assert paid == [True] * (most + 1) + [False] * (11 - most)
    # An appetite costs 22,100 gas, and the transfer itself has its own needs.
    assert (most + 1) * 22_100 < PAYOUT_GAS < (most + 4) * 22_100


def test_gas__too_little_for_a_payout_is_said_so(settlement, token, make, receiver):
    _, rows = make(token)
    call = rows.call
    errors = {
        bytes(
            boa.env.execute_code(
                settlement.address, sender=receiver.address, data=call, gas=gas
            ).output
        ).hex()
        for gas in range(100_000, 240_000, 20_000)
    }
    assert errors == {boa.eval('method_id("NotEnoughGas()")').hex()}


def test_gas__is_not_asked_for_a_payout_of_nothing(settlement, token, make, receiver, events):
    _, rows = make(token)
    settlement.redeem(*rows, sender=receiver.address)
    settlement.redeem(*rows, sender=receiver.address, gas=100_000)
    assert [event.name for event in events(settlement)] == ["Redeemed"]


# ---------------------------------------------------------------- a token that calls back

INNER = [
    "deposit",
    "depositWithAuthorization",
    "claim",
    "claimWithSignature",
    "settle",
    "redeem",
    "redeemWithSignature",
    "initiateWithdraw",
    "finalizeWithdraw",
    "refund",
    "refundWithSignature",
    "multicall of redeem",
    "multicall of settle",
]


@pytest.fixture
def intruder_calls(
    settlement,
    token,
    channel_config,
    awkward_token,
    open_collector,
    deposit,
    fund,
    payer,
    receiver_authorizer,
    voucher_claim,
    sign_claim_batch,
    sign_refund,
    warp,
):
    """What the token itself, as payer and receiver of its own channels, may do at any time."""
    intruder = awkward_token.address
    mine = channel_config(
        payer=intruder,
        payerAuthorizer=payer.address,
        receiver=intruder,
        token=awkward_token.address,
    )
    idle = mine._replace(salt=b"\x01" * 32)
    for config in (mine, idle):
        deposit(config, DEPOSIT, token=awkward_token)
    settlement.claim([voucher_claim(mine, 100, by=payer)], sender=intruder)
    settlement.initiateWithdraw(mine, 10, sender=intruder)
    warp(900)
    fund(awkward_token, intruder, 5)
    usd = channel_config()
    token.mint(payer.address, 5)
    authorization = signed_authorization(settlement, token, usd, 5, payer)
    rows = [voucher_claim(mine, 200, by=payer)]
    again = batch(mine, [signed_row(settlement, mine, 300, payer)])
    settle = (intruder, awkward_token.address)

    def data(function, *args):
        return bytes(getattr(settlement, function).prepare_calldata(*args))

    calls = {
        "deposit": data("deposit", mine, 5, open_collector.address, b""),
        "depositWithAuthorization": data("depositWithAuthorization", usd, 5, *authorization),
        "claim": data("claim", rows),
        "claimWithSignature": data("claimWithSignature", rows, sign_claim_batch(rows)),
        "settle": data("settle", *settle),
        "redeem": again.call,
        "redeemWithSignature": data(
            "redeemWithSignature",
            again.call,
            sign_batch(settlement, again.call, receiver_authorizer),
        ),
        "initiateWithdraw": data("initiateWithdraw", idle, 10),
        "finalizeWithdraw": data("finalizeWithdraw", mine),
        "refund": data("refund", mine, 10),
        "refundWithSignature": data("refundWithSignature", mine, 10, 0, sign_refund(mine, 0, 10)),
        "multicall of redeem": data("multicall", [again.call]),
        "multicall of settle": data("multicall", [data("settle", *settle)]),
    }
    assert list(calls) == INNER
    return calls


@pytest.fixture
def redeem_from(settlement, make, awkward_token, receiver, receiver_authorizer, stranger):
    """`redeem_from(way)`: a redemption of 300 of the token that will call back."""
    config, rows = make(awkward_token)
    signature = sign_batch(settlement, rows.call, receiver_authorizer)

    def run(way):
        if way == "redeem":
            settlement.redeem(*rows, sender=receiver.address)
        else:
            settlement.redeemWithSignature(rows.call, signature, sender=stranger.address)
        return config

    return run


@pytest.mark.parametrize("inner", INNER)
def test_intruder__may_make_each_of_its_calls(
    settlement, awkward_token, intruder_calls, call_by_signature, inner
):
    call_by_signature(settlement, None, raw=intruder_calls[inner], sender=awkward_token.address)


def test_intruder__has_a_call_into_every_function_that_changes_state(settlement):
    changing = {
        entry["name"]
        for entry in settlement.abi
        if entry["type"] == "function" and entry["stateMutability"] == "nonpayable"
    }
    assert changing == {name.split()[0] for name in INNER} | {"payOut"}


@pytest.mark.parametrize("way", ["redeem", "redeemWithSignature"])
@pytest.mark.parametrize("side", ["sends", "gets"])
@pytest.mark.parametrize("inner", INNER)
def test_intruder__does_not_get_in_during_a_payout(
    settlement, awkward_token, intruder_calls, redeem_from, receiver, events, inner, side, way
):
    holder = settlement.address if side == "sends" else receiver.address
    held = awkward_token.balanceOf(settlement.address)
    awkward_token.setHook(holder, settlement.address, intruder_calls[inner])

    config = redeem_from(way)

    # The lock answers without data; every other refusal would carry an error.
    assert events(settlement) == [
        redeemed(config, 300, [outcome(channel_id(settlement, config), total=300)]),
        transfer(settlement.address, receiver.address, 300),
    ]
    assert awkward_token.hookCalls() == 1
    assert not awkward_token.hookSucceeded()
    assert awkward_token.hookError() == b""
    assert awkward_token.balanceOf(settlement.address) == held - 300


def test_intruder__does_not_get_a_payout_of_its_own(
    settlement, awkward_token, redeem_from, receiver
):
    payout = bytes(settlement.payOut.prepare_calldata(awkward_token.address, receiver.address, 1))
    awkward_token.setHook(receiver.address, settlement.address, payout)
    redeem_from("redeem")
    assert awkward_token.hookCalls() == 1
    assert awkward_token.hookError() == boa.eval('method_id("OnlySelf()")')
    assert awkward_token.balanceOf(receiver.address) == 300


def test_intruder__reads_finished_books_during_a_payout(
    settlement, awkward_token, make, redeem_from, receiver
):
    config, _ = make(awkward_token)
    view = bytes(settlement.channels.prepare_calldata(channel_id(settlement, config)))
    awkward_token.setHook(receiver.address, settlement.address, view)
    redeem_from("redeem")
    assert awkward_token.hookSucceeded()
    # Both deposits of this test, and what was just redeemed.
    assert awkward_token.hookError() == (2 * DEPOSIT).to_bytes(32) + (300).to_bytes(32)
