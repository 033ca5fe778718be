"""Payments for which nothing has to be asked, opened or deposited first: one transaction each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from farthing.protocol.payments import RESPONSE_HEADER, read_payment, write_header
from farthing.wallet import (
    Approval,
    BudgetExceeded,
    ClaimNotProven,
    Lane,
    Rules,
    Wallet,
    WalletUnusable,
)
from farthing.wallet.flow import Answer, pay
from farthing.wallet.offers import read_demand
from farthing.wallet.records import PendingDeposit
from farthing.wallet.request import Request
from tests.escrow_world import PAYER
from tests.wallet.wallet_kit import (
    NOON,
    PLACE,
    SESSION,
    URL,
    FixedChain,
    answer,
    budget,
    demand,
    drive,
    lane,
    new_store,
)

REQUEST = Request.of("GET", URL)
OFFER = read_demand(demand().header("payment-required") or "", PLACE).offer


@pytest.fixture
def open_wallet(tmp_path: Path) -> Iterator[Callable[..., Wallet]]:
    """Makes a wallet with the given rules and channels."""
    wallets: list[Wallet] = []

    def open_one(rules: Rules, *lanes: Lane, **options: Any) -> Wallet:
        store = new_store(tmp_path / "wallet.db", rules)
        for each in lanes:
            store.add_lane(each)
        chain: Any = FixedChain()
        wallets.append(Wallet(store, SESSION, chain, PLACE, main=PAYER, **options))
        return wallets[-1]

    yield open_one
    for wallet in wallets:
        wallet.close()


def honest(payment: str | None) -> Answer:
    """A server that charges the price."""
    if payment is None:
        return demand()
    sent = read_payment(payment.encode())
    told = {
        "channelState": {
            "channelId": "0x" + sent.channel_id.hex(),
            "chargedCumulativeAmount": str(sent.ceiling),
        },
        "chargedAmount": str(sent.amount),
    }
    return answer(200, {RESPONSE_HEADER: write_header({"extra": told}).decode()})


def statements(wallet: Wallet) -> list[str]:
    """Every statement from now on."""
    seen: list[str] = []

    def note(cursor: object, statement: str, values: object) -> bool:
        seen.append(statement)
        return True

    wallet.store._db.connection.exec_trace = note
    return seen


def test_pay__from_a_channel_that_is_ready__two_transactions_and_nothing_outside(
    open_wallet: Callable[..., Wallet],
) -> None:
    wallet = open_wallet(budget(10**6), lane(0), lane(1))
    drive(pay(wallet, "GET", URL), honest)
    seen = statements(wallet)
    drive(pay(wallet, "GET", URL), honest)
    ends = [at for at, each in enumerate(seen) if each == "COMMIT"]
    begins = [at for at, each in enumerate(seen) if each == "BEGIN IMMEDIATE"]
    # Each right behind the statement that says whether it is synced, the first and not the second.
    assert begins == [1, ends[0] + 2] and ends[1] == len(seen) - 1
    synced = [seen[at - 1] for at in begins]
    assert synced == ["PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"]
    assert wallet.store.lanes()[0].charged == 200


def test_ready__what_a_budget_refuses__nothing_written_and_the_channel_free(
    open_wallet: Callable[..., Wallet],
) -> None:
    wallet = open_wallet(budget(99), lane())
    with pytest.raises(BudgetExceeded):
        wallet.authorize_ready(REQUEST, OFFER)
    assert wallet.store.lanes() == [lane()] and wallet.store.history() == []
    assert wallet.locks.take(lane().channel_id)


def test_ready__a_commit_that_fails__nothing_written_and_the_channel_free(
    open_wallet: Callable[..., Wallet],
) -> None:
    wallet = open_wallet(budget(1_000), lane())
    connection = wallet.store._db.connection
    connection.exec_trace = lambda cursor, statement, values: statement != "COMMIT"
    with pytest.raises(WalletUnusable):
        wallet.authorize_ready(REQUEST, OFFER)
    connection.exec_trace = None
    assert wallet.store.lanes() == [lane()] and wallet.store.used()[0][1] == 0
    assert wallet.authorize_ready(REQUEST, OFFER) is not None


def test_ready__a_channel_in_use__the_next_one_and_then_none(
    open_wallet: Callable[..., Wallet],
) -> None:
    wallet = open_wallet(budget(1_000), lane(0), lane(1))
    for number in (0, 1):
        signing = wallet.authorize_ready(REQUEST, OFFER)
        assert signing is not None and signing.lane.channel_id == lane(number).channel_id
    assert wallet.authorize_ready(REQUEST, OFFER) is None
    assert len(wallet.store.history()) == 2


@pytest.mark.parametrize(
    "channel",
    [
        lane(balance=99),
        lane(origin="http://other.example"),
        lane(origin=""),
        replace(lane(), is_closed=True),
        replace(lane(), deposit=PendingDeposit(100, 50, 7, NOON + 900)),
    ],
    ids=["too little", "another's", "of no origin yet", "closed", "deposit under way"],
)
def test_ready__a_channel_that_is_not__none_and_nothing_written(
    open_wallet: Callable[..., Wallet], channel: Lane
) -> None:
    wallet = open_wallet(budget(1_000), channel)
    assert wallet.authorize_ready(REQUEST, OFFER) is None
    assert wallet.store.lanes() == [channel] and wallet.store.history() == []
    assert wallet.locks.take(channel.channel_id)


def test_ready__another_of_the_origins_channels_has_a_problem__not_paid(
    open_wallet: Callable[..., Wallet],
) -> None:
    wallet = open_wallet(budget(1_000), lane(0), replace(lane(1), problem="it lied"))
    with pytest.raises(ClaimNotProven, match="it lied"):
        wallet.authorize_ready(REQUEST, OFFER)
    assert wallet.store.history() == []


def test_ready__above_the_threshold__the_owner_is_asked_before_anything_is_written(
    open_wallet: Callable[..., Wallet],
) -> None:
    asked: list[int] = []

    def approve(approval: Approval) -> bool:
        assert wallet.store.history() == []
        asked.append(approval.price)
        return True

    wallet = open_wallet(budget(1_000, approve_above=99), lane(), approve=approve)
    assert wallet.authorize_ready(REQUEST, OFFER) is None
    assert drive(pay(wallet, "GET", URL), honest).status == 200
    assert asked == [100]
