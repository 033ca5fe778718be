"""Paid messages beside a live stream: three tiers, shown at once, moderated, and paid back.

    python examples/superchat.py [--stay]

A message costs 1, 5 or 20 dollars, and a dearer one may be longer and stands higher. It is on the
page at once. What a moderator takes down is gone from every page, and the streamer sends its price
back. With --stay the page stays up until you press Enter.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel

from farthing.paywall import Price, Tiers, payment_of
from farthing.testing import playground

TIERS = {"bronze": "1", "silver": "5", "gold": "20"}
LENGTHS = {"bronze": 40, "silver": 80, "gold": 200}
PRICES = {"POST /chat": Price(Tiers("tier", TIERS))}
MODERATOR = secrets.token_hex(16)
PAGE = """<!doctype html><meta charset="utf-8"><title>Live chat</title>
<h1>Live chat</h1><ol id="chat"></ol>
<script>
new EventSource("/live").onmessage = news => {
  chat.replaceChildren(...JSON.parse(news.data).map(said => {
    const line = document.createElement("li");
    line.className = said.tier;
    line.textContent = said.text;
    return line;
  }));
};
</script>
<style>
body { font: 1.1em system-ui, sans-serif; margin: 2em }
li { padding: .3em .6em; margin: .3em; border-left: .3em solid #b87333 }
.silver { font-size: 1.3em; border-color: silver }
.gold { font-size: 1.6em; border-color: gold }
</style>"""


class Message(BaseModel):
    text: str


@dataclass
class Said:
    text: str
    tier: str
    payer: str
    amount: int
    is_shown: bool = True


chat: list[Said] = []
app = FastAPI()


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE


@app.get("/live")
async def live() -> StreamingResponse:
    """What is shown, and again whenever that changes; the dearest first."""

    async def news() -> AsyncIterator[str]:
        told = None
        while True:
            shown = [said for said in chat if said.is_shown]
            shown.sort(key=lambda said: -said.amount)
            now = json.dumps([{"tier": said.tier, "text": said.text} for said in shown])
            if now != told:
                told = now
                yield f"data: {told}\n\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(news(), media_type="text/event-stream")


@app.post("/chat")
async def say(tier: str, message: Message, request: Request) -> dict[str, int]:
    if not 0 < len(message.text) <= LENGTHS[tier]:
        # An answer of 400 and above is not charged.
        raise HTTPException(422, f"a {tier} message has 1 to {LENGTHS[tier]} characters")
    payment = payment_of(request.scope)
    # It is charged as this answers: should the ledger fail just then, it was shown for nothing.
    chat.append(Said(message.text, tier, payment.payer, payment.amount))
    return {"number": len(chat) - 1}


@app.delete("/messages/{number}")
async def take_down(number: int, authorization: Annotated[str, Header()]) -> dict[str, str | int]:
    """Takes a message off all pages; says whom to pay back, and how much."""
    if not secrets.compare_digest(authorization, f"Bearer {MODERATOR}"):
        raise HTTPException(403)
    if not 0 <= number < len(chat) or not chat[number].is_shown:
        raise HTTPException(404)
    said = chat[number]
    said.is_shown = False
    return {"payer": said.payer, "amount": said.amount}


def main() -> None:
    with playground() as play:
        stream = play.publish(app, PRICES)
        fan, rude = play.payer(budget="50"), play.payer(budget="50")
        for viewer, tier, text in (
            (fan, "bronze", "Hello from the harbour!"),
            (fan, "gold", "Play the one about the wren!"),
            (rude, "silver", "BUY MY COINS"),
            (fan, "bronze", "x" * 41),
        ):
            answer = viewer.http.post(f"{stream.url}/chat?tier={tier}", json={"text": text})
            print(f"{tier}: {answer.status_code} {answer.json()}")
        key = {"authorization": f"Bearer {MODERATOR}"}
        taken = fan.http.delete(f"{stream.url}/messages/2", headers=key).json()
        # What was charged is the streamer's once it is redeemed, and goes back from there.
        stream.redeem()
        stream.pay_back(taken["payer"], taken["amount"])
        print(f"Taken down, and {play.show(taken['amount'])} paid back.")
        if "--stay" in sys.argv:
            input(f"Look at {stream.url} and press Enter to end.\n")
        print(play.prove())


if __name__ == "__main__":
    main()
