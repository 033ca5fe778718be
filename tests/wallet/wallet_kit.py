"""What the tests of the wallet share: wallets on a chain, and servers that are only functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farthing.chain.connection import NodeUnreachable
from farthing.chain.settlement import Snapshot
from farthing.protocol import Domain, TokenDomain
from farthing.protocol.payments import REQUIRED_HEADER, write_header
from farthing.wallet import Budget, Home, Lane, Period, Place, Rules, Store, Wallet, session_of
from farthing.wallet.flow import Answer, Flow, Send, Wait
from farthing.wallet.store import Signing
from tests.escrow_world import PAYER, World
from tests.paywall.paywall_kit import DOMAIN, TERMS, TOKEN, Payer

DAILY = Period.parse("R/2026-01-01T00:00Z/P1D")
MONTHLY = Period.parse("R/2026-01-01T00:00Z/P1M")
DAY = 86_400
NOON = 1_780_000_000
"""2026-05-28T20:26:40Z: some moment within a day and a month."""
HOST = "news.example"
URL = f"http://{HOST}/cheap"
COLLECTOR = "0x4020806089470a89826cB9fB1f4059150b550004"
SESSION = session_of(PAYER, DOMAIN)
PLACE = Place(DOMAIN, TokenDomain("USD Coin", "2", DOMAIN.chain_id, TOKEN), COLLECTOR)
HOME = Home(PAYER.address, SESSION.address, "http://127.0.0.1:1", DOMAIN, TOKEN, COLLECTOR)


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return float(self.now)


def budget(limit: int, **rules: Any) -> Rules:
    """Rules with one daily budget."""
    return Rules((Budget(limit, DAILY),), **rules)


def new_store(path: Path, rules: Rules, clock: Callable[[], float] | None = None) -> Store:
    return Store.create(path, PAYER, HOME, rules, clock or Clock())


def lane(number: int = 0, balance: int = 10**9, origin: str = f"http://{HOST}") -> Lane:
    """A funded channel, another for each number."""
    config = Payer(salt=number).with_config(payer_authorizer=SESSION.address).config
    return Lane(config.channel_id(DOMAIN), origin, config, balance)


def sign_off(store: Store, channel: Lane, price: int, *, host: str = HOST) -> Signing:
    """A payment from a channel that needs no deposit and no approval."""

    def no_deposit(*known: Any) -> Any:
        raise AssertionError("it has enough")

    signing = store.authorize(
        channel.channel_id, host, "GET", URL, price, is_approved=False, deposit=no_deposit
    )
    assert signing is not None
    return signing


def sign_off_ready(store: Store, channel: Lane, price: int, *, host: str = HOST) -> Signing:
    """The same, chosen and written down in one transaction."""

    def choose(lanes: list[Lane]) -> Lane:
        return next(each for each in lanes if each.channel_id == channel.channel_id)

    signing = store.authorize_ready(choose, channel.origin, host, "GET", URL, price)
    assert signing is not None
    return signing


# ---------------------------------------------------------------- on a chain


def place_of(world: World) -> Place:
    """Where a wallet on that chain pays."""
    return Place(world.settlement.domain, world.token.domain, world.deployment.erc3009_collector)


def home_of(world: World, rpc: str = "http://127.0.0.1:1") -> Home:
    place, domain = place_of(world), world.settlement.domain
    session = session_of(PAYER, domain).address
    return Home(PAYER.address, session, rpc, domain, place.token.contract, place.collector)


def open_on(world: World, store: Store, **options: Any) -> Wallet:
    """A wallet that has its main key with it, unless ``main`` says otherwise."""
    session = session_of(PAYER, world.settlement.domain)
    options.setdefault("main", PAYER)
    return Wallet(store, session, world.settlement, place_of(world), **options)


# ---------------------------------------------------------------- without a network


def drive(flow: Flow, server: Callable[[str | None], Answer]) -> Answer:
    """Runs a payment against a server that is a function of the payment's header."""
    answer = None
    try:
        step = next(flow)
        while True:
            assert isinstance(step, Send | Wait)
            if isinstance(step, Send):
                answer = server(step.payment)
                step = flow.send(answer)
            else:
                step = flow.send(None)
    except StopIteration:
        assert answer is not None
        return answer
    finally:
        flow.close()


def answer(status: int, headers: dict[str, str] | None = None) -> Answer:
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    return Answer(status, lambda name: lowered.get(name.lower()))


def demand(error: str = "Payment required", **changes: Any) -> Answer:
    """A 402 of a publisher with `TERMS`; ``changes`` go into its only offer."""
    extra = changes.pop("extra", {})
    price = changes.pop("price", 100)
    offer = {**TERMS.requirements(price)[0], **changes}
    offer["extra"] = {**offer["extra"], **extra}
    required = {"x402Version": 2, "error": error, "resource": {"url": URL}, "accepts": [offer]}
    return answer(402, {REQUIRED_HEADER: write_header(required).decode()})


@dataclass
class FixedChain:
    """What the chain says of every channel, as far as a wallet asks it."""

    domain: Domain = DOMAIN
    balance: int = 10**9
    claimed: int = 0
    is_down: bool = False

    def snapshot(self, channel_id: bytes) -> Snapshot:
        if self.is_down:
            raise NodeUnreachable("http://node", "down")
        return Snapshot(self.balance, self.claimed, 0, 0, 0, 1)
