"""A publisher with a ledger, a queue and a redeemer on an anvil node, for tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from eth_account.signers.local import LocalAccount

from farthing.chain.fees import FeePolicy
from farthing.chain.queue import TransactionQueue
from farthing.chain.sender import Sender
from farthing.chain.settlement import Settlement
from farthing.ledger import ChannelState, Ledger, Mirror, NewCharge, open_ledger
from farthing.protocol import ChannelConfig, Voucher, sign
from farthing.redeemer import Policy, Redeemer, Step
from tests.conftest import rpc
from tests.escrow_world import AUTHORIZER, RECEIVER, World, party

CONFIRMATIONS = 5
DEPOSIT = 1_000
# Gas counts for nothing; a run begins at once.
FREE = Policy(coin_price=0, interval=1, max_cost_percent=Decimal(50))


@dataclass
class Shop:
    """A publisher at work. Steps are made by hand, and blocks are mined by hand.

    Attributes:
        age: Seconds ago that its charges were made.
    """

    world: World
    url: str
    policy: Policy = FREE
    account: LocalAccount = AUTHORIZER
    fees: FeePolicy = field(default_factory=FeePolicy)
    holder: str = "first"
    look_seconds: float = 0
    age: int = 10
    settlement: Settlement = field(init=False)
    ledger: Ledger = field(init=False)
    queue: TransactionQueue = field(init=False)
    redeemer: Redeemer = field(init=False)

    def __post_init__(self) -> None:
        self.settlement = self.world.settlement
        self.ledger = open_ledger(self.url)
        self.queue = TransactionQueue(
            self.world.w3,
            self.account,
            open_ledger(self.url),
            confirmations=CONFIRMATIONS,
            fees=self.fees,
            holder=self.holder,
        )
        self.redeemer = Redeemer(
            self.ledger,
            self.settlement,
            self.queue,
            AUTHORIZER,
            self.policy,
            receiver=RECEIVER.address,
            token=self.world.token.address,
            fees=self.fees,
            holder=self.holder,
            look_seconds=self.look_seconds,
        )

    def beside(self, **changes: Any) -> Shop:
        """The same shop in another process, as it were."""
        return replace(self, **changes)

    # ------------------------------------------------------------ customers

    def open(self, *charged: int, **config: Any) -> list[ChannelConfig]:
        """One new channel for each amount, with so much charged."""
        known = len(self.ledger.channels(limit=10_000))
        return [
            self.open_for(party(f"customer {known + n}"), amount, **config)
            for n, amount in enumerate(charged)
        ]

    def open_for(self, payer: LocalAccount, charged: int, **changes: Any) -> ChannelConfig:
        world = self.world
        world.operator.transact(world.token.plan_mint([payer.address], DEPOSIT))
        changes = {"payer_authorizer": payer.address, **changes}
        config = world.config(payer=payer.address, **changes)
        data = world.consent(payer, config, DEPOSIT)
        collector = world.deployment.erc3009_collector
        world.settlement.deposit(world.operator, config, DEPOSIT, collector, data)
        self.look(config)
        if charged:
            self.charge(payer, config, charged)
        return config

    def charge(
        self, signer: LocalAccount, config: ChannelConfig, amount: int, more: bytes = b""
    ) -> None:
        """Charges so much more, by a voucher for exactly that; ``more`` ends its signature."""
        channel_id = self.id_of(config)
        (state,) = self.ledger.reserve([channel_id])
        assert isinstance(state, ChannelState)
        ceiling = state.charged + amount
        domain = self.settlement.domain
        charge = NewCharge(
            channel_id=channel_id,
            charges=state.charges,
            charged=state.charged,
            amount=amount,
            price=amount,
            ceiling=ceiling,
            signature=sign(signer, Voucher(channel_id, ceiling), domain) + more,
            route="GET /",
            request_id=f"{channel_id.hex()[:20]}-{state.charges}",
            time=int(time.time()) - self.age,
            answer=None,
        )
        assert self.ledger.commit([charge]) == [True]
        self.ledger.release([channel_id])

    def look(self, *configs: ChannelConfig) -> None:
        """Writes down what the chain says of channels, as the watcher does."""
        for config in configs:
            now = self.settlement.snapshot(self.id_of(config))
            mirror = Mirror(
                now.balance,
                now.total_claimed,
                now.withdraw_amount,
                now.withdraw_requested_at,
                now.refund_nonce,
                time.time_ns() // 1_000_000,
            )
            self.ledger.mirror(self.id_of(config), config, mirror)

    def withdraw(self, payer: LocalAccount, config: ChannelConfig, amount: int) -> None:
        """The payer asks so much back, and the watcher tells."""
        rpc(self.world.w3, "anvil_setBalance", payer.address, hex(10**18))
        self.settlement.initiate_withdraw(Sender(self.world.w3, payer), config, amount)
        self.look(config)

    # ------------------------------------------------------------ work

    def step(self, **options: bool) -> Step:
        """The redeemer's step, and what the queue makes of it; nothing is final after it."""
        step = self.redeemer.step(**options)
        self.send()
        return step

    def send(self) -> None:
        """What the queue does until all that it can send now is in a block."""
        self.queue.step()
        rpc(self.world.w3, "evm_mine")
        self.queue.step()
        assert self.queue.problem == ""

    def finish(self) -> Step:
        """Mines until all is final, and has it booked."""
        rpc(self.world.w3, "anvil_mine", hex(CONFIRMATIONS + 1))
        self.queue.step()
        return self.redeemer.step()

    # ------------------------------------------------------------ looking

    def id_of(self, config: ChannelConfig) -> bytes:
        return self.world.channel_id(config)

    def claimed(self, *configs: ChannelConfig) -> list[int]:
        return [self.settlement.channel(self.id_of(each)).total_claimed for each in configs]

    def received(self) -> int:
        return self.world.token.balance_of(RECEIVER.address)

    def states(self) -> list[tuple[str, str]]:
        return [(each.kind, each.state) for each in self.ledger.transactions()]


@contextmanager
def replaced_code(world: World, address: str, other: bytes) -> Iterator[None]:
    """Another code at an address while the block lasts."""
    code = bytes(world.w3.eth.get_code(address))  # type: ignore[arg-type]
    rpc(world.w3, "anvil_setCode", address, "0x" + other.hex())
    yield
    rpc(world.w3, "anvil_setCode", address, "0x" + code.hex())
