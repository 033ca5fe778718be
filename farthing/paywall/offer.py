"""What a publisher asks for, in the three forms it is asked in: header, JSON, and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from farthing.ledger import ChannelState
from farthing.paywall.page import page
from farthing.paywall.receipts import Receipts
from farthing.paywall.replies import Reply, json_reply
from farthing.protocol.payments import REQUIRED_HEADER, VERSION, Terms, write_header
from farthing.protocol.receipts import extension

MESSAGE = "Payment required"


class Offers:
    """Makes the 402 answers of one publisher.

    Args:
        terms: What is the same for every price.
        symbol: The token's symbol, and ``decimals`` its decimals, for people.
        receipts: Signs what is charged, for clients that ask; None gives no receipts.
    """

    def __init__(
        self, terms: Terms, symbol: str, decimals: int, receipts: Receipts | None = None
    ) -> None:
        self.terms = terms
        self.symbol = symbol
        self.decimals = decimals
        self.receipts = receipts
        # x402's Python client fails at a Permit2 deposit to whoever announces anything, unless it
        # has packages that it does not install. Who asks unasked has its receipt there too.
        is_harmless = terms.transfer_methods[0] != "permit2"
        is_announced = receipts is not None and receipts.is_announced and is_harmless
        self._announced = extension({}) if is_announced else None

    def payment_required(
        self,
        price: int,
        url: str,
        *,
        error: str = MESSAGE,
        reason: str | None = None,
        state: tuple[bytes, ChannelState] | None = None,
        as_page: bool = False,
    ) -> Reply:
        """A 402 that says what ``url`` costs.

        With ``state``, the corrective one: it tells the client where its channel stands, with the
        voucher that proves it. ``error`` is a code for programs, ``reason`` a sentence.
        """
        extra = {} if state is None else corrective(*state)
        required: dict[str, Any] = {
            "x402Version": VERSION,
            "error": error,
            "resource": {"url": url},
            "accepts": self.terms.requirements(price, **extra),
        }
        if self._announced is not None:
            required["extensions"] = self._announced
        headers = [
            (REQUIRED_HEADER.lower().encode(), write_header(required)),
            (b"cache-control", b"no-store"),
            (b"vary", b"accept, payment-signature"),
        ]
        if as_page:
            # Who has no channel yet needs one that holds the price.
            deposit = self.amount(max(price, self.terms.min_deposit))
            wrong = None if error == MESSAGE else reason
            body = page(self.amount(price), deposit, self.terms, url, wrong)
            return Reply(402, [*headers, (b"content-type", b"text/html; charset=utf-8")], body)
        shown = required if reason is None else {**required, "reason": reason}
        return json_reply(402, shown, headers)

    def amount(self, units: int) -> str:
        """An amount in units of the token, as people write it: ``0.002 tUSD``."""
        whole, fraction = divmod(units, 10**self.decimals)
        digits = str(fraction).rjust(self.decimals, "0").rstrip("0")
        return f"{whole}.{digits} {self.symbol}" if digits else f"{whole} {self.symbol}"


def channel_state(channel_id: bytes, state: ChannelState) -> dict[str, Any]:
    """x402's ``channelState``: where a channel stands."""
    mirror = state.mirror
    return {
        "channelId": "0x" + channel_id.hex(),
        "balance": str(mirror.balance),
        "totalClaimed": str(mirror.total_claimed),
        "withdrawRequestedAt": mirror.withdraw_requested_at,
        "refundNonce": str(mirror.refund_nonce),
        "chargedCumulativeAmount": str(state.charged),
    }


def corrective(channel_id: bytes, state: ChannelState) -> dict[str, Any]:
    """What a corrective 402 adds; without a voucher yet there is nothing that could prove it."""
    told: dict[str, Any] = {"channelState": channel_state(channel_id, state)}
    if state.signature:
        told["voucherState"] = {
            "signedMaxClaimable": str(state.ceiling),
            "signature": "0x" + state.signature.hex(),
        }
    return told


def payment_response(
    network: str,
    payer: str,
    channel_id: bytes,
    state: ChannelState,
    *,
    charged: int | None,
    transaction: str = "",
    amount: str = "",
    extensions: Mapping[str, Any] | None = None,
) -> bytes:
    """The ``PAYMENT-RESPONSE`` header: what was charged, or moved on chain, and where that leaves
    the channel; ``extensions`` hold its receipt."""
    extra: dict[str, Any] = {"channelState": channel_state(channel_id, state)}
    if charged is not None:
        extra["chargedAmount"] = str(charged)
    told = {
        "success": True,
        "transaction": transaction,
        "network": network,
        "payer": payer,
        "amount": amount,
        "extra": extra,
    }
    return write_header(told if extensions is None else {**told, "extensions": extensions})


def wants_page(accept: Sequence[bytes]) -> bool:
    """Whether a client is a browser that shows its answer to a person."""
    return any(b"text/html" in value for value in accept)
