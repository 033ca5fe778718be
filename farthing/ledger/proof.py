"""What has to hold within the books of one channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from farthing.ledger.records import Channel, Charge, Difference


def prove_channel(channel: Channel, charges: Sequence[Charge]) -> Iterator[Difference]:
    """Every way in which a channel and its charges, lowest id first, do not agree."""

    def wrong(problem: str) -> Difference:
        return Difference(channel.channel_id, problem)

    state = channel.state
    if len(charges) != state.charges:
        yield wrong(f"has {len(charges)} charges, counts {state.charges}")
    if not charges:
        return
    previous, total = 0, charges[0].total - charges[0].amount
    for charge in charges:
        total += charge.amount
        if charge.channel_id != channel.channel_id or charge.previous != previous:
            yield wrong(f"charge {charge.id} does not follow charge {previous}")
        if charge.total != total:
            yield wrong(f"charge {charge.id} has a total of {charge.total}, not {total}")
        if charge.amount > charge.price:
            yield wrong(f"charge {charge.id} is above its price of {charge.price}")
        previous, total = charge.id, charge.total
    if (previous, total) != (state.last_charge, state.charged):
        yield wrong(f"charges end at {previous} with {total}, the channel says {state.charged}")
    if state.ceiling < state.charged:
        yield wrong(f"its voucher allows {state.ceiling}, {state.charged} were charged")
