"""What a wallet's file holds, as values, and the tables they are kept in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from farthing.protocol import ChannelConfig, Domain
from farthing.protocol.amounts import from_units
from farthing.wallet.offers import ERC3009_METHOD

MAGIC = 0x46574C54
VERSION = 2
SCHEMA = """
CREATE TABLE wallet (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    payer TEXT NOT NULL, session TEXT NOT NULL, rpc TEXT NOT NULL, chain_id TEXT NOT NULL,
    settlement TEXT NOT NULL, token TEXT NOT NULL, collector TEXT NOT NULL,
    permit2_collector TEXT NOT NULL, symbol TEXT NOT NULL, decimals INTEGER NOT NULL,
    clock INTEGER NOT NULL,
    rules TEXT NOT NULL, rules_version INTEGER NOT NULL, rules_signature BLOB NOT NULL
) STRICT;
CREATE TABLE channels (
    channel_id BLOB PRIMARY KEY, origin TEXT NOT NULL, config TEXT NOT NULL,
    balance TEXT NOT NULL, charged TEXT NOT NULL, upper TEXT NOT NULL, signed TEXT NOT NULL,
    deposit TEXT, problem TEXT, is_closed INTEGER NOT NULL
) STRICT;
CREATE INDEX channels_by_origin ON channels (origin);
CREATE TABLE payments (
    id INTEGER PRIMARY KEY, time INTEGER NOT NULL, host TEXT NOT NULL, method TEXT NOT NULL,
    url TEXT NOT NULL, channel_id BLOB NOT NULL, price TEXT NOT NULL, ceiling TEXT NOT NULL,
    raised TEXT NOT NULL, deposited TEXT NOT NULL, charged TEXT, receipt TEXT
) STRICT;
CREATE INDEX payments_by_time ON payments (time);
CREATE INDEX payments_open ON payments (channel_id) WHERE charged IS NULL;
CREATE TABLE used (
    budget TEXT NOT NULL, begins INTEGER NOT NULL, spent TEXT NOT NULL, deposited TEXT NOT NULL,
    PRIMARY KEY (budget, begins)
) STRICT;
"""
LANES = """SELECT channel_id, origin, config, balance, charged, upper, signed, deposit, problem,
    is_closed FROM channels"""
PAYMENTS = """SELECT id, time, host, method, url, channel_id, price, ceiling, charged, receipt
    FROM payments"""


@dataclass(frozen=True)
class PendingDeposit:
    """A deposit whose consent a server has or will have, until the chain shows that it arrived.

    ``amount`` and ``before``, the escrow it comes on top of, are smallest units; ``valid_before``
    unix seconds. The salt makes the same consent of it whenever it is signed, and so does the
    method: x402's name for how it is authorised.
    """

    amount: int
    before: int
    salt: int
    valid_before: int
    method: str = ERC3009_METHOD


class Lane(msgspec.Struct, frozen=True):
    """A channel, and the wallet's part of its books; see the head of this file.

    Attributes:
        origin: Scheme, host and port that it is for; empty for one that was found on the chain.
        balance: What the chain last said is in escrow or was claimed of it.
        deposit: One that may be under way.
        problem: Why nothing more is paid there.
        is_closed: Whether its owner takes the money back.
    """

    channel_id: bytes
    origin: str
    config: ChannelConfig
    balance: int = 0
    charged: int = 0
    upper: int = 0
    signed: int = 0
    deposit: PendingDeposit | None = None
    problem: str | None = None
    is_closed: bool = False


@dataclass(frozen=True)
class Home:
    """What a wallet was made for, kept in its file.

    Attributes:
        payer, session: The addresses of its main key and of the key that signs vouchers.
        rpc: A node of its chain.
        domain: The settlement contract.
        token: What it pays with.
        collector: The ERC-3009 collector for deposits.
        permit2_collector: The one for deposits through Permit2; empty where there is none.
        symbol, decimals: How amounts of the token are shown; without them in smallest units.
    """

    payer: str
    session: str
    rpc: str
    domain: Domain
    token: str
    collector: str
    permit2_collector: str = ""
    symbol: str = ""
    decimals: int = 0

    def show(self, units: int) -> str:
        """An amount as people write it, with the token's symbol."""
        return f"{from_units(units, self.decimals)} {self.symbol}".rstrip()


class Signing(msgspec.Struct, frozen=True):
    """A voucher that may be signed now: it is written down, and the budgets allow it.

    Attributes:
        payment_id: Its row in the history.
        lane: Its channel, as it is with this voucher.
        ceiling: What is to be signed.
    """

    payment_id: int
    lane: Lane
    ceiling: int


@dataclass(frozen=True)
class Payment:
    """A line of the history. Amounts are smallest units, the time unix seconds.

    ``charged`` is None while it is not known; ``receipt`` is the server's PAYMENT-RESPONSE.
    """

    id: int
    time: int
    host: str
    method: str
    url: str
    channel_id: bytes
    price: int
    ceiling: int
    charged: int | None
    receipt: str | None


def lane_of(row: Any) -> Lane:
    channel_id, origin, config, balance, charged, upper, signed, deposit, problem, is_closed = row
    return Lane(
        channel_id,
        origin,
        _config(config),
        int(balance),
        int(charged),
        int(upper),
        int(signed),
        None if deposit is None else _deposit(deposit),
        problem,
        bool(is_closed),
    )


# To check a config takes longer than all else of reading a channel.
@lru_cache(maxsize=1_024)
def _config(text: str) -> ChannelConfig:
    return ChannelConfig.from_json(msgspec.json.decode(text))


def deposit_text(deposit: PendingDeposit | None) -> str | None:
    if deposit is None:
        return None
    numbers = (deposit.amount, deposit.before, deposit.salt, deposit.valid_before)
    return " ".join((*map(str, numbers), deposit.method))


def _deposit(text: str) -> PendingDeposit:
    *numbers, method = text.split()
    amount, before, salt, valid_before = map(int, numbers)
    return PendingDeposit(amount, before, salt, valid_before, method)


def payment_of(row: Any) -> Payment:
    payment_id, time, host, method, url, channel_id, price, ceiling, charged, receipt = row
    return Payment(
        payment_id,
        time,
        host,
        method,
        url,
        channel_id,
        int(price),
        int(ceiling),
        None if charged is None else int(charged),
        receipt,
    )
