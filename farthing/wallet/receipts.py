"""What publishers signed for what this wallet paid: whether it is right, and as a proof to keep.

It stands in the PAYMENT-RESPONSE that the history keeps, and is looked at from there whenever it is
asked for. Nothing here needs the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pybase64

from farthing.protocol import ChannelConfig
from farthing.protocol.payments import MAX_HEADER
from farthing.protocol.proofs import check_channel, read_given, shown, write_proof
from farthing.protocol.receipts import Given, StatementWrong
from farthing.wallet.errors import WalletError
from farthing.wallet.records import Home, Payment
from farthing.wallet.store import Store

_DEFAULT_PORTS = {"http": 80, "https": 443}


class NoReceipt(WalletError):
    """There is nothing signed for a payment."""

    def __init__(self, payment_id: int, reason: str) -> None:
        super().__init__(f"payment {payment_id} has no receipt: {reason}.")
        self.payment_id = payment_id
        self.reason = reason


class ReceiptWrong(WalletError):
    """What a publisher signed for a payment is not what was paid, or not its signature."""

    exit_code = 4

    def __init__(self, payment_id: int, reason: str) -> None:
        super().__init__(
            f"the receipt of payment {payment_id} is wrong, ask its publisher why: {reason}."
        )
        self.payment_id = payment_id
        self.reason = reason


@dataclass(frozen=True)
class Evidence:
    """What there is of a payment, signed by its publisher.

    Attributes:
        proof: For `farthing verify-receipt` and whoever asks; None where nothing was given.
        problem: Why it proves nothing, or not what was paid; None where all is right.
    """

    proof: dict[str, Any] | None
    problem: str | None


@dataclass(frozen=True)
class Paid:
    """What this wallet knows of a payment: the request, what it was charged, and what of its
    channel that made in all, in smallest units."""

    method: str
    url: str
    charged: int
    total: int


def evidence(header: str, paid: Paid, config: ChannelConfig, home: Home) -> Evidence:
    """What a publisher signed, looked at against what was paid.

    Args:
        header: Its PAYMENT-RESPONSE.
        config: The channel's.
        home: The wallet's; it names the contract that was paid through.
    """
    try:
        given = _given(header)
    except StatementWrong as error:
        return Evidence(None, error.reason)
    if given is None:
        return Evidence(None, None)
    problem = None
    try:
        check_channel(given, given.signer(), config, home.domain)
        _check_paid(given, paid)
    except StatementWrong as error:
        problem = error.reason
    return Evidence(write_proof(given, config, home.domain), problem)


def evidence_of(store: Store, payment: Payment) -> Evidence:
    """The same for a line of the history."""
    if payment.charged is None or payment.receipt is None:
        return Evidence(None, None)
    total = payment.ceiling - payment.price + payment.charged
    paid = Paid(payment.method, payment.url, payment.charged, total)
    config = store.lane(payment.channel_id).config
    return evidence(payment.receipt, paid, config, store.home)


def payment_by_id(store: Store, payment_id: int) -> Payment:
    """One line of the history.

    Raises:
        NoReceipt: There is none with this id.
    """
    found = store.history(payment_id - 1, 1)
    if not found or found[0].id != payment_id:
        raise NoReceipt(payment_id, "`farthing wallet history` has no such payment")
    return found[0]


def _given(header: str) -> Given | None:
    """What a PAYMENT-RESPONSE carries; None for nothing."""
    if len(header) > MAX_HEADER:
        return None
    given = read_given(pybase64.b64decode(header) or b"{}")
    return None if given == Given() else given


def _check_paid(given: Given, paid: Paid) -> None:
    if given.charge is None:
        return
    charge = given.charge.said
    if (charge.amount, charge.total) != (paid.charged, paid.total):
        raise StatementWrong(
            f"it says {charge.amount} were charged, {charge.total} in all; it was {paid.charged}, "
            f"{paid.total} in all"
        )
    if charge.method != paid.method or _place(charge.url) != _place(paid.url):
        raise StatementWrong(
            f"it is for {shown(f'{charge.method} {charge.url}')}, what was paid for was "
            f"{paid.method} {paid.url}"
        )


def _place(url: str) -> tuple[object, ...]:
    """What a URL names, as far as a server sees it: behind a proxy it need not know the scheme, and
    some frameworks write a path's characters in another way."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return (url,)
    if port in _DEFAULT_PORTS.values():
        port = None
    return parts.hostname, port, unquote(parts.path) or "/", parts.query
