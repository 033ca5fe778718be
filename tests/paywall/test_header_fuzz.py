"""Payment headers by the thousand: spoilt copies of good ones, and noise.

``make fuzz-headers`` makes a million; ``FUZZ_SEED`` repeats a run.
"""

from __future__ import annotations

import base64
import json
import os
import random
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farthing.ledger import open_ledger
from tests.escrow_world import SECOND_PAYER, STRANGER
from tests.paywall.paywall_kit import CHEAP, Payer, Shop, run

HEADERS = int(os.environ.get("FUZZ_HEADERS", "20000"))
# A good payment between the spoilt ones: the paywall still works, and its channel is not stuck.
GOOD_EVERY = 500

HOSTILE: list[Any] = [
    None, True, False, 0, 1, -1, 2**63, 2**64, 2**128, 10**30, 0.5, 1e308, "", "0", "00", "-0",
    "1e2", "1_0", "0x", "0x0", "+1", " 1", "1 ", "1\n", "\uff11", "\u0661", "9" * 39, "9" * 40,
    "9" * 78, "9" * 500, str(2**128 - 1), str(2**128), "0x" + "00" * 20, "0x" + "ff" * 20,
    "0x" + "00" * 32, "0x" + "00" * 65, "0x" + "ff" * 65, "0X" + "00" * 32, "\0", "\U0001f4a9",
    "A" * 2_000, [], [1], {}, {"a": {}}, "deposit", "refund", "voucher", "claim", "exact",
    "eip155:1", "NaN",
]  # fmt: skip
# What `json` does not write by itself; a mark stands for one of them.
RAW = [
    "NaN", "1e400", "-1e400", "Infinity", "9" * 400, '"\\ud800"', '"\\udc00\\ud800"', "01",
    "'a'", "",
]  # fmt: skip


@dataclass
class Fuzzer:
    """Makes headers; every choice follows from the seed."""

    rng: random.Random
    payers: list[Payer]
    charged: dict[bytes, int]

    def good(self, payer: Payer) -> dict[str, Any]:
        charged = self.charged[payer.channel_id]
        return payer.message(charged + CHEAP, CHEAP)

    def header(self) -> bytes:
        rng = self.rng
        kind = rng.random()
        if kind < 0.05:
            return rng.randbytes(rng.randrange(400))
        if kind < 0.10:
            return base64.b64encode(rng.randbytes(rng.randrange(400)))
        message = self.message()
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            self.spoil(message)
        text = json.dumps(message)
        while "@@" in text:
            text = text.replace('"@@"', rng.choice(RAW), 1).replace("@@", "", 1)
        data = text.encode("utf-8", "surrogatepass")
        if kind > 0.75:
            data = self.damage(data)
        header = base64.b64encode(data)
        return self.damage(header) if kind > 0.9 else header

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

    def spoil(self, message: dict[str, Any]) -> None:
        """Changes one place somewhere in it."""
        rng = self.rng
        here: Any = message
        while True:
            if isinstance(here, dict) and here:
                key: Any = rng.choice(list(here))
            elif isinstance(here, list) and here:
                key = rng.randrange(len(here))
            else:
                return
            if not isinstance(here[key], dict | list) or rng.random() < 0.15:
                break
            here = here[key]
        action = rng.randrange(8)
        if action == 0:
            del here[key]
        elif action == 1:
            here[key] = "@@"
        elif action == 2 and isinstance(here[key], str) and here[key]:
            at = rng.randrange(len(here[key]))
            here[key] = here[key][:at] + rng.choice("0123456789abcdefAF xX") + here[key][at + 1 :]
        elif action == 3 and isinstance(here[key], str):
            here[key] = rng.choice((here[key].upper(), here[key].lower(), here[key] * 2))
        elif action == 4 and isinstance(here, dict):
            here[rng.choice(("x", "amount", "type", str(key) + "x"))] = deepcopy(
                rng.choice(HOSTILE)
            )
        elif action == 5:
            here[key] = deepcopy(message)
        else:
            here[key] = deepcopy(rng.choice(HOSTILE))

    def damage(self, data: bytes) -> bytes:
        """Changes a few bytes."""
        rng = self.rng
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(data) + 1)
            action = rng.randrange(4)
            if action == 0:
                data = data[:at] + rng.randbytes(1) + data[at + 1 :]
            elif action == 1:
                data = data[:at] + data[at + rng.randrange(1, 20) :]
            elif action == 2:
                end = at + rng.randrange(1, 200)
                data = data[:end] + data[at:]
            else:
                data = data[:at]
        return data


def test_headers__by_the_thousand__never_a_500_and_the_handler_never_reached_unpaid(
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(2**32)))
    shop = Shop(open_ledger(str(tmp_path / "ledger.db")))
    payers = [Payer(), Payer(SECOND_PAYER), Payer(salt=1)]
    for payer in payers:
        shop.open_channel(payer, 10**12)
    # A channel that is not known here.
    fuzzer = Fuzzer(random.Random(seed), [*payers, Payer(STRANGER)], {})
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
