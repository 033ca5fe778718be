"""One paid request, step by step, without any I/O: the clients do what it asks for.

It yields `Send` (send the request, with this payment) and `Wait`, and gets an `Answer` for each
`Send`. When it ends, the last answer is the caller's; when it raises, that is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TypeAlias

import msgspec

from farthing.protocol.payments import REQUIRED_HEADER, RESPONSE_HEADER, ErrorCode
from farthing.wallet.errors import (
    AnswerLost,
    DepositExceeded,
    NoFunds,
    NotAnswered,
    RefusedByServer,
)
from farthing.wallet.offers import Demand, Offer, read_demand, read_receipt, read_refund
from farthing.wallet.records import Lane, Signing
from farthing.wallet.request import Request
from farthing.wallet.wallet import Wallet

# How often a payment is sent again when its answer is lost, and when the server is busy.
LOST_TRIES = 3
BUSY_TRIES = 40
BUSY_SECONDS = 0.1
# The longest answer that is read to its end before it is believed to have come.
KEPT_BYTES = 2**20
# How often a request looks for a free channel of its publisher, and seconds more to wait each time.
LANE_LOOKS = 300
LANE_SECONDS = 0.005


class Send(msgspec.Struct, frozen=True):
    """Send the request, with this PAYMENT-SIGNATURE; None is without."""

    payment: str | None


class Wait(msgspec.Struct, frozen=True):
    """Do nothing for so many seconds."""

    seconds: float


class Answer(msgspec.Struct, frozen=True):
    """What came back: a status and a way to its headers, or the error that came instead."""

    status: int
    header: Callable[[str], str | None]
    error: Exception | None = None


Step: TypeAlias = Send | Wait
Flow: TypeAlias = Generator[Step, Answer | None, None]


def lost(error: Exception) -> Answer:
    """The answer that did not come."""
    return Answer(0, lambda name: None, error)


def pay(wallet: Wallet, method: str, url: str) -> Flow:
    """A request that is paid if the server asks for it, and the rules allow it.

    Raises:
        RefusedByRules, OfferRefused, RefusedByServer, ClaimNotProven, NotAnswered: see each.
    """
    request = Request.of(method, url)
    offer = wallet.remembered.get(request)
    is_remembered = offer is not None
    if offer is None:
        answer = yield from _send(None)
        header = answer.header(REQUIRED_HEADER)
        if answer.status != 402 or header is None:
            return
        offer = read_demand(header, wallet.place).offer
    is_approved = False
    signing = wallet.authorize_ready(request, offer)
    if signing is None:
        is_approved = wallet.allow(request, offer.price)
        signing = yield from _begin(wallet, request, offer, is_approved)
    try:
        yield from _pay(wallet, request, offer, signing, is_approved, is_remembered)
    except BaseException:
        wallet.remembered.forget(request)
        raise
    finally:
        wallet.give_lane(signing.lane)


def _begin(
    wallet: Wallet, request: Request, offer: Offer, is_approved: bool
) -> Generator[Step, Answer | None, Signing]:
    """A payment from a channel that is free and has the money, or may be given it."""
    is_funded = False
    for look in range(LANE_LOOKS):
        lane = wallet.take_lane(request, offer, is_funded=is_funded)
        if lane is not None:
            try:
                if lane.deposit is not None:
                    # It may have arrived without our hearing of it.
                    lane = wallet.refresh(lane)
                return wallet.authorize(request, offer, lane, is_approved=is_approved)
            except (DepositExceeded, NoFunds):
                wallet.give_lane(lane)
                # Another channel may have the money, and be in use just now.
                if not wallet.has_funded_lane(request, offer):
                    raise
                is_funded = True
                continue
            except BaseException:
                wallet.give_lane(lane)
                raise
        is_funded = is_funded and wallet.has_funded_lane(request, offer)
        yield Wait(min(LANE_SECONDS * (look + 1), BUSY_SECONDS))
    raise NotAnswered(f"all channels of {request.origin} are in use: allow more lanes, or")


def _pay(
    wallet: Wallet,
    request: Request,
    offer: Offer,
    signing: Signing,
    is_approved: bool,
    is_remembered: bool,
) -> Flow:
    """Pays with one voucher, and after a correction that is proven with one more.

    Whatever the server answers, it holds no voucher for more than what it has proven to have
    charged and this one price. What is remembered of an earlier answer is paid at once; should it
    cost something else by now, that is looked at as if it had been asked for first.
    """
    busy = losses = 0
    is_corrected = is_refreshed = False
    while True:
        answer = yield from _send(wallet.header(offer, signing))
        if answer.error is not None:
            losses += 1
            if losses == LOST_TRIES:
                raise answer.error
            yield Wait(BUSY_SECONDS)
            continue
        if answer.status != 402:
            if _note(wallet, signing, answer) and not is_remembered:
                wallet.remembered.keep(request, offer)
            return
        demand = _demand(answer, wallet)
        if demand is None or demand.error == ErrorCode.CHANNEL_BUSY:
            busy += 1
            if busy == BUSY_TRIES:
                raise RefusedByServer(ErrorCode.CHANNEL_BUSY, "the channel stays busy: try later")
            yield Wait(BUSY_SECONDS)
            continue
        is_repriced = is_remembered and offer.is_like(demand.offer)
        is_remembered = False
        if is_repriced and offer.price != demand.offer.price:
            offer = demand.offer
            is_approved = wallet.allow(request, offer.price)
            signing = wallet.authorize(request, offer, signing.lane, is_approved=is_approved)
            continue
        _check_same(offer, demand, wallet)
        if demand.claim is not None and not is_corrected:
            is_corrected = True
            more = wallet.believe(signing, demand.claim)
            if losses and more and demand.claim.ceiling == signing.ceiling:
                raise AnswerLost(more, request.url, wallet.store.home.show)
        elif demand.error == ErrorCode.CUMULATIVE_EXCEEDS_BALANCE and not is_refreshed:
            is_refreshed = True
            if wallet.refresh(signing.lane).balance >= signing.ceiling:
                reason = "it says the channel holds too little, the chain says it does not"
                raise RefusedByServer(demand.error, reason)
        else:
            raise RefusedByServer(demand.error, _hint(demand))
        signing = wallet.authorize(request, offer, signing.lane, is_approved=is_approved)


def refund(wallet: Wallet, lane: Lane, method: str, url: str, amount: int | None) -> Flow:
    """Asks a server to give back what is left of a channel, or ``amount`` of it.

    Raises:
        RefusedByServer: It does not.
    """
    answer = yield from _send(None)
    header = answer.header(REQUIRED_HEADER)
    if answer.status != 402 or header is None:
        raise RefusedByServer("not_priced", f"{url} costs nothing: name a URL that has a price")
    offer = read_demand(header, wallet.place).offer
    yield from _hold(wallet, lane)
    try:
        yield from _refund_from(wallet, offer, lane, amount)
    finally:
        wallet.give_lane(lane)


def _refund_from(wallet: Wallet, offer: Offer, lane: Lane, amount: int | None) -> Flow:
    is_corrected = False
    while True:
        lane = wallet.refresh(lane)
        answer = yield from _send(wallet.refund_header(offer, lane, amount))
        if answer.error is not None:
            raise answer.error
        told = answer.header(RESPONSE_HEADER)
        if answer.status == 200 and told is not None and read_refund(told) is not None:
            wallet.refresh(lane)
            return
        demand = _demand(answer, wallet)
        if demand is None or demand.claim is None or is_corrected:
            code = str(answer.status) if demand is None else demand.error
            raise RefusedByServer(code, "take the money back with `farthing wallet withdraw`")
        is_corrected = True
        wallet.believe(Signing(0, lane, lane.charged), demand.claim)


def _hold(wallet: Wallet, lane: Lane) -> Flow:
    for _ in range(LANE_LOOKS):
        if wallet.locks.take(lane.channel_id):
            return
        yield Wait(BUSY_SECONDS)
    raise NotAnswered(f"channel 0x{lane.channel_id.hex()} is in use")


def _send(payment: str | None) -> Generator[Step, Answer | None, Answer]:
    answer = yield Send(payment)
    assert answer is not None
    return answer


def _demand(answer: Answer, wallet: Wallet) -> Demand | None:
    """A 402's demand; None for one that has none."""
    header = answer.header(REQUIRED_HEADER)
    return None if header is None else read_demand(header, wallet.place)


def _check_same(offer: Offer, demand: Demand, wallet: Wallet) -> None:
    """A server that has a voucher in hand does not get a dearer one for the same request."""
    if not offer.is_like(demand.offer) or offer.price != demand.offer.price:
        show = wallet.store.home.show
        raise RefusedByServer(
            demand.error or "terms_changed",
            f"it asked for {show(offer.price)} and, once that was signed, for "
            f"{show(demand.offer.price)} or on other terms: ask again if you want to pay that",
        )


def _hint(demand: Demand) -> str:
    return "nothing more was signed for it" if demand.error else "it gave no reason"


def _note(wallet: Wallet, signing: Signing, answer: Answer) -> bool:
    """Writes down what a server says it charged, or that it cannot be right; whether it is.

    A signed receipt in it is kept and looked at later: it costs as much as all else together, and
    a wrong one takes nothing from what was served.
    """
    header = answer.header(RESPONSE_HEADER)
    receipt = None if header is None else read_receipt(header)
    lane = signing.lane
    if lane.deposit is not None:
        # If the chain cannot be asked now, the deposit is looked for before the next payment.
        with suppress(NotAnswered):
            wallet.refresh(lane)
    if receipt is None:
        return False
    price = signing.ceiling - lane.charged
    if (
        receipt.channel_id == lane.channel_id
        and receipt.charged <= price
        and receipt.total == lane.charged + receipt.charged
    ):
        wallet.store.charged(signing, receipt.charged, header)
        return True
    # The caller has its answer; nothing more is paid on such books.
    show = wallet.store.home.show
    wallet.store.set_problem(
        lane.channel_id,
        f"it says it charged {show(receipt.charged)}, {show(receipt.total)} in all, for a price of "
        f"{show(price)} on top of {show(lane.charged)}",
    )
    return False
