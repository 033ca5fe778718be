"""Channels and charges that the ledger's tests share, and a way around the ledger."""

from __future__ import annotations

from threading import Thread
from typing import Any

import apsw
import msgspec
import psycopg

from farthing.ledger import Answer, Attempt, ChannelState, Ledger, Mirror, NewCharge, RefundHold
from farthing.protocol import ZERO_ADDRESS, ChannelConfig

MOST = 2**128 - 1
# 128 bits of ceiling leave that much to be charged.
CONFIG = ChannelConfig(
    "0x" + "11" * 20,
    ZERO_ADDRESS,
    "0x" + "22" * 20,
    "0x" + "33" * 20,
    "0x" + "44" * 20,
    3600,
    b"\x55" * 32,
)
MIRROR = Mirror(1_000_000, 0, 0, 0, 0, 100)
ANSWER = Answer(
    b"\x66" * 32, 203, [(b"content-type", b"text/plain"), (b"x", b"\x80\xff")], b"\x00body", 1_000
)
SENDER = "0x" + "aB" * 20
LEASE = ("key " + SENDER, "first")


class AtOnce(Thread):
    """A thread whose work is done when it is started."""

    def start(self) -> None:
        super().start()
        self.join()


def channel_id(number: int) -> bytes:
    """A made-up id, spread as hashes are."""
    return (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big") + number.to_bytes(24, "big")


def known(ledger: Ledger, number: int, **changes: Any) -> bytes:
    """A channel the ledger knows; its id."""
    mirror = msgspec.structs.replace(MIRROR, **changes)
    ledger.mirror(channel_id(number), CONFIG, mirror)
    return channel_id(number)


def reserved(ledger: Ledger, channel: bytes) -> ChannelState:
    """The channel's state, reserved."""
    (state,) = ledger.reserve([channel])
    assert isinstance(state, ChannelState)
    return state


def next_charge(
    channel: bytes, state: ChannelState, *, amount: int = 7, price: int = 10, **changes: Any
) -> NewCharge:
    """The charge that a request against ``state`` would make."""
    before = changes.get("charged", state.charged)
    charge = NewCharge(
        channel_id=channel,
        charges=state.charges,
        charged=before,
        amount=amount,
        price=price,
        ceiling=before + max(amount, price),
        signature=b"\x77" * 65,
        route="GET /priced",
        request_id=f"request-{channel.hex()[:8]}-{state.charges}",
        time=50,
        answer=None,
    )
    return msgspec.structs.replace(charge, **changes)


def pay(ledger: Ledger, channel: bytes, **changes: Any) -> NewCharge:
    """One payment from start to end; the charge as it was asked for."""
    charge = next_charge(channel, reserved(ledger, channel), **changes)
    assert ledger.commit([charge]) == [True]
    ledger.release([channel])
    return charge


def enqueue(ledger: Ledger, **changes: Any) -> int:
    """A transaction in the queue; its id."""
    order = {
        "sender": SENDER,
        "kind": "redeem",
        "subject": b"",
        "to": "0x" + "11" * 20,
        "data": b"\x00call",
        "gas": 21_000,
        "time": 50,
    }
    return ledger.enqueue(**{**order, **changes})


def order_refund(ledger: Ledger, channel: bytes, nonce: int, amount: int, **changes: Any) -> int:
    """A refund in the queue, of a channel as it stands; its id."""
    found = ledger.channel(channel)
    assert found is not None
    fence = {"amount": 0, "price": 0, "request_id": f"refund {nonce}", **changes}
    subject = channel + nonce.to_bytes(16, "big")
    hold = RefundHold(nonce, amount, next_charge(channel, found.state, **fence))
    return enqueue(ledger, kind="refund", subject=subject, refund=hold)


def sign(ledger: Ledger, number: int, nonce: int = 0, **changes: Any) -> Attempt:
    """Signs it, under the lease; what is saved of that."""
    fields = {
        "hash": bytes([number, nonce]) * 16,
        "raw": b"\x00raw",
        "nonce": nonce,
        "max_fee": 10**12,
        "tip": 10**9,
        "time": 60,
        **changes,
    }
    ledger.sign(number, LEASE, **fields)
    return Attempt(transaction_id=number, **fields)


class Backdoor:
    """The database itself, behind the ledger's back.

    Attributes:
        url: What `open_ledger` takes.
        is_local: Whether it is SQLite.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_local = "://" not in url

    def run(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Runs a statement with ``?`` for values; an `Amount` is written as the database has it."""
        if self.is_local:
            connection = apsw.Connection(self.url)
            try:
                blobs = [v.to_bytes(16, "big") if isinstance(v, Amount) else v for v in values]
                return list(connection.execute(query, blobs))
            finally:
                connection.close()
        with psycopg.connect(self.url, options="-c search_path=farthing") as connection:
            cursor = connection.execute(query.replace("?", "%s"), values)
            return cursor.fetchall() if cursor.description else []

    def allow_tampering(self) -> None:
        """Takes the triggers away that keep charges as they are."""
        for trigger in ("charges_never_change", "charges_never_go"):
            table = "" if self.is_local else " ON charges"
            self.run(f"DROP TRIGGER {trigger}{table}")


class Amount(int):
    """An ``int`` in a column of amounts."""
