"""Spoils payment headers, for the tests that send them by the thousand.

``FUZZ_HEADERS`` says how many, ``FUZZ_SEED`` repeats a run.
"""

from __future__ import annotations

import base64
import json
import os
import random
from copy import deepcopy
from typing import Any

from tests.paywall.paywall_kit import Json

HEADERS = int(os.environ.get("FUZZ_HEADERS", "20000"))

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


class Fuzzer:
    """Makes headers of the messages of a subclass; every choice follows from the seed."""

    def __init__(self) -> None:
        self.seed = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(2**32)))
        self.rng = random.Random(self.seed)

    def message(self) -> Json:
        """A payment that is right, or nearly so."""
        raise NotImplementedError

    def place(self, message: Json) -> Json:
        """The part of a message that is spoilt next."""
        return message

    def header(self) -> bytes:
        rng = self.rng
        kind = rng.random()
        if kind < 0.05:
            return rng.randbytes(rng.randrange(400))
        if kind < 0.10:
            return base64.b64encode(rng.randbytes(rng.randrange(400)))
        message = self.message()
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            self.spoil(self.place(message))
        text = json.dumps(message)
        while "@@" in text:
            text = text.replace('"@@"', rng.choice(RAW), 1).replace("@@", "", 1)
        data = text.encode("utf-8", "surrogatepass")
        if kind > 0.75:
            data = self.damage(data)
        header = base64.b64encode(data)
        return self.damage(header) if kind > 0.9 else header

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
