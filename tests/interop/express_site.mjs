// A publisher on @x402/express with x402's own facilitator and books, unmodified.
//
//     node express_site.mjs RPC_URL CHAIN_ID TOKEN TOKEN_NAME TOKEN_VERSION
//
// The publisher's key is in PUBLISHER_KEY. It prints the port it listens on. /charged tells what
// its books have of every channel, and /collect claims that and has it paid out.

import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme as Facilitator } from "@x402/evm/batch-settlement/facilitator";
import {
  BatchSettlementChannelManager,
  BatchSettlementEvmScheme as Server,
  InMemoryChannelStorage,
} from "@x402/evm/batch-settlement/server";
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from "@x402/express";
import express from "express";
import { createWalletClient, defineChain, http, publicActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const [rpcUrl, chainId, token, name, version] = process.argv.slice(2);
const network = `eip155:${chainId}`;
const publisher = privateKeyToAccount(process.env.PUBLISHER_KEY);
const chain = defineChain({
  id: Number(chainId),
  name: "development",
  nativeCurrency: { name: "coin", symbol: "COIN", decimals: 18 },
  rpcUrls: { default: { http: [rpcUrl] } },
});
const client = createWalletClient({ account: publisher, chain, transport: http(rpcUrl) }).extend(
  publicActions,
);
const facilitator = new x402Facilitator().register(
  network,
  new Facilitator(toFacilitatorEvmSigner({ ...client, address: publisher.address }), publisher),
);
const storage = new InMemoryChannelStorage();
const scheme = new Server(publisher.address, {
  storage,
  receiverAuthorizerSigner: publisher,
  withdrawDelay: 900,
});
const server = new x402ResourceServer(facilitator).register(network, scheme);
const price = (amount) => ({
  accepts: {
    scheme: "batch-settlement",
    network,
    payTo: publisher.address,
    price: { amount, asset: token, extra: { name, version } },
  },
});

const app = express();
app.use(paymentMiddleware({ "GET /article": price("100"), "GET /search": price("100") }, server));
app.get("/article", (request, response) => response.json({ text: "All the news." }));
app.get("/search", (request, response) => {
  // Costs what it finds, and never all it could.
  setSettlementOverrides(response, { amount: "37" });
  response.json({ found: 1 });
});
app.get("/charged", async (request, response) => {
  const channels = await storage.list();
  response.json(channels.map((each) => each.chargedCumulativeAmount));
});
app.get("/collect", async (request, response) => {
  const receiver = publisher.address;
  const manager = new BatchSettlementChannelManager({ scheme, facilitator, receiver, token, network });
  await manager.claimAndSettle();
  response.json({});
});
const listening = app.listen(0, "127.0.0.1", () => console.log(listening.address().port));
