"""From vouchers to batches: grouped by what rows share, most urgent and most valuable first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from farthing.protocol import (
    MAX_EXTRAS,
    MAX_ROWS,
    ChannelConfig,
    Domain,
    InvalidField,
    Terms,
    VoucherClaim,
    count_extras,
    is_packable,
    redeem_call,
)
from farthing.redeemer.gas import good_row_gas

# No pending withdrawal threatens the channel.
NO_DEADLINE = 2**63


@dataclass(frozen=True)
class Batch:
    """The rows of one redemption, in the order they are sent.

    Attributes:
        terms: What all of them share.
        claims: A voucher and its total for each.
        channel_ids: The ids of their channels, for they cost two hashes each.
    """

    terms: Terms
    claims: tuple[VoucherClaim, ...]
    channel_ids: tuple[bytes, ...]

    @classmethod
    def of(cls, claims: Sequence[VoucherClaim], domain: Domain) -> Batch:
        """One batch of all these claims, whose terms are the first one's."""
        ids = tuple(claim.channel.channel_id(domain) for claim in claims)
        return cls(Terms.of(claims[0].channel), tuple(claims), ids)

    def call(self) -> bytes:
        """The call data of ``redeem``."""
        return redeem_call(self.terms, self.claims)

    def only(self, places: Sequence[int]) -> Batch:
        """The batch with the rows at these places and no others."""
        claims = tuple(self.claims[place] for place in places)
        return Batch(self.terms, claims, tuple(self.channel_ids[place] for place in places))


@dataclass(frozen=True)
class Packed:
    """What can be redeemed in packed rows, and what has to be claimed row by row."""

    batches: list[Batch]
    to_claim: list[VoucherClaim]


def pack(
    claims: Iterable[VoucherClaim],
    domain: Domain,
    *,
    claimed: Mapping[bytes, int] | None = None,
    deadlines: Mapping[bytes, int] | None = None,
    rows: int = MAX_ROWS,
    gas_target: int | None = None,
) -> Packed:
    """Puts claims into as few batches as the contract's bounds allow.

    A batch holds channels of one receiver, authorizer, token and delay. Within them, and between
    batches, the earliest withdrawal deadline comes first, then the highest value.

    Args:
        claimed: What was claimed of each channel before, in smallest units; a channel's value is
            what is above that. Channels it does not name count from zero.
        deadlines: Unix seconds at which a pending withdrawal of a channel can be finalized.
        rows: Rows of a batch at most, 1 to 128.
        gas_target: Gas of a batch's rows at most; a batch has one row whatever it is.

    Raises:
        InvalidField: ``rows`` is not 1 to 128.
    """
    claimed = claimed or {}
    deadlines = deadlines or {}

    def urgency(row: tuple[bytes, VoucherClaim]) -> tuple[int, int]:
        channel_id, claim = row
        value = claim.total_claimed - claimed.get(channel_id, 0)
        return deadlines.get(channel_id, NO_DEADLINE), -value

    ordered = sorted(((claim.channel.channel_id(domain), claim) for claim in claims), key=urgency)
    to_pack = [row for row in ordered if is_packable(row[1])]
    to_claim = [claim for _, claim in ordered if not is_packable(claim)]
    return Packed(pack_in_order(to_pack, rows=rows, gas_target=gas_target), to_claim)


def pack_in_order(
    ordered: Iterable[tuple[bytes, VoucherClaim]],
    *,
    rows: int = MAX_ROWS,
    gas_target: int | None = None,
) -> list[Batch]:
    """Puts packable claims, each with its channel's id, into batches without changing their order.

    Of two batches the one whose first claim comes first is first. Arguments and errors: see `pack`.
    """
    if not 1 <= rows <= MAX_ROWS:
        raise InvalidField("rows", rows, f"must be 1 to {MAX_ROWS}")
    batches: list[_Filling] = []
    filling: dict[tuple[str, str, str, int], _Filling] = {}
    for channel_id, claim in ordered:
        key = terms_of(claim.channel)
        extras = count_extras(claim)
        gas = good_row_gas(claim, extras)
        batch = filling.get(key)
        if (
            batch is None
            or len(batch.claims) == rows
            or batch.extras + extras > MAX_EXTRAS
            or (gas_target is not None and batch.gas + gas > gas_target)
        ):
            terms = Terms.of(claim.channel) if batch is None else batch.terms
            batch = filling[key] = _Filling(terms)
            batches.append(batch)
        batch.claims.append(claim)
        batch.channel_ids.append(channel_id)
        batch.extras += extras
        batch.gas += gas
    return [Batch(each.terms, tuple(each.claims), tuple(each.channel_ids)) for each in batches]


def terms_of(channel: ChannelConfig) -> tuple[str, str, str, int]:
    """What channels of one batch share, to compare by; quicker to make than `Terms`."""
    return (
        channel.receiver,
        channel.receiver_authorizer,
        channel.token,
        channel.withdraw_delay,
    )


class _Filling:
    """A batch that has room."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.claims: list[VoucherClaim] = []
        self.channel_ids: list[bytes] = []
        self.extras = self.gas = 0
