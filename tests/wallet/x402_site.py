"""A publisher on the `x402` package's own server and facilitator, on a development chain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from eth_account.signers.local import LocalAccount
from fastapi import FastAPI, Request, Response
from x402.facilitator import x402Facilitator
from x402.http.middleware.fastapi import payment_middleware
from x402.http.types import PaymentOption, RouteConfig
from x402.mechanisms.evm.batch_settlement.authorizer_signer import LocalAuthorizerSigner
from x402.mechanisms.evm.batch_settlement.facilitator import BatchSettlementEvmFacilitator
from x402.mechanisms.evm.batch_settlement.server import (
    BatchSettlementEvmScheme,
    BatchSettlementEvmSchemeServerConfig,
)
from x402.mechanisms.evm.signers import FacilitatorWeb3Signer
from x402.schemas import AssetAmount
from x402.server import x402ResourceServer

from farthing.chain.devnet import Devnet
from farthing.chain.token import Token

PRICE = 100


class Site:
    """Its app, and the package's own books."""

    def __init__(self, net: Devnet) -> None:
        publisher: LocalAccount = net.publisher
        network = f"eip155:{net.deployment.chain_id}"
        token = Token(net.w3, net.token)
        signer = LocalAuthorizerSigner(publisher)
        web3_signer = FacilitatorWeb3Signer("0x" + bytes(publisher.key).hex(), net.url)
        facilitator = x402Facilitator()
        scheme: Any = BatchSettlementEvmFacilitator(web3_signer, signer)  # type: ignore[arg-type]
        facilitator.register([network], scheme)
        self.scheme = BatchSettlementEvmScheme(
            publisher.address,
            BatchSettlementEvmSchemeServerConfig(
                receiver_authorizer_signer=signer, withdraw_delay=900
            ),
        )
        asked: Any = facilitator
        server = x402ResourceServer(asked)
        own: Any = self.scheme
        server.register(network, own)
        price = AssetAmount(
            amount=str(PRICE),
            asset=token.address,
            extra={"name": token.domain.name, "version": token.domain.version},
        )
        option = PaymentOption(
            scheme="batch-settlement", pay_to=publisher.address, price=price, network=network
        )
        pay = payment_middleware({"GET /paid": RouteConfig(accepts=option)}, server)
        self.app = FastAPI()

        @self.app.middleware("http")
        async def x402(
            request: Request, call_next: Callable[[Request], Awaitable[Response]]
        ) -> Response:
            return await pay(request, call_next)

        @self.app.get("/paid")
        async def paid() -> dict[str, str]:
            return {"text": "All the news."}

    def charged(self) -> list[int]:
        """What each channel was charged, by the package's own books."""
        channels = self.scheme.get_storage().list()
        return [int(each.charged_cumulative_amount) for each in channels]
