"""Redeems what a ledger holds, step by step, and books what came of it by the chain alone.

A step may end anywhere, with the process. What was planned and not written down is planned again;
what was written down is the queue's, which sends it once. Rows of a transaction that is on its way
are not planned again, and come back by themselves if it fails, is refused or is undone.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from farthing.chain.checked_node import Call, CheckedNode, Head, WouldFail
from farthing.chain.fees import FeePolicy
from farthing.chain.journal import FAILED, FINAL, LIVE, MINED, REFUSED
from farthing.chain.lens import Lens
from farthing.chain.queue import TransactionQueue
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import IN_FLIGHT, Transaction
from farthing.chain.settlement import Channel as Books
from farthing.chain.settlement import NothingRedeemed, Settlement, Snapshot
from farthing.chain.wallets import is_contract
from farthing.ledger import Channel, Ledger, Mirror, QueuedTransaction
from farthing.protocol import Reason as RowReason
from farthing.protocol import VoucherClaim
from farthing.protocol.keccak import keccak
from farthing.protocol.signatures import Signer
from farthing.redeemer.batches import claim_transaction, redeem_transaction
from farthing.redeemer.gas import SETTLE_GAS, predict
from farthing.redeemer.money import GasPrice, pays
from farthing.redeemer.plan import CLAIM, REDEEM, SETTLE, Plan, Planned, Settle, Way, make_plan
from farthing.redeemer.policy import ALL, Moment, Policy, Reason, choose

LEASE = "redeemer"
# For how long nobody else redeems after a process died in the middle.
LEASE_SECONDS = 60
# Transactions on their way at most. What is urgent later waits behind no more than that.
OUTSTANDING = 2 * IN_FLIGHT
# A transaction may take this part of a block at most, so that it finds room in one.
BLOCK_PART = 4
KINDS = (REDEEM, CLAIM, SETTLE)

# Texts in the ledger.
_RUN = "redeemer run"
_ASKED = "redeemer asked"
_BOOKED = "redeemer booked"
_OPEN, _DONE = "open", "done"


@dataclass(frozen=True)
class Booked:
    """What came of a transaction, by the chain.

    Attributes:
        kind: `REDEEM`, `CLAIM` or `SETTLE`.
        channels: How many it was to claim for.
        amount: What its channels' totals rose by, or what it settled.
        paid: What of it the token says that it moved to the receiver.
        credited: What of it a token refused to pay out; it is settled later.
        fee: What it cost, in wei.
        skipped: How many rows brought nothing, by the contract's reason.
        problem: What a person should look at, in one sentence; empty when all is well.
    """

    transaction_id: int
    kind: str
    channels: int
    amount: int = 0
    paid: int = 0
    credited: int = 0
    fee: int = 0
    skipped: Mapping[RowReason, int] = field(default_factory=dict)
    problem: str = ""


@dataclass
class Step:
    """What a step did.

    Attributes:
        why: One line: what it redeems and why, or why it waits.
        plan: What it was to do; None when another redeemer is at work.
        submitted: Ids of the transactions it ordered.
        booked: What came of earlier ones.
        problems: What a person should look at, one sentence each.
    """

    why: str
    plan: Plan | None = None
    submitted: list[int] = field(default_factory=list)
    booked: list[Booked] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Redeemer:
    """Redeems a publisher's channels by a policy.

    Attributes:
        policy: May be replaced by another one at any time.

    Args:
        ledger: One thread at a time may use it, so give it one of its own.
        queue: Sends what is ordered here; somebody has to let it step.
        authorizer: The receiver authorizer's key. Channels of another one are left.
        receiver, token: The publisher's, for what is to be settled though no channel tells of it.
            Channels of another token are left, for the policy's amounts are in this one.
        fees: What the queue offers for gas.
        holder: Names this redeemer among all of the ledger; no two at a time have one name.
        clock: Unix seconds.
        show: Writes an amount, for sentences.
    """

    def __init__(
        self,
        ledger: Ledger,
        settlement: Settlement,
        queue: TransactionQueue,
        authorizer: Signer,
        policy: Policy,
        *,
        receiver: str,
        token: str,
        fees: FeePolicy,
        holder: str,
        clock: Callable[[], float] = time.time,
        show: Callable[[int], str] = str,
    ) -> None:
        self.policy = policy
        self._ledger = ledger
        self._settlement = settlement
        self._queue = queue
        self._authorizer = authorizer
        self._receiver = receiver
        self._token = token
        self._fees = fees
        self._lease = (LEASE, holder)
        self._clock = clock
        self._show = show
        self._node = CheckedNode(settlement.w3)
        self._lens = Lens(settlement.w3, settlement.address, settlement.domain.chain_id)
        # What was booked since the start, of what comes after the text in the ledger.
        self._booked: set[int] = set()

    # ------------------------------------------------------------ what others call

    def plan(self, *, now: bool = False) -> Plan:
        """What would be redeemed at this moment. Changes nothing.

        Args:
            now: Whether everything is wanted that brings more than it costs.

        Raises:
            FarthingError: The ledger or the node cannot be asked.
        """
        return self._plan(self._node.head(), now or self._is_asked())

    def ask(self) -> None:
        """Has whichever redeemer of this ledger steps next redeem everything that brings more than
        it costs."""
        self._ledger.remember(_ASKED, "now")

    def step(self, *, now: bool = False) -> Step:
        """Books what came of earlier transactions, and orders what is due.

        Args:
            now: As for `plan`.

        Raises:
            FarthingError: The ledger or the node cannot be asked. What was ordered before stands,
                and the next step goes on.
        """
        if now:
            self.ask()
        if not self._ledger.take_lease(self._lease, LEASE_SECONDS):
            return Step("Waits: another redeemer of this ledger is at work.")
        try:
            booked = self._book()
            head = self._node.head()
            asked = self._is_asked()
            step = Step("", booked=booked)
            step.problems = [each.problem for each in booked if each.problem]
            step.plan = self._plan(head, asked)
            step.why = step.plan.why
            self._submit(step, step.plan, head, asked)
            return step
        finally:
            self._ledger.give_lease(self._lease)

    def is_idle(self) -> bool:
        """Whether nothing that was ordered is on its way, or still to be booked."""
        return not self._live() and not self._to_book()

    # ------------------------------------------------------------ planning

    def _plan(self, head: Head, asked: bool) -> Plan:
        gas = GasPrice(head.base_fee + self._tip(), self.policy.coin_price)
        last_run, is_open = self._run()
        moment = Moment(
            # Deadlines are the chain's; a node that is late must not make them look far.
            now=max(int(self._clock()), head.time),
            gas=gas,
            last_run=last_run,
            run_is_open=is_open,
            is_asked=asked,
        )
        way = self._way(head)
        with without_collection():
            choice = choose(
                self._ledger.redeemable(),
                self.policy,
                moment,
                in_flight=self._ledger.in_flight(),
                unfit=self._unfit,
                row_gas=way.row_gas,
                show=self._show,
            )
            plan = make_plan(choice, self.policy, gas, way, show=self._show)
        self._plan_settles(plan, asked)
        return plan

    def _way(self, head: Head) -> Way:
        terms = (self._receiver, self._authorizer.address)
        return Way(
            has_redeem=self._settlement.has_redeem,
            relayed=self._queue.address not in terms,
            gas_target=head.gas_limit // BLOCK_PART,
        )

    def _unfit(self, channel: Channel) -> Reason | None:
        config = channel.config
        if config.token != self._token:
            return Reason.OTHER_TOKEN
        if config.receiver_authorizer != self._authorizer.address:
            return Reason.OTHER_KEY
        return None

    def _tip(self) -> int:
        suggested = self._node.tip()
        return self._fees.tip if suggested is None else min(suggested, self._fees.tip)

    def _plan_settles(self, plan: Plan, asked: bool) -> None:
        """Adds the payout of what is claimed and not paid, once nothing more is being claimed."""
        account = self._settlement.receiver_account(self._receiver, self._token)
        owed = account.total_claimed - account.total_settled
        if owed <= 0:
            return
        said = f"{self._show(owed)} claimed before for {self._receiver}"
        # One key's transactions go in their order: what is in a block stays before this one.
        unseen = [each.kind for each in self._live() if each.state != MINED]
        if CLAIM in unseen or SETTLE in unseen or CLAIM in (each.kind for each in plan.batches):
            plan.notes.append(f"{said} is paid out after the claims that are on their way")
            return
        transaction = self._settlement.plan_settle(self._receiver, self._token)
        try:
            gas = self._node.estimate(self._call(transaction))
        except (ContractReverted, WouldFail) as error:
            plan.notes.append(f"{said} waits, for the token does not pay it out: {error}")
            return
        cost = plan.gas.cost(gas)
        if not pays(owed, cost, ALL if asked else self.policy.share):
            plan.notes.append(f"{said} waits, for paying it out costs {self._show(cost)}")
            return
        settle = Settle(self._receiver, self._token, owed, account.total_claimed, gas, cost)
        plan.settles.append(settle)
        if not plan.batches:
            plan.why = f"Settles {said}."

    # ------------------------------------------------------------ ordering

    def _submit(self, step: Step, plan: Plan, head: Head, asked: bool) -> None:
        room = OUTSTANDING - len(self._live())
        goes_on = len(plan.batches) > room
        if plan.is_run or asked:
            # Before anything is ordered: a run that is cut off goes on.
            self._remember_run(goes_on=True)
        in_flight = self._ledger.in_flight()
        for planned in plan.batches[: max(room, 0)]:
            self._order(step, planned, in_flight, head, plan.gas)
        for settle in plan.settles:
            transaction = self._settlement.plan_settle(settle.receiver, settle.token)
            named = (settle.receiver + settle.token).encode()
            subject = keccak(named + settle.total_claimed.to_bytes(16, "big"))
            gas = replace(transaction, gas=settle.gas)
            step.submitted.append(self._queue.submit(SETTLE, self._fresh(SETTLE, subject), gas))
        if (plan.is_run or asked) and not goes_on:
            self._remember_run(goes_on=False)
            if asked:
                self._ledger.remember(_ASKED, "")

    def _order(
        self,
        step: Step,
        planned: Planned,
        in_flight: Mapping[bytes, int],
        head: Head,
        gas: GasPrice,
    ) -> None:
        """Looks at a batch's channels on the chain, and orders what still brings something."""
        # Also so that nobody else begins while this one is at it for long.
        if not self._ledger.take_lease(self._lease, LEASE_SECONDS):
            step.problems.append("another redeemer took over in the middle of a step")
            return
        ids = planned.batch.channel_ids
        found = self._lens.read(ids, head.number, "0x" + head.hash.hex())
        books = {
            channel_id: Books(each.balance, max(each.total_claimed, in_flight.get(channel_id, 0)))
            for channel_id, each in zip(ids, found, strict=True)
        }
        if planned.kind == REDEEM:
            self._order_redeem(step, planned, books, gas)
        else:
            self._order_claim(step, planned, books, gas)

    def _order_redeem(
        self, step: Step, planned: Planned, books: Mapping[bytes, Books], gas: GasPrice
    ) -> None:
        settlement, batch = self._settlement, planned.batch
        codes: dict[str, bool] = {}

        def has_code(address: str) -> bool:
            if address not in codes:
                codes[address] = is_contract(settlement.w3, address)
            return codes[address]

        # The ledger took no voucher but by the contract's own rules: none is recovered again.
        domain = settlement.domain
        outcomes = predict(batch, domain, books, is_contract=has_code, verified=True).outcomes
        good = [each.index for each in outcomes if each.reason is RowReason.REDEEMED]
        wallets = [each.index for each in outcomes if each.reason is RowReason.CONTRACT_PAYER]
        if wallets:
            self._order_claim(step, replace(planned, batch=batch.only(wallets)), books, gas)
        if not good:
            return
        batch = batch.only(good)
        prediction = predict(batch, domain, books, is_contract=has_code, verified=True)
        if not pays(prediction.amount, gas.cost(prediction.gas), planned.share):
            return
        transaction = redeem_transaction(settlement, batch, self._queue.address, self._authorizer)
        try:
            self._node.simulate(self._call(transaction))
        except (ContractReverted, WouldFail) as error:
            step.problems.append(
                f"a redemption of {len(batch.claims)} channels would fail: {error}"
            )
            return
        totals = [outcome.total for outcome in prediction.outcomes]
        self._enqueue(step, REDEEM, transaction, batch.channel_ids, totals)

    def _order_claim(
        self, step: Step, planned: Planned, books: Mapping[bytes, Books], gas: GasPrice
    ) -> None:
        rows = []
        value = 0
        for channel_id, claim in zip(planned.batch.channel_ids, planned.batch.claims, strict=True):
            found = books[channel_id]
            # A claim above the balance is refused, with all that are beside it.
            total = min(claim.total_claimed, found.balance)
            if total > found.total_claimed:
                rows.append((channel_id, replace(claim, total_claimed=total)))
        rows = self._accepted(step, rows)
        if not rows:
            return
        value = sum(claim.total_claimed - books[each].total_claimed for each, claim in rows)
        claims = [claim for _, claim in rows]
        transaction = claim_transaction(self._settlement, claims, self._authorizer)
        used = self._node.estimate(self._call(transaction))
        if pays(value, gas.cost(used + SETTLE_GAS), planned.share):
            ids, totals = [each for each, _ in rows], [claim.total_claimed for claim in claims]
            self._enqueue(step, CLAIM, replace(transaction, gas=used), ids, totals)

    def _accepted(
        self, step: Step, rows: Sequence[tuple[bytes, VoucherClaim]]
    ) -> list[tuple[bytes, VoucherClaim]]:
        """Those rows that the contract would claim, found by halves: one bad row refuses all."""
        if not rows:
            return []
        claims = [claim for _, claim in rows]
        transaction = self._settlement.plan_claim(claims)
        call = Call(self._authorizer.address, self._settlement.address, transaction.data)
        try:
            self._node.simulate(call)
            return list(rows)
        except (ContractReverted, WouldFail) as error:
            if len(rows) == 1:
                step.problems.append(
                    f"channel 0x{rows[0][0].hex()} cannot be claimed, and is left: {error}"
                )
                return []
        half = len(rows) // 2
        return self._accepted(step, rows[:half]) + self._accepted(step, rows[half:])

    def _enqueue(
        self,
        step: Step,
        kind: str,
        transaction: Transaction,
        ids: Sequence[bytes],
        totals: Sequence[int],
    ) -> None:
        rows = list(zip(ids, totals, strict=True))
        named = keccak(b"".join(each + total.to_bytes(16, "big") for each, total in rows))
        subject = self._fresh(kind, named)
        step.submitted.append(self._queue.submit(kind, subject, transaction, rows))

    def _fresh(self, kind: str, subject: bytes) -> bytes:
        """The subject, or one made of it when a transaction of that subject is through: the same
        rows can be due again, for example after a top-up."""
        while (known := self._ledger.find_transaction(kind, subject)) is not None:
            if known.state != FINAL:
                break
            subject = keccak(subject + known.id.to_bytes(8, "big"))
        return subject

    def _call(self, transaction: Transaction) -> Call:
        address = self._settlement.address
        return Call(self._queue.address, address, transaction.data, transaction.gas)

    # ------------------------------------------------------------ booking

    def _book(self) -> list[Booked]:
        """Looks on the chain what became of the transactions that are through."""
        booked = []
        for each in self._to_book():
            found = self._look(each)
            if found is not None:
                booked.append(found)
                self._booked.add(each.id)
        open_ids = [each.id for each in (*self._live(), *self._to_book())]
        done = min(open_ids) - 1 if open_ids else max(self._booked, default=0)
        if done > int(self._ledger.recall(_BOOKED) or 0):
            self._ledger.remember(_BOOKED, str(done))
        return booked

    def _look(self, through: QueuedTransaction) -> Booked | None:
        """What became of a transaction; None when the node does not know yet."""
        rows = {row.channel_id: row.total for row in self._ledger.rows(through.id)}
        this = Booked(through.id, through.kind, len(rows), fee=through.fee)
        name = f"transaction {through.id}, a {through.kind},"
        if through.state in (FAILED, REFUSED):
            what = "failed" if through.state == FAILED else "was not sent"
            return replace(
                this, problem=f"{name} {what}, its rows are redeemed again: {through.reason}"
            )
        receipt = self._queue.receipt(through.id)
        if receipt is None or bytes(receipt["blockHash"]) != through.block_hash:
            return None
        if through.kind == SETTLE:
            settled = self._settlement.settled(receipt)
            problem = "" if settled.amount else f"{name} settled nothing"
            if settled.moved != settled.amount:
                problem = _not_moved(name, settled.amount, settled.moved, self._show)
            return replace(this, amount=settled.amount, paid=settled.moved, problem=problem)
        if not self._mirror(rows, through):
            return None
        if through.kind == CLAIM:
            claimed = self._settlement.claimed(receipt)
            problem = "" if claimed else f"{name} succeeded and claimed nothing"
            return replace(this, amount=claimed, problem=problem)
        try:
            redeemed = self._settlement.redeemed(receipt)
        except NothingRedeemed as error:
            return replace(this, problem=f"{name} succeeded and redeemed nothing: {error}")
        due = redeemed.amount - redeemed.credited
        skipped = Counter(each.reason for each in redeemed.outcomes)
        del skipped[RowReason.REDEEMED]
        problem = ""
        if redeemed.moved != due:
            problem = _not_moved(name, due, redeemed.moved, self._show)
        elif bad := {each: n for each, n in skipped.items() if each is not RowReason.STALE}:
            said = ", ".join(f"{n} {each.sentence()}" for each, n in bad.items())
            problem = f"{name} skipped rows: {said}"
        return replace(
            this,
            amount=redeemed.amount,
            paid=redeemed.moved,
            credited=redeemed.credited,
            skipped=skipped,
            problem=problem,
        )

    def _mirror(self, rows: Mapping[bytes, int], through: QueuedTransaction) -> bool:
        """Writes down what the chain says of a transaction's channels; False when the node is
        behind its block."""
        asked_at = time.time_ns() // 1_000_000
        head = self._node.head()
        if head.number < through.block:
            return False
        found = self._lens.read(rows, head.number, "0x" + head.hash.hex())
        seen = []
        for channel_id, snapshot in zip(rows, found, strict=True):
            channel = self._ledger.channel(channel_id)
            if channel is not None:
                seen.append((channel_id, channel.config, _mirror(snapshot, asked_at)))
        self._ledger.mirror_many(seen)
        return True

    # ------------------------------------------------------------ the ledger's texts and lists

    def _is_asked(self) -> bool:
        return bool(self._ledger.recall(_ASKED))

    def _run(self) -> tuple[int, bool]:
        """When the last run began, and whether it goes on."""
        began, _, state = (self._ledger.recall(_RUN) or f"0 {_DONE}").partition(" ")
        return int(began), state == _OPEN

    def _remember_run(self, *, goes_on: bool) -> None:
        began, is_open = self._run()
        if not is_open and goes_on:
            began = int(self._clock())
        self._ledger.remember(_RUN, f"{began} {_OPEN if goes_on else _DONE}")

    def _live(self) -> list[QueuedTransaction]:
        return [each for each in self._listed(LIVE) if each.kind in KINDS]

    def _to_book(self) -> list[QueuedTransaction]:
        after = int(self._ledger.recall(_BOOKED) or 0)
        return [
            each
            for each in self._listed((FINAL, FAILED, REFUSED), after)
            if each.kind in KINDS and each.id not in self._booked
        ]

    def _listed(self, states: Sequence[str], after: int = 0) -> Iterator[QueuedTransaction]:
        while page := self._ledger.transactions(states=states, after=after):
            yield from page
            after = page[-1].id


def _mirror(found: Snapshot, asked_at: int) -> Mirror:
    return Mirror(
        found.balance,
        found.total_claimed,
        found.withdraw_amount,
        found.withdraw_requested_at,
        found.refund_nonce,
        asked_at,
    )


def _not_moved(name: str, due: int, moved: int, show: Callable[[int], str]) -> str:
    return (
        f"{name} paid {show(due)} by the contract and {show(moved)} by the token: look at the "
        "token before you take more of it"
    )


@contextmanager
def without_collection() -> Iterator[None]:
    """Plans without the collector of cycles: a hundred thousand channels make a million objects and
    no cycle, and looking through them over and over takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
