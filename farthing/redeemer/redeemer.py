"""Redeems what a ledger holds, step by step, and books what came of it by the chain alone.

A step may end anywhere, with the process. What was planned and not written down is planned again;
what was written down is the queue's, which sends it once. Rows of a transaction that is on its way
are not planned again, and come back by themselves if it fails, is refused or is undone.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from farthing.chain.checked_node import Call, CheckedNode, Head, WouldFail
from farthing.chain.fees import FeePolicy
from farthing.chain.journal import MINED
from farthing.chain.lens import Lens
from farthing.chain.queue import TransactionQueue
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import IN_FLIGHT
from farthing.chain.settlement import Settlement
from farthing.ledger import Channel, Ledger, QueuedTransaction
from farthing.protocol.signatures import Signer
from farthing.redeemer.booking import Booked, Bookkeeper
from farthing.redeemer.desk import Desk
from farthing.redeemer.money import GasPrice, pays
from farthing.redeemer.orders import Orders
from farthing.redeemer.packer import NO_DEADLINE
from farthing.redeemer.plan import CLAIM, SETTLE, Plan, Settle, Way, make_plan
from farthing.redeemer.policy import ALL, Moment, Policy, Reason, choose

LEASE = "redeemer"
# For how long nobody else redeems after a process died in the middle.
LEASE_SECONDS = 60
LOOK_SECONDS = 15.0
# Transactions ordered and in no block yet, at most: what is urgent later waits behind no more.
OUTSTANDING = 2 * IN_FLIGHT
# A transaction may take this part of a block at most, so that it finds room in one.
BLOCK_PART = 4

# Texts in the ledger.
_RUN = "redeemer run"
_ASKED = "redeemer asked"
_OPEN, _DONE = "open", "done"


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
        look_seconds: All channels are looked through so often at most while there is no run and
            no payer withdraws what it owes: with very many it takes seconds.
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
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.policy = policy
        self._look_seconds = look_seconds
        # The latest plan, and when it was made by the clock that only goes forward.
        self._latest: Plan | None = None
        self._planned_at = 0.0
        node = CheckedNode(settlement.w3)
        lens = Lens(settlement.w3, settlement.address, settlement.domain.chain_id)
        self._desk = Desk(ledger, settlement, queue, authorizer, node, lens, show)
        self._books = Bookkeeper(self._desk)
        self._ledger = ledger
        self._receiver = receiver
        self._token = token
        self._fees = fees
        self._lease = (LEASE, holder)
        self._clock = clock

    # ------------------------------------------------------------ what others call

    def plan(self, *, now: bool = False) -> Plan:
        """What would be redeemed at this moment. Changes nothing.

        Args:
            now: Whether everything is wanted that brings more than it costs.

        Raises:
            FarthingError: The ledger or the node cannot be asked.
        """
        return self._plan(self._desk.node.head(), now or self._is_asked())

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
            self._desk.node.check_chain()
            step = Step("", booked=self._books.book())
            step.problems = [each.problem for each in step.booked if each.problem]
            self._ledger.lift_fee_limits()
            if step.booked or self._latest is None or not self._is_quiet(self._latest):
                head = self._desk.node.head()
                asked = self._is_asked()
                self._latest = self._plan(head, asked)
                self._planned_at = time.monotonic()
                self._submit(step, self._latest, head, asked)
            step.plan, step.why = self._latest, self._latest.why
            self._books.told()
            return step
        finally:
            self._ledger.give_lease(self._lease)

    def is_idle(self) -> bool:
        """Whether nothing that was ordered is on its way, or still to be booked."""
        return not self._books.live() and not self._books.to_book()

    # ------------------------------------------------------------ planning

    def _plan(self, head: Head, asked: bool) -> Plan:
        gas = GasPrice(head.base_fee + self._tip(), self.policy.coin_price)
        last_run, is_open = self._run()
        moment = Moment(
            now=self._now(head),
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
                show=self._desk.show,
            )
            plan = make_plan(choice, self.policy, gas, way, show=self._desk.show)
        self._plan_settles(plan, asked)
        return plan

    def _now(self, head: Head) -> int:
        # Deadlines are the chain's; a node that is late must not make them look far.
        return max(int(self._clock()), head.time)

    def _way(self, head: Head) -> Way:
        terms = (self._receiver, self._desk.authorizer.address)
        return Way(
            has_redeem=self._desk.settlement.has_redeem,
            relayed=self._desk.queue.address not in terms,
            gas_target=head.gas_limit // BLOCK_PART,
        )

    def _unfit(self, channel: Channel) -> Reason | None:
        config = channel.config
        if config.token != self._token:
            return Reason.OTHER_TOKEN
        if config.receiver_authorizer != self._desk.authorizer.address:
            return Reason.OTHER_KEY
        return None

    def _tip(self) -> int:
        suggested = self._desk.node.tip()
        return self._fees.tip if suggested is None else min(suggested, self._fees.tip)

    def _plan_settles(self, plan: Plan, asked: bool) -> None:
        """Adds payouts of what is claimed and not paid, once nothing more is being claimed."""
        # One key's transactions go in their order: what is in a block stays before this one.
        unseen = {each.kind for each in self._unseen()}
        planned = {each.kind for each in plan.batches}
        waits = bool({CLAIM, SETTLE} & (unseen | planned))
        for receiver in sorted({self._receiver, *self._books.receivers()}):
            account = self._desk.settlement.receiver_account(receiver, self._token)
            owed = account.total_claimed - account.total_settled
            if owed <= 0:
                continue
            said = f"{self._desk.show(owed)} claimed before for {receiver}"
            if waits:
                plan.notes.append(f"{said} is paid out after the claims that are on their way")
                continue
            self._plan_settle(plan, receiver, owed, account.total_claimed, said, asked)
        if plan.settles and not plan.batches:
            owed = sum(each.value for each in plan.settles)
            plan.why = f"Settles {self._desk.show(owed)} that was claimed before."

    def _plan_settle(
        self, plan: Plan, receiver: str, owed: int, claimed: int, said: str, asked: bool
    ) -> None:
        settlement = self._desk.settlement
        data = settlement.plan_settle(receiver, self._token).data
        try:
            gas = self._desk.node.estimate(Call(self._desk.queue.address, settlement.address, data))
        except (ContractReverted, WouldFail) as error:
            plan.notes.append(f"{said} waits, for the token does not pay it out: {error}")
            return
        cost = plan.gas.cost(gas)
        share = ALL if asked else self.policy.share
        if pays(owed, cost, share):
            plan.settles.append(Settle(receiver, self._token, owed, claimed, gas, cost, share))
        else:
            plan.notes.append(f"{said} waits, for paying it out costs {self._desk.show(cost)}")

    def _unseen(self) -> list[QueuedTransaction]:
        return [each for each in self._books.live() if each.state != MINED]

    # ------------------------------------------------------------ ordering

    def _submit(self, step: Step, plan: Plan, head: Head, asked: bool) -> None:
        room = self._room(plan)
        goes_on = len(plan.batches) > room
        if plan.is_run or asked:
            # Before anything is ordered: a run that is cut off goes on.
            self._remember_run(head, goes_on=True)
        orders = Orders(self._desk, head, plan.gas)
        step.submitted, problems = orders.submitted, orders.problems
        for planned in plan.batches[:room]:
            # Also so that nobody else begins while this one is at it for long.
            if not self._ledger.take_lease(self._lease, LEASE_SECONDS):
                problems.append("another redeemer took over in the middle of a step.")
                goes_on = True
                break
            orders.redeem(planned)
        for settle in plan.settles:
            orders.settle(settle)
        step.problems += problems
        if (plan.is_run or asked) and not goes_on:
            self._remember_run(head, goes_on=False)
            if asked:
                self._ledger.remember(_ASKED, "")

    def _room(self, plan: Plan) -> int:
        """How many of a plan's batches may be ordered. Those that withdrawals press for, which come
        first, do not wait until those are through that wait for cheaper gas."""
        unseen = self._unseen()
        pressing = sum(each.deadline < NO_DEADLINE for each in plan.batches)
        beside = sum(each.fee_limit is None for each in unseen)
        return max(OUTSTANDING - len(unseen), min(pressing, OUTSTANDING - beside), 0)

    # ------------------------------------------------------------ the ledger's texts

    def _is_asked(self) -> bool:
        return bool(self._ledger.recall(_ASKED))

    def _is_quiet(self, latest: Plan) -> bool:
        """Whether the latest plan will do: it is young, and nothing has come up that waits for no
        run."""
        if time.monotonic() - self._planned_at >= self._look_seconds:
            return False
        if latest.batches or latest.settles or self._is_asked() or self._run()[1]:
            return False
        after = b""
        while page := self._ledger.channels(withdrawing=True, after=after):
            for channel in page:
                if channel.state.charged > channel.state.mirror.total_claimed:
                    return False
            after = page[-1].channel_id
        return True

    def _run(self) -> tuple[int, bool]:
        """When the last run began, and whether it goes on."""
        began, _, state = (self._ledger.recall(_RUN) or f"0 {_DONE}").partition(" ")
        return int(began), state == _OPEN

    def _remember_run(self, head: Head, *, goes_on: bool) -> None:
        began, is_open = self._run()
        if not is_open and goes_on:
            began = self._now(head)
        self._ledger.remember(_RUN, f"{began} {_OPEN if goes_on else _DONE}")


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
