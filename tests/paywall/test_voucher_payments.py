"""Vouchers that are taken: what is charged, told and kept."""

import asyncio
import time

import pytest

from farthing.ledger import NotReserved
from farthing.paywall import ChargeInvalid, Limits
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import (
    BALANCE,
    CHEAP,
    DEAR,
    PRICES,
    Got,
    Payer,
    Shop,
    decoded,
    encoded,
    run,
)

PAYER = Payer()


def test_pay__with_a_voucher__served_charged_and_told(any_shop: Shop) -> None:
    shop = any_shop
    before = int(time.time())
    got = run(shop.get("/cheap", PAYER.header(CHEAP)))
    assert (got.status, got.body) == (200, b"answer 1")
    assert got.header("cache-control") == "private, no-store"
    assert got.header("content-type") == "text/plain"
    assert got.paid == {
        "success": True,
        "transaction": "",
        "network": PAYER.terms.network,
        "payer": PAYER.config.payer,
        "amount": "",
        "extra": {
            "chargedAmount": str(CHEAP),
            "channelState": {
                "channelId": "0x" + PAYER.channel_id.hex(),
                "balance": str(BALANCE),
                "totalClaimed": "0",
                "withdrawRequestedAt": 0,
                "refundNonce": "0",
                "chargedCumulativeAmount": str(CHEAP),
            },
        },
    }
    (charge,) = shop.charges(PAYER)
    assert (charge.amount, charge.total, charge.price) == (CHEAP, CHEAP, CHEAP)
    assert (charge.channel_id, charge.route) == (PAYER.channel_id, "/cheap")
    assert before <= charge.time <= time.time()
    assert shop.paywall.counts == {"paid": 1}


def test_pay__many_times__each_voucher_allows_one_more(any_shop: Shop) -> None:
    async def pay() -> None:
        for number in range(1, 21):
            got = await any_shop.get("/cheap", PAYER.header(number * CHEAP))
            assert (got.status, got.body) == (200, b"answer %d" % number)

    run(pay())
    assert any_shop.charged(PAYER) == 20 * CHEAP
    assert [charge.total for charge in any_shop.charges(PAYER)] == [
        number * CHEAP for number in range(1, 21)
    ]


def test_pay__what_the_handler_lowers__only_that_is_charged(shop: Shop) -> None:
    async def handler(scope: dict, receive: object, send: object) -> None:  # type: ignore[type-arg]
        scope["farthing.payment"].charge(7)
        await shop.handler.answer(scope, receive, send)

    shop.handler.handler = handler
    got = run(shop.get("/dear", PAYER.header(DEAR, DEAR)))
    assert got.paid["extra"]["chargedAmount"] == "7"
    assert shop.charged(PAYER) == 7
    # The next voucher starts from what was charged, not from what was allowed.
    assert run(shop.get("/cheap", PAYER.header(7 + CHEAP))).status == 200
    assert shop.charged(PAYER) == 14


@pytest.mark.parametrize("amount", [DEAR + 1, -1, True, 1.0, "1", None])
def test_pay__when_the_handler_asks_for_more_than_the_price__it_fails_and_nothing_is_charged(
    shop: Shop, amount: object
) -> None:
    async def handler(scope: dict, receive: object, send: object) -> None:  # type: ignore[type-arg]
        scope["farthing.payment"].charge(amount)

    shop.handler.handler = handler
    with pytest.raises(ChargeInvalid, match="1000"):
        run(shop.get("/dear", PAYER.header(DEAR, DEAR)))
    assert shop.charged(PAYER) == 0
    assert shop.ledger.reserve([PAYER.channel_id]) != [NotReserved.BUSY]


def test_handler__sees_who_pays(shop: Shop) -> None:
    seen = []

    async def handler(scope: dict, receive: object, send: object) -> None:  # type: ignore[type-arg]
        admission = scope["farthing.payment"]
        seen.append((admission.payer, admission.channel_id, admission.price, admission.amount))
        await shop.handler.answer(scope, receive, send)

    shop.handler.handler = handler
    run(shop.get("/dear", PAYER.header(DEAR, DEAR)))
    assert seen == [(PAYER.config.payer, PAYER.channel_id, DEAR, DEAR)]


# ---------------------------------------------------------------- corrected


@pytest.mark.parametrize(
    "ceiling", [0, 1, CHEAP, 2 * CHEAP - 1, 2 * CHEAP + 1, BALANCE, 2**128 - 1]
)
def test_pay__with_another_ceiling__corrected_with_the_channels_state(
    shop: Shop, ceiling: int
) -> None:
    first = PAYER.message(CHEAP, CHEAP)
    assert run(shop.get("/cheap", encoded(first))).status == 200
    if ceiling == CHEAP:
        # Not to be taken for the same request again.
        shop.ledger.forget_answers(2**40)
    got = run(shop.get("/cheap", PAYER.header(ceiling)))
    assert (got.status, got.error) == (402, "cumulative_amount_mismatch")
    required = decoded(got.header("payment-required"))
    assert required == {key: value for key, value in got.json.items() if key != "reason"}
    (entry,) = required["accepts"]
    assert entry["amount"] == str(CHEAP)
    assert entry["extra"]["channelState"]["chargedCumulativeAmount"] == str(CHEAP)
    assert entry["extra"]["voucherState"] == {
        "signedMaxClaimable": str(CHEAP),
        "signature": first["payload"]["voucher"]["signature"],
    }
    assert shop.served == 1
    assert shop.charged(PAYER) == CHEAP
    # From there on the client goes on.
    assert run(shop.get("/cheap", PAYER.header(2 * CHEAP))).status == 200


def test_pay__with_another_first_ceiling__corrected_without_a_voucher(shop: Shop) -> None:
    got = run(shop.get("/cheap", PAYER.header(CHEAP + 1)))
    extra = got.json["accepts"][0]["extra"]
    assert extra["channelState"]["chargedCumulativeAmount"] == "0"
    assert "voucherState" not in extra


# ---------------------------------------------------------------- replayed elsewhere


def test_pay__a_cheap_voucher_at_a_dear_route__refused(shop: Shop) -> None:
    got = run(shop.get("/dear", PAYER.header(CHEAP, CHEAP)))
    assert (got.status, got.error) == (402, "accepted_terms_mismatch")
    got = run(shop.get("/dear", PAYER.header(CHEAP, DEAR)))
    assert (got.status, got.error) == (402, "cumulative_amount_mismatch")
    assert shop.served == 0


def test_pay__a_spent_cheap_voucher_at_another_route__not_served(shop: Shop) -> None:
    header = PAYER.header(CHEAP)
    assert run(shop.get("/cheap", header)).status == 200
    got = run(shop.get("/articles/one", header))
    assert (got.status, got.error) == (402, "cumulative_amount_mismatch")
    assert (shop.served, shop.charged(PAYER)) == (1, CHEAP)


# ---------------------------------------------------------------- repeated


def test_repeat__the_same_request__the_same_answer_and_no_charge(any_shop: Shop) -> None:
    header = PAYER.header(CHEAP)
    first = run(any_shop.get("/cheap", header, query=b"a=1"))
    for _ in range(3):
        assert run(any_shop.get("/cheap", header, query=b"a=1")) == first
    assert any_shop.served == 1
    assert any_shop.charged(PAYER) == CHEAP
    assert any_shop.paywall.counts == {"paid": 1, "repeated": 3}


@pytest.mark.parametrize(
    ("path", "method", "query"),
    [
        ("/articles/two", "GET", b""),
        ("/articles/one", "POST", b""),
        ("/articles/one", "HEAD", b""),
        ("/articles/one", "GET", b"a=1"),
    ],
)
def test_repeat__for_something_else__not_answered(
    shop: Shop, path: str, method: str, query: bytes
) -> None:
    header = PAYER.header(CHEAP)
    assert run(shop.get("/articles/one", header)).status == 200
    got = run(shop.get(path, header, method=method, query=query))
    assert got.status == 402
    assert (shop.served, shop.charged(PAYER)) == (1, CHEAP)


def test_repeat__of_what_was_charged_less__the_same_answer(shop: Shop) -> None:
    async def handler(scope: dict, receive: object, send: object) -> None:  # type: ignore[type-arg]
        scope["farthing.payment"].charge(1)
        await shop.handler.answer(scope, receive, send)

    shop.handler.handler = handler
    first = run(shop.get("/dear", PAYER.header(DEAR, DEAR)))
    assert run(shop.get("/dear", PAYER.header(DEAR, DEAR))) == first
    assert (shop.served, shop.charged(PAYER)) == (1, 1)


def test_repeat__of_an_older_voucher__corrected(shop: Shop) -> None:
    for number in (1, 2):
        assert run(shop.get("/cheap", PAYER.header(number * CHEAP))).status == 200
    got = run(shop.get("/cheap", PAYER.header(CHEAP)))
    assert (got.status, got.error) == (402, "cumulative_amount_mismatch")
    assert (shop.served, shop.charged(PAYER)) == (2, 2 * CHEAP)


def test_repeat__after_the_answer_expired__corrected_and_no_charge(open_shop: OpenShop) -> None:
    shop = open_shop(limits=Limits(answer_seconds=-1))
    shop.open_channel(PAYER)
    header = PAYER.header(CHEAP)
    assert run(shop.get("/cheap", header)).status == 200
    got = run(shop.get("/cheap", header))
    assert (got.status, got.error) == (402, "cumulative_amount_mismatch")
    assert (shop.served, shop.charged(PAYER)) == (1, CHEAP)


@pytest.mark.parametrize(("seconds", "left"), [(-1, 0), (600, 1)])
def test_answers__that_expired__are_removed_with_the_next_charge(
    open_shop: OpenShop, seconds: int, left: int
) -> None:
    shop = open_shop(limits=Limits(answer_seconds=seconds))
    shop.open_channel(PAYER)

    async def pay() -> None:
        assert (await shop.get("/cheap", PAYER.header(CHEAP))).status == 200
        await asyncio.gather(*shop.paywall.books.tasks)

    run(pay())
    assert shop.ledger.forget_answers(now=2**40) == left


def test_repeat__of_an_answer_too_long_to_keep__corrected_and_no_charge(
    open_shop: OpenShop,
) -> None:
    shop = open_shop(limits=Limits(answer_bytes=3))
    shop.open_channel(PAYER)
    header = PAYER.header(CHEAP)
    assert run(shop.get("/cheap", header)).body == b"answer 1"
    got = run(shop.get("/cheap", header))
    assert (got.status, got.error) == (402, "cumulative_amount_mismatch")
    assert (shop.served, shop.charged(PAYER)) == (1, CHEAP)


def test_repeat__after_a_restart__the_same_answer(open_shop: OpenShop) -> None:
    first_shop = open_shop()
    first_shop.open_channel(PAYER)
    header = PAYER.header(CHEAP)
    first = run(first_shop.get("/cheap", header))
    second_shop = open_shop(prices=PRICES)
    assert run(second_shop.get("/cheap", header)) == first
    assert second_shop.served == 0
    assert second_shop.charged(PAYER) == CHEAP


def test_payments__at_once__each_is_answered_as_it_alone_would_be(any_shop: Shop) -> None:
    payers = [Payer(salt=number) for number in range(1, 13)]
    for payer in payers:
        any_shop.open_channel(payer)

    def spoilt(number: int, payer: Payer) -> str:
        message = payer.message(CHEAP, CHEAP)
        voucher = message["payload"]["voucher"]
        if number % 4 == 1:
            other = payers[number - 1].message(CHEAP, CHEAP)["payload"]["voucher"]
            voucher["signature"] = other["signature"]
        elif number % 4 == 2:
            voucher["channelId"] = "0x" + payers[number - 2].channel_id.hex()
        elif number % 4 == 3:
            return "no payment"
        return encoded(message)

    async def scenario() -> list[Got]:
        headers = [spoilt(number, payer) for number, payer in enumerate(payers)]
        return await asyncio.gather(*(any_shop.get("/cheap", each) for each in headers))

    answers = run(scenario())
    expected = ["", "voucher_signature", "channel_id_mismatch", "voucher_payload"] * 3
    assert [got.error if got.status == 402 else "" for got in answers] == expected
    charged = [any_shop.charged(payer) for payer in payers]
    assert charged == [CHEAP, 0, 0, 0] * 3
    # And nothing is held of a channel whose payment was refused.
    for payer in payers[1::4]:
        assert run(any_shop.get("/cheap", payer.header(CHEAP))).status == 200
