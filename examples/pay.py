"""Pays for a page with the `x402` package from PyPI, unmodified: `python pay.py URL`."""

import asyncio
import os
import sys

from eth_account import Account
from x402 import SchemeRegistration, x402ClientConfig
from x402.http.clients import wrapHttpxWithPaymentFromConfig
from x402.mechanisms.evm.batch_settlement.client import BatchSettlementEvmScheme
from x402.mechanisms.evm.signers import EthAccountSignerWithRPC

signer = EthAccountSignerWithRPC(
    Account.from_key(os.environ["PAYER_KEY"]), rpc_url=os.environ["FARTHING_RPC"]
)
network = "eip155:" + os.environ["FARTHING_CHAIN_ID"]
config = x402ClientConfig(
    schemes=[SchemeRegistration(network=network, client=BatchSettlementEvmScheme(signer))],
    # The client pays in the dollars it knows. This is what else it may pay in.
    spend_controls={
        "allowed_assets": [{"network": network, "asset": os.environ["FARTHING_TOKEN"]}]
    },
)


async def main() -> None:
    async with wrapHttpxWithPaymentFromConfig(config) as client:
        answer = await client.get(sys.argv[1], timeout=30)
        print(answer.status_code, answer.text)


asyncio.run(main())
