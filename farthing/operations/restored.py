"""A ledger that was restored from a backup: what was charged since the backup is missing in it.

It is not charged on until the chain was asked about every channel. Where more was claimed than the
ledger knows to be charged, as much was charged at least: that is written down as one charge of the
route `ROUTE`, so that the books add up again and nobody is asked to pay twice. What was charged
since the backup and not redeemed is lost: only the vouchers that are gone could have proven it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from farthing.chain.checked_node import CheckedNode
from farthing.chain.settlement import Settlement
from farthing.ledger import Channel, Ledger, NewCharge
from farthing.ledger.ledger import RESTORED
from farthing.operations.lag import watcher_lag
from farthing.settings import Settings

log = logging.getLogger("farthing.operations")

# The route of what was charged and is not in the backup.
ROUTE = "restored"
# Channels looked at, and charges made, at a time.
PAGE = 1_000


def is_restored(ledger: Ledger) -> bool:
    """Whether it was restored and has not caught up with the chain since."""
    return bool(ledger.recall(RESTORED))


def mark_if_behind(settings: Settings, ledger: Ledger, settlement: Settlement, now: float) -> None:
    """Treats a ledger that no watcher has kept up to date lately as one that was restored.

    It may be a copy that somebody put there by hand, or have slept through withdrawals: either way
    nothing should be charged on it before it is compared with the chain.

    Raises:
        FarthingError: Ledger or node cannot be asked.
    """
    lag = watcher_lag(settings, ledger, settlement, CheckedNode(settlement.w3).head())
    if lag > settings.thresholds.lag_seconds and not is_restored(ledger):
        log.warning("the ledger is %d seconds behind the chain: it catches up first", lag)
        ledger.remember(RESTORED, str(int(now)))


def catch_up(ledger: Ledger) -> int:
    """Writes down what was claimed and is not in the books, and lets the ledger be charged on.

    To be called when the mirror of every channel is of after the restoring.

    Returns:
        How many channels there was something to write down of.
    """
    count = missing = 0
    for page in _pages(ledger):
        charges = [_charge(channel) for channel in page if _missing(channel) > 0]
        ledger.commit(charges)
        count += len(charges)
        missing += sum(charge.amount for charge in charges)
    ledger.remember(RESTORED, "")
    log.warning(
        "the ledger has caught up with the chain",
        extra={"fields": {"channels": count, "charged_since": str(missing)}},
    )
    return count


def _missing(channel: Channel) -> int:
    return channel.state.mirror.total_claimed - channel.state.charged


def _charge(channel: Channel) -> NewCharge:
    state = channel.state
    claimed = state.mirror.total_claimed
    # The voucher that was claimed with is gone. The one here serves if it allows as much.
    covers = state.ceiling >= claimed
    return NewCharge.without_request(
        channel.channel_id,
        state,
        (state.ceiling, state.signature) if covers else (claimed, b""),
        ROUTE,
        f"{ROUTE}-{channel.channel_id.hex()[:16]}-{state.charges}",
        amount=_missing(channel),
    )


def _pages(ledger: Ledger) -> Iterator[list[Channel]]:
    after = b""
    while page := ledger.channels(after=after, limit=PAGE):
        yield page
        after = page[-1].channel_id
