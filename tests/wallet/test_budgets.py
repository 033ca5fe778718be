"""Budgets at their edges: periods, rules that change, clocks, and what a voucher really risks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount

from farthing.protocol.payments import read_payment
from farthing.wallet import (
    Budget,
    BudgetExceeded,
    HostRefused,
    NoFunds,
    NotAnswered,
    Period,
    Rules,
    RulesForged,
    Store,
    Wallet,
    WalletUnusable,
)
from farthing.wallet.flow import Answer, pay
from farthing.wallet.records import PendingDeposit
from farthing.wallet.wallet import CONSENT_SECONDS
from tests.escrow_world import PAYER, STRANGER
from tests.wallet.conftest import OpenStore
from tests.wallet.wallet_kit import (
    DAILY,
    DAY,
    HOME,
    HOST,
    MONTHLY,
    NOON,
    PLACE,
    SESSION,
    URL,
    Clock,
    FixedChain,
    answer,
    budget,
    demand,
    drive,
    lane,
    new_store,
    sign_off,
)

NEXT_DAY = (NOON // DAY + 1) * DAY


def filled(store: Store, *lanes: int) -> None:
    for number in lanes or (0,):
        assert store.add_lane(lane(number))


def spent(store: Store) -> list[int]:
    return [each[1] for each in store.used()]


def test_authorize__to_the_last_unit__and_not_one_more(open_store: OpenStore) -> None:
    store = open_store(budget(100))
    filled(store)
    store.charged(sign_off(store, lane(), 99), 99, None)
    store.charged(sign_off(store, lane(), 1), 1, None)
    with pytest.raises(BudgetExceeded) as refused:
        sign_off(store, lane(), 1)
    error = refused.value
    assert (error.amount, error.limit, error.used, error.until) == (1, 100, 100, NEXT_DAY)
    assert "* R/2026-01-01T00:00Z/P1D" in str(error) and "farthing wallet budget" in str(error)
    assert store.lane(lane().channel_id).signed == 100
    assert len(store.history()) == 2


def test_authorize__on_all_lanes_together__one_budget(open_store: OpenStore) -> None:
    store = open_store(budget(100))
    filled(store, 0, 1)
    sign_off(store, lane(0), 60)
    with pytest.raises(BudgetExceeded):
        sign_off(store, lane(1), 41)
    sign_off(store, lane(1), 40)
    assert spent(store) == [100]


def test_authorize__in_the_next_period__begins_anew(open_store: OpenStore, clock: Clock) -> None:
    store = open_store(budget(100))
    filled(store)
    store.charged(sign_off(store, lane(), 100), 100, None)
    clock.now = NEXT_DAY - 1
    with pytest.raises(BudgetExceeded):
        sign_off(store, lane(), 1)
    clock.now = NEXT_DAY
    sign_off(store, lane(), 100)
    assert spent(store) == [100]


def test_authorize__with_a_clock_that_goes_back__stays_in_its_period(
    open_store: OpenStore, clock: Clock
) -> None:
    store = open_store(budget(100))
    filled(store)
    clock.now = NEXT_DAY
    store.charged(sign_off(store, lane(), 100), 100, None)
    # Yesterday's budget was not touched, and is not to be had any more.
    clock.now = NOON
    with pytest.raises(BudgetExceeded):
        sign_off(store, lane(), 1)
    # Nor for another process, after a restart.
    with pytest.raises(BudgetExceeded):
        sign_off(open_store(), lane(), 1)
    store.reset_clock(PAYER)
    sign_off(store, lane(), 1)


def test_reset_clock__by_another_key__refused(open_store: OpenStore) -> None:
    with pytest.raises(WalletUnusable):
        open_store(budget(1)).reset_clock(STRANGER)


def test_authorize__for_less_than_was_signed__takes_nothing_more(open_store: OpenStore) -> None:
    store = open_store(budget(1_100))
    filled(store)
    # At most 1,000, and 100 in fact: what counts is what could be claimed.
    store.charged(sign_off(store, lane(), 1_000), 100, None)
    assert spent(store) == [1_000]
    store.charged(sign_off(store, lane(), 900), 900, None)
    assert spent(store) == [1_000]
    sign_off(store, lane(), 100)
    assert spent(store) == [1_100]


def test_authorize__the_same_voucher_again__counts_once(open_store: OpenStore) -> None:
    store = open_store(budget(100))
    filled(store)
    first = sign_off(store, lane(), 100)
    again = sign_off(store, lane(), 100)
    assert again.payment_id == first.payment_id and again.ceiling == first.ceiling
    assert spent(store) == [100]


def test_authorize__a_host_with_a_budget_of_its_own__must_fit_both(open_store: OpenStore) -> None:
    rules = Rules((Budget(100, DAILY), Budget(30, MONTHLY, HOST)))
    store = open_store(rules)
    filled(store, 0, 1)
    sign_off(store, lane(0), 30)
    with pytest.raises(BudgetExceeded, match=HOST):
        sign_off(store, lane(0), 31)
    sign_off(store, lane(1), 70, host="blog.example")
    with pytest.raises(BudgetExceeded, match=r"\* R"):
        sign_off(store, lane(1), 71, host="blog.example")


def test_authorize__refused__writes_nothing(open_store: OpenStore) -> None:
    rules = Rules((Budget(100, MONTHLY), Budget(30, DAILY)))
    store = open_store(rules)
    filled(store)
    with pytest.raises(BudgetExceeded):
        sign_off(store, lane(), 31)
    # The month's budget was looked at first and would have had room.
    assert spent(store) == [0, 0]
    assert store.history() == [] and store.lane(lane().channel_id) == lane()


def test_authorize__after_the_last_period__refused(open_store: OpenStore) -> None:
    store = open_store(Rules((Budget(100, Period.parse("R1/2026-01-01T00:00Z/P1D")),)))
    filled(store)
    with pytest.raises(HostRefused, match="not in force"):
        sign_off(store, lane(), 1)


def test_authorize__above_the_threshold__not_without_approval(open_store: OpenStore) -> None:
    store = open_store(budget(100, approve_above=10))
    filled(store)

    def authorize(is_approved: bool) -> object:
        return store.authorize(
            lane().channel_id, HOST, "GET", URL, 11, is_approved=is_approved, deposit=_none
        )

    assert authorize(False) is None
    assert store.history() == []
    assert authorize(True) is not None


def test_authorize__from_a_channel_that_is_closed__refused(open_store: OpenStore) -> None:
    store = open_store(budget(100))
    filled(store)
    store.set_closed(lane().channel_id)
    with pytest.raises(NotAnswered, match="closed"):
        sign_off(store, lane(), 1)


# ---------------------------------------------------------------- rules that change


def test_set_rules__in_the_middle_of_a_period__counts_what_was_spent(
    open_store: OpenStore,
) -> None:
    store = open_store(budget(100))
    filled(store)
    store.charged(sign_off(store, lane(), 60), 60, None)
    store.set_rules(PAYER, Rules((Budget(70, MONTHLY),)))
    with pytest.raises(BudgetExceeded):
        sign_off(store, lane(), 11)
    sign_off(store, lane(), 10)


def test_set_rules__a_budget_taken_away_and_given_back__forgets_nothing(
    open_store: OpenStore,
) -> None:
    store = open_store(budget(100))
    filled(store)
    store.charged(sign_off(store, lane(), 60), 60, None)
    store.set_rules(PAYER, Rules((Budget(1_000, MONTHLY),)))
    store.charged(sign_off(store, lane(), 40), 40, None)
    store.set_rules(PAYER, budget(100))
    with pytest.raises(BudgetExceeded):
        sign_off(store, lane(), 1)


def test_set_rules__holds_in_a_store_that_was_open(open_store: OpenStore) -> None:
    store = open_store(budget(100))
    filled(store)
    other = open_store()
    assert other.rules().budgets[0].limit == 100
    store.set_rules(PAYER, budget(10))
    with pytest.raises(BudgetExceeded):
        sign_off(other, lane(), 11)


def test_set_rules__without_the_main_key__refused(open_store: OpenStore) -> None:
    store = open_store(budget(100))
    with pytest.raises(WalletUnusable, match="main key"):
        store.set_rules(STRANGER, budget(1_000))
    assert store.rules() == budget(100)


def test_rules__changed_in_the_file__not_obeyed(open_store: OpenStore) -> None:
    store = open_store(budget(100))
    filled(store)
    store._db.execute("UPDATE wallet SET rules = ?", (budget(1_000).to_text(),))
    with pytest.raises(RulesForged, match="farthing wallet budget"):
        sign_off(store, lane(), 1)


# ---------------------------------------------------------------- deposits


def test_authorize__deposits__no_more_in_a_period_than_may_be_spent(
    open_store: OpenStore, clock: Clock
) -> None:
    store = open_store(budget(100))
    for number in range(3):
        store.add_lane(lane(number, balance=0))

    def pay(number: int, amount: int) -> object:
        def deposit(*known: object) -> PendingDeposit:
            return PendingDeposit(amount, 0, number, int(clock()) + CONSENT_SECONDS)

        return store.authorize(
            lane(number).channel_id, HOST, "GET", URL, 1, is_approved=False, deposit=deposit
        )

    pay(0, 60)
    with pytest.raises(BudgetExceeded, match="a deposit of 41"):
        pay(1, 41)
    pay(1, 40)
    assert [each[1:3] for each in store.used()] == [(2, 100)]
    clock.now = NEXT_DAY
    pay(2, 100)


def test_set_escrow__ends_a_deposit_that_arrived_or_expired(
    open_store: OpenStore, clock: Clock
) -> None:
    store = open_store(budget(1_000))
    store.add_lane(lane(balance=50))
    channel = lane().channel_id
    pending = PendingDeposit(100, 50, 7, NOON + CONSENT_SECONDS)
    store.authorize(
        channel, HOST, "GET", URL, 60, is_approved=False, deposit=lambda *known: pending
    )
    assert store.lane(channel).deposit == pending
    assert store.set_escrow(channel, 149, 0).deposit == pending
    assert store.set_escrow(channel, 150, 0).deposit is None
    store.authorize(
        channel, HOST, "GET", URL, 160, is_approved=False, deposit=lambda *known: pending
    )
    clock.now = NOON + CONSENT_SECONDS + 1
    assert store.set_escrow(channel, 50, 0).deposit is None


# ---------------------------------------------------------------- what was charged


def test_charged__one_of_two_open_payments__the_other_cost_nothing(open_store: OpenStore) -> None:
    store = open_store(budget(1_000))
    filled(store, 0, 1)
    sign_off(store, lane(0), 60)
    elsewhere = sign_off(store, lane(1), 80)
    signing = sign_off(store, lane(0), 100)
    store.charged(signing, 70, "told")
    told = [(payment.charged, payment.receipt) for payment in store.history()]
    assert told == [(0, None), (None, None), (70, "told")]
    store.charged(elsewhere, 80, "too")
    assert [payment.charged for payment in store.history()] == [0, 80, 70]


def test_charged__the_chain_has_told_of_more__stays_known(open_store: OpenStore) -> None:
    store = open_store(budget(1_000))
    filled(store)
    signing = sign_off(store, lane(), 100)
    assert store.set_escrow(lane().channel_id, 10**9, 90).charged == 90
    store.charged(signing, 70, None)
    (here,) = store.lanes()
    assert (here.charged, here.upper, here.signed) == (90, 90, 100)


# ---------------------------------------------------------------- the file


def test_create__where_something_is__refused(tmp_path: Path) -> None:
    path = tmp_path / "wallet.db"
    new_store(path, budget(1)).close()
    with pytest.raises(WalletUnusable):
        new_store(path, budget(1_000))
    assert path.stat().st_mode & 0o077 == 0


def test_open__of_what_is_no_wallet__refused(tmp_path: Path) -> None:
    with pytest.raises(WalletUnusable, match="farthing wallet create"):
        Store(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("not a database, " * 99)
    with pytest.raises(WalletUnusable):
        Store(tmp_path / "text.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(WalletUnusable):
        Store(tmp_path / "empty.db")


def test_log__of_many_payments__begins_anew(open_store: OpenStore) -> None:
    store = open_store(budget(10**9))
    filled(store)
    for _ in range(200):
        signing = sign_off(store, lane(), 1)
        store.charged(signing, 1, None)
    log = store.path.with_name(store.path.name + "-wal")
    # 200 payments write more than a thousand pages of 4,120 bytes.
    assert 0 < log.stat().st_size < 500 * 4_120


def test_usable_lanes__an_origins_own_come_first(open_store: OpenStore) -> None:
    store = open_store(budget(100))
    for number, origin in ((0, ""), (1, "http://other.example"), (2, f"http://{HOST}")):
        store.add_lane(lane(number, origin=origin))
    found = store.usable_lanes(f"http://{HOST}")
    assert [each.channel_id for each in found] == [lane(2).channel_id, lane(0).channel_id]


def test_home__is_kept(open_store: OpenStore) -> None:
    open_store(budget(1))
    assert open_store().home == HOME


def _none(*known: object) -> object:
    raise AssertionError("it has enough")


def test_pay__while_a_deposit_is_under_way__needs_the_main_key_for_what_is_not_there(
    open_store: OpenStore,
) -> None:
    store, chain = open_store(budget(10_000, top_up=2_000)), FixedChain(balance=0)
    store.add_lane(lane(balance=0))
    kinds: list[str] = []

    def server(payment: str | None) -> Answer:
        if payment is None:
            return demand()
        sent = read_payment(payment.encode())
        kinds.append("voucher" if sent.deposit is None else f"deposit of {sent.deposit.amount}")
        return answer(500)

    def pay_with(main: LocalAccount | None) -> None:
        settlement: Any = chain
        wallet = Wallet(store, SESSION, settlement, PLACE, main=main)
        drive(pay(wallet, "GET", URL), server)
        wallet.locks.close()

    pay_with(PAYER)
    # Its answer says nothing of the deposit, and the chain has not seen it.
    assert store.lanes()[0].deposit is not None
    with pytest.raises(NoFunds, match="main key"):
        pay_with(None)
    pay_with(PAYER)
    # What is there needs no deposit, and no key for one.
    chain.balance = 100
    pay_with(None)
    assert kinds == ["deposit of 2000", "deposit of 2000", "voucher"]
    assert store.used()[0][1:3] == (100, 2_000)
