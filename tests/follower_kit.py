"""A publisher's channels on an anvil node, and a follower that keeps a ledger of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_account.signers.local import LocalAccount

from farthing.chain.connection import connect
from farthing.chain.settlement import Settlement, Snapshot
from farthing.chain.watcher import Payee, Watcher
from farthing.ledger import Ledger, Mirror, NewCharge
from farthing.protocol import ChannelConfig
from farthing.redeemer.follower import Followed, Follower
from farthing.redeemer.packer import pack
from tests.conftest import rpc
from tests.escrow_world import AUTHORIZER, PAYER, RECEIVER, World

CONFIRMATIONS = 4
OWN = (RECEIVER.address, AUTHORIZER.address)


@dataclass
class Shop:
    """A publisher on a chain of its own.

    Attributes:
        now: Unix seconds, by the follower's clock. So much later with every step that it tells of
            every mirror which it finds wrong, and no event told of.
    """

    world: World
    ledger: Ledger
    now: float = 1_000_000.0
    salt: int = 0
    total: int = 0
    configs: dict[bytes, ChannelConfig] = field(default_factory=dict)

    def clock(self) -> float:
        self.now += 1_000
        return self.now

    def follower(
        self, url: str | None = None, own: Sequence[str] = OWN, **settings: Any
    ) -> Follower:
        """A follower as after a start, through another URL of the node if there is one."""
        settlement = self.world.settlement
        if url is not None:
            settlement = Settlement(connect(url), settlement.address)
        payee = Payee(RECEIVER.address, AUTHORIZER.address, self.world.token.address)
        settings = {"confirmations": CONFIRMATIONS, "clock": self.clock, **settings}
        watcher = Watcher(settlement, [payee], **settings)
        return Follower(self.ledger, watcher, own=own)

    # ------------------------------------------------------------ what happens on the chain

    def fresh(self) -> World:
        """The world with senders that know no nonce, as after a reorganisation."""
        self.world.operator.forget_nonce()
        return self.world

    def deposit(self, payer: LocalAccount = PAYER, amount: int = 1_000) -> bytes:
        self.salt += 1
        config = self.fresh().deposit(payer, amount, self.salt)
        channel_id = self.world.channel_id(config)
        self.configs[channel_id] = config
        return channel_id

    def withdraw(self, payer: LocalAccount = PAYER, amount: int = 100) -> None:
        sender = self.world.sender(payer)
        self.world.settlement.initiate_withdraw(sender, self.config(payer), amount)

    def finalize(self, payer: LocalAccount = PAYER) -> None:
        rpc(self.world.w3, "evm_increaseTime", self.config(payer).withdraw_delay)
        self.mine()
        sender = self.world.sender(payer)
        self.world.settlement.finalize_withdraw(sender, self.config(payer))

    def redeem(self, *payers: LocalAccount) -> None:
        """Ten units more of each channel, packed."""
        self._charge(payers)
        rows = [self.world.row(payer, self.config(payer), self.total) for payer in payers]
        (batch,) = pack(rows, self.world.settlement.domain).batches
        sender = self.world.sender(RECEIVER)
        sender.transact(self.world.settlement.plan_redeem(batch.call(), 1_000_000))

    def claim(self, *payers: LocalAccount) -> None:
        """Ten units more of each channel, row by row."""
        self._charge(payers)
        rows = [self.world.row(payer, self.config(payer), self.total) for payer in payers]
        self.world.settlement.claim(self.world.sender(RECEIVER), rows)

    def _charge(self, payers: Sequence[LocalAccount]) -> None:
        """Ten units more, in the ledger too where it has the channel."""
        self.total += 10
        for payer in payers:
            channel = self.ledger.channel(self.world.channel_id(self.config(payer)))
            if channel is not None:
                state = channel.state
                amount = self.total - state.charged
                charge = NewCharge(
                    channel_id=channel.channel_id,
                    charges=state.charges,
                    charged=state.charged,
                    amount=amount,
                    price=amount,
                    ceiling=self.total,
                    signature=b"",
                    route="GET /",
                    request_id=f"{self.total}",
                    time=1,
                    answer=None,
                )
                assert self.ledger.commit([charge]) == [True]

    def refund(self, payer: LocalAccount = PAYER, amount: int = 50) -> None:
        self.world.settlement.refund(self.world.sender(RECEIVER), self.config(payer), amount)

    def config(self, payer: LocalAccount) -> ChannelConfig:
        return self.world.config(payer=payer.address, payer_authorizer=payer.address)

    def mine(self, blocks: int = 1) -> None:
        rpc(self.world.w3, "anvil_mine", hex(blocks))

    def reorganise(self, depth: int) -> None:
        """The last blocks are gone with all that was in them, and as many empty ones came."""
        rpc(self.world.w3, "anvil_reorg", depth, [])

    # ------------------------------------------------------------ the ledger beside the chain

    def mirrors(self) -> dict[bytes, Mirror]:
        return {each.channel_id: each.state.mirror for each in self.ledger.channels()}

    def compare(self) -> None:
        """Every channel, read afresh and one by one, stands in the ledger just so."""
        settlement = self.world.settlement
        kept = {channel_id: _snapshot(mirror) for channel_id, mirror in self.mirrors().items()}
        chain = {each: settlement.snapshot(each) for each in {*self.configs, *kept}}
        missing = {
            channel_id for channel_id in chain.keys() - kept.keys() if chain[channel_id].balance
        }
        assert not missing
        assert kept == {channel_id: _without_block(chain[channel_id]) for channel_id in kept}


def catch_up(follower: Follower) -> Followed:
    """Steps until everything is read; the last step."""
    for _ in range(1_000):
        step = follower.step()
        if step.caught_up:
            return step
    raise AssertionError("it never catches up")


def _snapshot(mirror: Mirror) -> tuple[int, ...]:
    return (
        mirror.balance,
        mirror.total_claimed,
        mirror.withdraw_amount,
        mirror.withdraw_requested_at,
        mirror.refund_nonce,
    )


def _without_block(found: Snapshot) -> tuple[int, ...]:
    return (
        found.balance,
        found.total_claimed,
        found.withdraw_amount,
        found.withdraw_requested_at,
        found.refund_nonce,
    )
