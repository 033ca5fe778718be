"""When redeeming pays: which channels now, in which order, and why the others are left.

Nothing here reads a clock, a chain or a database; everything that decides is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

from farthing.ledger import Channel, Redeemable
from farthing.protocol import FarthingError
from farthing.redeemer.money import GasPrice, pays
from farthing.redeemer.packer import NO_DEADLINE

DAY = 86_400
ALL = Fraction(1)


class PolicyInvalid(FarthingError):
    """A policy that cannot be, or that can never fire.

    Attributes:
        field: Which of its fields.
        problem: What is wrong with that, and what to do.
    """

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"redeemer policy: {field} {problem}.")


@dataclass(frozen=True)
class Policy:
    """What a publisher wants. Amounts in the token's smallest units, times in seconds.

    A run is one pass over all that is worth redeeming. It begins when ``interval`` has passed since
    the last one began, when what it would bring reaches ``batch_value``, or when a charge is older
    than ``max_age``; what is None begins none. A pending withdrawal waits for no run.

    Attributes:
        coin_price: What one coin of the chain (10**18 wei) is worth; 0 does not count gas.
        interval: Between two runs.
        batch_value: Worth of all channels together that is not left unredeemed.
        max_age: Of the oldest unredeemed charge. It also makes dust of that age worth its gas.
        min_value: Dust: a channel that would bring less is left alone.
        max_cost_percent: What redeeming may cost, of what it brings; above 0, at most 100.
        margin: A withdrawing payer's channel is redeemed so many seconds before the payer may take
            its money, and at any cost below its worth from as long again before that. None is half
            of the channel's withdraw delay.

    Raises:
        PolicyInvalid: It cannot be, or can never fire.
    """

    coin_price: int
    interval: int | None = DAY
    batch_value: int | None = None
    max_age: int | None = None
    min_value: int = 0
    max_cost_percent: Decimal = Decimal(5)
    margin: int | None = None

    def __post_init__(self) -> None:
        if self.coin_price < 0:
            raise PolicyInvalid("coin_price", "must not be negative")
        if self.min_value < 0:
            raise PolicyInvalid("min_value", "must not be negative")
        for name in ("interval", "batch_value", "max_age", "margin"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise PolicyInvalid(name, f"must be above 0, not {value}; leave it out instead")
        if not 0 < self.max_cost_percent <= 100:
            raise PolicyInvalid(
                "max_cost_percent",
                f"is {self.max_cost_percent}, so that nothing could ever be redeemed or it would "
                "cost more than it brings: set it above 0 and to 100 at most",
            )
        if self.interval is None and self.batch_value is None and self.max_age is None:
            raise PolicyInvalid(
                "interval",
                "is not set, nor are batch_value and max_age, so that only a withdrawal would ever "
                "start a redemption: set one of them",
            )

    @property
    def share(self) -> Fraction:
        """`max_cost_percent` as a fraction."""
        return Fraction(self.max_cost_percent) / 100

    def margin_of(self, withdraw_delay: int) -> int:
        """Seconds before a withdrawal's end at which its channel should be redeemed."""
        return withdraw_delay // 2 if self.margin is None else self.margin


class Reason(Enum):
    """Why a channel is left, in words."""

    ON_ITS_WAY = "on its way in a transaction"
    EMPTY = "charged more than the chain holds of it"
    OTHER_TOKEN = "of another token than the one configured"  # noqa: S105
    OTHER_KEY = "of a receiver authorizer whose key is not here"
    DUST = "below the least value"
    COST = "would cost too large a part of itself"
    COMPANY = "too few together to pay for a transaction"
    RUN = "waiting for the next run"
    ROOM = "waiting until earlier transactions are through"
    CHANGED = "redeemed or emptied on the chain meanwhile"
    REFUSED = "refused by the contract"


@dataclass
class Left:
    """Channels that are left for one reason, and what they would bring."""

    reason: Reason
    channels: int = 0
    value: int = 0


class Due(NamedTuple):
    """A channel that is worth redeeming.

    Attributes:
        value: What it brings.
        deadline: Unix seconds at which its payer may take its money; `NO_DEADLINE` without one.
        at_any_cost: As long as it brings more than it costs.
    """

    channel: Channel
    value: int
    deadline: int
    at_any_cost: bool


@dataclass(frozen=True)
class Moment:
    """What a choice depends on besides the channels and the policy.

    Attributes:
        now: Unix seconds.
        gas: The price of gas.
        last_run: When the last run began, unix seconds; 0 when there was none.
        run_is_open: Whether that run is not through yet.
        is_asked: Somebody wants everything redeemed now that brings more than it costs.
    """

    now: int
    gas: GasPrice
    last_run: int = 0
    run_is_open: bool = False
    is_asked: bool = False


@dataclass
class Choice:
    """What is due, and what is not.

    Attributes:
        urgent: Channels with a pending withdrawal, the earliest deadline first, then the highest
            value.
        run: The others that are redeemed now, the highest value first.
        company: Those that wait for a run, and may fill a batch that does not pay alone.
        left: Why others are left.
        cause: Why `run` is redeemed now, or what it waits for.
        least: What a channel must bring for its gas to be worth it.
        richest: What the best of those that are left for their cost would bring.
        oldest: Unix seconds of the oldest charge of those that wait; 0 without any.
    """

    urgent: list[Due] = field(default_factory=list)
    run: list[Due] = field(default_factory=list)
    company: list[Due] = field(default_factory=list)
    left: dict[Reason, Left] = field(default_factory=dict)
    cause: str = ""
    least: int = 0
    richest: int = 0
    oldest: int = 0

    def leave(self, reason: Reason, value: int, channels: int = 1) -> None:
        """Counts channels as left."""
        left = self.left.setdefault(reason, Left(reason))
        left.channels += channels
        left.value += value


def choose(
    records: Iterable[Redeemable],
    policy: Policy,
    moment: Moment,
    *,
    in_flight: Mapping[bytes, int],
    unfit: Callable[[Channel], Reason | None],
    row_gas: Callable[[Channel], int],
    show: Callable[[int], str] = str,
) -> Choice:
    """Chooses what to redeem.

    Args:
        in_flight: Totals that transactions on their way carry, by channel id: what is up to them
            is not planned again.
        unfit: Why a channel cannot be redeemed here at all; None when it can.
        row_gas: What a channel's row adds to its batch.
        show: An amount as people write it.
    """
    choice = Choice()
    share = policy.share
    costs: dict[int, int] = {}
    waiting = worth = 0
    oldest = NO_DEADLINE
    for record in records:
        channel = record.channel
        state = channel.state
        mirror = state.mirror
        sent = in_flight.get(channel.channel_id, 0)
        claimed = max(mirror.total_claimed, sent)
        value = min(state.charged, mirror.balance) - claimed
        if value <= 0:
            reason = Reason.ON_ITS_WAY if sent > mirror.total_claimed else Reason.EMPTY
            choice.leave(reason, state.charged - mirror.total_claimed)
            continue
        fault = unfit(channel)
        if fault is not None:
            choice.leave(fault, value)
            continue
        gas = row_gas(channel)
        cost = costs.get(gas)
        if cost is None:
            cost = costs[gas] = moment.gas.cost(gas)
        if mirror.withdraw_requested_at:
            delay = channel.config.withdraw_delay
            deadline = mirror.withdraw_requested_at + delay
            margin = policy.margin_of(delay)
            at_any_cost = moment.is_asked or moment.now >= deadline - 2 * margin
            if pays(value, cost, ALL if at_any_cost else share):
                choice.urgent.append(Due(channel, value, deadline, at_any_cost))
            else:
                choice.leave(Reason.COST, value)
                choice.richest = max(choice.richest, value)
            continue
        is_old = policy.max_age is not None and moment.now - record.since >= policy.max_age
        if value < policy.min_value and not is_old and not moment.is_asked:
            choice.leave(Reason.DUST, value)
        elif not pays(value, cost, ALL if moment.is_asked else share):
            choice.leave(Reason.COST, value)
            choice.richest = max(choice.richest, value)
        else:
            choice.company.append(Due(channel, value, NO_DEADLINE, moment.is_asked))
            waiting += 1
            worth += value
            oldest = min(oldest, record.since)
    choice.urgent.sort(key=_urgency)
    choice.company.sort(key=_urgency)
    choice.least = _least(max(costs.values(), default=0), share)
    choice.oldest = oldest if waiting else 0
    begins, choice.cause = _when(policy, moment, oldest, worth, show) if waiting else (False, "")
    if begins:
        choice.run, choice.company = choice.company, []
    return choice


def _urgency(due: Due) -> tuple[int, int]:
    return due.deadline, -due.value


def _least(cost: int, share: Fraction) -> int:
    """The smallest value for which so much is not too much."""
    least = -(-cost * share.denominator // share.numerator)
    return max(least, cost + 1)


def _when(
    policy: Policy, moment: Moment, oldest: int, worth: int, show: Callable[[int], str]
) -> tuple[bool, str]:
    """Whether a run is on, and why; or what it waits for."""
    if moment.is_asked:
        return True, "it was asked for"
    if moment.run_is_open:
        return True, f"the run of {clock(moment.last_run)} goes on"
    waits = []
    if policy.interval is not None:
        # Before the first run the time counts from the first charge.
        since = moment.last_run or oldest
        if moment.now - since >= policy.interval:
            return True, f"{policy.interval:,} seconds have passed since {clock(since)}"
        waits.append(f"until {clock(since + policy.interval)}")
    if policy.batch_value is not None:
        if worth >= policy.batch_value:
            return True, f"they are worth {show(policy.batch_value)} and more together"
        waits.append(f"until they are worth {show(policy.batch_value)} together")
    if policy.max_age is not None:
        if moment.now - oldest >= policy.max_age:
            return True, f"the oldest charge is from {clock(oldest)}"
        waits.append(f"until {clock(oldest + policy.max_age)}, when the oldest charge is too old")
    return False, " or ".join(waits)


def clock(seconds: int) -> str:
    """Unix seconds as people read them, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
