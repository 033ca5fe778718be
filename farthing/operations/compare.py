"""The ledger against itself and the chain: the books are proven, or each difference is listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from farthing.chain.checked_node import CheckedNode
from farthing.chain.lens import MAX_CHANNELS, Lens
from farthing.chain.settlement import Settlement, Snapshot
from farthing.ledger import Channel, Difference, Ledger, Mirror


@dataclass
class Compared:
    """What a comparison found.

    Attributes:
        channels: How many were compared.
        charged: What was charged, in smallest units.
        claimed: What of it the chain says is claimed.
        escrowed: What the channels hold on the chain.
        differences: Where ledger and chain, or the ledger and itself, do not agree.
    """

    channels: int = 0
    charged: int = 0
    claimed: int = 0
    escrowed: int = 0
    differences: list[Difference] = field(default_factory=list)


def compare(
    ledger: Ledger,
    settlement: Settlement,
    *,
    settle: Callable[[], None] = lambda: None,
    on_page: Callable[[int], None] = lambda channels: None,
) -> Compared:
    """Proves the books within the ledger, and compares every channel with the chain.

    Args:
        ledger: Others may go on with it meanwhile.
        settlement: The contract.
        settle: Waits until a watcher has had the time to write down what just happened. Called when
            there are differences, which are looked at again after it.
        on_page: Called with the number of channels compared so far.

    Raises:
        FarthingError: The ledger or the node cannot be asked.
    """
    found = Compared(differences=list(ledger.prove()))
    doubtful: list[Channel] = []
    for page in _pages(ledger):
        for channel, snapshot in _read(settlement, page):
            found.channels += 1
            found.charged += channel.state.charged
            found.claimed += snapshot.total_claimed
            found.escrowed += snapshot.balance - snapshot.total_claimed
            if _problem(ledger, channel, snapshot):
                doubtful.append(channel)
        on_page(found.channels)
    if doubtful:
        settle()
    for start in range(0, len(doubtful), MAX_CHANNELS):
        ids = [channel.channel_id for channel in doubtful[start : start + MAX_CHANNELS]]
        again = [channel for channel in map(ledger.channel, ids) if channel is not None]
        for channel, snapshot in _read(settlement, again):
            problem = _problem(ledger, channel, snapshot)
            if problem:
                found.differences.append(Difference(channel.channel_id, problem))
    return found


def _problem(ledger: Ledger, channel: Channel, found: Snapshot) -> str:
    """What is wrong with a channel; nothing when ledger and chain agree."""
    state = channel.state
    if found.total_claimed > state.charged:
        return f"{found.total_claimed} is claimed on chain and {state.charged} was charged"
    # A refund that was sent counts as withdrawn until its nonce is used.
    held = ledger.held_refund(channel.channel_id, found.refund_nonce)
    expected = Mirror(
        balance=found.balance,
        total_claimed=found.total_claimed,
        withdraw_amount=min(found.balance, found.withdraw_amount + held),
        withdraw_requested_at=found.withdraw_requested_at,
        refund_nonce=found.refund_nonce,
        synced_at=state.mirror.synced_at,
        block=state.mirror.block,
    )
    unheld = replace(expected, withdraw_amount=found.withdraw_amount)
    if state.mirror in (expected, unheld):
        return ""
    return (
        f"the chain has balance {found.balance}, claimed {found.total_claimed}, withdrawal "
        f"{found.withdraw_amount}; the ledger has {state.mirror.balance}, "
        f"{state.mirror.total_claimed}, {state.mirror.withdraw_amount}: a watcher writes it down, "
        "so see that one runs"
    )


def _read(settlement: Settlement, channels: list[Channel]) -> Iterator[tuple[Channel, Snapshot]]:
    domain = settlement.domain
    head = CheckedNode(settlement.w3).head()
    lens = Lens(settlement.w3, settlement.address, domain.chain_id)
    ids = [channel.channel_id for channel in channels]
    return zip(channels, lens.read(ids, head.number, "0x" + head.hash.hex()), strict=True)


def _pages(ledger: Ledger) -> Iterator[list[Channel]]:
    after = b""
    while page := ledger.channels(after=after, limit=MAX_CHANNELS):
        yield page
        after = page[-1].channel_id
