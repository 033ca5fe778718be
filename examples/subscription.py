"""A subscription with extras: a pass for a month, and small change for what it does not cover.

    python examples/subscription.py

One reader pays for each article. Another buys a pass, which covers three articles here; the fourth
costs what it costs everybody, and the archive is in no pass. Nobody logs in: the signature on a
voucher says who reads, and one that is charged nothing costs nothing. The ledger has who bought
what, how much of it is used, and why each charge was what it was.
"""

from datetime import UTC, datetime

from fastapi import FastAPI

from farthing.paywall import Pass, Price
from farthing.testing import Payer, playground

MONTHLY = Pass("monthly", "P30D")
PRICES = {
    "POST /subscription": Price("3.00", MONTHLY.sold()),
    "GET /articles/{slug}": Price("0.05", MONTHLY.covers(uses=3)),
    "GET /archive/{slug}": Price("0.25"),
}
ARTICLES = ("pennies", "wrens", "mints", "scales")

app = FastAPI()


@app.post("/subscription")
async def subscribe() -> dict[str, str]:
    return {"welcome": "a month from now on"}


@app.get("/articles/{slug}")
@app.get("/archive/{slug}")
async def read(slug: str) -> dict[str, str]:
    return {"text": f"All there is to know about {slug}."}


def visit(reader: Payer, url: str) -> int:
    """Reads something; what it cost."""
    before = reader.spent()
    reader.http.get(url).raise_for_status()
    return reader.spent() - before


def main() -> None:
    with playground() as play:
        site = play.publish(app, PRICES)
        readers = subscriber, _ = play.payer(), play.payer()
        subscriber.http.post(f"{site.url}/subscription").raise_for_status()
        print(f"The pass cost {play.show(subscriber.spent())}.")
        for path in [*(f"articles/{slug}" for slug in ARTICLES), "archive/farthings"]:
            with_pass, without = (visit(who, f"{site.url}/{path}") for who in readers)
            print(f"{path}: {play.show(with_pass)} with the pass, {play.show(without)} without")
        for charge in site.ledger.charges():
            print(f"{charge.route}: {play.show(charge.amount)} {charge.reason}")
        for bought in site.ledger.entitlements(subscriber.address):
            monthly = bought.entitlement
            end = datetime.fromtimestamp(monthly.until, UTC)
            print(f"Pass {monthly.item}: {monthly.used} used, until {end:%Y-%m-%d}")
        print(play.prove())


if __name__ == "__main__":
    main()
