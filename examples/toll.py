"""A toll road between machines: barriers name a price, vehicles pay it, and nobody stops.

    python examples/toll.py

A section costs what its length and the vehicle's class make of it, and a fifth less after three
passages in a month. All vehicles drive at the same time, each with a wallet and a limit of its own;
the one whose limit ends leaves the road at the next barrier and owes nothing. What they paid is
redeemed in one transaction.
"""

from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI

from farthing.paywall import Price, Request, RequestInvalid, VolumeDiscount
from farthing.testing import Payer, playground
from farthing.wallet import BudgetExceeded

KILOMETRES = {"coast": 12, "bridge": 3, "hills": 21}
# For a kilometre, in millionths of a dollar.
RATES = {"motorcycle": 400, "car": 1_000, "lorry": 2_500}
ROUND_TRIP = ("coast", "bridge", "hills", "hills", "bridge", "coast")
FLEET = {
    "Ada": ("car", "1"),
    "Bo": ("motorcycle", "1"),
    "Cy": ("lorry", "1"),
    "Di": ("car", "0.02"),
}


def toll(request: Request) -> int:
    """What a section costs a vehicle, in millionths of a dollar."""
    section, vehicle = request.parameters["section"], request.argument("vehicle")
    if section not in KILOMETRES or vehicle not in RATES:
        raise RequestInvalid(f"no {vehicle} passes {section} here")
    return KILOMETRES[section] * RATES[vehicle]


PRICES = {"POST /barriers/{section}": Price(toll, VolumeDiscount({3: 20}, "P1M"))}

app = FastAPI()


@app.post("/barriers/{section}")
async def barrier(section: str) -> dict[str, str]:
    """Nobody comes here who has not paid."""
    return {section: "open"}


def drive(payer: Payer, vehicle: str, url: str) -> list[str]:
    """The sections of the round trip that it had the money for."""
    passed: list[str] = []
    for section in ROUND_TRIP:
        try:
            answer = payer.http.post(f"{url}/barriers/{section}", params={"vehicle": vehicle})
        except BudgetExceeded:
            break
        answer.raise_for_status()
        passed.append(section)
    return passed


def main() -> None:
    with playground() as play:
        site = play.publish(app, PRICES)
        payers = {who: play.payer(budget=most, top_up=most) for who, (_, most) in FLEET.items()}
        with ThreadPoolExecutor(len(FLEET)) as road:
            trips = {
                who: road.submit(drive, payers[who], vehicle, site.url)
                for who, (vehicle, _) in FLEET.items()
            }
        for who, trip in trips.items():
            passed, vehicle = trip.result(), FLEET[who][0]
            end = "is home" if len(passed) == len(ROUND_TRIP) else f"left after {passed[-1]}"
            print(f"{who}'s {vehicle} {end}, for {play.show(payers[who].spent())}")
        site.redeem()
        sent = [each for each in site.ledger.transactions() if each.kind == "redeem"]
        gas = sum(each.gas_used for each in sent)
        passages = site.ledger.totals().charges
        print(f"{passages} passages, {len(sent)} redemption, {gas:,} gas, {gas // passages:,} each")
        print(play.prove())


if __name__ == "__main__":
    main()
