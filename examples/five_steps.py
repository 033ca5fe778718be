"""A wallet in five steps, each one call: enrol, link, activate, pay, log. And the money back.

    python examples/five_steps.py

A new wallet is made in a folder, with its keys encrypted. Money is put in escrow for a publisher; a
budget is set; pages are paid for; the history has what each cost, signed by the publisher. In the
end the publisher gives a part back at once, and the rest is taken back without asking anybody, once
the delay is over.

On the command line the same steps are `farthing wallet` create, fund, budget, get and history, then
refund and withdraw.
"""

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import FastAPI
from web3.types import RPCEndpoint

from farthing.chain.sender import Sender
from farthing.protocol.proofs import read_proof
from farthing.testing import playground
from farthing.wallet import Budget, Period, Rules
from farthing.wallet.actions import balance, fund, get, refund
from farthing.wallet.folder import create_wallet, open_wallet
from farthing.wallet.onchain import finish_withdrawal, withdraw
from farthing.wallet.receipts import evidence_of

PRICES = {"GET /articles/{slug}": "0.002"}
PASSWORD = "correct horse battery staple"  # noqa: S105
MONTHLY = Period.parse("R/2026-01-01T00:00Z/P1M")

app = FastAPI()


@app.get("/articles/{slug}")
async def article(slug: str) -> dict[str, str]:
    return {"text": f"All there is to know about {slug}."}


def main() -> None:
    with playground() as play, ExitStack() as stack:
        site, owner = play.publish(app, PRICES), play.payer().account
        page = f"{site.url}/articles/wrens"
        folder = Path(stack.enter_context(TemporaryDirectory())) / "wallet"

        # 1. Enrol. Its rules allow nothing yet.
        create_wallet(
            folder, PASSWORD, Rules(), rpc=play.chain.url, token=play.chain.token, main=owner
        )
        wallet = open_wallet(folder, PASSWORD)
        stack.callback(wallet.close)
        # 2. Link: a deposit for this publisher.
        sender = Sender(play.chain.w3, owner)
        lane = fund(wallet, owner, sender, page, play.units("1"))
        # 3. Activate: a dollar a month, and no question below five cents.
        budget = Budget(play.units("1"), MONTHLY)
        rules = replace(wallet.store.rules(), budgets=(budget,), approve_above=play.units("0.05"))
        wallet.store.set_rules(owner, rules)
        # 4. Pay.
        for slug in ("wrens", "mints", "scales"):
            print(get(wallet, f"{site.url}/articles/{slug}").text)
        # 5. Log: what the publisher signed for each, which anybody can check without asking it.
        for each in wallet.store.history():
            signed = json.dumps(evidence_of(wallet.store, each).proof)
            charge = read_proof(signed.encode(), site.keys.authorizer.address).given.charge
            assert charge is not None
            path = charge.said.url.removeprefix(site.url)
            print(f"{charge.said.method} {path}: {play.show(charge.said.amount)}, signed")

        # Money back: a part from the publisher, at once. The rest is the owner's without its leave.
        print(f"The publisher gave back {play.show(refund(wallet, page, play.units('0.5')))}")
        withdraw(wallet, sender, lane.channel_id)
        site.redeem()
        delay = lane.config.withdraw_delay
        play.chain.w3.manager.request_blocking(RPCEndpoint("evm_increaseTime"), [delay])
        play.chain.mine(1)
        came = finish_withdrawal(wallet, sender, lane.channel_id)
        print(f"After {delay // 60} minutes the owner took back {play.show(came)}")
        print(f"It has {play.show(balance(wallet).free)} again")
        print(play.prove())


if __name__ == "__main__":
    main()
