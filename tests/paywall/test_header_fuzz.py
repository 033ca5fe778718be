"""Payment headers by the thousand: spoilt copies of good ones, and noise.

``make fuzz-headers`` makes a million; ``FUZZ_SEED`` repeats a run.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from farthing.ledger import open_ledger
from tests.escrow_world import SECOND_PAYER, STRANGER
from tests.paywall.header_fuzzer import HEADERS, Fuzzer
from tests.paywall.paywall_kit import CHEAP, Payer, Shop, run

# A good payment between the spoilt ones: the paywall still works, and its channel is not stuck.
GOOD_EVERY = 500


class Vouchers(Fuzzer):
    """Vouchers, mostly, for a paywall that has no chain to ask."""

    def __init__(self, payers: list[Payer]) -> None:
        super().__init__()
        self.payers = payers
        self.charged: dict[bytes, int] = {}

    def good(self, payer: Payer) -> dict[str, Any]:
        charged = self.charged[payer.channel_id]
        return payer.message(charged + CHEAP, CHEAP)

    def message(self) -> dict[str, Any]:
        rng = self.rng
        payer = rng.choice(self.payers)
        charged = self.charged.get(payer.channel_id, 0)
        ceiling = charged + rng.choice((CHEAP, CHEAP, CHEAP, 0, 1, 2 * CHEAP, 2**100))
        kind = rng.choice(("voucher", "voucher", "deposit", "refund"))
        more: dict[str, Any] = {}
        if kind == "deposit":
            more["deposit"] = {
                "amount": "5000",
                "authorization": {
                    "erc3009Authorization": {
                        "validAfter": "0",
                        "validBefore": "99999999999",
                        "salt": "0x" + "00" * 32,
                        "signature": "0x" + "11" * 65,
                    }
                },
            }
        elif kind == "refund" and rng.random() < 0.5:
            more["amount"] = "1"
        return payer.message(ceiling, CHEAP, kind, **more)


def test_headers__by_the_thousand__never_a_500_and_the_handler_never_reached_unpaid(
    tmp_path: Path,
) -> None:
    shop = Shop(open_ledger(str(tmp_path / "ledger.db")))
    payers = [Payer(), Payer(SECOND_PAYER), Payer(salt=1)]
    for payer in payers:
        shop.open_channel(payer, 10**12)
    # A channel that is not known here.
    fuzzer = Vouchers([*payers, Payer(STRANGER)])
    seed = fuzzer.seed
    statuses: Counter[int] = Counter()

    def refresh() -> None:
        for payer in payers:
            channel = shop.ledger.channel(payer.channel_id)
            assert channel is not None
            fuzzer.charged[payer.channel_id] = channel.state.charged

    async def ask(header: bytes) -> int:
        got = await shop.get("/cheap", headers=[(b"payment-signature", header)])
        statuses[got.status] += 1
        if got.status == 200:
            assert got.paid["success"] is True
            refresh()
        else:
            assert got.status == 402, (seed, header, got)
            assert got.header("payment-required")
        return got.status

    async def scenario() -> None:
        for number in range(HEADERS):
            try:
                await ask(fuzzer.header())
                if number % GOOD_EVERY == 0:
                    payer = payers[number // GOOD_EVERY % len(payers)]
                    header = base64.b64encode(json.dumps(fuzzer.good(payer)).encode())
                    assert await ask(header) == 200
            except Exception as error:
                pytest.fail(f"header {number} of seed {seed}: {error!r}")

    refresh()
    run(scenario(), seconds=None)
    charges = len(shop.ledger.charges(limit=10**9))
    counts = shop.paywall.counts
    assert shop.served == charges == counts["paid"]
    assert statuses[200] == charges + counts["repeated"]
    # Both happened, or it tests nothing; and most of the refusals are reached.
    assert charges > HEADERS // GOOD_EVERY
    assert statuses[402] > HEADERS // 2
    assert len(counts) > 12, counts
    assert shop.ledger.prove() == []
    run(shop.paywall.close())
    print(f"seed {seed}: {HEADERS} headers, {charges} charges, {dict(counts)}")
