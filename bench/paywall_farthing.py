"""Our paywall on the small app, with a ledger that ``bench.paywall_books`` has filled.

Started by uvicorn as a factory: ``bench.paywall_farthing:on_fastapi``, or ``:on_asgi`` for the app
that is nothing but a function.
"""

from __future__ import annotations

import os

from bench.paywall_app import bare_app, fastapi_app, started
from bench.paywall_vouchers import (
    DOMAIN,
    NETWORK,
    RECEIVER,
    TOKEN,
    TOKEN_NAME,
    TOKEN_VERSION,
    WITHDRAW_DELAY,
)
from farthing.ledger import open_ledger
from farthing.paywall import Limits, Offers, Paywall, PaywallMiddleware, Prices
from farthing.paywall.receipts import Receipts
from farthing.protocol.payments import Terms

LEDGER = "BENCH_LEDGER"
"""The environment variable with the ledger's URL."""
DECIMALS = 6
MIN_DEPOSIT = 10


@started
def on_fastapi() -> PaywallMiddleware:
    return PaywallMiddleware(fastapi_app(), paywall())


@started
def on_asgi() -> PaywallMiddleware:
    return PaywallMiddleware(bare_app(), paywall())


@started
def with_receipts() -> PaywallMiddleware:
    """The same, with a signed receipt for every client that sends back what the 402 announced."""
    return PaywallMiddleware(bare_app(), paywall(Receipts(RECEIVER, NETWORK, is_announced=True)))


def paywall(receipts: Receipts | None = None) -> Paywall:
    terms = Terms(
        network=NETWORK,
        token=TOKEN,
        token_name=TOKEN_NAME,
        token_version=TOKEN_VERSION,
        receiver=RECEIVER.address,
        receiver_authorizer=RECEIVER.address,
        withdraw_delay=WITHDRAW_DELAY,
        min_deposit=MIN_DEPOSIT,
    )
    return Paywall(
        Prices({"GET /paid": "0.000001", "GET /free": "free"}, DECIMALS),
        Offers(terms, "USDC", DECIMALS, receipts),
        DOMAIN,
        open_ledger(os.environ[LEDGER]),
        None,
        Limits(),
    )
