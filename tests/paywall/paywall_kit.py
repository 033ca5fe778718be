"""What the tests of the paywall share: payers with keys, a shop to pay at, and an ASGI client."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import pytest
from eth_account.signers.local import LocalAccount

from farthing.chain.connection import NodeUnreachable
from farthing.ledger import Charge, Ledger, Mirror, open_ledger
from farthing.paywall import Limits, Offers, Paywall, PaywallMiddleware, Prices
from farthing.paywall.onchain import ChainUnavailable, Collectors, OnChain
from farthing.paywall.receipts import Receipts
from farthing.protocol import ChannelConfig, DepositAuthorization, Domain, Voucher, sign
from farthing.protocol.payments import Terms, identifier_of
from tests.escrow_world import AUTHORIZER, DELAY, PAYER, RECEIVER, World

T = TypeVar("T")
Json: TypeAlias = dict[str, Any]

DOMAIN = Domain(8453, "0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003")
TOKEN = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
DECIMALS = 6
TERMS = Terms(
    network="eip155:8453",
    token=TOKEN,
    token_name="USD Coin",
    token_version="2",
    receiver=RECEIVER.address,
    receiver_authorizer=AUTHORIZER.address,
    withdraw_delay=DELAY,
    min_deposit=1_000,
)
BALANCE = 10_000
PRICES: dict[str, Any] = {"/cheap": "0.0001", "/dear": "0.001", "/articles/{slug}": "0.0001"}
CHEAP, DEAR = 100, 1_000
"""What these cost in smallest units."""


# A paywall belongs to one event loop, also when a test runs it in several turns.
_runner = asyncio.Runner()


def run(work: Coroutine[Any, Any, T], seconds: float | None = 60) -> T:
    """Runs to the end, or fails: what hangs is not waited for longer."""

    async def bounded() -> T:
        return await asyncio.wait_for(work, seconds)

    return _runner.run(bounded())


def encoded(message: Any) -> str:
    """A header: base64 of JSON."""
    return base64.b64encode(json.dumps(message).encode()).decode()


def decoded(header: str) -> Json:
    message: Json = json.loads(base64.b64decode(header, validate=True))
    return message


# ---------------------------------------------------------------- the payer


@dataclass(frozen=True)
class Payer:
    """A payer with one channel. ``terms`` are those it accepts."""

    account: LocalAccount = PAYER
    terms: Terms = TERMS
    domain: Domain = DOMAIN
    salt: int = 0
    config: ChannelConfig = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "config",
            ChannelConfig(
                payer=self.account.address,
                payer_authorizer=self.account.address,
                receiver=self.terms.receiver,
                receiver_authorizer=self.terms.receiver_authorizer,
                token=self.terms.token,
                withdraw_delay=self.terms.withdraw_delay,
                salt=self.salt.to_bytes(32, "big"),
            ),
        )

    def with_config(self, **changes: Any) -> Payer:
        """The same payer with another channel."""
        other = replace(self)
        object.__setattr__(other, "config", replace(self.config, **changes))
        return other

    @property
    def channel_id(self) -> bytes:
        return self.config.channel_id(self.domain)

    def message(self, ceiling: int, price: int, kind: str = "voucher", **more: Any) -> Json:
        """A payment as a client would send it, to be spoilt by a test."""
        signature = sign(self.account, Voucher(self.channel_id, ceiling), self.domain)
        return {
            "x402Version": 2,
            "accepted": self.terms.requirements(price)[0],
            "resource": {"url": "http://test/"},
            "payload": {
                "type": kind,
                "channelConfig": self.config.to_json(),
                "voucher": {
                    "channelId": "0x" + self.channel_id.hex(),
                    "maxClaimableAmount": str(ceiling),
                    "signature": "0x" + signature.hex(),
                },
                **more,
            },
        }

    def header(self, ceiling: int, price: int = CHEAP, name: str = "") -> str:
        """A voucher's header; ``name`` is how the client calls its payment."""
        named = {"extensions": identifier_of(name)} if name else {}
        return encoded({**self.message(ceiling, price), **named})

    def refund(self, charged: int, amount: int | None = None, price: int = CHEAP) -> str:
        """A refund's header: of all that is left, or of ``amount``."""
        more = {} if amount is None else {"amount": str(amount)}
        return encoded(self.message(charged, price, "refund", **more))

    def deposit(
        self,
        world: World,
        amount: int,
        ceiling: int,
        *,
        salt: int = 0,
        price: int = CHEAP,
        signer: LocalAccount | None = None,
    ) -> str:
        """A deposit's header: ERC-3009 on the chain of ``world``, signed by ``signer``."""
        authorization = DepositAuthorization(
            payer=self.config.payer,
            collector=world.deployment.erc3009_collector,
            amount=amount,
            valid_after=0,
            valid_before=2**40,
            channel_id=self.channel_id,
            salt=salt,
        )
        signature = sign(signer or self.account, authorization, world.token.domain)
        consent = {
            "validAfter": "0",
            "validBefore": str(2**40),
            "salt": "0x" + salt.to_bytes(32, "big").hex(),
            "signature": "0x" + signature.hex(),
        }
        deposit = {"amount": str(amount), "authorization": {"erc3009Authorization": consent}}
        return encoded(self.message(ceiling, price, "deposit", deposit=deposit))


# ---------------------------------------------------------------- the client


@dataclass
class Got:
    """An HTTP answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        (value,) = [value for key, value in self.headers if key == name]
        return value

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.headers)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The error code, without what all x402 codes begin with."""
        error: str = self.json["error"]
        return error.removeprefix("invalid_batch_settlement_evm_")

    @property
    def paid(self) -> Json:
        return decoded(self.header("payment-response"))


Headers: TypeAlias = Iterable[tuple[bytes, bytes]]


def http_scope(path: str, *, method: str = "GET", headers: Headers = (), query: bytes = b"") -> Any:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"test"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "extensions": {"http.response.pathsend": {}, "tls": {}},
    }


async def call(app: Any, scope: Any) -> Got:
    """Asks an ASGI app, as a server would. Status 0 is no answer."""
    got = Got(0, [], b"")
    is_whole = False

    async def receive() -> Json:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal is_whole
        if message["type"] == "http.response.start":
            assert got.status == 0, "an answer began twice"
            got.status = message["status"]
            got.headers = [
                (name.decode().lower(), value.decode("latin-1"))
                for name, value in message["headers"]
            ]
        elif message["type"] == "http.response.body":
            assert got.status and not is_whole
            got.body += message.get("body", b"")
            is_whole = not message.get("more_body", False)
        else:
            raise AssertionError(f"the server was sent {message}")

    await app(scope, receive, send)
    assert is_whole == bool(got.status)
    return got


# ---------------------------------------------------------------- the shop


Handler: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


class RecordingApp:
    """The app behind the paywall. It counts its calls, and does what a test tells it to."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.handler: Handler = self.answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        await self.handler(scope, receive, send)

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        """A different answer each time, so that a repeated one can be told."""
        body = f"answer {len(self.paths)}".encode()
        headers = [(b"content-type", b"text/plain"), (b"cache-control", b"public, max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Shop:
    """A publisher with an app, a ledger, and a paywall between them."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        prices: dict[str, Any] | None = None,
        chain: OnChain | None = None,
        limits: Limits | None = None,
        terms: Terms = TERMS,
        domain: Domain = DOMAIN,
        receipts: str = "announced",
    ) -> None:
        self._ledger = ledger
        is_announced = receipts == "announced"
        signing = Receipts(AUTHORIZER, terms.network, is_announced=is_announced)
        self.paywall = Paywall(
            Prices(PRICES if prices is None else prices, DECIMALS),
            Offers(terms, "USDC", DECIMALS, signing if receipts else None),
            domain,
            ledger,
            chain,
            limits or Limits(contract_payers=True),
        )
        self.handler = RecordingApp()
        self.app: Any = PaywallMiddleware(self.handler, self.paywall)

    @property
    def ledger(self) -> Ledger:
        """The paywall's own. One that is no file may be used by one thread at a time, and the
        paywall's may be at something for which no request waits."""
        if not self._ledger.is_local:
            self.paywall.books._thread.submit(int).result(60)
        return self._ledger

    def open_channel(self, payer: Payer, balance: int = BALANCE, **mirror: Any) -> None:
        """As if the chain had been asked just now."""
        known = {
            "total_claimed": 0,
            "withdraw_amount": 0,
            "withdraw_requested_at": 0,
            "refund_nonce": 0,
            "synced_at": time.time_ns() // 1_000_000,
            **mirror,
        }
        self.ledger.mirror(payer.channel_id, payer.config, Mirror(balance=balance, **known))

    async def get(
        self,
        path: str,
        header: str | None = None,
        *,
        method: str = "GET",
        query: bytes = b"",
        headers: Headers = (),
    ) -> Got:
        paid = [] if header is None else [(b"payment-signature", header.encode())]
        scope = http_scope(path, method=method, headers=[*headers, *paid], query=query)
        return await call(self.app, scope)

    @property
    def served(self) -> int:
        """How often the handler was reached."""
        return len(self.handler.paths)

    def charges(self, payer: Payer) -> list[Charge]:
        return self.ledger.charges(channel_id=payer.channel_id)

    def charged(self, payer: Payer) -> int:
        channel = self.ledger.channel(payer.channel_id)
        assert channel is not None
        assert channel.state.charged == sum(charge.amount for charge in self.charges(payer))
        return channel.state.charged


def terms_of(world: World, **changes: Any) -> Terms:
    """The terms of a publisher on that chain."""
    return replace(
        TERMS,
        network=f"eip155:{world.settlement.domain.chain_id}",
        token=world.token.address,
        token_name=world.token.domain.name,
        token_version=str(world.token.domain.version),
        **changes,
    )


def on_chain(
    world: World, collectors: Collectors | None = None, **options: Any
) -> Callable[[str], OnChain]:
    """The chain's side of a shop, once it is told where its ledger is."""
    taken = collectors or Collectors(world.deployment.erc3009_collector, None)

    def at(ledger: str) -> OnChain:
        return OnChain(
            world.settlement,
            world.operator.account,
            AUTHORIZER,
            taken,
            TERMS.min_deposit,
            open_ledger(ledger),
            **options,
        )

    return at


def break_chain(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no node answers."""

    def unavailable(*arguments: Any) -> None:
        raise ChainUnavailable("no node answers")

    def unreachable(*arguments: Any) -> None:
        raise NodeUnreachable("http://node", "it is down")

    for name in ("mirror", "check_deposit", "deposit", "refund"):
        monkeypatch.setattr(shop.paywall.channels.chain, name, unavailable)
    for name in ("is_contract", "is_valid_erc1271"):
        monkeypatch.setattr(f"farthing.paywall.onchain.{name}", unreachable)
