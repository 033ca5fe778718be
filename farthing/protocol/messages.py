"""What the two sides of a channel sign, and the row in which a voucher is claimed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from farthing.protocol import values
from farthing.protocol.channel import ChannelConfig, ConfigTuple
from farthing.protocol.domain import Domain
from farthing.protocol.errors import InvalidField
from farthing.protocol.keccak import keccak
from farthing.protocol.typed_data import SigningDomain, StructType, TypedMessage, digest

ClaimTuple: TypeAlias = tuple[tuple[ConfigTuple, int], bytes, int]

_CLAIM_ENTRY_TEXT = "ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
VOUCHER = StructType("Voucher(bytes32 channelId,uint128 maxClaimableAmount)")
REFUND = StructType("Refund(bytes32 channelId,uint256 nonce,uint128 amount)")
CLAIM_ENTRY = StructType(_CLAIM_ENTRY_TEXT)
CLAIM_BATCH = StructType("ClaimBatch(ClaimEntry[] claims)" + _CLAIM_ENTRY_TEXT)


@dataclass(frozen=True)
class Voucher(TypedMessage):
    """The payer's promise: of this channel, up to ``max_claimable_amount`` in all.

    ``max_claimable_amount`` is cumulative, in the token's smallest unit, at most 128 bits. Raises
    :class:`~farthing.protocol.errors.InvalidField`.
    """

    channel_id: bytes
    max_claimable_amount: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel_id", values.bytes32("channel_id", self.channel_id))
        values.uint128("max_claimable_amount", self.max_claimable_amount)

    def struct_hash(self) -> bytes:
        return _voucher_hash(self.channel_id, self.max_claimable_amount)


def voucher_digest(channel_id: bytes, max_claimable_amount: int, domain: SigningDomain) -> bytes:
    """The digest of a :class:`Voucher` whose fields are known to be right, 32 bytes.

    Every payment comes by here, and its fields were checked when it was read.
    """
    return digest(_voucher_hash(channel_id, max_claimable_amount), domain)


def _voucher_hash(channel_id: bytes, max_claimable_amount: int) -> bytes:
    # Both are words already.
    return keccak(VOUCHER.type_hash + channel_id + max_claimable_amount.to_bytes(32, "big"))


@dataclass(frozen=True)
class Refund(TypedMessage):
    """The receiver authorizer's leave to give ``amount`` of unclaimed money back to the payer.

    ``nonce`` is the channel's refund nonce on chain, ``amount`` in the token's smallest unit.
    Raises :class:`~farthing.protocol.errors.InvalidField`.
    """

    channel_id: bytes
    nonce: int
    amount: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel_id", values.bytes32("channel_id", self.channel_id))
        values.uint256("nonce", self.nonce)
        values.uint128("amount", self.amount)

    def struct_hash(self) -> bytes:
        return REFUND.hash(self.channel_id, self.nonce, self.amount)


@dataclass(frozen=True)
class ClaimEntry:
    """One row of a claim batch, as the receiver authorizer signs it. Amounts are cumulative.

    Raises :class:`~farthing.protocol.errors.InvalidField`.
    """

    channel_id: bytes
    max_claimable_amount: int
    total_claimed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel_id", values.bytes32("channel_id", self.channel_id))
        values.uint128("max_claimable_amount", self.max_claimable_amount)
        values.uint128("total_claimed", self.total_claimed)

    def struct_hash(self) -> bytes:
        """EIP-712 ``hashStruct``, 32 bytes."""
        return CLAIM_ENTRY.hash(self.channel_id, self.max_claimable_amount, self.total_claimed)


@dataclass(frozen=True)
class ClaimBatch(TypedMessage):
    """The rows of one ``claimWithSignature``, in the order they are sent; at least one.

    Raises :class:`~farthing.protocol.errors.InvalidField`.
    """

    entries: tuple[ClaimEntry, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.entries, tuple) or not all(
            isinstance(entry, ClaimEntry) for entry in self.entries
        ):
            raise InvalidField("entries", self.entries, "must be a tuple of ClaimEntry")
        if not self.entries:
            raise InvalidField("entries", self.entries, "must hold at least one row")

    @classmethod
    def of(cls, claims: Iterable[VoucherClaim], domain: Domain) -> ClaimBatch:
        """The batch that authorises exactly these claims in ``domain``."""
        return cls(tuple(claim.entry(domain) for claim in claims))

    def struct_hash(self) -> bytes:
        # EIP-712 hashes an array as its elements side by side, without their count.
        rows = b"".join([entry.struct_hash() for entry in self.entries])
        return CLAIM_BATCH.hash(keccak(rows))


@dataclass(frozen=True)
class VoucherClaim:
    """One row of a claim: the voucher with its signature, and how much of it is taken.

    ``max_claimable_amount`` and ``total_claimed`` are cumulative, in the token's smallest unit;
    the total is at most the ceiling. ``signature`` is at most 256 bytes, of any form: a contract
    wallet defines its own. Raises :class:`~farthing.protocol.errors.InvalidField`.
    """

    channel: ChannelConfig
    max_claimable_amount: int
    signature: bytes
    total_claimed: int

    def __post_init__(self) -> None:
        if not isinstance(self.channel, ChannelConfig):
            raise InvalidField("channel", self.channel, "must be a ChannelConfig")
        ceiling = values.uint128("max_claimable_amount", self.max_claimable_amount)
        longest = values.MAX_VOUCHER_SIGNATURE
        signature = values.signature_bytes("signature", self.signature, longest)
        object.__setattr__(self, "signature", signature)
        if values.uint128("total_claimed", self.total_claimed) > ceiling:
            raise InvalidField(
                "total_claimed",
                self.total_claimed,
                f"must not exceed the voucher's ceiling of {ceiling}",
            )

    def voucher(self, domain: Domain) -> Voucher:
        """The voucher this row claims on."""
        return Voucher(self.channel.channel_id(domain), self.max_claimable_amount)

    def entry(self, domain: Domain) -> ClaimEntry:
        """The row as the receiver authorizer signs it."""
        channel_id = self.channel.channel_id(domain)
        return ClaimEntry(channel_id, self.max_claimable_amount, self.total_claimed)

    def as_tuple(self) -> ClaimTuple:
        """The contract's ``VoucherClaim``: ``((channel, ceiling), signature, total claimed)``."""
        voucher = (self.channel.as_tuple(), self.max_claimable_amount)
        return (voucher, self.signature, self.total_claimed)
