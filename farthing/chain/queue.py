"""The transactions of one key, over crashes, lost answers, dropped ones and reorganisations.

What is to be sent is written down first, in a journal that outlives the process, and so is every
signed transaction before a node gets it. Whether the chain has it is unknown until it is seen
there: until then the same bytes are sent again, and nothing that a node says or fails to say is
taken for a failure. A transaction keeps its nonce until another one has used that up for good.

Many processes may have a queue of the same key. A lease in the journal lets one of them work at a
time, and it does not matter which.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from web3 import Web3
from web3.types import TxReceipt

from farthing.chain.checked_node import Call, CheckedNode, Head, WouldFail
from farthing.chain.fees import GWEI, FeePolicy, Fees
from farthing.chain.journal import Attempted, Journal, Queued
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import IN_FLIGHT, Transaction, TransactionSigner
from farthing.chain.used_nonces import find_user
from farthing.protocol.errors import FarthingError

log = logging.getLogger("farthing.queue")

QUEUED, SIGNED, MINED = "queued", "signed", "mined"
FINAL, FAILED, REFUSED = "final", "failed", "refused"
LIVE = (QUEUED, SIGNED, MINED)

# For how long nobody else works after a process died in the middle. One that is slow notices when
# it writes, and stops.
LEASE_SECONDS = 30
# Transactions read at a time.
PAGE = 64
# What uses up a nonce that nothing else has: coins sent from the key to itself.
GAP = "gap"
GAP_GAS = 21_000
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


@dataclass(frozen=True)
class Changed:
    """A transaction whose state is another now.

    Attributes:
        before: The state it had.
        transaction: As it is now.
    """

    before: str
    transaction: Queued


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
        self._turn = threading.Lock()
        self._stepped_at = 0.0
        # By transaction: the attempt the node has, and the block it was the latest at.
        self._offered: dict[int, tuple[bytes, bytes]] = {}
        # By number: hashes of blocks, as they are in this step.
        self._hashes: dict[int, bytes | None] = {}
        # Every nonce below is used for good. A node that is late does not know.
        self._used_below = 0

    def submit(
        self,
        kind: str,
        subject: bytes,
        plan: Transaction,
        rows: Sequence[tuple[bytes, int]] = (),
    ) -> int:
        """Writes a transaction down, to be sent by whoever steps next; its id.

        Args:
            kind: What it does, in a word.
            subject: Names what it does that for. There is one transaction of a kind and subject,
                and its id is given again, until it has failed or was refused. Empty: any number.
            plan: The call. Without a gas limit the node is asked for an estimate.
            rows: Channels and the totals that it claims for them.

        Raises:
            ContractReverted: The contract would refuse it.
            WouldFail: It would fail otherwise.
            AnswerUnusable, NodeUnreachable: The gas cannot be estimated now.
        """
        if plan.to is None:
            raise ValueError("a queue calls contracts and deploys none")
        with self._turn:
            known = self._journal.find_transaction(kind, subject) if subject else None
            if known is not None and known.state not in (FAILED, REFUSED):
                return known.id
            gas = plan.gas or self._node.estimate(Call(self.address, plan.to, plan.data))
            return self._journal.enqueue(
                sender=self.address,
                kind=kind,
                subject=subject,
                to=plan.to,
                data=plan.data,
                gas=gas,
                time=self._now(),
                rows=rows,
            )

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
        """
        until, pause = time.monotonic() + seconds, FIRST_PAUSE
        while True:
            with self._turn:
                found = self._read(transaction_id)
                # One step serves all that wait.
                if found.state in (QUEUED, SIGNED) and self._is_due(pause):
                    self._step()
                    found = self._read(transaction_id)
            if found.state not in (QUEUED, SIGNED) or time.monotonic() >= until:
                return found
            time.sleep(max(0, min(pause, until - time.monotonic())))
            pause = min(2 * pause, LONGEST_PAUSE)

    def receipt(self, transaction_id: int) -> TxReceipt | None:
        """The receipt of whichever signing of a transaction is in the chain now; None if none is.

        Raises:
            AnswerUnusable, NodeUnreachable: The node cannot be asked.
        """
        with self._turn:
            return self._find_receipt(transaction_id)

    # ------------------------------------------------------------ one step

    def _step(self) -> list[Changed]:
        changes: list[Changed] = []
        self.problem = ""
        try:
            if not self._journal.transactions(sender=self.address, states=LIVE, limit=1):
                return changes
            if not self._journal.take_lease(self._lease, LEASE_SECONDS):
                self.problem = (
                    f"another process has the lease of {self._lease[0]}: it does the work."
                )
                return changes
            try:
                self._work(changes)
            except FarthingError as error:
                # The node failed, or this process was so slow that another took the lease. All that
                # was written stands.
                self.problem = str(error)
            finally:
                self._journal.give_lease(self._lease)
        finally:
            self._stepped_at = time.monotonic()
        return changes

    def _work(self, changes: list[Changed]) -> None:
        self._node.check_chain()
        head = self._node.head()
        self._hashes.clear()
        for each in self._all(MINED):
            self._confirm(each, head, changes)
        count = self._node.count(self.address)
        self._undo_final(count, changes)
        for each in self._all(SIGNED):
            if each.nonce is not None and each.nonce < count:
                self._look(each, head, changes)
        tip = self._node.tip()
        signed = sorted(self._all(SIGNED), key=_nonce)
        purse = _Purse(self._node.balance(self.address))
        offers = [(each, self._latest(each)) for each in signed]
        for each, attempt in offers:
            purse.left -= each.gas * attempt.max_fee
        for each, attempt in offers:
            if _nonce(each) >= count:
                self._offer(each, attempt, head, count, tip, purse)
        self._begin(head, count, tip, purse, changes)
        self._fill_gap(head, count)

    # ------------------------------------------------------------ what the chain has

    def _confirm(self, mined: Queued, head: Head, changes: list[Changed]) -> None:
        """Looks whether the block of a mined transaction is still there, and deep enough."""
        if mined.block not in self._hashes:
            self._hashes[mined.block] = self._node.block_hash(mined.block)
        now_there = self._hashes[mined.block]
        if now_there is None:
            return  # this node is late
        if now_there != mined.block_hash:
            receipt = self._find_receipt(mined.id)
            if receipt is None:
                reason = f"a reorganisation undid block {mined.block}: it is sent again."
                self._move(mined, SIGNED, changes, reason=reason)
            elif bytes(receipt["blockHash"]) != mined.block_hash:
                self._see(mined, receipt, changes)
            return
        if head.number - mined.block < self._confirmations:
            return
        receipt = self._find_receipt(mined.id)
        if receipt is None or bytes(receipt["blockHash"]) != mined.block_hash:
            return  # the answers come from nodes that do not agree
        self._used_below = max(self._used_below, _nonce(mined) + 1)
        self._move(
            mined,
            FINAL if mined.succeeded else FAILED,
            changes,
            block=mined.block,
            block_hash=mined.block_hash,
            succeeded=mined.succeeded,
            gas_used=mined.gas_used,
            fee=mined.fee,
            reason=mined.reason,
        )

    def _look(self, signed: Queued, head: Head, changes: list[Changed]) -> None:
        """Looks what has used the nonce of a signed transaction."""
        receipt = self._find_receipt(signed.id)
        if receipt is not None:
            seen = self._see(signed, receipt, changes)
            self._confirm(seen, head, changes)
            return
        # It may be that the node which keeps receipts is late. Only what is found in a block that
        # is final tells that the nonce is gone.
        settled = head.number - self._confirmations
        if settled < 0 or self._node.count(self.address, settled) <= _nonce(signed):
            return
        user = find_user(self._node, self.address, _nonce(signed), settled)
        is_own = user in {each.hash for each in self._journal.attempts(signed.id)}
        if is_own or self._find_receipt(signed.id) is not None:
            return  # the next step sees it
        self._node.check_chain()
        self._used_below = max(self._used_below, _nonce(signed) + 1)
        by = "another transaction" if user is None else f"transaction 0x{user.hex()}"
        reason = f"nonce {signed.nonce} was used by {by} of this key: it gets a new one."
        log.warning("transaction %s: %s", signed.id, reason)
        self._move(signed, QUEUED, changes, reason=reason)

    def _see(self, found: Queued, receipt: TxReceipt, changes: list[Changed]) -> Queued:
        """Writes down that a transaction is in a block."""
        succeeded = receipt["status"] == 1
        reason = "" if succeeded else self._why(found, receipt)
        price = receipt.get("effectiveGasPrice", 0)
        # What chains on top of another charge besides, for the room there.
        extra: Any = receipt.get("l1Fee", 0)
        return self._move(
            found,
            MINED,
            changes,
            block=receipt["blockNumber"],
            block_hash=bytes(receipt["blockHash"]),
            succeeded=succeeded,
            gas_used=receipt["gasUsed"],
            fee=receipt["gasUsed"] * price + _as_int(extra),
            reason=reason,
        )

    def _why(self, failed: Queued, receipt: TxReceipt) -> str:
        """Runs a failed transaction again on the state before its block, for the reason."""
        if receipt["gasUsed"] == failed.gas:
            return f"it ran out of its {failed.gas:,} gas."
        try:
            self._node.simulate(_call(failed), receipt["blockNumber"] - 1)
        except FarthingError as error:
            return str(error)
        return "it failed in its block and would have succeeded before it."

    def _undo_final(self, count: int, changes: list[Changed]) -> None:
        """Takes up again what was final, if a reorganisation went deeper than that."""
        if not self._used_below:
            used = [each.nonce for each in self._latest_final() if each.nonce is not None]
            self._used_below = max(used, default=-1) + 1
        if count >= self._used_below:
            return
        for each in self._latest_final():
            if _nonce(each) < count:
                continue
            now_there = self._node.block_hash(each.block)
            if now_there is None or now_there == each.block_hash:
                return  # this node is late
            if each.state == FAILED:
                continue  # whoever ordered it knows that it failed, and may have ordered another
            reason = (
                f"a reorganisation undid block {each.block}, which was final: it is sent again."
            )
            log.error("transaction %s: %s", each.id, reason)
            self._move(each, SIGNED, changes, reason=reason)
        self._used_below = count

    # ------------------------------------------------------------ what the node gets

    def _offer(
        self,
        signed: Queued,
        attempt: Attempted,
        head: Head,
        count: int,
        tip: int | None,
        purse: _Purse,
    ) -> None:
        """Sends a signed transaction if the node may not have it, or a dearer one in its place."""
        reason = ""
        is_late = head.time - attempt.time >= self._fees.replace_after
        # Whichever comes first in line, and whatever cannot be mined at all at this base fee.
        if is_late and (_nonce(signed) == count or attempt.max_fee < head.base_fee):
            before = Fees(attempt.max_fee, attempt.tip)
            fees = self._fees.replacement(before, head.base_fee, tip)
            if fees is None:
                reason = _too_dear(head, self._fees)
            elif signed.gas * (fees.max_fee - before.max_fee) > purse.left:
                reason = self._no_funds(signed, fees, purse)
            else:
                purse.left -= signed.gas * (fees.max_fee - before.max_fee)
                attempt = self._sign(signed, _nonce(signed), fees, head)
        if self._offered.get(signed.id) == (attempt.hash, head.hash):
            return
        refusal = self._node.send(attempt.raw, attempt.hash)
        self._offered[signed.id] = (attempt.hash, head.hash)
        if refusal:
            reason = f"the node does not take it now ({refusal.rstrip('.')}): it is offered again."
        self._tell(signed, reason)

    def _begin(
        self, head: Head, count: int, tip: int | None, purse: _Purse, changes: list[Changed]
    ) -> None:
        """Gives nonces to what is queued, in its order, as far as coins, cap and pool allow."""
        held = {_nonce(each) for state in (SIGNED, MINED) for each in self._all(state)}
        room = IN_FLIGHT - sum(nonce >= count for nonce in held)
        after = 0
        while room > 0 and (
            page := self._journal.transactions(
                sender=self.address, states=(QUEUED,), after=after, limit=PAGE
            )
        ):
            after = page[-1].id
            for each in page:
                if room <= 0:
                    return
                if not self._is_good(each, head, changes):
                    continue
                fees = self._fees.offer(head.base_fee, tip)
                if fees is None:
                    self._tell(each, _too_dear(head, self._fees))
                    return
                if each.gas * fees.max_fee > purse.left:
                    self._tell(each, self._no_funds(each, fees, purse))
                    return
                purse.left -= each.gas * fees.max_fee
                nonce = lowest_free(max(count, self._used_below), held)
                held.add(nonce)
                room -= 1
                attempt = self._sign(each, nonce, fees, head)
                signed = self._read(each.id)
                changes.append(Changed(each.state, signed))
                self._offer(signed, attempt, head, count, tip, purse)

    def _is_good(self, queued: Queued, head: Head, changes: list[Changed]) -> bool:
        """Whether a transaction would succeed now; one that would not is refused."""
        if queued.gas > head.gas_limit:
            reason = f"its gas of {queued.gas:,} is above a block's {head.gas_limit:,}: split it."
            self._move(queued, REFUSED, changes, reason=reason)
            return False
        try:
            self._node.simulate(_call(queued))
        except (ContractReverted, WouldFail) as error:
            self._move(queued, REFUSED, changes, reason=str(error))
            return False
        return True

    def _fill_gap(self, head: Head, count: int) -> None:
        """Orders something for a nonce that nothing has and others wait for.

        It is left behind by somebody else's transaction that a reorganisation undid. Whatever is
        queued next takes it; if nothing comes, a transaction that does nothing.
        """
        signed = sorted(self._all(SIGNED), key=_nonce)
        held = {_nonce(each) for each in (*signed, *self._all(MINED))}
        if (
            not signed
            or _nonce(signed[-1]) < count
            or lowest_free(count, held) > _nonce(signed[-1])
        ):
            return
        behind = next(each for each in signed if _nonce(each) > lowest_free(count, held))
        waited = head.time - self._latest(behind).time
        if count < self._used_below or waited < self._fees.replace_after:
            return
        if not self._journal.transactions(sender=self.address, states=(QUEUED,), limit=1):
            self._journal.enqueue(
                sender=self.address,
                kind=GAP,
                subject=b"",
                to=self.address,
                data=b"",
                gas=GAP_GAS,
                time=self._now(),
            )

    def _sign(self, found: Queued, nonce: int, fees: Fees, head: Head) -> Attempted:
        """Signs a transaction and writes it down. Nothing is sent."""
        signed = self._account.sign_transaction(
            {
                "chainId": self._node.chain_id,
                "nonce": nonce,
                "maxPriorityFeePerGas": fees.tip,
                "maxFeePerGas": fees.max_fee,
                "gas": found.gas,
                "to": Web3.to_checksum_address(found.to),
                "value": 0,
                "data": found.data,
            }
        )
        attempt = _Signed(
            bytes(signed.hash),
            bytes(signed.raw_transaction),
            nonce,
            fees.max_fee,
            fees.tip,
            head.time,
        )
        self._journal.sign(
            found.id,
            self._lease,
            hash=attempt.hash,
            raw=attempt.raw,
            nonce=nonce,
            max_fee=fees.max_fee,
            tip=fees.tip,
            time=head.time,
        )
        return attempt

    # ------------------------------------------------------------ the journal

    def _move(self, found: Queued, state: str, changes: list[Changed], **values: Any) -> Queued:
        self._journal.move_transaction(found.id, self._lease, state, time=self._now(), **values)
        now = self._read(found.id)
        if state != SIGNED or found.state != SIGNED:
            self._offered.pop(found.id, None)
        if state != found.state:
            changes.append(Changed(found.state, now))
        return now

    def _tell(self, found: Queued, reason: str) -> None:
        """Writes down why a transaction that is not in a block has to wait."""
        if found.reason != reason:
            self._journal.move_transaction(
                found.id, self._lease, found.state, time=self._now(), reason=reason
            )

    def _read(self, transaction_id: int) -> Queued:
        found = self._journal.transaction(transaction_id)
        if found is None:
            raise NotQueued(transaction_id)
        return found

    def _all(self, state: str) -> list[Queued]:
        """All transactions in a state that few are in at a time."""
        found: list[Queued] = []
        while page := self._journal.transactions(
            sender=self.address, states=(state,), after=found[-1].id if found else 0, limit=PAGE
        ):
            found += page
        return found

    def _latest_final(self) -> Sequence[Queued]:
        return self._journal.transactions(
            sender=self.address, states=(FINAL, FAILED), limit=PAGE, newest_first=True
        )

    def _latest(self, signed: Queued) -> Attempted:
        """The signing that is offered to the node now."""
        return self._journal.attempts(signed.id)[-1]

    def _find_receipt(self, transaction_id: int) -> TxReceipt | None:
        # Any signing can be in a block, also one that was replaced; the last is the likeliest.
        for attempt in reversed(self._journal.attempts(transaction_id)):
            receipt = self._node.receipt(attempt.hash)
            if receipt is not None:
                return receipt
        return None

    def _no_funds(self, found: Queued, fees: Fees, purse: _Purse) -> str:
        return (
            f"{self.address} has {_coins(purse.left)} to spare for gas and this may cost "
            f"{_coins(found.gas * fees.max_fee)}: send it coins."
        )

    def _is_due(self, pause: float) -> bool:
        return time.monotonic() - self._stepped_at >= pause

    def _now(self) -> int:
        return int(self._clock())


@dataclass
class _Purse:
    """What a key has that no transaction in flight may cost, in wei."""

    left: int


@dataclass(frozen=True)
class _Signed:
    hash: bytes
    raw: bytes
    nonce: int
    max_fee: int
    tip: int
    time: int


def lowest_free(first: int, held: set[int]) -> int:
    """The lowest nonce from ``first`` on that is not held: a gap before anything new."""
    while first in held:
        first += 1
    return first


def _call(found: Queued) -> Call:
    return Call(found.sender, found.to, found.data, found.gas)


def _nonce(found: Queued) -> int:
    assert found.nonce is not None, f"transaction {found.id} is {found.state} without a nonce"
    return found.nonce


def _too_dear(head: Head, fees: FeePolicy) -> str:
    return (
        f"a gas costs {head.base_fee / GWEI:.9g} gwei and a tip, which the cap of "
        f"{fees.cap / GWEI:.9g} does not cover: it waits; raise the cap if it should not."
    )


def _coins(wei: int) -> str:
    return f"{max(wei, 0) / 10**18:.9f} coins"


def _as_int(value: Any) -> int:
    return int(value, 16) if isinstance(value, str) else int(value)
