"""A key, a chain that mines when it is told to, and queues of the key on one ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3 import Web3
from web3.types import RPCEndpoint

from farthing.chain.connection import connect
from farthing.chain.fees import FeePolicy
from farthing.chain.queue import TransactionQueue
from farthing.chain.sender import Transaction
from farthing.ledger import Ledger, QueuedTransaction, open_ledger
from tests.escrow_world import PAYER, World

CONFIRMATIONS = 3
FEES = FeePolicy(replace_after=30)
GWEI = 10**9
GAS = 100_000


def nobody(number: int) -> str:
    """An address that has nothing, one for each number."""
    return Web3.to_checksum_address(keccak(text=f"nobody {number}")[:20])


def rpc(w3: Web3, method: str, *arguments: Any) -> Any:
    answer = w3.provider.make_request(RPCEndpoint(method), list(arguments))
    assert "error" not in answer, answer
    return answer["result"]


@dataclass
class Stage:
    """What a test of a queue has.

    Attributes:
        world: On an anvil node that mines only in `mine`.
        url: The node's.
        ledger: Where the queues write; read it here, they have their own connections.
        queue: A queue of the payer's key.
    """

    world: World
    url: str
    ledger_url: str
    account: LocalAccount = PAYER
    opened: list[Ledger] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.w3 = self.world.w3
        self.ledger = self.open_ledger()
        self.queue = self.new_queue()
        self._orders = 0

    def open_ledger(self) -> Ledger:
        self.opened.append(open_ledger(self.ledger_url))
        return self.opened[-1]

    def new_queue(
        self, holder: str = "a", url: str | None = None, **changes: Any
    ) -> TransactionQueue:
        """Another queue of the key, as if the process had been started anew."""
        options = {"confirmations": CONFIRMATIONS, "fees": FEES, **changes}
        w3 = self.w3 if url is None else connect(url)
        journal = options.pop("journal", None) or self.open_ledger()
        account = options.pop("account", self.account)
        return TransactionQueue(w3, account, journal, holder=holder, **options)

    # -------------------------------------------------------- what is sent

    def payment(self, number: int, amount: int = 1, gas: int | None = GAS) -> Transaction:
        """Gives ``amount`` to the nobody of that number: done twice it would show."""
        return self.world.token._transaction("transfer", nobody(number), amount, gas=gas)

    def submit(
        self,
        number: int | None = None,
        amount: int = 1,
        gas: int | None = GAS,
        fee_limit: int | None = None,
    ) -> int:
        if number is None:
            number = self._orders
        self._orders = max(self._orders, number) + 1
        subject = b"payment %d" % number
        plan = self.payment(number, amount, gas)
        return self.queue.submit("pay", subject, plan, fee_limit=fee_limit)

    def paid(self, number: int) -> int:
        return self.world.token.balance_of(nobody(number))

    # -------------------------------------------------------- what is known

    def found(self, transaction_id: int) -> QueuedTransaction:
        found = self.ledger.transaction(transaction_id)
        assert found is not None
        return found

    def states(self, *ids: int) -> list[str]:
        return [self.found(each).state for each in ids]

    def hashes(self, transaction_id: int) -> list[bytes]:
        return [each.hash for each in self.ledger.attempts(transaction_id)]

    def nonces(self, transaction_id: int) -> list[int]:
        """All nonces that it ever had, in their order, each once."""
        return list(dict.fromkeys(each.nonce for each in self.ledger.attempts(transaction_id)))

    def count(self) -> int:
        return self.w3.eth.get_transaction_count(self.account.address)

    def pool(self) -> set[bytes]:
        """Hashes of the key's transactions that the node has and has not mined."""
        content = rpc(self.w3, "txpool_content")
        return {
            bytes.fromhex(each["hash"][2:])
            for part in content.values()
            for sender, its in part.items()
            if sender.lower() == self.account.address.lower()
            for each in its.values()
        }

    # -------------------------------------------------------- what the chain does

    def mine(self, blocks: int = 1, seconds: int = 1) -> None:
        """Mines blocks, so many seconds apart."""
        for _ in range(blocks):
            head = self.w3.eth.get_block("latest")
            rpc(self.w3, "evm_setNextBlockTimestamp", head["timestamp"] + seconds)
            rpc(self.w3, "evm_mine")

    def reorganise(self, depth: int, *blocks: list[bytes]) -> None:
        """Replaces the last blocks by as many others, with these signed transactions and no more.

        The node forgets what was in them; what it is given raw it mines there.
        """
        placed = [["0x" + raw.hex(), at] for at, raws in enumerate(blocks) for raw in raws]
        rpc(self.w3, "anvil_reorg", depth, placed)

    def drop(self, transaction: bytes) -> None:
        """The node forgets a transaction that it has not mined."""
        rpc(self.w3, "anvil_dropTransaction", "0x" + transaction.hex())

    def drop_all(self) -> None:
        rpc(self.w3, "anvil_dropAllTransactions")

    def base_fee(self, wei: int) -> None:
        """The next block has this base fee, and comes now."""
        rpc(self.w3, "anvil_setNextBlockBaseFeePerGas", hex(wei))
        rpc(self.w3, "evm_mine")

    def set_coins(self, wei: int) -> None:
        rpc(self.w3, "anvil_setBalance", self.account.address, hex(wei))

    def foreign(self, nonce: int, max_fee: int = 50 * GWEI) -> bytes:
        """Bytes of a transaction that somebody else has signed with the key."""
        signed = self.account.sign_transaction(
            {
                "chainId": self.w3.eth.chain_id,
                "nonce": nonce,
                "maxFeePerGas": max_fee,
                "maxPriorityFeePerGas": max_fee,
                "gas": 21_000,
                "to": nobody(10**6),
                "value": 1,
            }
        )
        return bytes(signed.raw_transaction)

    def send(self, raw: bytes) -> bytes:
        return bytes(self.w3.eth.send_raw_transaction(HexBytes(raw)))


@contextmanager
def stage_on(world: World, url: str, folder: Path) -> Iterator[Stage]:
    """A stage on that node."""
    stage = Stage(world, url, str(folder / "queue.db"))
    # Of blocks before these, which came with the state, the node has no history.
    for _ in range(3 * CONFIRMATIONS):
        rpc(world.w3, "evm_mine")
    stage.base_fee(GWEI)
    try:
        yield stage
    finally:
        for ledger in stage.opened:
            ledger.close()
