"""What the ledger keeps, as values. Amounts are ``int`` in the token's smallest unit."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from farthing.protocol import ChannelConfig


class Mirror(Struct, frozen=True):
    """What the chain says of a channel, and when it was asked.

    Attributes:
        balance: Deposited and not given back.
        total_claimed: What of it the receiver has claimed on chain.
        withdraw_amount: What the payer has asked back and may take after the delay.
        withdraw_requested_at: When it asked, unix seconds; 0 when it did not.
        refund_nonce: The nonce the next signed refund has to name.
        synced_at: When the chain was asked, unix milliseconds; of two answers the later counts.
    """

    balance: int
    total_claimed: int
    withdraw_amount: int
    withdraw_requested_at: int
    refund_nonce: int
    synced_at: int


class ChannelState(Struct, frozen=True):
    """A channel's books, as far as a payment needs them.

    Attributes:
        charged: Running total of all charges.
        charges: How many there were. It fences a commit: what was reserved at one count can only
            be charged at that count.
        ceiling: What the latest accepted voucher allows in all; 0 before the first.
        signature: That voucher's signature; empty before the first.
        last_charge: Id of the latest charge; 0 before the first.
        mirror: The chain's side.
    """

    charged: int
    charges: int
    ceiling: int
    signature: bytes
    last_charge: int
    mirror: Mirror


class Channel(Struct, frozen=True):
    """A channel with its config: all the ledger knows of it."""

    channel_id: bytes
    config: ChannelConfig
    state: ChannelState


class NotReserved(Enum):
    """Why a channel could not be reserved."""

    UNKNOWN = "unknown"
    """The ledger has no such channel; nothing is held."""
    BUSY = "busy"
    """Another request holds it, in this process or another."""


class Answer(Struct, frozen=True):
    """An HTTP answer as it was given, kept for a client that lost it.

    Attributes:
        target: What was asked for: 32 bytes that name method, path and query.
        status: HTTP status.
        headers: Names and values in their order.
        body: The whole body.
        expires_at: Unix seconds from which on it may be forgotten.
    """

    target: bytes
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    expires_at: int


class NewCharge(Struct, frozen=True):
    """A charge to be made, against the state it was reserved at.

    Attributes:
        channel_id: 32 bytes.
        charges: The fence: `ChannelState.charges` when it was reserved.
        charged: `ChannelState.charged` then.
        amount: What the request costs; 0 is a charge too.
        price: What it could have cost at most.
        ceiling: The voucher's, which is ``charged + price``.
        signature: The voucher's.
        route: The priced route, as the publisher wrote it.
        request_id: Names the request, this charge and no other; at most 64 characters.
        time: Unix seconds.
        answer: Kept with the charge, or None when it is too long to keep.
    """

    channel_id: bytes
    charges: int
    charged: int
    amount: int
    price: int
    ceiling: int
    signature: bytes
    route: str
    request_id: str
    time: int
    answer: Answer | None


class Charge(Struct, frozen=True):
    """A charge as it was made; it never changes.

    Attributes:
        id: Numbers all charges of the ledger, from 1, later ones higher; there may be gaps.
        previous: Id of the channel's charge before; 0 for its first.
        total: The channel's running total with this charge.
    """

    id: int
    channel_id: bytes
    previous: int
    amount: int
    total: int
    price: int
    route: str
    request_id: str
    time: int


class Deposit(Struct, frozen=True):
    """A deposit that a payer authorised and this publisher sends.

    Attributes:
        authorization: Names it: 32 bytes that hash what the payer signed.
        channel_id: The channel it funds.
        amount: Smallest units.
        transaction: Hash of the transaction it was last sent in; empty before.
        raw: Those bytes, signed, to be sent again after a crash.
        state: ``"open"`` until the chain has decided, then ``"confirmed"`` or ``"failed"``.
    """

    authorization: bytes
    channel_id: bytes
    amount: int
    transaction: bytes
    raw: bytes
    state: str


class Totals(Struct, frozen=True):
    """The ledger in a few numbers.

    Attributes:
        channels: How many there are.
        charges: How many charges were made.
        charged: What they add up to.
        unredeemed: What of it was not claimed on chain when the chain was last asked.
        escrowed: Balances of all channels together, likewise.
    """

    channels: int
    charges: int
    charged: int
    unredeemed: int
    escrowed: int


class Difference(Struct, frozen=True):
    """A place where the ledger does not agree with itself."""

    channel_id: bytes
    problem: str
