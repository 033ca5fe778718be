"""Music by the song: two free, cheaper by the album, and a tenth of what was paid back for later.

    python examples/music.py

Rules of a price apply in their order: the first two songs of a month cost nothing, from the fourth
bought on each costs half, and a tenth of what was charged lowers what comes next. The ledger says
of each charge why it is what it is.
"""

from fastapi import FastAPI

from farthing.paywall import Cashback, FreeQuota, Price, VolumeDiscount
from farthing.testing import playground

PRICES = {
    "GET /songs/{title}": Price(
        "0.02", FreeQuota(2, "P1M"), VolumeDiscount({3: 50}, "P1M"), Cashback(10)
    )
}
ALBUM = ("Penny", "Ha'penny", "Farthing", "Wren", "Mint", "Scale", "Purse")

app = FastAPI()


@app.get("/songs/{title}")
async def song(title: str) -> dict[str, str]:
    return {"playing": title}


def main() -> None:
    with playground() as play:
        site, fan = play.publish(app, PRICES), play.payer()
        for title in ALBUM:
            fan.http.get(f"{site.url}/songs/{title}").raise_for_status()
        for title, charge in zip(ALBUM, site.ledger.charges(), strict=True):
            print(f"{title}: {play.show(charge.amount)} {charge.reason}")
        print(play.prove())


if __name__ == "__main__":
    main()
