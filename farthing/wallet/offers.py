"""Reading what a server asks for and tells. All of it is hostile until it is checked.

A server chooses who is paid and how much. It never chooses chain, contract or token: those are the
wallet's, and an offer that names others is not taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import pybase64

from farthing.protocol import Domain, InvalidField, TokenDomain, values
from farthing.protocol.payments import MAX_HEADER, SCHEME, VERSION
from farthing.protocol.receipts import EXTENSION
from farthing.wallet.errors import OfferRefused

# What is added to an offer to correct a client; no part of what it accepts.
_TOLD = ("channelState", "voucherState")
# How a deposit is authorised, as x402 calls it. The first needs nothing but a signature; for the
# second the payer has to let Permit2 take the token, once.
ERC3009_METHOD = "eip3009"
PERMIT2_METHOD = "permit2"
# A reason is shown to a person; a hostile one is cut.
_SHOWN = 200


@dataclass(frozen=True)
class Place:
    """Where a wallet pays, chosen by its owner.

    Attributes:
        domain: The settlement contract on its chain.
        token: The token's domain; ``token.contract`` is what it pays with.
        collector: The ERC-3009 collector that deposits go through.
        permit2_collector: The one for Permit2; empty where there is none.
    """

    domain: Domain
    token: TokenDomain
    collector: str
    permit2_collector: str = ""

    @property
    def network(self) -> str:
        """The chain as x402 writes it."""
        return f"eip155:{self.domain.chain_id}"

    @property
    def methods(self) -> tuple[str, ...]:
        """The ways to deposit there, the better one first."""
        return (ERC3009_METHOD, PERMIT2_METHOD) if self.permit2_collector else (ERC3009_METHOD,)


@dataclass(frozen=True)
class Offer:
    """One way to pay, of those a 402 names.

    Attributes:
        price: In smallest units, at least 1.
        receiver, receiver_authorizer, withdraw_delay: Make the channel.
        min_deposit: The least a deposit may be.
        method: How a deposit is authorised.
        accepted: The offer as it was made, to be sent back.
        asks_for_receipts: Whether a receipt is to be asked for.
    """

    price: int
    receiver: str
    receiver_authorizer: str
    withdraw_delay: int
    min_deposit: int
    method: str
    accepted: Mapping[str, Any]
    asks_for_receipts: bool = True

    @cached_property
    def written(self) -> msgspec.Raw:
        """What is sent back of it, as JSON: written once, and sent with every payment."""
        return msgspec.Raw(msgspec.json.encode(self.accepted))

    def is_like(self, other: Offer) -> bool:
        """Whether both are paid from the same channels."""
        return (self.receiver, self.receiver_authorizer, self.withdraw_delay) == (
            other.receiver,
            other.receiver_authorizer,
            other.withdraw_delay,
        )


@dataclass(frozen=True)
class Claim:
    """Where a server says a channel stands, in smallest units, and the voucher it shows for it."""

    channel_id: bytes
    charged: int
    ceiling: int
    signature: bytes


@dataclass(frozen=True)
class Demand:
    """A 402 that was read.

    Attributes:
        error: The server's code or words.
        offer: What is to be paid.
        claim: The channel's state, in a 402 that corrects.
    """

    error: str
    offer: Offer
    claim: Claim | None


class Receipt(msgspec.Struct, frozen=True):
    """A PAYMENT-RESPONSE: what was charged, and the channel's total then, in smallest units."""

    channel_id: bytes
    charged: int
    total: int


def read_demand(header: str, place: Place) -> Demand:
    """Reads a PAYMENT-REQUIRED header, and picks the first offer this wallet can take.

    Of those the first with the better way to deposit.

    Raises:
        OfferRefused: It cannot be read, or none is for this chain, token and way to deposit.
    """
    try:
        required = _decode(header, _Required)
    except ValueError as error:
        raise OfferRefused(f"it cannot be read ({error})") from None
    if required.x402Version != VERSION:
        raise OfferRefused(f"it is of x402 version {required.x402Version}, not {VERSION}")
    found, reasons = [], []
    for accepted in required.accepts:
        try:
            offer = _offer(accepted, place, _may_ask(required.extensions))
            found.append(Demand(required.error[:_SHOWN], offer, _claim(accepted)))
        except (OfferRefused, InvalidField) as error:
            reasons.append(
                getattr(error, "reason", "") if isinstance(error, OfferRefused) else str(error)
            )
    if found:
        return min(found, key=lambda each: place.methods.index(each.offer.method))
    raise OfferRefused("; ".join(dict.fromkeys(reasons))[: 2 * _SHOWN] or "it names no way to pay")


def read_receipt(header: str) -> Receipt | None:
    """Reads a PAYMENT-RESPONSE header; None for one that says nothing of a charge."""
    try:
        told = _decode(header, _Response)
        state = told.extra.channelState
        return Receipt(
            values.bytes32_from_hex("channel_id", state.channelId),
            values.uint128_from_decimal("charged", told.extra.chargedAmount),
            values.uint128_from_decimal("total", state.chargedCumulativeAmount),
        )
    except ValueError:
        # Also an InvalidField. What was charged stays open then, and is found out later.
        return None


def read_refund(header: str) -> int | None:
    """What a PAYMENT-RESPONSE to a refund says came back, in smallest units."""
    try:
        told = _decode(header, _Refunded)
        return values.uint128_from_decimal("amount", told.amount) if told.success else None
    except ValueError:
        return None


def _decode(header: str, form: Any) -> Any:
    if len(header) > MAX_HEADER:
        raise ValueError(f"it is longer than {MAX_HEADER} bytes")
    try:
        return msgspec.json.decode(pybase64.b64decode(header, validate=True), type=form)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _may_ask(extensions: Any) -> bool:
    """Whether a server may be asked for a receipt: any may, but for those that sign their offers
    too. They give a receipt to everybody, and want all they have announced back."""
    told = extensions.get(EXTENSION) if isinstance(extensions, dict) else None
    return not (isinstance(told, dict) and told.get("info"))


def _offer(accepted: Mapping[str, Any], place: Place, may_ask: bool) -> Offer:
    if accepted.get("scheme") != SCHEME:
        raise OfferRefused(f"it asks for another scheme than {SCHEME}")
    if accepted.get("network") != place.network:
        raise OfferRefused(f"it asks to be paid on another chain than {place.network}")
    if values.address("asset", accepted.get("asset")) != place.token.contract:
        raise OfferRefused(f"it asks for another token than {place.token.contract}")
    extra = accepted.get("extra")
    if not isinstance(extra, dict):
        raise OfferRefused("it has no extra")
    method = extra.get("assetTransferMethod", ERC3009_METHOD)
    if method not in place.methods:
        raise OfferRefused(f"it takes deposits in another way than {' or '.join(place.methods)}")
    price = values.uint128_from_decimal("amount", accepted.get("amount"))
    if price == 0:
        raise OfferRefused("it asks for nothing")
    return Offer(
        price=price,
        receiver=values.non_zero_address("payTo", accepted.get("payTo")),
        receiver_authorizer=values.non_zero_address(
            "receiverAuthorizer", extra.get("receiverAuthorizer")
        ),
        withdraw_delay=values.withdraw_delay("withdrawDelay", extra.get("withdrawDelay")),
        min_deposit=values.uint128_from_decimal("minDeposit", extra.get("minDeposit", "0")),
        method=method,
        accepted={
            **accepted,
            "extra": {name: value for name, value in extra.items() if name not in _TOLD},
        },
        asks_for_receipts=may_ask,
    )


def _claim(accepted: Mapping[str, Any]) -> Claim | None:
    state, voucher = (accepted["extra"].get(name) for name in _TOLD)
    if not isinstance(state, dict) or not isinstance(voucher, dict):
        return None
    return Claim(
        channel_id=values.bytes32_from_hex("channelId", state.get("channelId")),
        charged=values.uint128_from_decimal(
            "chargedCumulativeAmount", state.get("chargedCumulativeAmount")
        ),
        ceiling=values.uint128_from_decimal(
            "signedMaxClaimable", voucher.get("signedMaxClaimable")
        ),
        signature=values.signature_from_hex("signature", voucher.get("signature"), 65),
    )


class _Required(msgspec.Struct):
    x402Version: int  # noqa: N815  # as x402 spells it
    accepts: list[dict[str, Any]]
    error: str = ""
    extensions: Any = None


class _State(msgspec.Struct):
    channelId: str  # noqa: N815
    chargedCumulativeAmount: str  # noqa: N815


class _Extra(msgspec.Struct):
    channelState: _State  # noqa: N815
    chargedAmount: str  # noqa: N815


class _Response(msgspec.Struct):
    extra: _Extra


class _Refunded(msgspec.Struct):
    success: bool
    amount: str
