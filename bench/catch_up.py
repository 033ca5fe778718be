"""How long a watcher takes to catch up with a hundred thousand events on anvil.

`bench.redeem` runs it for its key ``catch_up_s``; ``python -m bench.catch_up`` runs it alone. It
ends with every channel read from the chain once more, one by one, and compared with the ledger.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.chain_history import AUTHORIZER, RECEIVER, History, history
from farthing.chain.watcher import Payee, Watcher
from farthing.ledger import Ledger, open_ledger
from farthing.redeemer.follower import Follower

EVENTS = 100_000
# Channels of the history that are compared, of some twenty thousand: it is the slow way.
COMPARED = 1_000


@dataclass(frozen=True)
class CatchUp:
    """What was measured.

    Attributes:
        seconds: From an empty ledger to every channel in it as the chain has it.
        events: How many there were, the contract's all.
        channels: How many channels are in the ledger then.
        blocks: From the contract's first block to the head.
        mix: How many events of each kind.
    """

    seconds: float
    events: int
    channels: int
    blocks: int
    mix: dict[str, int]


def catch_up(events: int = EVENTS) -> CatchUp:
    """Makes a history on anvil, catches up with it, and proves what is in the ledger."""
    with history(events) as made, TemporaryDirectory(dir=".") as folder:
        ledger = open_ledger(str(Path(folder, "ledger.db")))
        payee = Payee(RECEIVER.address, AUTHORIZER.address, made.token)
        watcher = Watcher(made.settlement, [payee], start_block=made.start_block)
        follower = Follower(ledger, watcher, own=[RECEIVER.address])
        started = time.perf_counter()
        step = follower.step()
        seen = step.events
        while not step.caught_up:
            step = follower.step()
            seen += step.events
        seconds = time.perf_counter() - started
        assert seen == made.mix, (seen, made.mix)
        channels = _compare(made, ledger)
        ledger.close()
        blocks = step.head - made.start_block
    return CatchUp(seconds, seen.total(), channels, blocks, dict(sorted(seen.items())))


def _compare(made: History, ledger: Ledger) -> int:
    """Compares the ledger with the chain; how many channels the ledger has."""
    ids = []
    after = b""
    while page := ledger.channels(after=after):
        ids += [channel.channel_id for channel in page]
        after = ids[-1]
    assert ids == sorted(made.ids)
    for channel_id in made.ids[:: max(1, len(ids) // COMPARED)]:
        found, channel = made.settlement.snapshot(channel_id), ledger.channel(channel_id)
        assert channel is not None
        mirror = channel.state.mirror
        assert (mirror.balance, mirror.total_claimed) == (found.balance, found.total_claimed)
        assert mirror.withdraw_amount == found.withdraw_amount
        assert mirror.withdraw_requested_at == found.withdraw_requested_at
        assert mirror.refund_nonce == found.refund_nonce
    return len(ids)


def main() -> None:
    """Measures and prints."""
    print(json.dumps(asdict(catch_up())))


if __name__ == "__main__":
    main()
