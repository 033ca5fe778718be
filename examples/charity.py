"""A charity: gifts of any size from a cent on, a goal, and a page that shows the total as it grows.

    python examples/charity.py [--stay]

Givers say in the address what they give, and may leave a line with it. The total is read from the
ledger, so a gift counts when it is on the disk, once, and after a restart too. The page shows the
rest of the way to the goal, and what people wrote; with --stay it stays up until you press Enter.
"""

import sys
from collections import deque
from contextlib import closing
from typing import Annotated, Any

import httpx
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse

from farthing.ledger import Ledger
from farthing.opening import open_books
from farthing.paywall import PayWhatYouWant, Price, payment_of
from farthing.protocol.amounts import from_units
from farthing.testing import playground

GIFTS = "POST /gifts"
PRICES = {GIFTS: Price(PayWhatYouWant("0.01", most="100", parameter="amount"))}
GOAL = 5_000_000
DECIMALS = 6
PAGE = """<!doctype html><meta charset="utf-8"><title>A well</title>
<h1>A well for the village</h1>
<progress id="part" aria-label="Part of the goal"></progress>
<p><b id="total"></b> of <span id="goal"></span> dollars, in <span id="gifts"></span> gifts</p>
<p id="reached" hidden>The goal is reached!</p>
<ul id="lines"></ul>
<script>
async function look() {
  const now = await (await fetch("/total")).json();
  total.textContent = now.total;
  goal.textContent = now.goal;
  gifts.textContent = now.gifts;
  part.value = now.part;
  reached.hidden = now.part < 1;
  lines.replaceChildren(...now.lines.map(text => {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
  }));
}
// A site that is away for a moment is asked again.
setInterval(() => look().catch(() => {}), 500);
look();
</script>
<style>progress { width: 100%; height: 1.5rem }</style>"""


class Campaign:
    """What was given so far, and the last lines that came with it."""

    def __init__(self, ledger: Ledger) -> None:
        self.total = self.gifts = 0
        self.lines: deque[str] = deque(maxlen=10)
        # Those of gifts that are being charged, by channel: one at a time for each.
        self.waiting: dict[bytes, str] = {}
        self.ledger = ledger
        self._last = 0

    def look(self) -> None:
        """Counts the gifts that came since the last look."""
        while page := self.ledger.charges(route=GIFTS, after=self._last):
            for charge in page:
                self.total += charge.amount
                self.gifts += 1
                if line := self.waiting.pop(charge.channel_id, ""):
                    self.lines.appendleft(f"{from_units(charge.amount, DECIMALS)}: {line}")
            self._last = page[-1].id


app = FastAPI()


@app.post("/gifts")
async def give(
    request: Request, line: Annotated[str, Query(max_length=140)] = ""
) -> dict[str, str]:
    """Costs what the giver says: ``/gifts?amount=0.50&line=Hello``."""
    payment, campaign = payment_of(request.scope), app.state.campaign
    # The line before this one belongs to a gift that is counted.
    campaign.look()
    campaign.waiting[payment.channel_id] = line
    return {"thanks": f"for {from_units(payment.price, DECIMALS)}"}


@app.get("/total")
async def total() -> dict[str, Any]:
    campaign = app.state.campaign
    campaign.look()
    return {
        "total": from_units(campaign.total, DECIMALS),
        "goal": from_units(GOAL, DECIMALS),
        "part": min(1, campaign.total / GOAL),
        "gifts": campaign.gifts,
        "lines": list(campaign.lines),
    }


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE


def main() -> None:
    with playground() as play:
        site = play.publish(app, PRICES)
        with closing(open_books(site.settings)) as ledger:
            app.state.campaign = Campaign(ledger)
            school, ann, ben = (play.payer() for _ in range(3))
            gifts = [(school, {"amount": "0.01"})] * 50
            gifts += [(ann, {"amount": "0.50", "line": "For the old well."})] * 2
            gifts += [(ben, {"amount": "3.75", "line": "<b>Drink!</b>"})]
            for giver, gift in gifts:
                giver.http.post(f"{site.url}/gifts", params=gift).raise_for_status()
            now = httpx.get(f"{site.url}/total").json()
            print(f"{now['total']} of {now['goal']} dollars in {now['gifts']} gifts")
            for line in now["lines"]:
                print(line)
            # Whoever starts the site again begins with the same.
            again = Campaign(site.ledger)
            again.look()
            assert again.total == sum(each.spent() for each in play.payers)
            if "--stay" in sys.argv:
                input(f"Look at {site.url} and press Enter to end.\n")
            print(play.prove())


if __name__ == "__main__":
    main()
