"""A server that sells pages, and can be told where to die: a real process, a real ledger."""

import asyncio
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from eth_account import Account

from farthing.ledger import Ledger, open_ledger
from farthing.paywall import Limits, Offers, Paywall, PaywallMiddleware, Prices
from farthing.paywall.asgi import KEY, App, Message, Receive, Scope, Send
from farthing.protocol import X402_SETTLEMENT, Domain
from farthing.protocol.payments import Terms
from farthing.serve.http import OneWrite
from tests.crash.faulty_disk import FaultyDisk
from tests.crash.kill_points import KillPoint

DOMAIN = Domain(84_532, X402_SETTLEMENT)
RECEIVER = Account.from_key("0x" + "11" * 32).address
TERMS = Terms(
    network="eip155:84532",
    token="0x036CbD53842c5426634e7929541eC2318f3dCF7e",
    token_name="USDC",
    token_version="2",
    receiver=RECEIVER,
    receiver_authorizer=RECEIVER,
    withdraw_delay=3_600,
    min_deposit=1,
)
# In smallest units, by what a path begins with.
PRICES = {"/articles/": 100, "/reports/": 700}
# Turns of the event loop in which what was written is handed to the system.
FLUSH_TURNS = 3
# How long a slow handler takes: long enough that its requests wait for it.
SLOW_SECONDS = 0.2
POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Order:
    """How one server process is to run.

    Attributes:
        ledger: The ledger's URL.
        folder: Where it writes down what its handler served, and its log.
        point: Where it dies, None for nowhere; see `farthing`'s way of a payment in `POINTS`.
        passes: At which pass of that point.
        has_faulty_disk: Whether ``/fault/...`` makes the disk under a SQLite ledger fail.
        hold_seconds: How long a handler may take before others of its channel go on.
        wait_seconds: How long a request waits for another of its channel.
    """

    ledger: str
    folder: str
    point: str | None = None
    passes: int = 1
    has_faulty_disk: bool = False
    hold_seconds: float = 60.0
    wait_seconds: float = 5.0


def serve(order: Order, listener: socket.socket) -> None:
    """Serves until it is killed."""
    logging.basicConfig(filename=f"{order.folder}/log", level=logging.WARNING)
    kill = KillPoint(order.point, order.passes)
    disk = None
    if order.has_faulty_disk or kill.is_of_disk:
        # Before the ledger opens its file.
        disk = FaultyDisk(kill)
    ledger = open_ledger(order.ledger)
    kill.install(ledger, order.ledger)
    shop: App = Shop(order, kill, disk)
    app = _Mortal(PaywallMiddleware(shop, paywall_on(ledger, order)), kill)
    config = uvicorn.Config(
        app, loop="uvloop", http=OneWrite, lifespan="off", log_config=None, access_log=False
    )
    uvicorn.Server(config).run(sockets=[listener])


def paywall_on(ledger: Ledger, order: Order) -> Paywall:
    """The paywall of all these servers."""
    limits = Limits(hold_seconds=order.hold_seconds, wait_seconds=order.wait_seconds)
    rules = {f"{path}{{slug}}": f"0.{price:06}" for path, price in PRICES.items()}
    prices, offers = Prices(rules, decimals=6), Offers(TERMS, "USDC", 6)
    return Paywall(prices, offers, DOMAIN, ledger, None, limits)


class Shop:
    """The handler. Charges by the page's number, which is never nothing and at most the price."""

    def __init__(self, order: Order, kill: KillPoint, disk: FaultyDisk | None) -> None:
        self._kill = kill
        self._disk = disk
        self._log = Path(order.folder) / "served"
        self._served = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith("/fault/"):
            assert self._disk is not None
            self._disk.fault = path.removeprefix("/fault/")
            await _answer(send, b"as you wish")
            return
        self._kill.reach("handler begins")
        admission = scope[KEY]
        number, _, manner = path.rpartition("/")[2].partition("-")
        admission.charge(1 + int(number) % admission.price)
        # Every serving is another: a repeated answer can be told from one served again.
        serving = f"{path} {admission.channel_id.hex()} {os.urandom(8).hex()}\n".encode()
        os.write(self._served, serving)
        if manner == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        elif manner == "twice":
            # Goes on only once two of them are under way.
            while self._log.read_bytes().count(path.encode() + b" ") < 2:
                await asyncio.sleep(POLL_SECONDS)
        self._kill.reach("handler done")
        await _answer(send, serving)


class _Mortal:
    """The outermost layer: what a client is sent, and death in the middle of it and after."""

    def __init__(self, app: App, kill: KillPoint) -> None:
        self._app = app
        self._kill = kill

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            is_paid = status == 200 and scope["path"].startswith(tuple(PRICES))
            if message["type"] == "http.response.body" and is_paid:
                middle = len(message["body"]) // 2
                await send({**message, "body": message["body"][:middle], "more_body": True})
                await _flushed()
                self._kill.reach("answer half sent")
                message = {**message, "body": message["body"][middle:]}
                await send(message)
                await _flushed()
                self._kill.reach("answer sent")
                return
            await send(message)

        await self._app(scope, receive, sending)


async def _flushed() -> None:
    for _ in range(FLUSH_TURNS):
        await asyncio.sleep(0)


async def _answer(send: Send, body: bytes) -> None:
    headers: Any = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
