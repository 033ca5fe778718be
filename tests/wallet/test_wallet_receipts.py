"""Receipts as a wallet meets them: asked for, looked at, kept, and warned of where wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from farthing.protocol import Signer
from farthing.protocol.payments import RESPONSE_HEADER, read_payment, write_header
from farthing.protocol.proofs import read_given, read_proof
from farthing.protocol.receipts import EXTENSION, Charge, Given, Receipt, Statement
from farthing.wallet import Wallet
from farthing.wallet.flow import Answer, lost, pay
from farthing.wallet.receipts import Evidence, NoReceipt, evidence_of, payment_by_id
from farthing.wallet.watch import Alert, Watch
from tests.escrow_world import AUTHORIZER, PAYER, STRANGER, World
from tests.paywall.paywall_kit import CHEAP, DEAR, Shop, decoded, run
from tests.wallet.conftest import OpenWallet
from tests.wallet.test_pay_paywall import as_answer
from tests.wallet.wallet_kit import budget, demand, drive

RULES = budget(50_000, top_up=10_000)
URL = "http://test/cheap"


def buy(wallet: Wallet, shop: Shop, url: str = URL, method: str = "GET", **options: Any) -> Answer:
    """One request, each answer of the shop on its way changed by ``spoil`` if that is given."""
    spoil: Callable[[Answer], Answer] = options.get("spoil", lambda got: got)

    def serve(payment: str | None) -> Answer:
        path, _, query = url.removeprefix("http://test").partition("?")
        got = run(shop.get(path, payment, method=method, query=query.encode()))
        return as_answer(got) if payment is None else spoil(as_answer(got))

    return drive(pay(wallet, method, url), serve)


def latest(wallet: Wallet) -> Evidence:
    return evidence_of(wallet.store, wallet.store.history()[-1])


def test_pay__at_our_paywall__is_proven_offline(
    chain_shop: Shop, open_wallet: OpenWallet, world: World
) -> None:
    wallet = open_wallet(RULES)
    for count, url in enumerate((URL, "http://test/dear?a=%C3%A9", URL), 1):
        assert buy(wallet, chain_shop, url).status == 200
        found = latest(wallet)
        assert found.problem is None
        proof = read_proof(json.dumps(found.proof).encode())
        assert proof.signer == AUTHORIZER.address
        assert proof.given.receipt is not None and proof.given.charge is not None
        charge = proof.given.charge.said
        (made,) = chain_shop.ledger.charges(channel_id=charge.channel_id)[count - 1 :]
        assert (charge.url, charge.request_id) == (url, made.request_id)
        assert charge.amount == made.amount == (DEAR if count == 2 else CHEAP)
        assert charge.total == wallet.store.lane(charge.channel_id).charged
        assert proof.config is not None and proof.config.payer == PAYER.address


def test_receipts__after_a_restart__are_still_there(
    chain_shop: Shop, open_wallet: OpenWallet
) -> None:
    wallet = open_wallet(RULES)
    buy(wallet, chain_shop)
    before = latest(wallet)
    assert before.proof is not None
    wallet.close()
    assert latest(open_wallet()) == before


def test_pay__an_answer_that_was_lost__the_one_receipt_there_is(
    chain_shop: Shop, open_wallet: OpenWallet
) -> None:
    wallet, given = open_wallet(RULES), []

    def once(got: Answer) -> Answer:
        given.append(got.header(RESPONSE_HEADER))
        return lost(ConnectionError("the line is dead")) if len(given) == 1 else got

    buy(wallet, chain_shop, spoil=once)
    first, second = given
    assert first == second == wallet.store.history()[0].receipt
    assert latest(wallet).problem is None and latest(wallet).proof is not None


# ---------------------------------------------------------------- asking


def asked(wallet: Wallet, announced: Any) -> bool:
    """Whether a server that announces this is asked for a receipt."""
    sent: list[str] = []

    def serve(payment: str | None) -> Answer:
        if payment is None:
            return demand_with(wallet, announced)
        sent.append(payment)
        return Answer(200, lambda name: None)

    drive(pay(wallet, "GET", URL), serve)
    return read_payment(sent[0].encode()).wants_receipt


def demand_with(wallet: Wallet, announced: Any) -> Answer:
    place = wallet.place
    first = demand(network=place.network, asset=place.token.contract)
    message = decoded(str(first.header("payment-required")))
    header = write_header({**message, "extensions": announced}).decode()
    return Answer(402, {"PAYMENT-REQUIRED": header}.get)


@pytest.mark.parametrize(
    ("announced", "is_asked"),
    [
        ({EXTENSION: {"info": {}, "schema": {}}}, True),
        # It gives receipts to everybody, and wants all it has announced back.
        ({EXTENSION: {"info": {"offers": [{"format": "jws"}]}}}, False),
        ({EXTENSION: {}}, True),
        ({EXTENSION: None}, True),
        ({EXTENSION: []}, True),
        ({"bazaar": {"info": {}}}, True),
        ([], True),
        ("x", True),
        (None, True),
    ],
)
def test_ask__whoever_takes_it(open_wallet: OpenWallet, announced: Any, is_asked: bool) -> None:
    assert asked(open_wallet(RULES), announced) is is_asked


def test_ask__not_when_its_owner_wants_none(open_wallet: OpenWallet) -> None:
    assert not asked(open_wallet(RULES, receipts=False), {EXTENSION: {"info": {}}})


def test_pay__without_receipts__works_as_well(chain_shop: Shop, open_wallet: OpenWallet) -> None:
    wallet = open_wallet(RULES, receipts=False)
    assert buy(wallet, chain_shop).status == 200
    assert latest(wallet) == Evidence(None, None)


def test_offer__that_is_remembered__asks_too(chain_shop: Shop, open_wallet: OpenWallet) -> None:
    wallet = open_wallet(RULES)
    buy(wallet, chain_shop)
    buy(wallet, chain_shop)
    assert chain_shop.paywall.counts["unpaid"] == 1
    assert latest(wallet).proof is not None


# ---------------------------------------------------------------- what is wrong


def forge(
    receipt: Callable[[Receipt], Receipt] = lambda said: said,
    charge: Callable[[Charge], Charge] = lambda said: said,
    signer: Signer = AUTHORIZER,
) -> Callable[[Answer], Answer]:
    """Changes what was said, and signs it anew."""

    def spoil(got: Answer) -> Answer:
        message = decoded(str(got.header(RESPONSE_HEADER)))
        given = read_given(json.dumps(message).encode())
        assert given.receipt is not None and given.charge is not None
        forged = Given(
            Statement.by(signer, receipt(given.receipt.said)),
            Statement.by(signer, charge(given.charge.said)),
        )
        message["extensions"] = forged.extension()
        return respond(message)

    return spoil


def respond(message: Any) -> Answer:
    return Answer(200, {RESPONSE_HEADER: write_header(message).decode()}.get)


LIES: dict[str, tuple[Callable[[Answer], Answer], str]] = {
    "less": (forge(charge=lambda said: replace(said, amount=CHEAP - 1)), "99 were charged"),
    "more in all": (forge(charge=lambda said: replace(said, total=CHEAP + 1)), "101 in all"),
    "another request": (
        forge(lambda said: replace(said, url=URL + "2"), lambda said: replace(said, url=URL + "2")),
        "what was paid for was GET http://test/cheap",
    ),
    "another method": (forge(charge=lambda said: replace(said, method="POST")), "POST http"),
    "another channel": (
        forge(charge=lambda said: replace(said, channel_id=bytes(32))),
        "of another channel",
    ),
    "another payer": (forge(lambda said: replace(said, payer=STRANGER.address)), "its payer"),
    "another chain": (forge(lambda said: replace(said, network="eip155:1")), "eip155:1"),
    "two requests": (forge(lambda said: replace(said, url=URL + "2")), "of two requests"),
    "another signer": (forge(signer=STRANGER), STRANGER.address),
    "escapes": (
        forge(lambda said: replace(said, url="\x1b[2J"), lambda said: replace(said, url="\x1b[2J")),
        r"\x1b[2J",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_receipt__that_is_wrong__warned_of_and_paid_on(
    chain_shop: Shop,
    open_wallet: OpenWallet,
    lie: str,
) -> None:
    spoil, words = LIES[lie]
    wallet = open_wallet(RULES)
    assert buy(wallet, chain_shop, spoil=spoil).status == 200
    found = latest(wallet)
    assert found.proof is not None and found.problem is not None
    assert words in found.problem and "\x1b" not in found.problem
    # What was served is served, and its books are right.
    assert wallet.store.history()[0].charged == CHEAP
    assert buy(wallet, chain_shop).status == 200
    # Its owner is told where the wallet is watched, once.
    watch = Watch(wallet.store)
    alerts = [each for each in watch.look() if isinstance(each, Alert)]
    assert [each.subject for each in alerts] == ["payment 1"]
    assert found.problem in alerts[0].text
    assert watch.look() == []


@pytest.mark.parametrize(
    "extensions",
    [
        {EXTENSION: {"info": {"charge": 5}}},
        {EXTENSION: {"info": {"charge": {"format": "eip712", "signature": "0x", "payload": {}}}}},
        {EXTENSION: 1},
        [],
    ],
)
def test_receipt__that_cannot_be_read__warned_of(
    chain_shop: Shop, open_wallet: OpenWallet, extensions: Any
) -> None:
    def spoil(got: Answer) -> Answer:
        message = decoded(str(got.header(RESPONSE_HEADER)))
        return respond({**message, "extensions": extensions})

    wallet = open_wallet(RULES)
    assert buy(wallet, chain_shop, spoil=spoil).status == 200
    found = latest(wallet)
    assert found.proof is None and "cannot be read" in str(found.problem)
    assert wallet.store.history()[0].charged == CHEAP


# ---------------------------------------------------------------- other servers, other frameworks


def test_receipt__of_another_server__may_be_signed_by_whom_it_likes(
    chain_shop: Shop, open_wallet: OpenWallet
) -> None:
    def spoil(got: Answer) -> Answer:
        message = decoded(str(got.header(RESPONSE_HEADER)))
        given = read_given(json.dumps(message).encode())
        assert given.receipt is not None
        alone = Given(Statement.by(STRANGER, given.receipt.said))
        return respond({**message, "extensions": alone.extension()})

    wallet = open_wallet(RULES)
    buy(wallet, chain_shop, spoil=spoil)
    found = latest(wallet)
    assert found.problem is None and found.proof is not None
    assert read_proof(json.dumps(found.proof).encode(), STRANGER.address).config is None


@pytest.mark.parametrize("info", [{}, {"receipt": {"format": "jws", "signature": "a.b.c"}}])
def test_receipt__in_another_form__counts_as_none(
    chain_shop: Shop, open_wallet: OpenWallet, info: Any
) -> None:
    def spoil(got: Answer) -> Answer:
        message = decoded(str(got.header(RESPONSE_HEADER)))
        return respond({**message, "extensions": {EXTENSION: {"info": info}}})

    wallet = open_wallet(RULES)
    buy(wallet, chain_shop, spoil=spoil)
    assert latest(wallet) == Evidence(None, None)


@pytest.mark.parametrize(
    ("asked_for", "signed_for", "is_same"),
    [
        (URL, "https://test/cheap", True),
        (URL, "http://test:80/cheap", True),
        (URL, "https://test:443/cheap", True),
        (URL, "http://TEST/cheap", True),
        (URL, "http://test/%63heap", True),
        (URL, "http://test:8080/cheap", False),
        (URL, "http://backend/cheap", False),
        (URL, "http://test/Cheap", False),
        (URL, "http://test/cheap?a", False),
        (URL, "http://test:x/cheap", False),
        (URL, "http://[test/cheap", False),
        ("http://test/cheap?a=%20", "http://test/cheap?a=%20", True),
        ("http://test/cheap?a=%20", "http://test/cheap?a=+", False),
    ],
)
def test_receipt__for_a_url__that_a_proxy_or_framework_wrote_in_its_way(
    chain_shop: Shop, open_wallet: OpenWallet, asked_for: str, signed_for: str, is_same: bool
) -> None:
    spoil = forge(
        lambda said: replace(said, url=signed_for), lambda said: replace(said, url=signed_for)
    )
    wallet = open_wallet(RULES)
    buy(wallet, chain_shop, asked_for, spoil=spoil)
    assert (latest(wallet).problem is None) is is_same


def test_payment__that_is_not_in_the_history__has_no_receipt(
    chain_shop: Shop, open_wallet: OpenWallet
) -> None:
    wallet = open_wallet(RULES)
    buy(wallet, chain_shop)
    assert payment_by_id(wallet.store, 1).url == URL
    for missing in (2, 10**9):
        with pytest.raises(NoReceipt, match=f"payment {missing} has no receipt"):
            payment_by_id(wallet.store, missing)
