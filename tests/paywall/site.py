"""A publisher's folder for tests: a farthing.toml on a chain that stands, and its key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.escrow_world import RECEIVER, World

PASSWORD = "a password for tests"

TEXT = """\
ledger = "books.db"

[chain]
rpc = "{rpc}"
id = 31337
token = "{token}"
settlement = "{settlement}"
erc3009_collector = "{erc3009}"
permit2_collector = "{permit2}"

[keys]
keystore = "sender.json"

[terms]
receiver = "{receiver}"
min_deposit = "0.01"
withdraw_delay = 3600
exposure_cap = "5"

[limits]
hold_seconds = 30

[prices]
"GET /articles/{{slug}}" = "0.002"
"GET /articles/free" = "free"
"""


def site_text(world: World, rpc: str) -> str:
    """The settings of a publisher whose payout address is `RECEIVER`."""
    places = world.deployment
    return TEXT.format(
        rpc=rpc,
        token=world.token.address,
        settlement=places.settlement,
        erc3009=places.erc3009_collector,
        permit2=places.permit2_collector,
        receiver=RECEIVER.address,
    )


def write_keystore(path: Path, account: LocalAccount) -> None:
    """An encrypted keystore that opens fast, for `PASSWORD`."""
    keystore: Any = Account.encrypt(bytes(account.key), PASSWORD, kdf="pbkdf2", iterations=2)
    path.write_text(json.dumps(keystore))
