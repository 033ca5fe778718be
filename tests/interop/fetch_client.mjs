// A reader who pays with @x402/fetch and @x402/evm, unmodified, and does what its standard input
// says; commands and answers are those of python_client.py.
//
//     node fetch_client.mjs RPC_URL CHAIN_ID TOKEN < commands
//
// The payer's key is in PAYER_KEY.

import { createInterface } from "node:readline";

import { toClientEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { decodePaymentResponseHeader, wrapFetchWithPaymentFromConfig } from "@x402/fetch";
import { createPublicClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const [rpcUrl, chainId, token] = process.argv.slice(2);
const network = `eip155:${chainId}`;
const signer = toClientEvmSigner(
  privateKeyToAccount(process.env.PAYER_KEY),
  createPublicClient({ transport: http(rpcUrl) }),
);

let scheme;
let paidFetch;

const commands = {
  // Starts again with nothing but the key.
  forget() {
    scheme = new BatchSettlementEvmScheme(signer);
    paidFetch = wrapFetchWithPaymentFromConfig(fetch, {
      schemes: [{ network, client: scheme }],
      // By default the client pays in the dollars it knows and in nothing else.
      spendControls: { allowedAssets: [{ network, asset: token }] },
    });
    return {};
  },

  refund({ url, amount }) {
    return scheme.refund(url, { amount });
  },

  async pay({ url, times }) {
    const statuses = {};
    let charged = 0;
    let response = null;
    for (let i = 0; i < times; i++) {
      const answer = await paidFetch(url);
      await answer.arrayBuffer();
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
      const told = answer.headers.get("PAYMENT-RESPONSE");
      if (!told) continue;
      charged += Number(decodePaymentResponseHeader(told).extra.chargedAmount);
      response = told;
    }
    return { statuses, charged, response };
  },
};

commands.forget();
for await (const line of createInterface({ input: process.stdin })) {
  const { do: command, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = await commands[command](rest);
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
