"""The ledger against the payers' own records."""

from collections import Counter, defaultdict

from farthing.ledger import Ledger
from tests.crash.payers import Payer

PAGE = 1_000


def charges_of(ledger: Ledger) -> dict[bytes, list[tuple[int, int]]]:
    """For each channel its charges: amount, and total from then on."""
    found: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
    last = 0
    while page := ledger.charges(after=last, limit=PAGE):
        for charge in page:
            found[charge.channel_id].append((charge.amount, charge.total))
        last = page[-1].id
    return found


def compare(ledger: Ledger, payers: list[Payer]) -> tuple[int, int]:
    """How many 200s have no charge, and how many charges no 200."""
    charges = charges_of(ledger)
    lost = double = 0
    for payer in payers:
        told, made = Counter(payer.record.paid), Counter(charges.pop(payer.channel_id, []))
        lost += (told - made).total()
        double += (made - told).total()
    return lost, double + sum(map(len, charges.values()))


def check(ledger: Ledger, payers: list[Payer]) -> None:
    """Every 200 has its charge, every charge its 200, and the books agree with themselves."""
    assert compare(ledger, payers) == (0, 0)
    for payer in payers:
        channel = ledger.channel(payer.channel_id)
        assert channel is not None and channel.state.charged == payer.record.total
    assert ledger.prove() == []
