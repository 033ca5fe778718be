"""A wallet that pays at our own paywall, on a real chain, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from farthing.protocol.payments import REQUIRED_HEADER, read_payment
from farthing.wallet import (
    AnswerLost,
    Approval,
    BudgetExceeded,
    ClaimNotProven,
    NoFunds,
    NotApproved,
    Request,
    Wallet,
)
from farthing.wallet.flow import Answer, lost, pay, refund
from farthing.wallet.offers import read_demand
from farthing.wallet.onchain import finish_withdrawal, positions, recover, withdraw
from tests.escrow_world import DELAY, FUNDS, PAYER, SECOND_PAYER, World
from tests.paywall.paywall_kit import CHEAP, DEAR, Got, Shop, run
from tests.wallet.conftest import OpenWallet
from tests.wallet.wallet_kit import HOST, URL, budget, drive

RULES = budget(50_000, top_up=10_000)


class Site:
    """A shop as a wallet meets it; ``seen`` are the payments it was sent."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.seen: list[str] = []
        self.lose: Callable[[int], bool] = lambda count: False

    def server(self, path: str) -> Callable[[str | None], Answer]:
        def serve(payment: str | None) -> Answer:
            got = run(self.shop.get(path, payment))
            if payment is not None:
                self.seen.append(payment)
                if self.lose(len(self.seen)):
                    return lost(ConnectionError("the line is dead"))
            return as_answer(got)

        return serve

    def pay(self, wallet: Wallet, path: str = "/cheap") -> Answer:
        return drive(pay(wallet, "GET", f"http://{HOST}{path}"), self.server(path))


def as_answer(got: Got) -> Answer:
    return Answer(got.status, lambda name: dict(got.headers).get(name.lower()))


@pytest.fixture
def site(chain_shop: Shop) -> Site:
    return Site(chain_shop)


def charged(wallet: Wallet) -> list[int | None]:
    return [payment.charged for payment in wallet.store.history()]


def test_pay__with_nothing_but_money__deposits_and_pays(
    site: Site, open_wallet: OpenWallet, world: World
) -> None:
    wallet = open_wallet(RULES)
    assert site.pay(wallet).status == 200
    (lane,) = wallet.store.lanes()
    assert (lane.balance, lane.charged, lane.upper, lane.signed) == (10_000, CHEAP, CHEAP, CHEAP)
    assert lane.deposit is None and lane.origin == f"http://{HOST}"
    assert world.settlement.channel(lane.channel_id).balance == 10_000
    assert world.token.balance_of(PAYER.address) == FUNDS - 10_000
    (payment,) = wallet.store.history()
    assert (payment.url, payment.price, payment.charged) == (URL, CHEAP, CHEAP)
    assert payment.receipt is not None


def test_pay__again__from_the_same_channel(site: Site, open_wallet: OpenWallet) -> None:
    wallet = open_wallet(RULES)
    for path in ("/cheap", "/dear", "/articles/seven"):
        assert site.pay(wallet, path).status == 200
    (lane,) = wallet.store.lanes()
    assert lane.charged == 2 * CHEAP + DEAR
    assert charged(wallet) == [CHEAP, DEAR, CHEAP]


def test_pay__what_is_free__signs_nothing(site: Site, open_wallet: OpenWallet) -> None:
    wallet = open_wallet(RULES)
    assert site.pay(wallet, "/free").status == 200
    assert site.seen == [] and wallet.store.lanes() == []


def test_pay__after_a_restart__goes_on(site: Site, open_wallet: OpenWallet) -> None:
    site.pay(open_wallet(RULES))
    wallet = open_wallet()
    assert site.pay(wallet).status == 200
    assert charged(wallet) == [CHEAP, CHEAP]


def test_pay__with_an_empty_channel__tops_it_up(site: Site, open_wallet: OpenWallet) -> None:
    wallet = open_wallet(budget(50_000, top_up=1_000))
    assert site.pay(wallet).status == 200
    assert site.pay(wallet, "/dear").status == 200
    (lane,) = wallet.store.lanes()
    assert (lane.balance, lane.charged) == (2_000, CHEAP + DEAR)


def test_pay__a_deposit_above_the_budget__refused_before_anything_is_signed(
    site: Site, open_wallet: OpenWallet
) -> None:
    wallet = open_wallet(budget(9_999, top_up=10_000))
    with pytest.raises(BudgetExceeded, match="deposit"):
        site.pay(wallet)
    assert site.seen == [] and wallet.store.history() == []


def test_pay__without_the_main_key__from_what_is_deposited_only(
    site: Site, open_wallet: OpenWallet
) -> None:
    with pytest.raises(NoFunds, match="main key is not here"):
        site.pay(open_wallet(RULES, main=None))
    assert site.seen == []
    site.pay(open_wallet())
    assert site.pay(open_wallet(main=None)).status == 200


@pytest.mark.parametrize("says", [True, False, None])
def test_pay__above_the_threshold__asks(
    site: Site, open_wallet: OpenWallet, says: bool | None
) -> None:
    asked: list[Approval] = []

    def approve(approval: Approval) -> bool:
        asked.append(approval)
        return bool(says)

    rules = budget(50_000, top_up=10_000, approve_above=CHEAP)
    wallet = open_wallet(rules, approve=None if says is None else approve)
    assert site.pay(wallet).status == 200 and asked == []
    if says:
        assert site.pay(wallet, "/dear").status == 200
        assert [each.price for each in asked] == [DEAR]
    else:
        with pytest.raises(NotApproved, match="approve"):
            site.pay(wallet, "/dear")
        assert charged(wallet) == [CHEAP]


# ---------------------------------------------------------------- what gets lost


def test_pay__a_lost_answer__asked_for_again_with_the_same_voucher(
    site: Site, open_wallet: OpenWallet
) -> None:
    wallet = open_wallet(RULES)
    site.lose = lambda count: count == 1
    assert site.pay(wallet).status == 200
    first, second = site.seen
    assert first == second
    assert site.shop.served == 1 and charged(wallet) == [CHEAP]


def test_pay__all_answers_lost__the_next_time_the_same_voucher(
    site: Site, open_wallet: OpenWallet, world: World
) -> None:
    wallet = open_wallet(RULES)
    site.lose = lambda count: True
    with pytest.raises(ConnectionError):
        site.pay(wallet)
    site.lose = lambda count: False
    assert site.pay(open_wallet()).status == 200
    assert site.shop.served == 1 and charged(wallet) == [CHEAP]
    # Nor was the deposit made twice, or asked for again: the chain has it.
    assert read_payment(site.seen[0].encode()).deposit is not None
    assert read_payment(site.seen[-1].encode()).deposit is None
    assert world.token.balance_of(PAYER.address) == FUNDS - 10_000
    assert wallet.store.used()[0][1:3] == (CHEAP, 10_000)


def test_pay__something_else_after_a_loss__corrected_by_proof(
    site: Site, open_wallet: OpenWallet
) -> None:
    wallet = open_wallet(RULES)
    site.pay(wallet)
    site.lose = lambda count: True
    with pytest.raises(ConnectionError):
        site.pay(wallet)
    site.lose = lambda count: False
    assert site.pay(wallet, "/dear").status == 200
    (lane,) = wallet.store.lanes()
    assert (lane.charged, lane.signed) == (2 * CHEAP + DEAR,) * 2
    assert sum(each or 0 for each in charged(wallet)) == lane.charged


def test_pay__an_answer_lost_for_good__said_and_not_paid_twice(
    site: Site, open_wallet: OpenWallet
) -> None:
    wallet = open_wallet(RULES)
    site.pay(wallet)
    site.lose = lambda count: True
    serve = site.server("/dear")

    def forgetful(payment: str | None) -> Answer:
        if len(site.seen) == 2:
            # It does not keep its answers, and comes back to life.
            site.lose = lambda count: False
            forget_answers(site.shop)
        return serve(payment)

    with pytest.raises(AnswerLost) as told:
        drive(pay(wallet, "GET", f"http://{HOST}/dear"), forgetful)
    assert told.value.amount == DEAR
    assert site.shop.served == 2
    (lane,) = wallet.store.lanes()
    assert lane.charged == CHEAP + DEAR


def forget_answers(shop: Shop) -> None:
    writer: Any = shop.ledger
    writer._writer.execute("UPDATE answers SET expires_at = 0")


# ---------------------------------------------------------------- money back, and recovery


def test_refund__gives_back_what_was_not_charged(
    site: Site, open_wallet: OpenWallet, world: World
) -> None:
    wallet = open_wallet(RULES)
    site.pay(wallet)
    (lane,) = wallet.store.lanes()
    drive(refund(wallet, lane, "GET", URL, None), site.server("/cheap"))
    assert world.token.balance_of(PAYER.address) == FUNDS - CHEAP
    assert wallet.store.lanes()[0].balance == CHEAP
    # It goes on with a new deposit.
    assert site.pay(wallet).status == 200


def test_refund__of_a_part(site: Site, open_wallet: OpenWallet, world: World) -> None:
    wallet = open_wallet(RULES)
    site.pay(wallet)
    (lane,) = wallet.store.lanes()
    drive(refund(wallet, lane, "GET", URL, 4_000), site.server("/cheap"))
    assert world.token.balance_of(PAYER.address) == FUNDS - 6_000


def test_withdraw__takes_back_what_is_not_spent(
    site: Site, open_wallet: OpenWallet, world: World
) -> None:
    wallet = open_wallet(RULES)
    site.pay(wallet)
    (here,) = positions(wallet)
    assert (here.escrow, here.owed, here.unspent) == (10_000, CHEAP, 10_000 - CHEAP)
    channel, sender = here.lane.channel_id, world.sender(PAYER)
    after = withdraw(wallet, sender, channel)
    (here,) = positions(wallet)
    assert (here.withdraw_amount, here.withdraw_after) == (10_000 - CHEAP, after)
    # The publisher's part stays there, and what is asked for next is paid from a new channel.
    assert site.pay(wallet).status == 200
    assert [each.is_closed for each in wallet.store.lanes()] == [True, False]
    world.travel(DELAY)
    assert finish_withdrawal(wallet, sender, channel) == 10_000 - CHEAP
    assert world.settlement.channel(channel).balance == CHEAP


def test_recover__from_the_key_and_the_chain_alone(
    site: Site, open_wallet: OpenWallet, world: World
) -> None:
    old = open_wallet(RULES)
    for path in ("/cheap", "/dear"):
        site.pay(old, path)
    # There are others on this chain, and channels of this payer that another key signs for.
    world.deposit(SECOND_PAYER, 1_000)
    world.deposit(PAYER, 1_000)
    wallet = open_wallet(RULES, "new.db")
    (lane,) = recover(wallet)
    assert lane.channel_id == old.store.lanes()[0].channel_id
    assert (lane.balance, lane.charged) == (10_000, 0)
    assert recover(wallet) == []
    # The publisher proves with the wallet's own voucher what it has charged.
    assert site.pay(wallet).status == 200
    (lane,) = wallet.store.lanes()
    assert (lane.charged, lane.signed) == (2 * CHEAP + DEAR,) * 2
    assert lane.origin == f"http://{HOST}"
    assert world.token.balance_of(PAYER.address) == FUNDS - 10_000 - 1_000
    # What the lost wallet signed does not count here; the voucher that asked does, besides.
    assert wallet.store.used()[0][1] == 2 * CHEAP


def test_recover__an_old_copy_of_the_file__goes_on_by_proof(
    site: Site, open_wallet: OpenWallet
) -> None:
    wallet = open_wallet(RULES)
    site.pay(wallet)
    old = wallet.store.lanes()[0]
    site.pay(wallet, "/dear")
    wallet.store._put(old)
    assert site.pay(wallet).status == 200
    assert wallet.store.lanes()[0].charged == 2 * CHEAP + DEAR


def test_pay__more_was_claimed_than_charged__never(site: Site, open_wallet: OpenWallet) -> None:
    wallet = open_wallet(RULES)
    site.pay(wallet)
    (lane,) = wallet.store.lanes()
    # As after a payment of which less was charged than it allowed.
    wallet.store._put(replace(lane, signed=DEAR))
    assert wallet.store.set_escrow(lane.channel_id, 10_000, CHEAP).problem is None
    assert wallet.store.set_escrow(lane.channel_id, 10_000, CHEAP + 1).problem is not None
    with pytest.raises(ClaimNotProven, match="was claimed on chain"):
        site.pay(wallet)


def test_refresh__more_was_claimed_than_is_remembered_as_signed__the_memory_is_old(
    site: Site, open_wallet: OpenWallet
) -> None:
    wallet = open_wallet(RULES)
    site.pay(wallet)
    old = wallet.store.lanes()[0]
    site.pay(wallet, "/dear")
    wallet.store._put(old)
    lane = wallet.store.set_escrow(old.channel_id, 10_000, CHEAP + DEAR)
    assert (lane.charged, lane.signed, lane.problem) == (CHEAP + DEAR, CHEAP + DEAR, None)
    assert site.pay(wallet).status == 200


def test_take_lane__funded_only__no_empty_one(site: Site, open_wallet: OpenWallet) -> None:
    wallet = open_wallet(RULES)
    site.pay(wallet)
    required = site.server("/cheap")(None).header(REQUIRED_HEADER)
    offer = read_demand(str(required), wallet.place).offer
    request = Request.of("GET", URL)
    paid_from = wallet.take_lane(request, offer, is_funded=True)
    assert paid_from is not None and paid_from.balance == 10_000
    # Another may be opened; it has nothing, and is not what is asked for.
    empty = wallet.take_lane(request, offer)
    assert empty is not None and empty.balance == 0
    wallet.give_lane(empty)
    assert wallet.take_lane(request, offer, is_funded=True) is None
    assert wallet.has_funded_lane(request, offer)
