"""How things stand: read from ledger and chain, told to `farthing status`, metrics and alerts."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from farthing.chain.checked_node import CheckedNode
from farthing.chain.connection import WrongChain
from farthing.ledger import Ledger, Redeemable
from farthing.opening import Contracts
from farthing.operations.beats import Beat, read_beats
from farthing.operations.lag import watcher_lag
from farthing.operations.parts import read_differences
from farthing.operations.restored import is_restored
from farthing.protocol import FarthingError
from farthing.redeemer.money import GasPrice
from farthing.settings import Settings

# Transactions that are on their way.
LIVE = ("queued", "signed", "mined")
# Chains on which no block comes unless somebody wants one.
DEVELOPMENT_CHAINS = (1_337, 31_337)
# For how long a transaction that failed is told of, in seconds.
FAILED_SECONDS = 86_400
_PAGE = 1_000
# About what redeeming one channel alone takes.
_ALONE_GAS = 100_000


class Chain(msgspec.Struct, frozen=True):
    """What the node says.

    Attributes:
        error: Why it cannot be asked; empty when it can.
        head: Number of its latest block.
        age: Seconds since that block; 0 on a development chain, where none may be due.
        lag: Seconds from the last block that the watcher has read to the latest.
        gas_price: What a gas costs now, in wei.
        coins: What the sending key has for gas, in wei; None when the key is not known.
        is_paused: Whether the token's issuer has stopped all transfers.
        credited: What was claimed for the receiver and is not paid out, in smallest units.
    """

    error: str = ""
    head: int = 0
    age: int = 0
    lag: int = 0
    gas_price: int = 0
    coins: int | None = None
    is_paused: bool = False
    credited: int = 0


class Unredeemed(msgspec.Struct, frozen=True):
    """What was charged and is not claimed on the chain.

    Attributes:
        value: In smallest units; at most what the channels hold.
        channels: How many.
        oldest_at: When the oldest of it was charged, unix seconds; 0 when there is none.
        withdrawing: What of it payers take back when they may.
        deadline: When the first of them may, unix seconds; 0 without any.
        foreign: What of it is of channels of another receiver authorizer.
        foreign_channels: How many these are.
        foreign_key: That authorizer, or one of them.
    """

    value: int = 0
    channels: int = 0
    oldest_at: int = 0
    withdrawing: int = 0
    deadline: int = 0
    foreign: int = 0
    foreign_channels: int = 0
    foreign_key: str = ""


class Waiting(msgspec.Struct, frozen=True):
    """Transactions on their way.

    Attributes:
        count: How many.
        oldest_at: When the oldest was ordered, unix seconds; 0 without any.
        reason: Why that one waits, if it says.
        failed: Sentence of the latest that failed and cost gas, within a day; empty without one.
    """

    count: int = 0
    oldest_at: int = 0
    reason: str = ""
    failed: str = ""


class Standing(msgspec.Struct, frozen=True):
    """How things stand.

    Attributes:
        time: When this was read, unix seconds.
        sender: The address of the key that sends; empty when it cannot be told.
        authorizer: That of the key that signs claims; empty when it cannot be told.
        chain: The chain's side.
        unredeemed: What is not redeemed.
        waiting: What is on its way.
        beats: How each process with parts does.
        differences: What the watcher found that does not fit together.
        is_restored: Whether the ledger is a restored one that has not caught up with the chain.
    """

    time: int
    sender: str
    authorizer: str
    chain: Chain
    unredeemed: Unredeemed
    waiting: Waiting
    beats: dict[str, Beat]
    differences: list[str]
    is_restored: bool


class Look:
    """Looks how things stand.

    Args:
        settings: The publisher's.
        ledger: One thread at a time uses it.
        contracts: Opens the contracts; asked again for every look that fails.
        sender: The address of the key that sends; empty where it is not known.
        authorizer: That of the key that signs claims, likewise.
        coin_price: What a coin is worth, in smallest units of the token; 0 if gas does not count.
        clock: Unix seconds.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        contracts: Callable[[], Contracts],
        *,
        sender: str = "",
        authorizer: str = "",
        coin_price: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._open = contracts
        self._contracts: Contracts | None = None
        self._sender = sender
        self._authorizer = authorizer
        self._coin_price = coin_price
        self._clock = clock

    def take(self) -> Standing:
        """Reads everything. A chain that cannot be asked is part of how things stand.

        Raises:
            LedgerUnavailable: The ledger cannot be asked.
        """
        now = int(self._clock())
        chain = self._chain(now)
        return Standing(
            time=now,
            sender=self._sender,
            authorizer=self._authorizer,
            chain=chain,
            unredeemed=self._unredeemed(chain),
            waiting=self._waiting(now),
            beats=read_beats(self._ledger),
            differences=read_differences(self._ledger),
            is_restored=is_restored(self._ledger),
        )

    # ------------------------------------------------------------ the chain

    def _chain(self, now: int) -> Chain:
        try:
            if self._contracts is None:
                self._contracts = self._open()
            return self._ask(self._contracts, now)
        except FarthingError as error:
            # The next look begins from the start: also the chain's id is looked at again then.
            self._contracts = None
            return Chain(error=str(error))

    def _ask(self, contracts: Contracts, now: int) -> Chain:
        settlement, token = contracts.settlement, contracts.token
        node = CheckedNode(settlement.w3)
        if node.chain_id != self._settings.chain.id:
            raise WrongChain(self._settings.chain.id, node.chain_id)
        head = node.head()
        account = settlement.receiver_account(self._settings.terms.receiver, token.address)
        is_development = self._settings.chain.id in DEVELOPMENT_CHAINS
        return Chain(
            head=head.number,
            age=0 if is_development else max(0, now - head.time),
            lag=watcher_lag(self._settings, self._ledger, settlement, head),
            gas_price=head.base_fee,
            coins=node.balance(self._sender) if self._sender else None,
            is_paused=token.is_paused(),
            credited=account.total_claimed - account.total_settled,
        )

    # ------------------------------------------------------------ the ledger

    def _unredeemed(self, chain: Chain) -> Unredeemed:
        value = channels = oldest = withdrawing = deadline = foreign = foreign_channels = 0
        foreign_key = ""
        for record in self._ledger.redeemable():
            worth = _worth(record)
            if worth <= 0:
                continue
            config, mirror = record.channel.config, record.channel.state.mirror
            value += worth
            channels += 1
            oldest = min(oldest or record.since, record.since)
            if mirror.withdraw_requested_at:
                ends = mirror.withdraw_requested_at + config.withdraw_delay
                withdrawing += worth
                deadline = min(deadline or ends, ends)
            if self._authorizer and config.receiver_authorizer != self._authorizer:
                foreign += worth
                foreign_channels += 1
                foreign_key = config.receiver_authorizer
        if withdrawing <= GasPrice(chain.gas_price, self._coin_price).cost(_ALONE_GAS):
            # Nobody would redeem that.
            withdrawing = deadline = 0
        return Unredeemed(
            value, channels, oldest, withdrawing, deadline, foreign, foreign_channels, foreign_key
        )

    def _waiting(self, now: int) -> Waiting:
        live = self._ledger.transactions(states=LIVE, limit=_PAGE)
        oldest = live[0] if live else None
        failed = ""
        for each in self._ledger.transactions(states=("failed",), limit=1, newest_first=True):
            # What a payer signed fails by what the payer does.
            if each.kind != "deposit" and now - each.updated_at < FAILED_SECONDS:
                failed = f"transaction {each.id} ({each.kind}) failed: {each.reason}"
        return Waiting(
            count=len(live),
            oldest_at=oldest.created_at if oldest else 0,
            reason=oldest.reason if oldest else "",
            failed=failed,
        )


def _worth(record: Redeemable) -> int:
    state = record.channel.state
    return min(state.charged, state.mirror.balance) - state.mirror.total_claimed
