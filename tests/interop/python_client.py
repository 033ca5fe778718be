"""A reader who pays with the `x402` package, unmodified, and does what its standard input says.

    python python_client.py httpx|requests RPC_URL CHAIN_ID TOKEN < commands

The payer's key is in PAYER_KEY. One JSON object a line comes in, one goes out; `fetch_client.mjs`
speaks the same:

    {"do": "pay", "url": "…", "times": 3}  ->  {"statuses": {"200": 3}, "charged": 300,
                                                "response": "…"}, the last PAYMENT-RESPONSE
    {"do": "forget"}                       ->  {}
    {"do": "refund", "url": "…"}           ->  {"success": true, …}, the server's settle response;
                                               with "amount": "4000" for a part

What fails comes out as {"error": "…"}.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import requests
from eth_account import Account
from x402 import SchemeRegistration, x402ClientConfig
from x402.http.clients import (
    wrapHttpxWithPaymentFromConfig,
    wrapRequestsWithPaymentFromConfig,
)
from x402.http.utils import decode_payment_response_header
from x402.mechanisms.evm.batch_settlement.client import BatchSettlementEvmScheme, RefundOptions
from x402.mechanisms.evm.signers import EthAccountSignerWithRPC


class Reader:
    """One payer with one of the package's two clients."""

    def __init__(self, kind: str, rpc_url: str, chain_id: str, token: str) -> None:
        self._pay = {"httpx": self._pay_httpx, "requests": self._pay_requests}[kind]
        self._network = f"eip155:{chain_id}"
        self._token = token
        self._signer = EthAccountSignerWithRPC(
            Account.from_key(os.environ["PAYER_KEY"]), rpc_url=rpc_url
        )
        self.forget()

    def forget(self) -> dict[str, Any]:
        """Starts again with nothing but the key."""
        self._scheme = BatchSettlementEvmScheme(self._signer)
        return {}

    def refund(self, url: str, amount: str | None = None) -> dict[str, Any]:
        done = self._scheme.refund(url, RefundOptions(amount))
        return done.model_dump(mode="json", by_alias=True)

    def pay(self, url: str, times: int) -> dict[str, Any]:
        statuses: Counter[str] = Counter()
        charged, last = 0, None
        for status, response in self._pay(url, times):
            statuses[str(status)] += 1
            if response is not None:
                charged += int(decode_payment_response_header(response).extra["chargedAmount"])
                last = response
        return {"statuses": statuses, "charged": charged, "response": last}

    def _pay_requests(self, url: str, times: int) -> list[tuple[int, str | None]]:
        with wrapRequestsWithPaymentFromConfig(requests.Session(), self._config()) as session:
            answers = [session.get(url) for _ in range(times)]
        return [(each.status_code, each.headers.get("PAYMENT-RESPONSE")) for each in answers]

    def _pay_httpx(self, url: str, times: int) -> list[tuple[int, str | None]]:
        async def run() -> list[tuple[int, str | None]]:
            async with wrapHttpxWithPaymentFromConfig(self._config()) as client:
                answers = [await client.get(url) for _ in range(times)]
            return [(each.status_code, each.headers.get("PAYMENT-RESPONSE")) for each in answers]

        return asyncio.run(run())

    def _config(self) -> x402ClientConfig:
        # By default the clients pay in the dollars they know and in nothing else.
        allowed = {"network": self._network, "asset": self._token}
        return x402ClientConfig(
            schemes=[SchemeRegistration(network=self._network, client=self._scheme)],
            spend_controls={"allowed_assets": [allowed]},
        )


def main() -> None:
    reader = Reader(*sys.argv[1:])
    commands: dict[str, Callable[..., Any]] = {
        "pay": reader.pay,
        "forget": reader.forget,
        "refund": reader.refund,
    }
    for line in sys.stdin:
        arguments = json.loads(line)
        command = commands[arguments.pop("do")]
        try:
            answer = command(**arguments)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
