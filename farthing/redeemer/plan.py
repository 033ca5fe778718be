"""From what is due to the transactions that redeem it, each of which brings more than it costs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from farthing.chain.settlement import MAX_CLAIMS
from farthing.ledger import Channel
from farthing.protocol import MAX_ROWS, ZERO_ADDRESS, VoucherClaim, is_packable
from farthing.protocol.amounts import plural
from farthing.protocol.redemption import MAX_TOTAL
from farthing.protocol.signatures import is_strict
from farthing.redeemer.gas import (
    CLAIM_ROW_GAS,
    WALLET_GAS,
    batch_gas,
    claims_gas,
    relay_gas,
    row_gas,
)
from farthing.redeemer.money import GasPrice, pays
from farthing.redeemer.packer import NO_DEADLINE, Batch, pack_in_order, terms_of
from farthing.redeemer.policy import ALL, Choice, Due, Left, Policy, Reason, clock

REDEEM, CLAIM, SETTLE = "redeem", "claim", "settle"


@dataclass(frozen=True)
class Way:
    """How a contract takes what is due.

    Attributes:
        has_redeem: Whether it has the packed redemption; the official x402 contract has not.
        relayed: Whether somebody else sends than the receiver or its authorizer.
        gas_target: Gas of one transaction at most.
    """

    has_redeem: bool
    relayed: bool
    gas_target: int

    def row_gas(self, channel: Channel) -> int:
        """About what a channel's row adds to its batch."""
        config, state = channel.config, channel.state
        if self.has_redeem and state.charged <= MAX_TOTAL and is_strict(state.signature):
            # As `count_extras` of its claim, which is made only for a channel that is due.
            words = (
                (config.payer_authorizer != config.payer)
                + any(config.salt)
                + (state.ceiling != state.charged)
            )
            return row_gas(config, words)
        return CLAIM_ROW_GAS + (WALLET_GAS if config.payer_authorizer == ZERO_ADDRESS else 0)

    def packs(self, claim: VoucherClaim) -> bool:
        """Whether a claim goes into a packed row. Elsewhere it is claimed, and settled after."""
        return self.has_redeem and is_packable(claim)

    def gas(self, kind: str, batch: Batch) -> int:
        """About what a batch of good rows costs, and what has to be settled after it."""
        if kind == CLAIM:
            return claims_gas(batch.claims)
        return batch_gas(batch.claims) + (relay_gas(len(batch.claims)) if self.relayed else 0)


@dataclass(frozen=True)
class Planned:
    """One transaction that redeems.

    Attributes:
        kind: `REDEEM` in packed rows, or `CLAIM`.
        batch: Its rows.
        value: What it brings.
        gas: About what it uses.
        cost: What that costs, in the token's smallest units.
        deadline: The earliest of its rows', unix seconds; `NO_DEADLINE` without one.
        share: What of its value it may cost.
    """

    kind: str
    batch: Batch
    value: int
    gas: int
    cost: int
    deadline: int
    share: Fraction


@dataclass(frozen=True)
class Settle:
    """A payout of what was claimed for a receiver, or credited to it, and not yet paid.

    Attributes:
        value: What it brings.
        total_claimed: What was claimed for the receiver in all by then; names the payout.
        cost: What its gas costs, in the token's smallest units.
        share: What of its value it may cost.
    """

    receiver: str
    token: str
    value: int
    total_claimed: int
    gas: int
    cost: int
    share: Fraction


@dataclass
class Plan:
    """What would be redeemed now, what it costs, what is left and why.

    Attributes:
        batches: In the order they are sent.
        settles: Payouts of what was claimed before.
        notes: Payouts that wait, and why.
        left: What is not redeemed, and why.
        why: One line: why it redeems, or why it waits.
        is_run: Whether it holds more than what withdrawals press for.
        gas: The price of gas it was made for.
    """

    gas: GasPrice
    batches: list[Planned] = field(default_factory=list)
    settles: list[Settle] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    why: str = ""
    is_run: bool = False

    @property
    def channels(self) -> int:
        """How many channels it redeems."""
        return sum(len(each.batch.claims) for each in self.batches)

    @property
    def value(self) -> int:
        """What its channels bring."""
        return sum(each.value for each in self.batches)

    @property
    def cost(self) -> int:
        """What its transactions cost, in the token's smallest units."""
        return sum(each.cost for each in self.batches) + sum(each.cost for each in self.settles)

    def lines(self, show: Callable[[int], str]) -> list[str]:
        """The plan for people, the one line why first. ``show`` writes an amount."""
        lines = [self.why]
        if self.batches:
            lines.append(
                f"Redeems  {show(self.value)} of {plural(self.channels, 'channel')} in "
                f"{plural(len(self.batches), 'transaction')}, for about {show(self.cost)} of gas "
                f"at {self.gas.wei / 10**9:,.9g} gwei"
            )
        deadline = min((each.deadline for each in self.batches), default=NO_DEADLINE)
        if deadline < NO_DEADLINE:
            lines.append(f"         the first withdrawal is due at {clock(deadline)}")
        lines += [
            f"Settles  {show(each.value)} claimed before for {each.receiver}, for about "
            f"{show(each.cost)} of gas"
            for each in self.settles
        ]
        lines += [
            f"Leaves   {show(left.value)} of {plural(left.channels, 'channel')}: "
            f"{left.reason.value}"
            for left in self.left
        ]
        lines += [f"Leaves   {note}" for note in self.notes]
        return lines


def claim_of(channel: Channel) -> VoucherClaim:
    """The latest voucher of a channel, for all that was charged."""
    state = channel.state
    return VoucherClaim(channel.config, state.ceiling, state.signature, state.charged)


def make_plan(
    choice: Choice, policy: Policy, gas: GasPrice, way: Way, *, show: Callable[[int], str] = str
) -> Plan:
    """Puts what is due into transactions, those that withdrawals press for first.

    A batch that would cost too much goes only if channels that wait for the next run, and pay for
    themselves, make up for it.
    """
    plan = Plan(gas=gas)
    company: dict[object, deque[Due]] = {}
    for due in choice.company:
        company.setdefault(terms_of(due.channel.config), deque()).append(due)
    for planned in _pack(choice.urgent, policy, gas, way):
        ours = company.get(terms_of(planned.batch.claims[0].channel), deque())
        _add(plan, choice, _with_company(planned, choice.urgent, ours, policy, gas, way))
    for planned in _pack(choice.run, policy, gas, way):
        plan.is_run |= _add(plan, choice, planned)
    for waiting in company.values():
        choice.leave(Reason.RUN, sum(due.value for due in waiting), len(waiting))
    plan.left = [left for left in choice.left.values() if left.channels]
    plan.why = _why(plan, choice, policy, show)
    return plan


def _pack(
    dues: Iterable[Due], policy: Policy, gas: GasPrice, way: Way, rows: int = MAX_ROWS
) -> list[Planned]:
    by_id = {due.channel.channel_id: due for due in dues}
    claims = [(channel_id, claim_of(due.channel)) for channel_id, due in by_id.items()]
    packable = [row for row in claims if way.packs(row[1])]
    others = [row for row in claims if not way.packs(row[1])]
    target = way.gas_target
    batches = [
        *((REDEEM, each) for each in pack_in_order(packable, rows=rows, gas_target=target)),
        *((CLAIM, each) for each in pack_in_order(others, rows=MAX_CLAIMS, gas_target=target)),
    ]
    planned = []
    for kind, batch in batches:
        its = [by_id[channel_id] for channel_id in batch.channel_ids]
        used = way.gas(kind, batch)
        share = ALL if any(due.at_any_cost for due in its) else policy.share
        value, deadline = sum(due.value for due in its), its[0].deadline
        planned.append(Planned(kind, batch, value, used, gas.cost(used), deadline, share))
    # Stable: of those without a deadline the order is that of their first row's value.
    planned.sort(key=lambda each: each.deadline)
    return planned


def _add(plan: Plan, choice: Choice, planned: Planned) -> bool:
    """Plans a batch if it pays, and leaves its channels if not; whether it does."""
    does_pay = pays(planned.value, planned.cost, planned.share)
    if does_pay:
        plan.batches.append(planned)
    else:
        choice.leave(Reason.COMPANY, planned.value, len(planned.batch.claims))
    return does_pay


def _with_company(
    planned: Planned,
    urgent: Sequence[Due],
    company: deque[Due],
    policy: Policy,
    gas: GasPrice,
    way: Way,
) -> Planned:
    if pays(planned.value, planned.cost, planned.share) or not company:
        return planned
    ids = set(planned.batch.channel_ids)
    own = [due for due in urgent if due.channel.channel_id in ids]
    packs = planned.kind == REDEEM
    guests = [due for due in company if way.packs(claim_of(due.channel)) == packs]
    most = MAX_ROWS if packs else MAX_CLAIMS
    together = _pack([*own, *guests[: most - len(own)]], policy, gas, way)[0]
    if not pays(together.value, together.cost, together.share):
        return planned
    taken = set(together.batch.channel_ids)
    kept = [due for due in company if due.channel.channel_id not in taken]
    company.clear()
    company.extend(kept)
    return together


def _why(plan: Plan, choice: Choice, policy: Policy, show: Callable[[int], str]) -> str:
    left = choice.left
    if plan.batches:
        urgent = [each for each in plan.batches if each.deadline < NO_DEADLINE]
        causes = []
        if urgent:
            causes.append(f"payers withdraw, the first at {clock(urgent[0].deadline)}")
        if len(urgent) < len(plan.batches):
            causes.append(choice.cause)
        return (
            f"Redeems {show(plan.value)} of {plural(plan.channels, 'channel')}, for "
            f"{' and '.join(causes)}."
        )
    if Reason.RUN in left:
        waiting = left[Reason.RUN]
        return (
            f"Waits {choice.cause}: {plural(waiting.channels, 'channel')} would bring "
            f"{show(waiting.value)}."
        )
    price = f"at {plan.gas.wei / 10**9:,.9g} gwei"
    if Reason.COMPANY in left:
        few = left[Reason.COMPANY]
        return (
            f"Waits for more channels or cheaper gas: {few.channels:,} would bring "
            f"{show(few.value)}, and {price} a transaction for them alone costs more than "
            f"{policy.max_cost_percent} % of it."
        )
    if Reason.COST in left:
        dear = left[Reason.COST]
        return (
            f"Waits for cheaper gas or larger charges: {price} a channel must bring "
            f"{show(choice.least)}, and the best of {dear.channels:,} brings "
            f"{show(choice.richest)}; a higher max_cost_percent than {policy.max_cost_percent} or "
            "a lower coin_price would redeem sooner."
        )
    if Reason.DUST in left:
        dust = left[Reason.DUST]
        return (
            f"Waits for larger charges: {plural(dust.channels, 'channel')} with less than "
            f"{show(policy.min_value)} each, {show(dust.value)} together; a lower min_value or a "
            "max_age would redeem them."
        )
    for reason in (Reason.ON_ITS_WAY, Reason.OTHER_KEY, Reason.OTHER_TOKEN, Reason.EMPTY):
        if reason in left:
            held = left[reason]
            return (
                f"Nothing to redeem: {show(held.value)} of {plural(held.channels, 'channel')} is "
                f"{reason.value}."
            )
    return "Nothing to redeem: nothing is charged that is not claimed."
