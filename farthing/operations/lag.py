"""How far the watcher is behind the chain."""

from __future__ import annotations

import msgspec

from farthing.chain.checked_node import Head
from farthing.chain.cursor import Cursor
from farthing.chain.json_rpc import ask, number
from farthing.chain.settlement import Settlement
from farthing.chain.watcher import Watcher
from farthing.ledger import Ledger
from farthing.settings import Settings


def watcher_lag(settings: Settings, ledger: Ledger, settlement: Settlement, head: Head) -> int:
    """Seconds from the last block that a watcher has read to the latest; 0 if none ever read any.

    Raises:
        FarthingError: Ledger or node cannot be asked.
    """
    text = ledger.recall(Watcher(settlement, []).name)
    if text is None:
        return 0
    # The blocks above the cursor were read too, up to the head of then.
    read = Cursor.from_text(text).at.block + settings.watcher.confirmations
    if read >= head.number:
        return 0
    method = "eth_getBlockByNumber"
    raw = ask(settlement.w3, method, hex(read), False, as_=_RawBlock)
    return max(0, head.time - number(method, raw.timestamp))


class _RawBlock(msgspec.Struct):
    timestamp: str
