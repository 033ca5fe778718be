"""Farthing's packed redemption: rows, the call that carries them, and the outcome of each.

The layout is specified in ``docs/protocol.md``; the contract's side is ``redeem`` in
``contracts/BatchSettlement.vy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from farthing.protocol import values
from farthing.protocol.channel import ChannelConfig
from farthing.protocol.errors import InvalidField
from farthing.protocol.keccak import keccak
from farthing.protocol.messages import VoucherClaim
from farthing.protocol.signatures import is_strict
from farthing.protocol.typed_data import StructType, TypedMessage

# Rows of one redemption, and words its rows keep their rarer parts in.
MAX_ROWS = 128
MAX_EXTRAS = 128
# A packed row has eleven bytes for its total.
MAX_TOTAL = 2**88 - 1

REDEEM_SELECTOR = keccak(
    b"redeem((address,address,address,uint40),(uint256,uint256,uint256)[],uint256[])"
)[:4]

_PAYER_SHIFT = 96
_HAS_AUTHORIZER = 1
_HAS_SALT = 2
_HAS_CEILING = 4
_NO_SALT = bytes(32)
_FLAGS_SHIFT = 88
_V_EVEN = 27
_TOP_BIT = 0x80
_REASON_BITS = 4
_TOTAL_BITS = 2**96 - 1
_WORD = 32
_HEAD_WORDS = 6
_ROW_WORDS = 3

REDEMPTION = StructType("Redemption(bytes call)")


class Reason(IntEnum):
    """What became of a row. Everything but ``REDEEMED`` means: skipped, nothing was moved."""

    REDEEMED = 0
    STALE = 1
    OVER_CEILING = 2
    BAD_SIGNATURE = 3
    EMPTY = 4
    CONTRACT_PAYER = 5

    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Reason.REDEEMED: "redeemed",
    Reason.STALE: "stale: as much or more was claimed before",
    Reason.OVER_CEILING: "over the ceiling: more than the voucher promises",
    Reason.BAD_SIGNATURE: "bad signature: not the channel's payer or payer authorizer",
    Reason.EMPTY: "empty: the channel is unknown, or nothing is left in it",
    Reason.CONTRACT_PAYER: "the payer is a contract and has no authorizer: claim it instead",
}


@dataclass(frozen=True)
class Terms:
    """What all channels of one redemption share. Raises `InvalidField` as `ChannelConfig` does."""

    receiver: str
    receiver_authorizer: str
    token: str
    withdraw_delay: int

    def __post_init__(self) -> None:
        # In their one stored form, so that terms compare with those of a channel.
        for name in ("receiver", "receiver_authorizer", "token"):
            object.__setattr__(self, name, values.non_zero_address(name, getattr(self, name)))
        values.withdraw_delay("withdraw_delay", self.withdraw_delay)

    @classmethod
    def of(cls, channel: ChannelConfig) -> Terms:
        """The terms a channel was opened on."""
        return cls(
            channel.receiver, channel.receiver_authorizer, channel.token, channel.withdraw_delay
        )


@dataclass(frozen=True)
class Outcome:
    """What became of one row.

    Attributes:
        index: The row's place in the batch, from zero.
        reason: Redeemed, or why it was skipped.
        channel_prefix: First 20 bytes of the channel's id; empty when skipped.
        total: The channel's new total claimed, in smallest units; zero when skipped.
    """

    index: int
    reason: Reason
    channel_prefix: bytes = b""
    total: int = 0


@dataclass(frozen=True)
class RedemptionCall(TypedMessage):
    """The call of ``redeem`` that an authorizer signs, so that anybody may send it."""

    call: bytes

    def struct_hash(self) -> bytes:
        return REDEMPTION.hash(keccak(self.call))


def is_packable(claim: VoucherClaim) -> bool:
    """Whether a claim has a place in a packed row.

    It needs a strict ECDSA signature and a total below 2**88 smallest units. What has none is
    claimed with ``claim`` or ``claimWithSignature``.
    """
    return claim.total_claimed <= MAX_TOTAL and is_strict(claim.signature)


def extras_of(claim: VoucherClaim) -> list[int]:
    """The words a claim's row adds to the extras: authorizer, salt, ceiling, where they differ
    from the payer, zero and the total."""
    return [int.from_bytes(word, "big") for word in _rarer_parts(claim)[1]]


def count_extras(claim: VoucherClaim) -> int:
    """How many `extras_of` a claim there are."""
    channel = claim.channel
    return (
        (channel.payer_authorizer != channel.payer)
        + (channel.salt != _NO_SALT)
        + (claim.max_claimable_amount != claim.total_claimed)
    )


def redeem_call(terms: Terms, claims: Sequence[VoucherClaim]) -> bytes:
    """The call data of ``redeem`` for these claims, in their order.

    Raises:
        InvalidField: A claim is not of these terms or not packable, or there are none or too many.
    """
    if not 1 <= len(claims) <= MAX_ROWS:
        raise InvalidField("claims", claims, f"must be 1 to {MAX_ROWS} rows, not {len(claims)}")
    rows: list[bytes] = []
    extras: list[bytes] = []
    for claim in claims:
        if not _is_of(claim.channel, terms):
            raise InvalidField("claims", claim, "must all be of the redemption's terms")
        if not is_packable(claim):
            raise InvalidField("claims", claim, "must be packable; claim this one instead")
        row, words = _row(claim)
        rows.append(row)
        extras += words
    if len(extras) > MAX_EXTRAS:
        raise InvalidField("claims", claims, f"need {len(extras)} extras of {MAX_EXTRAS}; split")
    return b"".join(
        (
            REDEEM_SELECTOR,
            _word(int(terms.receiver, 16)),
            _word(int(terms.receiver_authorizer, 16)),
            _word(int(terms.token, 16)),
            _word(terms.withdraw_delay),
            _word(_HEAD_WORDS * _WORD),
            _word((_HEAD_WORDS + 1 + _ROW_WORDS * len(rows)) * _WORD),
            _word(len(claims)),
            *rows,
            _word(len(extras)),
            *extras,
        )
    )


def _is_of(channel: ChannelConfig, terms: Terms) -> bool:
    # Field by field: making `Terms` of each row would take as long as all the rest.
    return (
        channel.receiver == terms.receiver
        and channel.receiver_authorizer == terms.receiver_authorizer
        and channel.token == terms.token
        and channel.withdraw_delay == terms.withdraw_delay
    )


def decode_outcomes(redeemed: Sequence[int], skipped: Sequence[int]) -> list[Outcome]:
    """What a ``Redeemed`` event says of every row, in their order.

    Raises:
        InvalidField: The event is not of this layout.
    """
    bits = sum(word << (_WORD * 8 * place) for place, word in enumerate(skipped))
    outcomes: list[Outcome] = []
    words = list(reversed(redeemed))
    while words or bits:
        index = len(outcomes)
        number = bits & (2**_REASON_BITS - 1)
        bits >>= _REASON_BITS
        if number not in _SENTENCES or (number == 0 and not words):
            raise InvalidField("skipped", number, f"is no reason that row {index} can have")
        if number:
            outcomes.append(Outcome(index, Reason(number)))
            continue
        word = words.pop()
        prefix = (word >> _PAYER_SHIFT).to_bytes(20, "big")
        outcomes.append(Outcome(index, Reason.REDEEMED, prefix, word & _TOTAL_BITS))
    return outcomes


def _rarer_parts(claim: VoucherClaim) -> tuple[int, list[bytes]]:
    """A claim's flags, and the words that it adds to the extras for them."""
    channel = claim.channel
    flags = 0
    extras = []
    if channel.payer_authorizer != channel.payer:
        flags |= _HAS_AUTHORIZER
        extras.append(bytes(12) + bytes.fromhex(channel.payer_authorizer[2:]))
    if channel.salt != _NO_SALT:
        flags |= _HAS_SALT
        extras.append(channel.salt)
    if claim.max_claimable_amount != claim.total_claimed:
        flags |= _HAS_CEILING
        extras.append(_word(claim.max_claimable_amount))
    return flags, extras


def _row(claim: VoucherClaim) -> tuple[bytes, list[bytes]]:
    """A claim's three words, and those that it adds to the extras."""
    flags, extras = _rarer_parts(claim)
    payer, signature = bytes.fromhex(claim.channel.payer[2:]), claim.signature
    low_half = (flags << _FLAGS_SHIFT | claim.total_claimed).to_bytes(12, "big")
    # EIP-2098: a low s leaves its top bit free, and v - 27 goes there.
    signed = (
        signature[:64]
        if signature[64] == _V_EVEN
        else signature[:32] + bytes((signature[32] | _TOP_BIT,)) + signature[33:64]
    )
    return payer + low_half + signed, extras


def _word(value: int) -> bytes:
    return value.to_bytes(_WORD, "big")
