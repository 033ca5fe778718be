"""A process that orders payments and steps their queue, and can be told where to die."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import wraps
from typing import Any

from eth_account import Account
from eth_utils.crypto import keccak
from web3 import Web3

from farthing.chain.checked_node import CheckedNode
from farthing.chain.connection import connect
from farthing.chain.fees import FeePolicy
from farthing.chain.queue import TransactionQueue
from farthing.chain.sender import Transaction
from farthing.ledger import open_ledger
from farthing.ledger.sqlite import SqliteLedger
from tests.crash.kill_points import KillPoint

# Before or after what a process dies, in the order in which it gets there.
BEFORE = {
    "before it is ordered": "enqueue",
    "before the lease": "take_lease",
    "signed, before it is saved": "sign",
    "seen, before it is written": "move_transaction",
    "before the lease is given back": "give_lease",
}
AFTER = {
    "ordered": "enqueue",
    "leased": "take_lease",
    "saved, before it is sent": "sign",
    "written": "move_transaction",
    "lease given back": "give_lease",
}
POINTS = (*BEFORE, *AFTER, "before a commit", "being sent", "sent, before the answer")
RANDOM = "random"

CONFIRMATIONS = 3
# Short, so that it happens while a worker lives.
FEES = FeePolicy(replace_after=2)
GAS = 100_000
# Orders that wait at a time at most.
BACKLOG = 6


@dataclass(frozen=True)
class Job:
    """How one worker is to run.

    Attributes:
        node: The node's URL.
        ledger: The ledger's.
        key: Who pays, hex.
        token: With what.
        orders: File to which it adds the number of each order, once that is written down.
        point: Where it dies; None to order nothing more and end when all is final.
        passes: At which pass of that point.
    """

    node: str
    ledger: str
    key: str
    token: str
    orders: str
    point: str | None = None
    passes: int = 1


def nobody(number: int) -> str:
    """Who gets the payment of that number, and nothing else."""
    return Web3.to_checksum_address(keccak(text=f"payee {number}")[:20])


def payment(token: str, number: int) -> Transaction:
    data = keccak(text="transfer(address,uint256)")[:4]
    data += bytes.fromhex(nobody(number)[2:]).rjust(32, b"\0") + (1).to_bytes(32, "big")
    return Transaction(token, data, GAS)


def work(job: Job) -> None:
    """Steps until it is killed, or until all is final."""
    kill = KillPoint(job.point, job.passes)
    ledger = open_ledger(job.ledger)
    queue = TransactionQueue(
        connect(job.node),
        Account.from_key(job.key),
        ledger,
        confirmations=CONFIRMATIONS,
        fees=FEES,
        # The one after it has the same: nobody has to wait for the lease of the dead.
        holder="worker",
    )
    _install(kill, ledger)
    orders = os.open(job.orders, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while True:
        waiting = len(ledger.transactions(states=("queued", "signed")))
        if job.point is not None and waiting < BACKLOG:
            newest = ledger.transactions(newest_first=True, limit=1)
            # The latest once more: whoever died after that was written did not know.
            first = newest[0].id if newest else 1
            for number in (first, first + 1):
                made = queue.submit("pay", b"%d" % number, payment(job.token, number))
                assert made == number
                os.write(orders, b"%d\n" % number)
        queue.step()
        if job.point is None and not ledger.transactions(states=("queued", "signed", "mined")):
            return


def _install(kill: KillPoint, ledger: Any) -> None:
    for point, name in BEFORE.items():
        _around(kill, ledger, name, before=point)
    for point, name in AFTER.items():
        _around(kill, ledger, name, after=point)
    _around(kill, CheckedNode, "send", before="being sent", after="sent, before the answer")
    if isinstance(ledger, SqliteLedger):

        def trace(cursor: object, statement: str, values: object) -> bool:
            if statement == "COMMIT":
                kill.reach("before a commit")
            return True

        ledger._writer.exec_trace = trace


def _around(kill: KillPoint, owner: Any, name: str, before: str = "", after: str = "") -> None:
    step = getattr(owner, name)

    @wraps(step)
    def taken(*values: Any, **named: Any) -> Any:
        kill.reach(before)
        result = step(*values, **named)
        kill.reach(after)
        return result

    setattr(owner, name, taken)
