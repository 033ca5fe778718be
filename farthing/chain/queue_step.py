"""One step of a transaction queue: look at the chain, then send what it does not have."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from web3 import Web3

from farthing.chain.checked_node import AnswerUnusable, Call, CheckedNode, Receipt, WouldFail
from farthing.chain.fees import GWEI, FeePolicy, Fees
from farthing.chain.journal import (
    FAILED,
    FINAL,
    MINED,
    QUEUED,
    REFUSED,
    SIGNED,
    Attempted,
    Journal,
    Queued,
)
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import IN_FLIGHT, TransactionSigner
from farthing.chain.used_nonces import find_user

log = logging.getLogger("farthing.queue")

# Transactions read at a time.
PAGE = 64
# What uses up a nonce that nothing else has: nothing sent from the key to itself.
GAP = "gap"
GAP_GAS = 21_000


@dataclass(frozen=True)
class Changed:
    """A transaction whose state is another now.

    Attributes:
        before: The state it had.
        transaction: As it is now.
    """

    before: str
    transaction: Queued


@dataclass
class Memory:
    """What a queue remembers from step to step. All of it can be found out again.

    Attributes:
        offered: By transaction, the attempt the node has, and the block it was the latest at.
        used_below: Every nonce below is used for good. A node that is late does not know.
        count: The highest count of the account that its transactions in the chain account for.
    """

    offered: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    used_below: int = 0
    count: int = 0


class Step:
    """One step, under a lease. What it changes it adds to ``changes``.

    Raises, from `run`: `FarthingError` of any kind, where it had to stop.
    """

    def __init__(
        self,
        node: CheckedNode,
        account: TransactionSigner,
        journal: Journal,
        lease: tuple[str, str],
        confirmations: int,
        fees: FeePolicy,
        clock: Callable[[], float],
        memory: Memory,
        changes: list[Changed],
    ) -> None:
        self._node = node
        self._account = account
        self._address = Web3.to_checksum_address(account.address)
        self._journal = journal
        self._lease = lease
        self._confirmations = confirmations
        self._fees = fees
        self._clock = clock
        self._memory = memory
        self._changes = changes
        self._hashes: dict[int, bytes | None] = {}

    def run(self) -> None:
        """Takes the step."""
        self._node.check_chain()
        self._head = self._node.head()
        for mined in self._all(MINED):
            self._confirm(mined)
        self._count = self._node.count(self._address)
        self._undo_final()
        for signed in self._all(SIGNED):
            if nonce_of(signed) < self._count:
                self._look(signed)
        self._tip = self._node.tip()
        offers = [(each, self._journal.attempts(each.id)[-1]) for each in self._all(SIGNED)]
        offers.sort(key=lambda offer: nonce_of(offer[0]))
        # Whatever has no limit must not wait for the cheaper gas that another one waits for.
        self._pressed = [nonce_of(each) for each, _ in offers if each.fee_limit is None]
        if any(each.fee_limit is None for each in self._each(QUEUED)):
            self._pressed += [nonce_of(each) + 1 for each, _ in offers]
        # What is in flight may cost all that it offers.
        flying = sum(each.gas * attempt.max_fee for each, attempt in offers)
        self._spare = self._node.balance(self._address) - flying
        for signed, attempt in offers:
            if nonce_of(signed) >= self._count:
                self._offer(signed, *self._replaced(signed, attempt))
        self._begin()
        self._fill_gap()

    # ------------------------------------------------------------ what the chain has

    def _confirm(self, mined: Queued) -> None:
        """Looks whether the block of a mined transaction is still there, and deep enough."""
        if mined.block not in self._hashes:
            self._hashes[mined.block] = self._node.block_hash(mined.block)
        now_there = self._hashes[mined.block]
        if now_there is None:
            return  # this node is late
        if now_there != mined.block_hash:
            receipt = self._receipt(mined)
            if receipt is None:
                reason = f"a reorganisation undid block {mined.block}: it is sent again."
                self._move(mined, SIGNED, reason=reason)
            elif bytes(receipt["blockHash"]) != mined.block_hash:
                self._see(mined, receipt)
            return
        if self._head.number - mined.block < self._confirmations:
            return
        receipt = self._receipt(mined)
        if receipt is None or bytes(receipt["blockHash"]) != mined.block_hash:
            return  # the answers come from nodes that do not agree
        self._memory.used_below = max(self._memory.used_below, nonce_of(mined) + 1)
        self._move(
            mined,
            FINAL if mined.succeeded else FAILED,
            block=mined.block,
            block_hash=mined.block_hash,
            succeeded=mined.succeeded,
            gas_used=mined.gas_used,
            fee=mined.fee,
            reason=mined.reason,
        )

    def _look(self, signed: Queued) -> None:
        """Looks what has used the nonce of a signed transaction."""
        receipt = self._receipt(signed)
        if receipt is not None:
            self._confirm(self._see(signed, receipt))
            return
        # It may be that the node which keeps receipts is late. Only what is found in a block that
        # is final tells that the nonce is gone.
        nonce, last = nonce_of(signed), self._head.number - self._confirmations
        if last < 0 or self._node.count(self._address, last) <= nonce:
            return
        user = find_user(self._node, self._address, nonce, last)
        is_own = user in {each.hash for each in self._journal.attempts(signed.id)}
        if is_own or self._receipt(signed) is not None:
            return  # the next step sees it
        self._node.check_chain()
        self._memory.used_below = max(self._memory.used_below, nonce + 1)
        by = "another transaction" if user is None else f"transaction 0x{user.hex()}"
        reason = f"nonce {nonce} was used by {by} of this key: it gets a new one."
        log.warning("transaction %s: %s", signed.id, reason)
        self._move(signed, QUEUED, reason=reason)

    def _see(self, found: Queued, receipt: Receipt) -> Queued:
        """Writes down that a transaction is in a block."""
        succeeded = receipt["status"] == 1
        # What some chains charge on top, for the room on another chain.
        extra: Any = receipt.get("l1Fee", 0)
        return self._move(
            found,
            MINED,
            block=receipt["blockNumber"],
            block_hash=bytes(receipt["blockHash"]),
            succeeded=succeeded,
            gas_used=receipt["gasUsed"],
            fee=receipt["gasUsed"] * receipt.get("effectiveGasPrice", 0)
            + (int(extra, 16) if isinstance(extra, str) else int(extra)),
            reason="" if succeeded else self._why(found, receipt),
        )

    def _why(self, failed: Queued, receipt: Receipt) -> str:
        """Runs a failed transaction again on the state before its block, for the reason."""
        if receipt["gasUsed"] == failed.gas:
            return f"it ran out of its {failed.gas:,} gas."
        try:
            self._node.simulate(_call(failed), receipt["blockNumber"] - 1)
        except (ContractReverted, WouldFail) as error:
            return str(error)
        return "it failed in its block and would have succeeded before it."

    def _undo_final(self) -> None:
        """Takes up again what was final, if a reorganisation went deeper than that."""
        latest = self._journal.transactions(
            sender=self._address, states=(FINAL, FAILED), limit=PAGE, newest_first=True
        )
        if not self._memory.used_below:
            self._memory.used_below = max((nonce_of(each) for each in latest), default=-1) + 1
        if self._count >= self._memory.used_below:
            return
        for each in latest:
            if nonce_of(each) < self._count:
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
            self._move(each, SIGNED, reason=reason)
        self._memory.used_below = self._count

    # ------------------------------------------------------------ what the node gets

    def _replaced(self, signed: Queued, attempt: Attempted) -> tuple[Attempted, str]:
        """The attempt to offer now: a dearer one when this one has waited too long, or why not."""
        is_first = nonce_of(signed) == self._count
        # Whichever comes first, and whatever cannot be mined at all at this base fee.
        if not is_first and attempt.max_fee >= self._head.base_fee:
            return attempt, ""
        if self._head.time - attempt.time < self._fees.replace_after:
            return attempt, ""
        before = Fees(attempt.max_fee, attempt.tip)
        is_pressed = any(each > nonce_of(signed) for each in self._pressed)
        policy = self._fees if is_pressed else self._fees.below(signed.fee_limit)
        fees = policy.replacement(before, self._head.base_fee, self._tip)
        if fees is None:
            return attempt, self._too_dear(policy, attempt.max_fee)
        more = signed.gas * (fees.max_fee - before.max_fee)
        if more > self._spare:
            return attempt, self._no_funds(more)
        self._spare -= more
        log.info("transaction %s has waited, and is replaced at %s wei", signed.id, fees.max_fee)
        return self._sign(signed, nonce_of(signed), fees), ""

    def _offer(self, signed: Queued, attempt: Attempted, reason: str = "") -> None:
        """Sends a signed transaction, unless the node has got it since its latest block.

        Args:
            reason: Why it is not another one, if it should be.
        """
        offered = (attempt.hash, self._head.hash)
        if self._memory.offered.get(signed.id) == offered:
            return
        refusal = self._node.send(attempt.raw, attempt.hash).rstrip(".")
        self._memory.offered[signed.id] = offered
        if refusal and not reason:
            reason = f"the node does not take it now ({refusal}): it is offered again."
        self._tell(signed, reason)

    def _begin(self) -> None:
        """Gives nonces to what is queued, in its order, as far as coins, cap and pool allow."""
        held = {nonce_of(each) for state in (SIGNED, MINED) for each in self._all(state)}
        room = IN_FLIGHT - sum(nonce >= self._count for nonce in held)
        for each in self._each(QUEUED):
            if room <= 0:
                return
            if not self._is_good(each):
                continue
            self._check_count(held)
            policy = self._fees.below(each.fee_limit)
            fees = policy.offer(self._head.base_fee, self._tip)
            if fees is None:
                self._tell(each, self._too_dear(policy))
                if policy is self._fees:
                    return
                continue
            if each.gas * fees.max_fee > self._spare:
                self._tell(each, self._no_funds(each.gas * fees.max_fee))
                return
            self._spare -= each.gas * fees.max_fee
            room -= 1
            nonce = lowest_free(max(self._count, self._memory.used_below), held)
            held.add(nonce)
            attempt = self._sign(each, nonce, fees)
            signed = self._read(each.id)
            self._changes.append(Changed(each.state, signed))
            self._offer(signed, attempt)

    def _check_count(self, held: set[int]) -> None:
        """Makes sure that the account's count is right before a nonce is taken from it.

        A transaction with a nonce too high would wait for good, and must not get another one.
        """
        known = max(self._memory.count, self._memory.used_below, *(each + 1 for each in held))
        if self._count > known:
            # More than this queue knows of, so it has to be there to be seen.
            last = self._count - 1
            if find_user(self._node, self._address, last, self._head.number) is None:
                # From long ago. At least it is not said by mistake.
                self._node.check_chain()
                if self._node.count(self._address) != self._count:
                    raise AnswerUnusable("the account's count", "it is another each time")
        self._memory.count = max(self._memory.count, self._count)

    def _is_good(self, queued: Queued) -> bool:
        """Whether a transaction would succeed now; one that would not is refused."""
        if queued.gas > self._head.gas_limit:
            reason = f"its gas of {queued.gas:,} is above a block's {self._head.gas_limit:,}."
            self._move(queued, REFUSED, reason=reason)
            return False
        try:
            self._node.simulate(_call(queued))
        except (ContractReverted, WouldFail) as error:
            self._move(queued, REFUSED, reason=str(error))
            return False
        except AnswerUnusable as error:
            # It may be about this one only, so the others go on.
            self._tell(queued, str(error))
            return False
        return True

    def _fill_gap(self) -> None:
        """Orders something for a nonce that nothing has and others wait for.

        It is left behind by somebody else's transaction that a reorganisation undid. Whatever is
        queued next takes it; if nothing comes, a transaction that does nothing.
        """
        signed = sorted(self._all(SIGNED), key=nonce_of)
        held = {nonce_of(each) for each in (*signed, *self._all(MINED))}
        free = lowest_free(self._count, held)
        behind = [each for each in signed if nonce_of(each) > free]
        if not behind or self._count < self._memory.used_below:
            return
        if any(each.fee_limit is None for each in self._each(QUEUED)):
            return
        waited = self._head.time - self._journal.attempts(behind[0].id)[-1].time
        if waited >= self._fees.replace_after:
            self._journal.enqueue(
                sender=self._address,
                kind=GAP,
                subject=b"",
                to=self._address,
                data=b"",
                gas=GAP_GAS,
                time=int(self._clock()),
            )

    def _sign(self, found: Queued, nonce: int, fees: Fees) -> Attempted:
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
        self._journal.sign(
            found.id,
            self._lease,
            hash=bytes(signed.hash),
            raw=bytes(signed.raw_transaction),
            nonce=nonce,
            max_fee=fees.max_fee,
            tip=fees.tip,
            time=self._head.time,
        )
        return self._journal.attempts(found.id)[-1]

    # ------------------------------------------------------------ the journal

    def _move(self, found: Queued, state: str, **values: Any) -> Queued:
        self._journal.move_transaction(
            found.id, self._lease, state, time=int(self._clock()), **values
        )
        self._memory.offered.pop(found.id, None)
        now = self._read(found.id)
        if state != found.state:
            self._changes.append(Changed(found.state, now))
        return now

    def _tell(self, found: Queued, reason: str) -> Queued:
        """Writes down why a transaction that is in no block has to wait."""
        if found.reason == reason:
            return found
        self._journal.move_transaction(
            found.id, self._lease, found.state, time=int(self._clock()), reason=reason
        )
        return self._read(found.id)

    def _read(self, transaction_id: int) -> Queued:
        found = self._journal.transaction(transaction_id)
        assert found is not None, "a journal forgets nothing"
        return found

    def _all(self, state: str) -> list[Queued]:
        """All transactions in a state that few are in at a time."""
        return list(self._each(state))

    def _each(self, state: str) -> Iterator[Queued]:
        after = 0
        while page := self._page(state, after):
            yield from page
            after = page[-1].id

    def _page(self, state: str, after: int) -> Sequence[Queued]:
        return self._journal.transactions(
            sender=self._address, states=(state,), after=after, limit=PAGE
        )

    def _receipt(self, found: Queued) -> Receipt | None:
        return find_receipt(self._node, self._journal, found.id)

    def _too_dear(self, policy: FeePolicy, offered: int = 0) -> str:
        before = f" after an offer of {offered / GWEI:.9g}" if offered else ""
        now = f"at a base fee of {self._head.base_fee / GWEI:.9g}{before}"
        if policy.cap < self._fees.cap:
            return (
                f"above {policy.cap / GWEI:.9g} gwei for a gas it would cost too much of what it "
                f"brings, {now}: it waits for cheaper gas."
            )
        return (
            f"the cap of {policy.cap / GWEI:.9g} gwei for a gas is not enough {now}: it waits; "
            "raise the cap if it should not."
        )

    def _no_funds(self, cost: int) -> str:
        return (
            f"{self._address} has {max(self._spare, 0) / 10**18:.9f} coins to spare for gas and "
            f"this may cost {cost / 10**18:.9f}: send it coins."
        )


def find_receipt(node: CheckedNode, journal: Journal, transaction_id: int) -> Receipt | None:
    """The receipt of whichever signing of a transaction is in the chain."""
    # Any can be, also one that was replaced; the last is the likeliest.
    for attempt in reversed(journal.attempts(transaction_id)):
        receipt = node.receipt(attempt.hash)
        if receipt is not None:
            return receipt
    return None


def lowest_free(first: int, held: set[int]) -> int:
    """The lowest nonce from ``first`` on that is not held: a gap before anything new."""
    while first in held:
        first += 1
    return first


def nonce_of(found: Queued) -> int:
    """The nonce of a transaction that was signed."""
    assert found.nonce is not None, f"transaction {found.id} is {found.state} without a nonce"
    return found.nonce


def _call(found: Queued) -> Call:
    return Call(found.sender, found.to, found.data, found.gas)
