"""What the ledger keeps, as values. Amounts are ``int`` in the token's smallest unit."""

from __future__ import annotations

import hashlib
import time
from enum import Enum

from msgspec import Struct

from farthing.protocol import ZERO_ADDRESS, ChannelConfig

# Behind one URL some nodes are late. A view of a block below one that was seen less than so many
# milliseconds before is a late node's. After that it counts, for the chain may have become another
# one, or a node may have told of a block that never was; no withdrawal is through so soon.
LATE_MS = 600_000


class Mirror(Struct, frozen=True):
    """What the chain says of a channel, and when it was asked.

    Attributes:
        balance: Deposited and not given back.
        total_claimed: What of it the receiver has claimed on chain.
        withdraw_amount: What the payer has asked back and may take after the delay.
        withdraw_requested_at: When it asked, unix seconds; 0 when it did not.
        refund_nonce: The nonce the next signed refund has to name.
        synced_at: When the chain was asked, unix milliseconds; of two answers the later counts,
            unless it `is_late`.
        block: Number of the block after which it was so; 0 when that is not known.
    """

    balance: int
    total_claimed: int
    withdraw_amount: int
    withdraw_requested_at: int
    refund_nonce: int
    synced_at: int
    block: int = 0

    def is_late(self, synced_at: int, block: int) -> bool:
        """Whether a node said this that had not caught up with the block that is kept."""
        return 0 < self.block < block and self.synced_at < synced_at + LATE_MS


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


class Redeemable(Struct, frozen=True):
    """A channel of which more was charged than is claimed on chain.

    Attributes:
        since: When its oldest unredeemed charge was made, unix seconds.
    """

    channel: Channel
    since: int


class NotReserved(Enum):
    """Why a channel could not be reserved."""

    UNKNOWN = "unknown"
    """The ledger has no such channel; nothing is held."""
    BUSY = "busy"
    """Another request holds it, in this process or another."""


class Answer(Struct, frozen=True):
    """An HTTP answer as it was given, kept for a client that lost it.

    Attributes:
        target: What was asked for: 32 bytes that name method, path and query, and then what the
            client calls its payment, if it does.
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


class Payer(Struct, frozen=True):
    """Whose books a rule of a price looks at: an address, and who signs for it.

    Both, for anybody may open a channel in somebody else's name with a signer of their own.

    Attributes:
        address: The channel's payer.
        signer: Who signs its vouchers: the payer's authorizer, or itself without one.
    """

    address: str
    signer: str

    @classmethod
    def of(cls, config: ChannelConfig) -> Payer:
        """The payer of a channel."""
        has_authorizer = config.payer_authorizer != ZERO_ADDRESS
        return cls(config.payer, config.payer_authorizer if has_authorizer else config.payer)

    @property
    def id(self) -> bytes:
        """32 bytes that no other payer has."""
        both = bytes.fromhex(self.address[2:] + self.signer[2:])
        return hashlib.blake2b(both, digest_size=32).digest()


class Tally(Struct, frozen=True):
    """Something that is counted for one payer: free uses, what was spent in a month, cashback.

    Attributes:
        name: What, as the rule that counts it calls it.
        since: When the period began in which it was counted, unix seconds; 0 without periods.
        value: How many, or how much.
    """

    name: str
    since: int
    value: int


class Entitlement(Struct, frozen=True):
    """Something a payer has bought and need not pay again.

    Attributes:
        kind: ``"own"`` or ``"pass"``.
        item: What.
        since: When it was bought first, unix seconds.
        until: When it ends; 0 is never.
        bought: How often it was bought since then.
        used: How many of its uses are gone.
    """

    kind: str
    item: str
    since: int
    until: int
    bought: int
    used: int

    def is_good(self, now: int) -> bool:
        """Whether it has not ended at ``now``, unix seconds."""
        return not self.until or now < self.until


class Entitled(Struct, frozen=True):
    """An entitlement, whose it is, and the id of the charge that last changed it."""

    payer: Payer
    entitlement: Entitlement
    charge: int


class Standing(Struct, frozen=True):
    """What the ledger knows of a payer, as far as it was asked.

    Attributes:
        tallies: By name.
        entitlements: By kind and item, also those that have ended.
    """

    tallies: dict[str, Tally]
    entitlements: dict[tuple[str, str], Entitlement]


class PayerChange(Struct, frozen=True):
    """What a charge changes in its payer's books.

    Attributes:
        payer: Whose.
        version: The fence: what `Ledger.reserve_payers` gave.
        tallies: Those that change, with their new values.
        entitlements: Likewise.
    """

    payer: Payer
    version: int
    tallies: list[Tally]
    entitlements: list[Entitlement]


class Refusal(Struct, frozen=True):
    """How often a rule refused a payer on one day.

    Attributes:
        route: The priced route.
        code: Why: the rule's code.
        day: When that day began in UTC, unix seconds.
        count: How often.
    """

    payer: Payer
    route: str
    code: str
    day: int
    count: int


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
        reason: Why it is not the price, or what it was for; empty where there is nothing to say.
        change: What changes with it in the payer's books, in the same transaction.
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
    reason: str = ""
    change: PayerChange | None = None

    def __post_init__(self) -> None:
        # A ledger makes it only where these are the channel's books, so this is true there as well.
        if self.amount and self.charged + self.amount > self.ceiling:
            raise ValueError("a charge above the voucher's ceiling is nobody's to make")

    @classmethod
    def without_request(
        cls,
        channel_id: bytes,
        state: ChannelState,
        voucher: tuple[int, bytes],
        route: str,
        request_id: str,
        amount: int = 0,
    ) -> NewCharge:
        """A charge, now, that the publisher makes by itself: nothing was served for it.

        Args:
            state: The channel's, which is the fence.
            voucher: The ceiling and the signature that the channel has from then on.
            amount: 0 moves the channel on, and charges nothing.
        """
        return cls(
            channel_id=channel_id,
            charges=state.charges,
            charged=state.charged,
            amount=amount,
            price=amount,
            ceiling=voucher[0],
            signature=voucher[1],
            route=route,
            request_id=request_id,
            time=int(time.time()),
            answer=None,
        )


class Charge(Struct, frozen=True):
    """A charge as it was made; it never changes.

    Attributes:
        id: Numbers all charges of the ledger, from 1, later ones higher; there may be gaps.
        previous: Id of the channel's charge before; 0 for its first.
        total: The channel's running total with this charge.
        reason: Why it is not the price, or what it was for.
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
    reason: str = ""


class RefundHold(Struct, frozen=True):
    """What is written down of a channel when a refund of it is ordered.

    Attributes:
        nonce: The refund's.
        amount: Smallest units that go back to the payer.
        fence: A charge of nothing. It moves the channel on, so that no request is charged for any
            more that was admitted before.
    """

    nonce: int
    amount: int
    fence: NewCharge


class QueuedTransaction(Struct, frozen=True):
    """A transaction of one of the publisher's keys, from its order to its end.

    Its state is one of

    - ``"queued"``: ordered; it has no nonce yet.
    - ``"signed"``: its nonce and bytes are saved. Whether the chain has it is not known until it
      is seen there.
    - ``"mined"``: it is in a block, which may yet be undone.
    - ``"final"``: it is in a block too old to be undone, and succeeded.
    - ``"failed"``: likewise, and it was reverted.
    - ``"refused"``: it was given up and never sent.

    Attributes:
        id: Numbers all transactions of the ledger, from 1, later ones higher; there may be gaps.
        sender: The key's address.
        kind: What it does: ``"redeem"``, ``"claim"``, ``"settle"``, ``"deposit"`` or ``"refund"``.
        subject: Names what it does that for; empty when it is like no other.
        to: The called contract.
        data: The call.
        gas: The gas it may use.
        nonce: None as long as it is queued or when it was refused.
        block: Number of the block it was last seen in; 0 before.
        block_hash: That block's hash; empty before.
        succeeded: Whether it was not reverted there.
        gas_used: What it used there.
        fee: What that cost in all, in wei.
        reason: Why it failed, was refused or has to wait; empty otherwise.
        created_at: Unix seconds.
        updated_at: When its state was last written, unix seconds.
        fee_limit: The most a gas should cost it, in wei; None where only the key's cap counts.
    """

    id: int
    sender: str
    kind: str
    subject: bytes
    to: str
    data: bytes
    gas: int
    state: str
    nonce: int | None
    block: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    fee: int
    reason: str
    created_at: int
    updated_at: int
    fee_limit: int | None


class Attempt(Struct, frozen=True):
    """One signing of a transaction. Another follows when it is replaced at a higher fee.

    Attributes:
        hash: The signed transaction's.
        raw: Its bytes, as a node takes them any number of times.
        max_fee: The most it pays for one gas, in wei.
        tip: What of that the block's maker gets at most, in wei.
        time: Unix seconds.
    """

    transaction_id: int
    hash: bytes
    raw: bytes
    nonce: int
    max_fee: int
    tip: int
    time: int


class Row(Struct, frozen=True):
    """A channel that a transaction claims for, and up to what running total."""

    transaction_id: int
    channel_id: bytes
    total: int


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
    """A place where the ledger does not agree with itself.

    Attributes:
        channel_id: Empty where it is no channel but a payer.
        payer, signer: That payer; empty where it is a channel, or not known.
    """

    channel_id: bytes
    problem: str
    payer: str = ""
    signer: str = ""

    def __str__(self) -> str:
        if self.channel_id:
            return f"channel 0x{self.channel_id.hex()}: {self.problem}"
        return f"payer {self.payer or 'unknown'}: {self.problem}"
