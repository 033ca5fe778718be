// x402's own receipts, by @x402/extensions: makes one, or says who signed what stands in an answer.
//
//     node receipts.mjs make   < {"url": "…", "payer": "…", "network": "…"}   with SIGNER_KEY set
//     node receipts.mjs verify < a PAYMENT-RESPONSE

import { text } from "node:stream/consumers";

import {
  createReceiptEIP712,
  extractReceiptFromResponse,
  verifyReceiptSignatureEIP712,
} from "@x402/extensions/offer-receipt";
import { privateKeyToAccount } from "viem/accounts";

const input = (await text(process.stdin)).trim();

const commands = {
  make() {
    const account = privateKeyToAccount(process.env.SIGNER_KEY);
    const { url, payer, network } = JSON.parse(input);
    const wanted = { resourceUrl: url, payer, network };
    return createReceiptEIP712(wanted, (typed) => account.signTypedData(typed));
  },

  verify() {
    const answer = new Response(null, { headers: { "PAYMENT-RESPONSE": input } });
    return verifyReceiptSignatureEIP712(extractReceiptFromResponse(answer));
  },
};

console.log(JSON.stringify(await commands[process.argv[2]]()));
