"""What the wallet's benchmark pays: a page on a development chain, and a feed.

Started by uvicorn as factories: ``bench.wallet_site:site`` and ``bench.wallet_site:feed``.
"""

from __future__ import annotations

import json
import os
from collections import Counter

from eth_account import Account

from bench.paywall_app import Message, Receive, Send, bare_app
from bench.paywall_farthing import LEDGER, paywall
from farthing.chain.connection import connect
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.ledger import open_ledger
from farthing.paywall import Limits, Offers, Paywall, PaywallMiddleware, Prices, payment_of
from farthing.paywall.admission import Charged
from farthing.paywall.onchain import Collectors, OnChain
from farthing.paywall.receipts import Receipts
from farthing.paywall.sponsoring import SponsorLimits
from farthing.protocol.payments import Terms

CHAIN = "BENCH_CHAIN"
"""The environment variable with what `farthing devnet --json` prints."""
PRICE = 100
MIN_DEPOSIT = 1_000


def site() -> PaywallMiddleware:
    """The small app, paid for on the development chain, where deposits go."""
    chain = json.loads(os.environ[CHAIN])
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
    )
    collectors = Collectors(chain["erc3009_collector"], chain["permit2_collector"])
    ledger = os.environ[LEDGER]
    chain_side = OnChain(
        settlement,
        publisher,
        publisher,
        collectors,
        MIN_DEPOSIT,
        open_ledger(ledger),
        # One payer opens the channels of everybody here.
        sponsored=SponsorLimits(per_hour=10**6),
    )
    priced = Paywall(
        Prices({"GET /paid": "0.0001", "GET /free": "free"}, token.decimals),
        Offers(terms, token.symbol, token.decimals, Receipts(publisher, terms.network)),
        settlement.domain,
        open_ledger(ledger),
        chain_side,
        Limits(),
    )
    return PaywallMiddleware(bare_app(), priced)


class Feed:
    """One unit for each payment. It counts what was made and is not paid: in the ledger, durably.

    ``/counts`` tells the units, and the most that were unpaid of one listener at any moment.
    """

    def __init__(self, paywall: Paywall) -> None:
        paywall.on_charge = self._note
        self._app = bare_app()
        self._unpaid: Counter[bytes] = Counter()
        self._made = self._most = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope.get("path")
        if path == "/counts":
            counts = {"made": self._made, "most_unpaid": self._most}
            await _answer(json.dumps(counts).encode(), send)
            return
        if path == "/paid":
            channel_id = payment_of(scope).channel_id
            self._unpaid[channel_id] += 1
            self._made += 1
            self._most = max(self._most, self._unpaid[channel_id])
        await self._app(scope, receive, send)

    def _note(self, charged: Charged) -> None:
        self._unpaid[charged.channel_id] -= 1


def feed() -> PaywallMiddleware:
    """The feed, with a ledger that ``bench.paywall_books`` has filled."""
    priced = paywall()
    return PaywallMiddleware(Feed(priced), priced)


async def _answer(body: bytes, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
