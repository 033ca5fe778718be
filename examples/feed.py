"""A paid feed: a sensor's readings for a tenth of a cent a second, until the money stops.

    python examples/feed.py [--stay]

Two listeners buy one second after the other as they hear them, one of them with a budget that ends
early. Each hears what it paid for, to the second, and then nothing: no second is sent that is not
paid, and nobody can pay more than two ahead.

Who pays need not be who listens: the page shows a feed while any wallet pays for it. With --stay
one does until you press Enter. The sensor is this machine's clock: how many microseconds late it
rings.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from farthing.paywall import payment_of
from farthing.testing import Payer, playground
from farthing.wallet import BudgetExceeded

PRICES = {"GET /feed/{listener}": "free", "POST /feed/{listener}": "0.001"}
BUDGETS = {"kitchen": "0.030", "cellar": "0.010"}
# Seconds are short here, so that nobody waits for the example.
SECOND = 0.05
# How many may be paid and not heard yet.
AHEAD = 2
# A feed ends after so many that nobody paid for.
PATIENCE = 20

PAGE = """<!doctype html><meta charset="utf-8"><title>A paid feed</title>
<h1>How late the clock rings</h1>
<p><strong id="state">waits for money</strong>, <span id="heard">0</span> seconds heard</p>
<ol id="bars" aria-label="Readings in microseconds"></ol>
<script>
const listener = new URLSearchParams(location.search).get("listener") ?? "guest";
const feed = new EventSource("/feed/" + encodeURIComponent(listener));
feed.onmessage = ({data}) => {
  state.textContent = "live";
  heard.textContent = Number(heard.textContent) + 1;
  const bar = document.createElement("li");
  bar.style.height = Math.min(100, 10 * Math.log2(Math.max(2, data))) + "%";
  bars.append(bar);
  if (bars.children.length > 60) bars.firstChild.remove();
};
// It is opened again by itself, and goes on when somebody pays again.
feed.addEventListener("end", () => { state.textContent = "nobody pays"; });
</script>
<style>
ol { display: flex; align-items: end; gap: 2px; height: 10rem; padding: 0 }
li { flex: 0 0 8px; background: #2a7; list-style: none }
</style>"""

app = FastAPI()
# Seconds that are paid and not heard yet.
credit: Counter[str] = Counter()


@app.post("/feed/{listener}")
async def buy(listener: str, request: Request) -> dict[str, int]:
    """Sells the next second, or nothing to who has not heard yet what is paid."""
    if credit[listener] < AHEAD:
        credit[listener] += 1
    else:
        payment_of(request.scope).charge(0)
    return {"paid": credit[listener]}


@app.get("/feed/{listener}")
async def hear(listener: str) -> StreamingResponse:
    """The feed, as server-sent events: free to open, and silent where nothing is paid."""
    return StreamingResponse(readings(listener), media_type="text/event-stream")


async def readings(listener: str) -> AsyncIterator[str]:
    silent = 0
    while silent < PATIENCE:
        due = time.perf_counter() + SECOND
        await asyncio.sleep(SECOND)
        silent += 1
        if credit[listener]:
            credit[listener] -= 1
            silent = 0
            yield f"data: {(time.perf_counter() - due) * 1e6:.0f}\n\n"
    yield "event: end\ndata:\n\n"


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE


async def pay(client: httpx.AsyncClient, feed: str) -> bool:
    """Buys a second; whether there was money for it."""
    try:
        (await client.post(feed)).raise_for_status()
    except BudgetExceeded:
        return False
    return True


async def listen(payer: Payer, feed: str) -> int:
    """Buys one second after the other as long as there is money; how many it heard."""
    heard, can_pay = 0, True
    async with payer.http_async() as client:
        while can_pay:
            can_pay = await pay(client, feed)
            async with client.stream("GET", feed) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        heard += 1
                        can_pay = can_pay and await pay(client, feed)
    return heard


async def sponsor(payer: Payer, url: str) -> None:
    """Pays for what others hear, until Enter is pressed."""
    asking = f"Look at {url} and press Enter to end.\n"
    async with payer.http_async() as client:
        await pay(client, f"{url}/feed/guest")
        pressed = asyncio.create_task(asyncio.to_thread(input, asking))
        while not pressed.done() and await pay(client, f"{url}/feed/guest"):
            await asyncio.sleep(SECOND)
        await pressed


async def listen_all(payers: dict[str, Payer], url: str) -> list[int]:
    return await asyncio.gather(*(listen(payers[who], f"{url}/feed/{who}") for who in payers))


def main() -> None:
    with playground() as play:
        site = play.publish(app, PRICES)
        payers = {who: play.payer(budget=most, top_up=most) for who, most in BUDGETS.items()}
        for who, heard in zip(payers, asyncio.run(listen_all(payers, site.url)), strict=True):
            spent = payers[who].spent()
            assert spent == heard * play.units("0.001")
            print(f"The {who} heard {heard} seconds for {play.show(spent)}, and then nothing.")
        if "--stay" in sys.argv:
            asyncio.run(sponsor(play.payer(), site.url))
        print(play.prove())


if __name__ == "__main__":
    main()
