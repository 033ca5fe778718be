"""A series by the episode: bought once and never charged again, and dearer before it is released.

    python examples/episodes.py

An episode costs ten cents, and thirty for who cannot wait until it is out. What a reader has bought
it reads again for nothing, also when the site was restarted; who it is, its voucher proves.
"""

import time

from fastapi import FastAPI, HTTPException

from farthing.paywall import EarlyAccess, Own, Price, Request
from farthing.testing import Payer, playground

DAY = 86_400
# When each episode of each series is out, unix seconds.
RELEASES = {
    "tides": {"1": 0, "2": 0, "3": int(time.time()) + DAY},
    "lamps": {"1": 0},
}


def released(request: Request) -> int:
    """When the episode that is asked for is out. What is not there is not charged: see below."""
    series, number = request.parameters["series"], request.parameters["number"]
    return RELEASES.get(series, {}).get(number, 0)


PRICES = {
    "GET /episodes/{series}/{number}": Price(
        "0.30", EarlyAccess(released, then="0.10"), Own("{series}/{number}")
    )
}

app = FastAPI()


@app.get("/episodes/{series}/{number}")
async def episode(series: str, number: str) -> dict[str, str]:
    if number not in RELEASES.get(series, {}):
        # An answer of 400 and above is not charged, and nothing is owned by it.
        raise HTTPException(404)
    return {"text": f"Episode {number} of {series}."}


def main() -> None:
    with playground() as play:
        site = play.publish(app, PRICES)
        ann, ben = play.payer(), play.payer()

        def read(name: str, reader: Payer, path: str) -> None:
            before = reader.spent()
            answer = reader.http.get(f"{site.url}/episodes/{path}")
            cost = play.show(reader.spent() - before)
            print(f"{name} reads {path}: {answer.status_code}, {cost}")

        for path in ("tides/1", "tides/2", "tides/1", "tides/3", "tides/3", "tides/9"):
            read("Ann", ann, path)
        for path in ("tides/1", "lamps/1"):
            read("Ben", ben, path)
        site.restart()
        read("Ben", ben, "lamps/1")
        for name, reader in (("Ann", ann), ("Ben", ben)):
            owned = [each.entitlement.item for each in site.ledger.entitlements(reader.address)]
            print(f"{name} owns {', '.join(owned)}")
        print(play.prove())


if __name__ == "__main__":
    main()
