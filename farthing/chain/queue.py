"""The transactions of one key, over crashes, lost answers, dropped ones and reorganisations.

What is to be sent is written down first, in a journal that outlives the process, and so is every
signed transaction before a node gets it. Whether the chain has it is unknown until it is seen
there: until then the same bytes are sent again, and nothing that a node says or fails to say is
taken for a failure. A transaction keeps its nonce until another one has used that up for good.

Many processes may have a queue of the same key. A lease in the journal lets one of them work at a
time, and it does not matter which.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from web3 import Web3

from farthing.chain.checked_node import Call, CheckedNode, Receipt
from farthing.chain.fees import FeePolicy
from farthing.chain.journal import FAILED, LIVE, QUEUED, REFUSED, SIGNED, Journal, Queued
from farthing.chain.queue_step import Changed, Memory, Step, find_receipt
from farthing.chain.sender import Transaction, TransactionSigner
from farthing.protocol.errors import FarthingError

__all__ = ["Changed", "NotQueued", "TransactionQueue"]

# For how long nobody else works after a process died in the middle. One that is slow notices when
# it writes, and stops.
LEASE_SECONDS = 30
# Seconds between two looks of somebody who waits: at first, and at most.
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0


class NotQueued(FarthingError):
    """The journal has no such transaction."""

    def __init__(self, transaction_id: int) -> None:
        self.transaction_id = transaction_id
        super().__init__(
            f"there is no transaction {transaction_id} in this ledger: check its number."
        )


class TransactionQueue:
    """The transactions of one key on one chain.

    Its methods may be called from several threads. The journal is called from one at a time, and
    should be this queue's own.

    Attributes:
        address: The key's.
        problem: Why the last step could not do all there was to do, in one sentence; empty when it
            could. What keeps a single transaction waiting is in that transaction's reason.

    Args:
        w3: The chain.
        account: The key. Nothing else should send with it; what does is noticed, and survived.
        journal: Where transactions are kept.
        confirmations: Blocks on top of a transaction's own after which it is final.
        fees: What is offered for gas.
        holder: Names this queue among all that share the journal; no two at a time have one name.
        clock: Unix seconds, for the records only: what waits, waits by the chain's time.
    """

    def __init__(
        self,
        w3: Web3,
        account: TransactionSigner,
        journal: Journal,
        *,
        confirmations: int,
        fees: FeePolicy,
        holder: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.address = Web3.to_checksum_address(account.address)
        self.problem = ""
        self._account = account
        self._journal = journal
        self._node = CheckedNode(w3)
        self._confirmations = confirmations
        self._fees = fees
        self._lease = (f"key {self.address}", holder)
        self._clock = clock
        self._memory = Memory()
        self._turn = threading.Lock()
        self._stepped_at = 0.0

    def submit(
        self,
        kind: str,
        subject: bytes,
        plan: Transaction,
        rows: Sequence[tuple[bytes, int]] = (),
        fee_limit: int | None = None,
        refund: Any = None,
    ) -> int:
        """Writes a transaction down, to be sent by whoever steps next; its id.

        Args:
            kind: What it does, in a word.
            subject: Names what it does that for. There is one transaction of a kind and subject,
                and its id is given again, until it has failed or was refused. Empty: any number.
            plan: The call. Without a gas limit the node is asked for an estimate.
            rows: Channels and the totals that it claims for them.
            fee_limit: The most a gas may cost it, in wei: above that it waits, as long as nothing
                waits behind it that has no limit. None: what the cap allows.
            refund: What the journal wants to know of a refund; see `farthing.ledger.RefundHold`.

        Raises:
            ContractReverted: The contract would refuse it.
            WouldFail: It would fail otherwise.
            AnswerUnusable, NodeUnreachable: The gas cannot be estimated now.
            LedgerUnavailable: It cannot be written down.
        """
        if plan.to is None:
            raise ValueError("a queue calls contracts and deploys none")
        with self._turn:
            known = self._find(kind, subject) if subject else None
            if known is not None:
                return known.id
            gas = plan.gas or self._node.estimate(Call(self.address, plan.to, plan.data))
            return self._journal.enqueue(
                sender=self.address,
                kind=kind,
                subject=subject,
                to=plan.to,
                data=plan.data,
                gas=gas,
                time=int(self._clock()),
                rows=rows,
                fee_limit=fee_limit,
                refund=refund,
            )

    def find(self, kind: str, subject: bytes) -> Queued | None:
        """The transaction of that kind and subject, unless it has failed or was refused.

        Raises:
            LedgerUnavailable: The journal cannot be asked.
        """
        with self._turn:
            return self._find(kind, subject)

    def step(self) -> list[Changed]:
        """Does all that can be done now, once, without waiting for the chain; what has changed.

        When another process is at it this does nothing, and `problem` says so. So it does when the
        node fails in the middle: then everything stays as it is written, and the next step goes on
        from there.

        Raises:
            LedgerUnavailable: The journal cannot be asked.
        """
        with self._turn:
            return self._step()

    def wait(self, transaction_id: int, seconds: float) -> Queued:
        """Steps until a transaction is in a block or will never be, or time is over.

        Then it may still be queued or signed, and nothing is known to have failed. Whichever
        process steps, all that wait see what came of it.

        Raises:
            NotQueued: There is no such transaction.
            LedgerUnavailable: The journal cannot be asked.
        """
        until, waited, pause = time.monotonic() + seconds, FIRST_PAUSE, FIRST_PAUSE
        while True:
            with self._turn:
                found = self._read(transaction_id)
                # One step serves all that wait.
                is_due = time.monotonic() - self._stepped_at >= waited
                if found.state in (QUEUED, SIGNED) and is_due:
                    self._step()
                    found = self._read(transaction_id)
            left = until - time.monotonic()
            if found.state not in (QUEUED, SIGNED) or left <= 0:
                return found
            waited = min(pause, left)
            time.sleep(waited)
            pause = min(2 * pause, LONGEST_PAUSE)

    def receipt(self, transaction_id: int) -> Receipt | None:
        """The receipt of whichever signing of a transaction is in the chain now; None if none is.

        Raises:
            AnswerUnusable, NodeUnreachable: The node cannot be asked.
            LedgerUnavailable: The journal cannot be asked.
        """
        with self._turn:
            return find_receipt(self._node, self._journal, transaction_id)

    def _find(self, kind: str, subject: bytes) -> Queued | None:
        found = self._journal.find_transaction(kind, subject)
        return None if found is None or found.state in (FAILED, REFUSED) else found

    def _step(self) -> list[Changed]:
        changes: list[Changed] = []
        self.problem = ""
        try:
            if not self._journal.transactions(sender=self.address, states=LIVE, limit=1):
                return changes
            if not self._journal.take_lease(self._lease, LEASE_SECONDS):
                self.problem = f"another process does the work for {self._lease[0]} just now."
                return changes
            step = Step(
                self._node,
                self._account,
                self._journal,
                self._lease,
                self._confirmations,
                self._fees,
                self._clock,
                self._memory,
                changes,
            )
            try:
                step.run()
            except FarthingError as error:
                # The node failed, or this process was so slow that another took the lease. All that
                # was written stands.
                self.problem = str(error)
            finally:
                self._journal.give_lease(self._lease)
        finally:
            self._stepped_at = time.monotonic()
        return changes

    def _read(self, transaction_id: int) -> Queued:
        found = self._journal.transaction(transaction_id)
        if found is None:
            raise NotQueued(transaction_id)
        return found
