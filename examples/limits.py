"""A publisher's own limits: a cap for each payer and day, a rate limit, a deny list, and the audit.

    python examples/limits.py

A game costs a cent, and nobody is let spend more than five in a day here, whatever its wallet would
allow. The scores are looked up three times a day at most. Who has cheated is sold nothing. What is
refused costs nothing, says when to come back, and is counted in the ledger beside every charge.
"""

import time

from fastapi import FastAPI

from farthing.paywall import Price, RateLimit
from farthing.testing import Payer, playground

PRICES = {"POST /games": Price("0.01"), "GET /scores": Price("0.001", RateLimit(3, "P1D"))}
SETTINGS = """[payers]
day_cap = "0.05"
deny = ["{}"]
"""

app = FastAPI()
games: list[str] = []


@app.post("/games")
async def play_one(player: str) -> dict[str, str]:
    games.append(player)
    return {"winner": player}


@app.get("/scores")
async def scores() -> dict[str, int]:
    return {player: games.count(player) for player in games}


def main() -> None:
    with playground() as play:
        ann, ben, cheat = play.payer(), play.payer(), play.payer()
        site = play.publish(app, PRICES, settings=SETTINGS.format(cheat.address))

        def ask(who: str, payer: Payer, times: int, method: str, path: str) -> None:
            for _ in range(times):
                answer = payer.http.request(method, site.url + path)
                if answer.is_error:
                    print(f"{who}: {answer.status_code}, {answer.json()['reason']}")
            print(f"{who} spent {play.show(payer.spent())}")

        ask("Ann", ann, 6, "POST", "/games?player=Ann")
        ask("Ben", ben, 4, "GET", "/scores")
        ask("The cheat", cheat, 1, "POST", "/games?player=cheat")
        names = {ann.address: "Ann", ben.address: "Ben", cheat.address: "the cheat"}
        print(f"{site.ledger.totals().charges} charges")
        # They are written down together, once a second.
        while len(refusals := site.ledger.refusals()) < 3:
            time.sleep(0.1)
        for each in refusals:
            print(f"{names[each.payer.address]} at {each.route}: {each.code}, {each.count} times")
        print(play.prove())


if __name__ == "__main__":
    main()
