"""Things of a game: a skin is bought once and owned, potions come in packs and are used up.

    python examples/items.py

A skin costs fifty cents the first time it is put on, and nothing ever after. A pack of three
potions costs thirty cents; drinking takes one of them, and who has none left pays fifteen cents for
a single one. What each player owns and has left is in the publisher's ledger, written together with
the charge: a drink that fails takes no potion, and two at once never take the same.
"""

from collections import Counter

from fastapi import FastAPI, HTTPException, Request

from farthing.paywall import Own, Pass, Price, payment_of
from farthing.testing import playground

PACK, MOST_HEALTH = 3, 4
POTIONS = Pass("potions")
PRICES = {
    "POST /skins/{skin}": Price("0.50", Own("{skin}")),
    "POST /potions": Price("0.30", POTIONS.sold()),
    "POST /drink": Price("0.15", POTIONS.covers(uses=PACK)),
}
SKINS = {"wren", "robin"}

worn: dict[str, str] = {}
health: Counter[str] = Counter()
app = FastAPI()


@app.post("/skins/{skin}")
async def wear(skin: str, request: Request) -> dict[str, str]:
    if skin not in SKINS:
        # An answer of 400 and above is not charged, and nothing is owned by it.
        raise HTTPException(404)
    worn[payment_of(request.scope).payer] = skin
    return {"worn": skin}


@app.post("/potions")
async def buy() -> dict[str, int]:
    return {"potions": PACK}


@app.post("/drink")
async def drink(request: Request) -> dict[str, int]:
    player = payment_of(request.scope).payer
    if health[player] == MOST_HEALTH:
        # Nor is a potion gone.
        raise HTTPException(409, "you are in good health")
    health[player] += 1
    return {"health": health[player]}


def main() -> None:
    with playground() as play:
        game = play.publish(app, PRICES)
        player = play.payer()

        def do(path: str) -> None:
            before = player.spent()
            answer = player.http.post(f"{game.url}{path}")
            cost = play.show(player.spent() - before)
            print(f"{path}: {answer.status_code} {answer.json()}, {cost}")

        for path in ("/skins/wren", "/skins/robin", "/skins/wren", "/skins/dodo", "/potions"):
            do(path)
        for _ in range(PACK + 2):
            do("/drink")
        do("/potions")
        for each in game.ledger.entitlements(player.address):
            has = each.entitlement
            print(f"In the ledger: {has.kind} {has.item}, bought {has.bought}, used {has.used}")
        print(play.prove())


if __name__ == "__main__":
    main()
