"""What has to hold within the books."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from farthing.ledger.records import ChannelState, Charge, Difference
from farthing.protocol import ZERO_ADDRESS

# What payers have that cannot be, or that no charge of theirs gave. Payer, signer, what, why.
UNPROVEN = f"""
    SELECT payers.payer, payers.signer, kind || ' ' || item, CASE
        WHEN version IS NULL OR version < 1 THEN 'belongs to nobody'
        WHEN channels.channel_id IS NULL THEN 'was not given by a charge of its payer'
        ELSE 'has numbers that cannot be'
        END
    FROM entitlements
    LEFT JOIN payers ON payers.payer_id = entitlements.payer_id
    LEFT JOIN charges ON charges.id = entitlements.charge
    LEFT JOIN channels ON channels.channel_id = charges.channel_id
        AND channels.payer = payers.payer
        AND payers.signer = CASE channels.payer_authorizer
            WHEN '{ZERO_ADDRESS}' THEN channels.payer ELSE channels.payer_authorizer END
    WHERE version IS NULL OR version < 1 OR channels.channel_id IS NULL
        OR bought < 1 OR used < 0 OR (until != 0 AND until <= since)
    UNION ALL
    SELECT payers.payer, payers.signer, 'tally ' || name, 'belongs to nobody'
    FROM tallies LEFT JOIN payers ON payers.payer_id = tallies.payer_id
    WHERE version IS NULL OR version < 1
    ORDER BY 1, 2, 3"""


def prove_payers(rows: Iterable[Any]) -> Iterator[Difference]:
    """Every way in which payers' books are not right; ``rows`` are those of `UNPROVEN`."""
    for payer, signer, what, problem in rows:
        yield Difference(b"", f"{what} {problem}", payer=payer or "", signer=signer or "")


def prove_books(
    channels: Iterable[tuple[bytes, ChannelState]], charges: Iterable[Charge]
) -> Iterator[Difference]:
    """Every way in which channels and charges do not agree.

    Reads each once and holds one channel at a time, so that a ledger of any size can be proven.

    Args:
        channels: By channel id.
        charges: By channel id, and lowest id first within a channel.
    """
    groups = groupby(charges, key=lambda charge: charge.channel_id)
    owner, group = next(groups, (None, iter(())))
    for channel_id, state in channels:
        while owner is not None and owner < channel_id:
            yield _orphans(owner, group)
            owner, group = next(groups, (None, iter(())))
        if owner == channel_id:
            yield from _prove_channel(channel_id, state, group)
            owner, group = next(groups, (None, iter(())))
        else:
            yield from _prove_channel(channel_id, state, ())
    while owner is not None:
        yield _orphans(owner, group)
        owner, group = next(groups, (None, iter(())))


def _orphans(channel_id: bytes, charges: Iterable[Charge]) -> Difference:
    return Difference(channel_id, f"is not known, and has {sum(1 for _ in charges)} charges")


def _prove_channel(
    channel_id: bytes, state: ChannelState, charges: Iterable[Charge]
) -> Iterator[Difference]:
    def wrong(problem: str) -> Difference:
        return Difference(channel_id, problem)

    count = previous = 0
    # What a channel begins with was claimed on chain before the ledger knew it.
    total = state.charged
    for charge in charges:
        if not count:
            total = charge.total - charge.amount
            if not 0 <= total <= state.mirror.total_claimed:
                yield wrong(f"begins at {total}, of which the chain knows nothing")
        count += 1
        total += charge.amount
        if charge.previous != previous:
            yield wrong(f"charge {charge.id} does not follow charge {previous}")
        if charge.total != total:
            yield wrong(f"charge {charge.id} has a total of {charge.total}, not {total}")
        if charge.amount > charge.price:
            yield wrong(f"charge {charge.id} is above its price of {charge.price}")
        previous, total = charge.id, charge.total
    if count != state.charges:
        yield wrong(f"has {count} charges, counts {state.charges}")
    if (previous, total) != (state.last_charge, state.charged):
        yield wrong(
            f"charges end at charge {previous} with {total}, the channel says charge "
            f"{state.last_charge} with {state.charged}"
        )
    if count and state.ceiling < state.charged:
        yield wrong(f"its voucher allows {state.ceiling}, {state.charged} were charged")
    if not count and total > state.mirror.total_claimed:
        yield wrong(f"begins at {total}, of which the chain knows nothing")
