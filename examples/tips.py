"""A tip jar, and a monthly sum that a reader's program splits by where it has been.

    python examples/tips.py

Three sites ask for nothing and take tips from a cent on. One reader tips as it likes. Another gives
two dollars a month in all: its program counts the pages that it reads, and at the month's end tips
every site its share. The shares add up to the sum to the unit, and the wallet's budget is that sum,
so that no fault in the program gives more.
"""

from collections import Counter
from collections.abc import Mapping

import httpx
from fastapi import FastAPI, Request

from farthing.paywall import PayWhatYouWant, Price, payment_of
from farthing.protocol.amounts import from_units
from farthing.testing import Payer, playground

LEAST = "0.01"
PRICES = {"POST /tip": Price(PayWhatYouWant(LEAST, most="100", parameter="amount"))}
MONTHLY = "2"


def make_site(name: str) -> FastAPI:
    app = FastAPI()

    @app.get("/pages/{page}")
    async def read(page: int) -> str:
        return f"Page {page} of {name}."

    @app.post("/tip")
    async def tip(request: Request) -> dict[str, str]:
        return {"thanks": payment_of(request.scope).payer}

    return app


def split(total: int, visits: Mapping[str, int], least: int) -> dict[str, int]:
    """``total`` in shares by ``visits``, to the unit; one below ``least`` goes to the others."""
    counted = {site: count for site, count in visits.items() if count}
    while counted:
        shares: dict[str, int] = {}
        seen = 0
        for site, count in counted.items():
            # All shares so far end where they should, so that nothing is lost by rounding.
            seen += count
            shares[site] = total * seen // sum(counted.values()) - sum(shares.values())
        smallest = min(shares, key=lambda site: shares[site])
        if shares[smallest] >= least:
            return shares
        del counted[smallest]
    return {}


def main() -> None:
    with playground() as play:
        names = ("news", "music", "maps")
        sites = {name: play.publish(make_site(name), PRICES).url for name in names}

        def tip(payer: Payer, name: str, amount: str) -> None:
            answer = payer.http.post(f"{sites[name]}/tip?amount={amount}")
            print(f"{name} is tipped {amount}: {answer.status_code}")

        fan = play.payer()
        tip(fan, "music", "1.50")
        tip(fan, "music", "0.25")
        tip(fan, "music", "0.001")

        reader = play.payer(budget=MONTHLY, top_up="0.01")
        visits: Counter[str] = Counter()

        def count(response: httpx.Response) -> None:
            for name, url in sites.items():
                visits[name] += str(response.url).startswith(f"{url}/pages/")

        reader.http.event_hooks["response"] = [count]
        for name, pages in (("news", 4), ("music", 2), ("maps", 1)):
            for page in range(pages):
                reader.http.get(f"{sites[name]}/pages/{page}")
        print(f"In a month it read {dict(visits)}")
        shares = split(play.units(MONTHLY), visits, play.units(LEAST))
        for name, units in shares.items():
            tip(reader, name, from_units(units, play.token.decimals))
        print(f"The month cost {play.show(reader.spent())}")
        print(play.prove())


if __name__ == "__main__":
    main()
