"""The chain of a soak: it mines when it is told to, its time is that of its blocks, and its payers
withdraw."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from web3 import Web3
from web3.types import RPCEndpoint

from farthing.chain.lens import Lens
from farthing.chain.settlement import Snapshot
from farthing.ledger import Ledger
from tests.escrow_world import RECEIVER, World
from tests.soak.payer import Payer
from tests.soak.publisher import DELAY

GWEI = 10**9
COINS = 10**24
# Seconds between two blocks, and when time has to wait.
BLOCK_SECONDS, SLOW_SECONDS = 12, 1
# A payer asks for its money back, of a thousand times it could.
WITHDRAW = 15
# Time waits before the end of a withdrawal that takes what is owed: so much of the delay is left.
SPARE = DELAY // 4


def rpc(w3: Web3, method: str, *arguments: Any) -> Any:
    answer = w3.provider.make_request(RPCEndpoint(method), list(arguments))
    if "error" in answer:
        raise AssertionError(f"{method}: {answer['error']}")
    return answer["result"]


@dataclass(frozen=True)
class Head:
    number: int
    time: int
    hash: str


class Blocks:
    """The chain, asked without the proxy.

    Attributes:
        head: The latest block.
        channels: What it says of each payer's channel, in their order.
        is_poor: Whether the publisher's key has no coins.
        reorganisations: The depth of each.
        drops: How often the node forgot transactions.
    """

    def __init__(self, world: World, payers: Sequence[Payer], seed: int) -> None:
        self._world = world
        self._w3 = world.w3
        self._payers = payers
        self._random = random.Random(f"{seed} blocks")
        self._lens = Lens(world.w3, world.settlement.address, world.settlement.domain.chain_id)
        self.is_poor = False
        self.reorganisations: list[int] = []
        self.drops = 0
        self._forgets = False
        # Whether payers begin to withdraw.
        self.may_withdraw = True
        rpc(self._w3, "evm_setAutomine", False)
        for payer in payers:
            rpc(self._w3, "anvil_setBalance", payer.account.address, hex(COINS))
            rpc(self._w3, "anvil_impersonateAccount", payer.account.address)
        self._mend_coins()
        self._look()
        self.first = self.head.number

    # ------------------------------------------------------------ time

    def tick(self, seconds: int) -> None:
        """The next block, so much later; then payers do what they do on chain."""
        self._mend_coins()
        if self._forgets:
            self._forget()
        rpc(self._w3, "evm_setNextBlockTimestamp", self.head.time + seconds)
        rpc(self._w3, "evm_mine")
        self._look()
        self._withdraw()

    def at_risk(self, ledger: Ledger) -> list[bytes]:
        """Channels with a withdrawal that soon ends, and takes what was charged before."""
        found = []
        for payer, channel in zip(self._payers, self.channels, strict=True):
            if not channel.withdraw_requested_at:
                continue
            end = channel.withdraw_requested_at + DELAY
            if self.head.time + BLOCK_SECONDS < end - SPARE:
                continue
            known = ledger.channel(payer.channel_id)
            charged = known.state.charged if known is not None else 0
            if charged > max(channel.total_claimed, channel.balance - channel.withdraw_amount):
                found.append(payer.channel_id)
        return found

    @property
    def withdrawing(self) -> int:
        """How many withdrawals are pending."""
        return sum(channel.withdraw_requested_at > 0 for channel in self.channels)

    # ------------------------------------------------------------ faults

    def reorganise(self, depth: int) -> None:
        """Other blocks, with nothing in them, take the place of the last ones."""
        rpc(self._w3, "anvil_reorg", depth, [])
        self.reorganisations.append(depth)
        self._look()

    def drop(self) -> None:
        """The node will forget one of the transactions that wait to be mined, or all, as soon as
        there are any."""
        self._forgets = True

    def _forget(self) -> None:
        waiting = self._waiting()
        if not waiting:
            return
        self._forgets = False
        self.drops += 1
        if self._random.random() < 0.3:
            rpc(self._w3, "anvil_dropAllTransactions")
        else:
            rpc(self._w3, "anvil_dropTransaction", self._random.choice(sorted(waiting)))

    def base_fee(self, gwei: int) -> None:
        """What the next block asks for gas; those after it ask less and less."""
        rpc(self._w3, "anvil_setNextBlockBaseFeePerGas", hex(gwei * GWEI))

    def take_coins(self) -> None:
        """The publisher's key has nothing to pay gas with, until `give_coins`."""
        self.is_poor = True
        rpc(self._w3, "anvil_setBalance", RECEIVER.address, "0x0")

    def give_coins(self) -> None:
        self.is_poor = False
        self._mend_coins()

    # ------------------------------------------------------------ internal

    def _mend_coins(self) -> None:
        # Also a reorganisation to a time without any.
        if not self.is_poor and self._w3.eth.get_balance(RECEIVER.address) < COINS // 2:
            rpc(self._w3, "anvil_setBalance", RECEIVER.address, hex(COINS))

    def _look(self) -> None:
        block = self._w3.eth.get_block("latest")
        self.head = Head(block["number"], block["timestamp"], block["hash"].to_0x_hex())
        ids = [payer.channel_id for payer in self._payers]
        self.channels: list[Snapshot] = self._lens.read(ids, self.head.number, self.head.hash)

    def _waiting(self) -> list[str]:
        """Hashes of what waits to be mined."""
        content = rpc(self._w3, "txpool_content")
        return [
            each["hash"]
            for part in content.values()
            for of_sender in part.values()
            for each in of_sender.values()
        ]

    def _withdraw(self) -> None:
        """Payers begin and end withdrawals. What a reorganisation has undone they do again."""
        busy = {
            sender.lower()
            for part in rpc(self._w3, "txpool_content").values()
            for sender, its in part.items()
            if its
        }
        for payer, channel in zip(self._payers, self.channels, strict=True):
            if payer.account.address.lower() in busy:
                continue
            config = payer.config.as_tuple()
            if channel.withdraw_requested_at:
                if self.head.time >= channel.withdraw_requested_at + DELAY:
                    self._send(payer, "finalizeWithdraw", config)
                continue
            payer.is_away = False
            left = channel.balance - channel.total_claimed
            if left and self.may_withdraw and self._random.randrange(1_000) < WITHDRAW:
                amount = left if self._random.random() < 0.7 else self._random.randint(1, left)
                # Some go on paying meanwhile.
                payer.is_away = self._random.random() < 0.7
                self._send(payer, "initiateWithdraw", config, amount)

    def _send(self, payer: Payer, function: str, *arguments: Any) -> None:
        plan = self._world.settlement._transaction(function, *arguments)
        transaction = {
            "from": payer.account.address,
            "to": plan.to,
            "data": "0x" + plan.data.hex(),
            "gas": hex(300_000),
            "gasPrice": hex(2_000 * GWEI),
        }
        rpc(self._w3, "eth_sendTransaction", transaction)
