"""From vouchers to batches: grouped by what rows share, most urgent and most valuable first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from farthing.protocol import (
    MAX_EXTRAS,
    MAX_ROWS,
    Domain,
    InvalidField,
    Terms,
    VoucherClaim,
    extras_of,
    is_packable,
    redeem_call,
)
from farthing.redeemer.gas import good_row_gas

# No pending withdrawal threatens the channel.
NO_DEADLINE = 2**63


@dataclass(frozen=True)
class Batch:
    """The rows of one redemption, in the order they are sent."""

    terms: Terms
    claims: tuple[VoucherClaim, ...]

    def call(self) -> bytes:
        """The call data of ``redeem``."""
        return redeem_call(self.terms, self.claims)


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
    if not 1 <= rows <= MAX_ROWS:
        raise InvalidField("rows", rows, f"must be 1 to {MAX_ROWS}")
    claimed = claimed or {}
    deadlines = deadlines or {}

    def urgency(claim: VoucherClaim) -> tuple[int, int]:
        channel_id = claim.channel.channel_id(domain)
        value = claim.total_claimed - claimed.get(channel_id, 0)
        return deadlines.get(channel_id, NO_DEADLINE), -value

    ordered = sorted(claims, key=urgency)
    groups: dict[Terms, list[VoucherClaim]] = {}
    to_claim = []
    for claim in ordered:
        if is_packable(claim):
            groups.setdefault(Terms.of(claim.channel), []).append(claim)
        else:
            to_claim.append(claim)
    batches = [
        batch for terms, group in groups.items() for batch in _split(terms, group, rows, gas_target)
    ]
    batches.sort(key=lambda batch: urgency(batch.claims[0]))
    return Packed(batches, to_claim)


def _split(
    terms: Terms, claims: Sequence[VoucherClaim], rows: int, gas_target: int | None
) -> list[Batch]:
    batches = []
    current: list[VoucherClaim] = []
    extras = gas = 0
    for claim in claims:
        row_extras = len(extras_of(claim))
        row_gas = good_row_gas(claim)
        full = (
            len(current) == rows
            or extras + row_extras > MAX_EXTRAS
            or (gas_target is not None and gas + row_gas > gas_target)
        )
        if current and full:
            batches.append(Batch(terms, tuple(current)))
            current, extras, gas = [], 0, 0
        current.append(claim)
        extras += row_extras
        gas += row_gas
    if current:
        batches.append(Batch(terms, tuple(current)))
    return batches
