"""The payers of the paywall benchmark: their channels, and their requests, signed beforehand.

A channel and its payer's key follow from its number, so that a server and the load generator know
the same channels without telling each other.
"""

from __future__ import annotations

import base64
import json
import os
import random
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_hash.auto import keccak
from x402.client import x402ClientSync
from x402.http.utils import decode_payment_required_header, encode_payment_signature_header
from x402.mechanisms.evm.batch_settlement.client.config import BatchSettlementEvmSchemeOptions
from x402.mechanisms.evm.batch_settlement.client.scheme import BatchSettlementEvmScheme
from x402.mechanisms.evm.batch_settlement.client.storage import (
    BatchSettlementClientContext,
    InMemoryClientChannelStorage,
)
from x402.schemas.payments import PaymentRequired

from farthing.protocol import X402_SETTLEMENT, ChannelConfig, Domain, Voucher, sign

DOMAIN = Domain(8453, X402_SETTLEMENT)
NETWORK = f"eip155:{DOMAIN.chain_id}"
TOKEN = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
TOKEN_NAME, TOKEN_VERSION = "USD Coin", "2"
RECEIVER = Account.from_key(keccak(b"bench receiver"))
WITHDRAW_DELAY = 3_600
DESCRIPTION = "Today's weather"
PRICE = 1
DEPOSIT = 10**9

Request = tuple[int, int]
"""The number of a channel, and the ceiling of the voucher to send for it."""


def payer(number: int) -> LocalAccount:
    return Account.from_key(keccak(b"bench payer %d" % number))  # type: ignore[no-any-return]


def channel(number: int) -> ChannelConfig:
    address = payer(number).address
    return ChannelConfig(
        payer=address,
        payer_authorizer=address,
        receiver=RECEIVER.address,
        receiver_authorizer=RECEIVER.address,
        token=TOKEN,
        withdraw_delay=WITHDRAW_DELAY,
        salt=bytes(32),
    )


@dataclass(frozen=True)
class Offer:
    """The ``PAYMENT-REQUIRED`` header of a server's 402."""

    header: str

    def payment(self) -> dict[str, Any]:
        """What a client sends back of it: a payment without its payload."""
        decoded = json.loads(base64.b64decode(self.header))
        payment: dict[str, Any] = {"x402Version": 2, "accepted": decoded["accepts"][0]}
        for key in ("resource", "extensions"):
            if key in decoded:
                payment[key] = decoded[key]
        return payment


def spread(
    requests: int, connections: int, channels: range, seed: int = 402
) -> list[list[Request]]:
    """``requests`` requests over ``channels`` in random order, as one list for each connection.

    A channel belongs to one connection, so its vouchers arrive in order.
    """
    chance = random.Random(seed)
    return [
        _with_ceilings(chance.choices(channels[number::connections], k=requests // connections))
        for number in range(connections)
    ]


def _with_ceilings(picked: Iterable[int]) -> list[Request]:
    charged: Counter[int] = Counter()
    requests = []
    for number in picked:
        charged[number] += PRICE
        requests.append((number, charged[number]))
    return requests


def prepare(folder: Path, offer: Offer, lists: list[list[Request]]) -> Path:
    """Sign every request on all cores, into one file for each connection, and have all that was
    prepared on the disk. Answers ``folder``."""
    folder.mkdir()
    files = [folder / str(number) for number in range(len(lists))]
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_write, payment=offer.payment()), files, lists))
    # These and the books, up to half a gigabyte, the system would else write during the run.
    os.sync()
    return folder


def _write(file: Path, requests: list[Request], *, payment: dict[str, Any]) -> None:
    known = cache(_payer_and_channel)
    with file.open("wb") as prepared:
        for number, ceiling in requests:
            prepared.write(header(payment, *known(number), ceiling) + b"\n")


def _payer_and_channel(number: int) -> tuple[LocalAccount, ChannelConfig]:
    return payer(number), channel(number)


def header(
    payment: dict[str, Any], account: LocalAccount, config: ChannelConfig, ceiling: int
) -> bytes:
    """A ``PAYMENT-SIGNATURE`` value, as the ``x402`` package's client writes it."""
    channel_id = config.channel_id(DOMAIN)
    payload = {
        "type": "voucher",
        "channelConfig": config.to_json(),
        "voucher": {
            "channelId": "0x" + channel_id.hex(),
            "maxClaimableAmount": str(ceiling),
            "signature": "0x" + sign(account, Voucher(channel_id, ceiling), DOMAIN).hex(),
        },
    }
    text = json.dumps({**payment, "payload": payload}, separators=(",", ":"))
    return base64.b64encode(text.encode())


def check_like_x402(offer: Offer) -> int:
    """Raise unless the real client pays this offer with the very same content; answer its size."""
    number, ceiling = 0, 5 * PRICE
    config = channel(number)
    storage = InMemoryClientChannelStorage()
    storage.set(
        "0x" + config.channel_id(DOMAIN).hex(),
        BatchSettlementClientContext(
            charged_cumulative_amount=str(ceiling - PRICE), balance=str(DEPOSIT)
        ),
    )
    scheme = BatchSettlementEvmScheme(
        payer(number),  # type: ignore[arg-type]  # it wraps an account itself
        BatchSettlementEvmSchemeOptions(storage=storage),
    )
    client = x402ClientSync().register(NETWORK, scheme)
    required = decode_payment_required_header(offer.header)
    if not isinstance(required, PaymentRequired):
        raise TypeError("the server's 402 is not of x402 version 2")
    theirs = encode_payment_signature_header(client.create_payment_payload(required))
    ours = header(offer.payment(), payer(number), config, ceiling)
    if json.loads(base64.b64decode(theirs)) != json.loads(base64.b64decode(ours)):
        raise AssertionError(
            f"the prepared payment is not what the x402 client sends:\n"
            f"{base64.b64decode(ours).decode()}\n{base64.b64decode(theirs).decode()}"
        )
    return len(theirs)
