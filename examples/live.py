"""Live: every payment as it is made, and a word when something needs a look, for both sides.

    python examples/live.py

A reader's wallet tells of each payment as it happens, and warns when a budget is nearly used up.
The publisher sees each charge as soon as it is on the disk. When more waits to be redeemed than it
wants, the part of `farthing serve` that looks after the others sends an alert: signed, to a webhook
that believes no other.

On the command line: `farthing wallet watch`, `farthing serve`, and `[alerts]` in farthing.toml.
"""

import secrets
import time
from dataclasses import replace
from queue import Queue
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from farthing.opening import open_contracts
from farthing.operations.start import Operations
from farthing.operations.webhook import SIGNATURE_HEADER, is_signed
from farthing.settings import AlertSettings
from farthing.testing import playground
from farthing.wallet.watch import Alert, Watch

PRICES = {"GET /articles/{slug}": "0.002"}
THRESHOLDS = '[thresholds]\nexposure = "0.005"'
SECRET = secrets.token_hex(32)
SECRET_FILE = "webhook.secret"  # noqa: S105

app = FastAPI()
alerts: Queue[dict[str, Any]] = Queue()


@app.get("/articles/{slug}")
async def article(slug: str) -> dict[str, str]:
    return {"text": f"All there is to know about {slug}."}


@app.post("/alerts")
async def hear(request: Request) -> dict[str, str]:
    """Takes alerts that are signed with the secret, and no others."""
    signature = request.headers.get(SIGNATURE_HEADER, "")
    if not is_signed(signature, await request.body(), SECRET.encode(), time.time()):
        raise HTTPException(403)
    alerts.put(await request.json())
    return {"heard": "thanks"}


def main() -> None:
    with playground() as play:
        site = play.publish(app, PRICES, settings=THRESHOLDS)
        reader = play.payer(budget="0.01", top_up="0.01")
        feed, last = Watch(reader.wallet.store), 0
        for slug in ("pennies", "wrens", "mints", "scales", "purses"):
            reader.http.get(f"{site.url}/articles/{slug}").raise_for_status()
            for news in feed.look():
                said = news.text if isinstance(news, Alert) else play.show(news.charged or 0)
                print(f"reader     {said}")
            for charge in site.ledger.charges(after=last):
                print(f"publisher  {play.show(charge.amount)} of {play.show(charge.price)}")
                last = charge.id

        site.settings.beside(SECRET_FILE).write_text(SECRET)
        wanted = AlertSettings(webhook=f"{site.url}/alerts", webhook_secret_file=SECRET_FILE)
        settings, parts = replace(site.settings, alerts=wanted), frozenset({"watcher", "redeemer"})
        operations = Operations(settings, site.keys, open_contracts(settings), parts)
        operations.start()
        try:
            alert = alerts.get(timeout=60)
        finally:
            operations.join(60)
        print(f"webhook    {alert['alert']} {alert['event']}: {alert['sentence']}")
        print(play.prove())


if __name__ == "__main__":
    main()
