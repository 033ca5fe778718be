"""Servers that cheat: the wallet says why it stops, and has risked one voucher at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from farthing.protocol import Voucher, sign
from farthing.protocol.payments import (
    REQUIRED_HEADER,
    RESPONSE_HEADER,
    ErrorCode,
    Payment,
    read_payment,
    write_header,
)
from farthing.wallet import (
    ClaimNotProven,
    HostRefused,
    NotAnswered,
    OfferRefused,
    PriceTooHigh,
    RefusedByServer,
    Wallet,
)
from farthing.wallet.flow import BUSY_TRIES, Answer, pay
from farthing.wallet.offers import read_demand, read_receipt
from tests.escrow_world import PAYER, STRANGER
from tests.paywall.paywall_kit import DOMAIN, TERMS
from tests.wallet.wallet_kit import (
    HOST,
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

PRICE = 100
MISMATCH = ErrorCode.CUMULATIVE_AMOUNT_MISMATCH


@dataclass
class Crook:
    """A server that answers a payment with whatever a test says, and keeps what it was sent."""

    answers: Callable[[Payment], Answer]
    first: Answer = field(default_factory=demand)
    payments: list[Payment] = field(default_factory=list)

    def __call__(self, payment: str | None) -> Answer:
        if payment is None:
            return self.first
        self.payments.append(read_payment(payment.encode()))
        return self.answers(self.payments[-1])

    @property
    def worth(self) -> int:
        """All it could ever claim."""
        return max((each.ceiling for each in self.payments), default=0)


@pytest.fixture
def chain() -> FixedChain:
    return FixedChain()


@pytest.fixture
def wallet(tmp_path: Path, chain: FixedChain) -> Iterator[Wallet]:
    """A wallet whose channel was charged 1,000, and has vouchers of up to 1,500 out."""
    store = new_store(tmp_path / "wallet.db", budget(10**6, per_request=5_000))
    store.add_lane(replace(lane(), charged=1_000, upper=1_000, signed=1_500))
    settlement: Any = chain
    made = Wallet(store, SESSION, settlement, PLACE, main=PAYER)
    yield made
    made.close()


def attempt(wallet: Wallet, crook: Crook) -> Answer:
    return drive(pay(wallet, "GET", URL), crook)


def state(
    charged: int, ceiling: int, *, signer: Any = SESSION, channel: bytes | None = None
) -> Any:
    """A corrective 402's extra, with a real signature."""
    channel_id = channel or lane().channel_id
    signature = sign(signer, Voucher(lane().channel_id, ceiling), DOMAIN)
    return {
        "channelState": {
            "channelId": "0x" + channel_id.hex(),
            "chargedCumulativeAmount": str(charged),
        },
        "voucherState": {
            "signedMaxClaimable": str(ceiling),
            "signature": "0x" + signature.hex(),
        },
    }


def paid(charged: int, total: int, status: int = 200) -> Answer:
    extra = {
        "channelState": {
            "channelId": "0x" + lane().channel_id.hex(),
            "chargedCumulativeAmount": str(total),
        },
        "chargedAmount": str(charged),
    }
    message = {"success": True, "transaction": "", "extra": extra}
    return answer(status, {RESPONSE_HEADER: write_header(message).decode()})


# ---------------------------------------------------------------- offers: nothing is signed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "eip155:1"}, "another chain"),
        ({"asset": STRANGER.address}, "another token"),
        ({"scheme": "exact"}, "another scheme"),
        ({"amount": "0"}, "nothing"),
        ({"amount": "-1"}, "amount"),
        ({"amount": 100}, "amount"),
        ({"amount": "1e2"}, "amount"),
        ({"amount": "1" * 40}, "amount"),
        ({"payTo": "0x" + "0" * 40}, "payTo"),
        ({"payTo": "me"}, "payTo"),
        ({"extra": {"withdrawDelay": 899}}, "withdrawDelay"),
        ({"extra": {"withdrawDelay": 2_592_001}}, "withdrawDelay"),
        ({"extra": {"receiverAuthorizer": None}}, "receiverAuthorizer"),
        ({"extra": {"minDeposit": "a lot"}}, "minDeposit"),
        ({"extra": {"assetTransferMethod": "permit2"}}, "deposits in another way"),
        ({"extra": {"channelState": {}, "voucherState": {}}}, "channelId"),
    ],
)
def test_offer__that_cannot_be_taken__refused_with_its_reason(
    wallet: Wallet, changes: dict[str, Any], words: str
) -> None:
    crook = Crook(paid_in_full, demand(**changes))
    with pytest.raises(OfferRefused, match=words):
        attempt(wallet, crook)
    assert crook.payments == [] and wallet.store.history() == []


def paid_in_full(payment: Payment) -> Answer:
    return paid(payment.amount, payment.ceiling)


@pytest.mark.parametrize(
    "header",
    ["", "????", "e30=", "bnVsbA==", "W10=", "A" * 16_388]
    + [write_header(each).decode() for each in ({"x402Version": 1, "accepts": []},
       {"x402Version": 2, "accepts": []}, "[" * 5_000)],
)  # fmt: skip
def test_offer__that_cannot_be_read__refused(wallet: Wallet, header: str) -> None:
    crook = Crook(paid_in_full, answer(402, {REQUIRED_HEADER: header}))
    with pytest.raises(OfferRefused):
        attempt(wallet, crook)
    assert crook.payments == []


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["x402Version", "accepts", "extra", "amount", "channelState", "success"])
        | st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
))  # fmt: skip
def test_reading__of_anything__refused_and_nothing_else(message: Any) -> None:
    header = message.decode("latin-1") if isinstance(message, bytes) else None
    if header is None:
        try:
            header = write_header(message).decode()
        except (ValueError, OverflowError):
            return
    with pytest.raises(OfferRefused):
        read_demand(header, PLACE)
    assert read_receipt(header) is None


def test_offer__the_first_that_can_be_taken(wallet: Wallet) -> None:
    good = TERMS.requirements(PRICE)[0]
    offers = [{**good, "network": "eip155:1"}, {"scheme": "batch-settlement"}, good]
    required = {"x402Version": 2, "error": "", "accepts": offers}
    header = write_header(required).decode()
    assert (
        attempt(wallet, Crook(paid_in_full, answer(402, {REQUIRED_HEADER: header}))).status == 200
    )


def test_offer__a_402_of_another_kind__is_the_callers(wallet: Wallet) -> None:
    assert attempt(wallet, Crook(paid_in_full, answer(402))).status == 402


def test_offer__dearer_than_the_rules__refused(wallet: Wallet) -> None:
    crook = Crook(paid_in_full, demand(price=5_001))
    with pytest.raises(PriceTooHigh):
        attempt(wallet, crook)
    assert crook.payments == []


def test_redirect__to_another_host__is_paid_by_its_own_rules(wallet: Wallet) -> None:
    wallet.store.set_rules(PAYER, budget(10**6, allow=(HOST,)))
    with pytest.raises(HostRefused):
        drive(pay(wallet, "GET", "http://evil.example/"), Crook(paid_in_full))
    with pytest.raises(HostRefused):
        drive(pay(wallet, "GET", f"http://{HOST}@evil.example/"), Crook(paid_in_full))
    assert drive(pay(wallet, "GET", f"http://me:pw@{HOST.upper()}./x"), Crook(paid_in_full))
    (payment,) = wallet.store.history()
    assert payment.url == f"http://{HOST}/x"


# ---------------------------------------------------------------- after a payment


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        pytest.param(state(1_101, 1_500), "1100 is what was agreed", id="inflated total"),
        pytest.param(state(1_500, 1_500), "1100 is what was agreed", id="all that was signed"),
        pytest.param(state(999, 1_500), "it was 1000 before", id="stale state"),
        pytest.param(state(0, 1_500), "it was 1000 before", id="state forgotten"),
        pytest.param(state(1_050, 1_500, signer=STRANGER), "did not sign", id="forged voucher"),
        pytest.param(
            state(1_050, 1_500, channel=lane(7).channel_id), "another channel", id="other channel"
        ),
        pytest.param(state(1_601, 1_600), "1600 is what was agreed", id="more than its proof"),
    ],
)
def test_correction__not_proven__refused_for_good(
    wallet: Wallet, extra: dict[str, Any], words: str
) -> None:
    crook = Crook(lambda payment: demand(MISMATCH, extra=extra))
    with pytest.raises(ClaimNotProven, match=words):
        attempt(wallet, crook)
    assert [each.ceiling for each in crook.payments] == [1_100]
    # Nor is it tried again; nor does another channel get its money.
    with pytest.raises(ClaimNotProven, match=words):
        attempt(wallet, crook)
    assert len(crook.payments) == 1 and len(wallet.store.lanes()) == 1


def test_correction__proven__continued_from_once(wallet: Wallet) -> None:
    # It really was charged 60 for the voucher just sent, as when an answer is lost.
    crook = Crook(lambda payment: demand(MISMATCH, extra=state(1_060, 1_500)))
    with pytest.raises(RefusedByServer):
        attempt(wallet, crook)
    assert [each.ceiling for each in crook.payments] == [1_100, 1_160]


def test_correction__the_chain_says_otherwise__refused(wallet: Wallet, chain: FixedChain) -> None:
    chain.claimed = 1_200
    crook = Crook(lambda payment: demand(MISMATCH, extra=state(1_050, 1_500)))
    with pytest.raises(ClaimNotProven, match="1200 was claimed on chain"):
        attempt(wallet, crook)
    assert crook.worth == 1_100


def test_correction__while_the_chain_cannot_be_asked__not_believed(
    wallet: Wallet, chain: FixedChain
) -> None:
    chain.is_down = True
    crook = Crook(lambda payment: demand(MISMATCH, extra=state(1_050, 1_500)))
    with pytest.raises(NotAnswered):
        attempt(wallet, crook)
    assert crook.worth == 1_100
    assert wallet.store.lanes()[0].problem is None


@pytest.mark.parametrize(
    "changes",
    [{"price": PRICE + 1}, {"price": PRICE - 1}, {"payTo": STRANGER.address},
     {"extra": {"withdrawDelay": 7_200}}],
)  # fmt: skip
def test_terms__changed_after_signing__refused(wallet: Wallet, changes: dict[str, Any]) -> None:
    crook = Crook(lambda payment: demand("the price went up", **changes))
    with pytest.raises(RefusedByServer, match="once that was signed"):
        attempt(wallet, crook)
    assert crook.worth == 1_100


def test_correction__with_a_higher_price__refused(wallet: Wallet) -> None:
    extra = state(1_050, 1_500)
    crook = Crook(lambda payment: demand(MISMATCH, price=PRICE + 1, extra=extra))
    with pytest.raises(RefusedByServer):
        attempt(wallet, crook)
    assert crook.worth == 1_100


@pytest.mark.parametrize("error", ["", "no", ErrorCode.VOUCHER_SIGNATURE, MISMATCH])
def test_refusal__without_end__one_voucher(wallet: Wallet, error: str) -> None:
    crook = Crook(lambda payment: demand(error))
    for _ in range(3):
        with pytest.raises(RefusedByServer):
            attempt(wallet, crook)
    assert crook.worth == 1_100 and len(crook.payments) == 3
    # Below what was signed before: it costs no budget, however often it is tried.
    assert wallet.store.used()[0][1] == 0


@pytest.mark.parametrize("busy", [demand(ErrorCode.CHANNEL_BUSY), answer(402)])
def test_busy__without_end__given_up_with_one_voucher(wallet: Wallet, busy: Answer) -> None:
    crook = Crook(lambda payment: busy)
    with pytest.raises(RefusedByServer, match="busy"):
        attempt(wallet, crook)
    assert len(crook.payments) == BUSY_TRIES
    assert {each.ceiling for each in crook.payments} == {1_100}


def test_balance__said_to_be_too_low_and_is_not__refused(wallet: Wallet) -> None:
    crook = Crook(lambda payment: demand(ErrorCode.CUMULATIVE_EXCEEDS_BALANCE))
    with pytest.raises(RefusedByServer, match="the chain says it does not"):
        attempt(wallet, crook)
    assert crook.worth == 1_100 and all(each.deposit is None for each in crook.payments)


@pytest.mark.parametrize(
    ("charged", "total"),
    [(101, 1_101), (100, 1_101), (100, 1_099), (0, 1_100), (2**128 - 1, 2**128 - 1)],
)
def test_receipt__that_cannot_be__the_answer_is_kept_and_nothing_more_paid(
    wallet: Wallet, charged: int, total: int
) -> None:
    crook = Crook(lambda payment: paid(charged, total))
    assert attempt(wallet, crook).status == 200
    with pytest.raises(ClaimNotProven, match=f"it charged {charged}"):
        attempt(wallet, crook)
    assert crook.worth == 1_100


def test_receipt__none__what_was_charged_stays_open(wallet: Wallet) -> None:
    crook = Crook(lambda payment: answer(200))
    attempt(wallet, crook)
    (here,) = wallet.store.lanes()
    assert (here.charged, here.upper, here.signed) == (1_000, 1_100, 1_500)
    # Now a server may say that it charged, with a proof; not more than it could have.
    extra = state(1_100, 1_100)
    told = Crook(lambda payment: paid(100, 1_200) if payment.ceiling == 1_200
                 else demand(MISMATCH, extra=extra))  # fmt: skip
    assert attempt(wallet, told).status == 200
    (here,) = wallet.store.lanes()
    assert (here.charged, here.upper, here.signed) == (1_200, 1_200, 1_500)


def test_receipt__less_than_the_price__less_is_owed(wallet: Wallet) -> None:
    crook = Crook(lambda payment: paid(30, payment.ceiling - 70))
    for charged in (1_030, 1_060):
        assert attempt(wallet, crook).status == 200
        assert wallet.store.lanes()[0].charged == charged


# ---------------------------------------------------------------- prices that are remembered


@pytest.fixture
def honest(wallet: Wallet) -> Crook:
    """A server that has been paid once, for a price of 100."""
    crook = Crook(paid_in_full)
    attempt(wallet, crook)
    crook.payments.clear()
    crook.first = answer(500)
    return crook


def test_remembered__is_paid_at_once(wallet: Wallet, honest: Crook) -> None:
    assert attempt(wallet, honest).status == 200
    assert [each.ceiling for each in honest.payments] == [1_200]


def test_remembered__for_that_request_only(wallet: Wallet, honest: Crook) -> None:
    for method, url in (("POST", URL), ("GET", URL + "?2"), ("GET", URL + "2")):
        assert drive(pay(wallet, method, url), honest).status == 500
    assert honest.payments == []


@pytest.mark.parametrize("price", [PRICE - 40, PRICE + 40])
def test_remembered__the_price_is_another_by_now__looked_at_anew(
    wallet: Wallet, honest: Crook, price: int
) -> None:
    honest.answers = lambda payment: (
        paid_in_full(payment) if payment.amount == price else demand("changed", price=price)
    )
    assert attempt(wallet, honest).status == 200
    assert [each.ceiling for each in honest.payments] == [1_200, 1_100 + price]


def test_remembered__the_price_is_above_the_rules_by_now__refused(
    wallet: Wallet, honest: Crook
) -> None:
    honest.answers = lambda payment: demand("changed", price=5_001)
    with pytest.raises(PriceTooHigh):
        attempt(wallet, honest)
    assert honest.worth == 1_200


def test_remembered__a_price_that_rises_without_end__once(wallet: Wallet, honest: Crook) -> None:
    honest.answers = lambda payment: demand("more", price=payment.amount + 1)
    with pytest.raises(RefusedByServer, match="once that was signed"):
        attempt(wallet, honest)
    assert honest.worth == 1_201
    # And then it is asked first.
    assert attempt(wallet, honest).status == 500


def test_remembered__another_receiver_by_now__refused_and_forgotten(
    wallet: Wallet, honest: Crook
) -> None:
    honest.answers = lambda payment: demand("moved", payTo=STRANGER.address)
    with pytest.raises(RefusedByServer):
        attempt(wallet, honest)
    assert honest.worth == 1_200
    assert attempt(wallet, honest).status == 500


def test_remembered__not_what_was_not_charged(wallet: Wallet) -> None:
    crook = Crook(lambda payment: answer(200))
    attempt(wallet, crook)
    crook.first = answer(500)
    assert attempt(wallet, crook).status == 500
