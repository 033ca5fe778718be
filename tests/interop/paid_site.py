"""A site behind the paywall, for a server process: priced pages, and a count of what went out.

Its settings come from the environment: SITE_DEVNET (what `farthing devnet --json` prints),
SITE_LEDGER (a path) and SITE_METHOD (how deposits are authorised).
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from typing import Any

from eth_account import Account
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from farthing.chain.connection import connect
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.ledger import open_ledger
from farthing.paywall import (
    FreeQuota,
    Limits,
    Offers,
    Own,
    Paywall,
    PaywallMiddleware,
    Price,
    Prices,
    VolumeDiscount,
)
from farthing.paywall.onchain import Collectors, OnChain
from farthing.paywall.receipts import Receipts
from farthing.protocol.payments import Terms

MIN_DEPOSIT = 10_000


class Counting:
    """Counts the answers of ``app`` by path and status, as they leave the server."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.seen: defaultdict[str, Counter[int]] = defaultdict(Counter)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.seen[scope["path"]][message["status"]] += 1
            await send(message)

        await self.app(scope, receive, counted)


async def article(request: Request) -> JSONResponse:
    return JSONResponse({"text": "All the news."})


async def search(request: Request) -> JSONResponse:
    """Costs what it finds, and never all it could."""
    request.scope["farthing.payment"].charge(37)
    return JSONResponse({"found": 1})


async def broken(request: Request) -> JSONResponse:
    return JSONResponse({"error": "out of order"}, status_code=500)


async def seen(request: Request) -> JSONResponse:
    return JSONResponse(site.seen)


def paywall() -> Paywall:
    chain = json.loads(os.environ["SITE_DEVNET"])
    w3 = connect(chain["rpc_url"])
    publisher = Account.from_key(chain["publisher"]["private_key"])
    settlement, token = Settlement(w3, chain["settlement"]), Token(w3, chain["token"])
    terms = Terms(
        network=f"eip155:{chain['chain_id']}",
        token=token.address,
        token_name=token.domain.name,
        token_version=token.domain.version,
        receiver=publisher.address,
        receiver_authorizer=publisher.address,
        withdraw_delay=900,
        min_deposit=MIN_DEPOSIT,
        transfer_methods=(os.environ["SITE_METHOD"],),
    )
    collectors = Collectors(chain["erc3009_collector"], chain["permit2_collector"])
    ledger = os.environ["SITE_LEDGER"]
    return Paywall(
        Prices({**{f"GET {path}": "0.0001" for path in PAGES}, **RULED}, token.decimals),
        Offers(
            terms,
            token.symbol,
            token.decimals,
            Receipts(publisher, terms.network, is_announced=True),
        ),
        settlement.domain,
        open_ledger(ledger),
        OnChain(settlement, publisher, publisher, collectors, MIN_DEPOSIT, open_ledger(ledger)),
        Limits(),
    )


PAGES = {"/article": article, "/search": search, "/broken": broken}
RULED = {
    "GET /episode/{number}": Price("0.0001", Own("{number}")),
    "GET /archive": Price("0.0001", FreeQuota(2, "P1Y"), VolumeDiscount({1: 50}, "P1Y")),
}
app = Starlette(
    routes=[
        Route("/seen", seen),
        *(Route(path, page) for path, page in PAGES.items()),
        *(Route(rule.removeprefix("GET "), article) for rule in RULED),
    ]
)
site = Counting(PaywallMiddleware(app, paywall()))
