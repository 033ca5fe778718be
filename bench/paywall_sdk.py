"""The ``x402`` package's FastAPI middleware on the same small app, at its best.

Its channels are in its own in-memory storage, with a state as fresh as if just read from the
chain, so that it checks every voucher itself and asks no facilitator. Started by uvicorn as a
factory: ``bench.paywall_sdk:app``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from x402.http.middleware.fastapi import payment_middleware
from x402.http.types import PaymentOption, RouteConfig
from x402.mechanisms.evm.batch_settlement.server import (
    BatchSettlementEvmScheme,
    BatchSettlementEvmSchemeServerConfig,
    Channel,
    InMemoryChannelStorage,
)
from x402.mechanisms.evm.batch_settlement.types import ChannelConfig
from x402.schemas import (
    AssetAmount,
    PaymentPayload,
    PaymentPayloadV1,
    PaymentRequirements,
    PaymentRequirementsV1,
    SettleResponse,
    SupportedKind,
    SupportedResponse,
    VerifyResponse,
)
from x402.server import x402ResourceServer

from bench.paywall_app import fastapi_app, started
from bench.paywall_vouchers import (
    DEPOSIT,
    DESCRIPTION,
    DOMAIN,
    NETWORK,
    PRICE,
    RECEIVER,
    TOKEN,
    TOKEN_NAME,
    TOKEN_VERSION,
    WITHDRAW_DELAY,
    channel,
)

CHANNELS = "BENCH_CHANNELS"
"""The environment variable that says how many channels the server knows."""


class SilentFacilitator:
    """Says at the start what it supports. Being asked later would be a mistake in the benchmark."""

    def get_supported(self) -> SupportedResponse:
        kind = SupportedKind(x402_version=2, scheme="batch-settlement", network=NETWORK)
        return SupportedResponse(kinds=[kind])

    async def verify(
        self,
        payload: PaymentPayload | PaymentPayloadV1,
        requirements: PaymentRequirements | PaymentRequirementsV1,
    ) -> VerifyResponse:
        raise AssertionError("the SDK asked its facilitator to verify")

    async def settle(
        self,
        payload: PaymentPayload | PaymentPayloadV1,
        requirements: PaymentRequirements | PaymentRequirementsV1,
    ) -> SettleResponse:
        raise AssertionError("the SDK asked its facilitator to settle")


class ReceiverAuthorizer:
    """Only its address is asked for: claims and refunds are no part of this."""

    address = RECEIVER.address

    def sign_typed_data(self, *_: object) -> str:
        raise AssertionError("the SDK asked for a claim or a refund")


@started
def app() -> FastAPI:
    storage = InMemoryChannelStorage()
    for number in range(int(os.environ[CHANNELS])):
        open_channel(storage, number)

    scheme = BatchSettlementEvmScheme(
        RECEIVER.address,
        BatchSettlementEvmSchemeServerConfig(
            storage=storage,
            receiver_authorizer_signer=ReceiverAuthorizer(),
            withdraw_delay=WITHDRAW_DELAY,
        ),
    )
    server = x402ResourceServer(SilentFacilitator())
    server.register(NETWORK, scheme)  # type: ignore[arg-type]  # its own types disagree
    price = AssetAmount(
        amount=str(PRICE),
        asset=TOKEN,
        extra={"name": TOKEN_NAME, "version": TOKEN_VERSION},
    )
    option = PaymentOption(
        scheme="batch-settlement", pay_to=RECEIVER.address, price=price, network=NETWORK
    )
    route = RouteConfig(accepts=option, description=DESCRIPTION, mime_type="application/json")
    pay = payment_middleware({"GET /paid": route}, server)

    app = fastapi_app()

    @app.middleware("http")
    async def x402(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        return await pay(request, call_next)

    @app.get("/charged")
    async def charged() -> int:
        return sum(int(record.charged_cumulative_amount) for record in storage.list())

    return app


def open_channel(storage: InMemoryChannelStorage, number: int) -> None:
    config = channel(number)
    record = Channel(
        channel_id="0x" + config.channel_id(DOMAIN).hex(),
        channel_config=ChannelConfig.from_dict(config.to_json()),
        balance=str(DEPOSIT),
        onchain_synced_at=int(time.time() * 1000),
    )
    storage.update_channel(record.channel_id, lambda _: record)
