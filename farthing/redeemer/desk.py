"""What a redeemer works with."""

from collections.abc import Callable
from dataclasses import dataclass

from farthing.chain.checked_node import CheckedNode
from farthing.chain.lens import Lens
from farthing.chain.queue import TransactionQueue
from farthing.chain.settlement import Settlement
from farthing.ledger import Ledger
from farthing.protocol.signatures import Signer


@dataclass(frozen=True)
class Desk:
    """Books, chain and keys of one publisher.

    Attributes:
        ledger: One thread at a time may use it, so give it one of its own.
        queue: Sends what is ordered; somebody has to let it step.
        authorizer: The receiver authorizer's key.
        show: Writes an amount, for sentences.
    """

    ledger: Ledger
    settlement: Settlement
    queue: TransactionQueue
    authorizer: Signer
    node: CheckedNode
    lens: Lens
    show: Callable[[int], str]
