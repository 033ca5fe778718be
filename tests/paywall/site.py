"""A publisher's folder for tests: a farthing.toml on a chain that stands, and its key."""

from __future__ import annotations

import base64
import json
import re
import secrets
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from farthing.paywall import open_paywall
from farthing.protocol import ChannelConfig, DepositAuthorization, FarthingError, Voucher, sign
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

[redeemer]
coin_price = "3000"

[prices]
"GET /articles/{{slug}}" = "0.002"
"GET /about" = "free"
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


def site_folder(folder: Path, world: World, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A publisher's folder in which everything is right, with its password in the environment."""
    (folder / "farthing.toml").write_text(site_text(world, url))
    write_keystore(folder / "sender.json", RECEIVER)
    monkeypatch.setenv("FARTHING_PASSWORD", PASSWORD)
    monkeypatch.delenv("FARTHING_KEY", raising=False)
    return folder


def edit(folder: Path, pattern: str, replacement: str) -> Path:
    """Changes one place of the settings; the pattern has to be there, once."""
    path = folder / "farthing.toml"
    text, count = re.subn(pattern, lambda _: replacement, path.read_text(), flags=re.MULTILINE)
    assert count == 1
    path.write_text(text)
    return path


def refusal(path: Path) -> str:
    """What is said of settings that cannot be: one sentence, and no ledger is made or left open."""
    with pytest.raises(FarthingError) as caught:
        open_paywall(path)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


class Reader:
    """A payer with a channel, written from the outside: it knows what a 402 says and the chain.

    Attributes:
        charged: What it has been charged.
    """

    def __init__(self, world: World, account: LocalAccount, required: str) -> None:
        """``required`` is the PAYMENT-REQUIRED header of any 402."""
        self._account = account
        self._world = world
        terms = self.terms(required)
        self.config = ChannelConfig(
            payer=account.address,
            payer_authorizer=account.address,
            receiver=terms["payTo"],
            receiver_authorizer=terms["extra"]["receiverAuthorizer"],
            token=terms["asset"],
            withdraw_delay=terms["extra"]["withdrawDelay"],
            salt=secrets.token_bytes(32),
        )
        self.channel_id = self.config.channel_id(world.settlement.domain)
        self.charged = 0

    @staticmethod
    def terms(required: str) -> dict[str, Any]:
        """The terms of a PAYMENT-REQUIRED header."""
        found: dict[str, Any] = json.loads(base64.b64decode(required))["accepts"][0]
        return found

    def pay(self, required: str, *, deposit: int | None = None) -> dict[str, str]:
        """The header that pays what ``required`` asks, with a deposit or without."""
        terms = self.terms(required)
        voucher = Voucher(self.channel_id, self.charged + int(terms["amount"]))
        signature = sign(self._account, voucher, self._world.settlement.domain)
        payload: dict[str, Any] = {
            "type": "voucher",
            "channelConfig": self.config.to_json(),
            "voucher": {
                "channelId": "0x" + self.channel_id.hex(),
                "maxClaimableAmount": str(voucher.max_claimable_amount),
                "signature": "0x" + signature.hex(),
            },
        }
        if deposit is not None:
            payload |= {"type": "deposit", "deposit": self._deposit(deposit)}
        message = {"x402Version": 2, "accepted": terms, "payload": payload}
        # As published clients do.
        message["extensions"] = json.loads(base64.b64decode(required)).get("extensions")
        return {"PAYMENT-SIGNATURE": base64.b64encode(json.dumps(message).encode()).decode()}

    def note(self, response: str) -> int:
        """Takes note of a PAYMENT-RESPONSE header; what it charged."""
        extra = json.loads(base64.b64decode(response))["extra"]
        self.charged = int(extra["channelState"]["chargedCumulativeAmount"])
        return int(extra["chargedAmount"])

    def _deposit(self, amount: int) -> dict[str, Any]:
        salt = secrets.randbits(256)
        authorization = DepositAuthorization(
            payer=self.config.payer,
            collector=self._world.deployment.erc3009_collector,
            amount=amount,
            valid_after=0,
            valid_before=2**40,
            channel_id=self.channel_id,
            salt=salt,
        )
        signature = sign(self._account, authorization, self._world.token.domain)
        return {
            "amount": str(amount),
            "authorization": {
                "erc3009Authorization": {
                    "validAfter": "0",
                    "validBefore": str(2**40),
                    "salt": f"0x{salt:064x}",
                    "signature": "0x" + signature.hex(),
                }
            },
        }
