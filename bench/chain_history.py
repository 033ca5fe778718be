"""A settlement contract's history on anvil: a hundred thousand events, as a shop's days bring them.

Everything goes through the contract itself; only signatures, and coins for gas, are spared where
anvil can do without. Most blocks have some events, some have none, and some channels are those of
other publishers, as on a contract that many share.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
from eth_abi.abi import encode
from eth_abi.grammar import parse
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3 import Web3

from farthing.chain.anvil import ANVIL_KEYS, anvil
from farthing.chain.connection import connect
from farthing.chain.deployment import place
from farthing.chain.logs import event_topics
from farthing.chain.sender import Sender, Transaction
from farthing.chain.settlement import MAX_CLAIMS, Settlement
from farthing.protocol import ChannelConfig, Voucher, VoucherClaim, sign
from farthing.redeemer.packer import pack
from scripts.package import compile_artifact

DELAY = 900
PRICE = 10_000
DEPOSIT = 5_000_000
TOP_UP = 1_000_000
# Calls of one multicall; see MAX_CALLS in contracts/BatchSettlement.vy.
CALLS = 16
# What is sent to anvil at a time, and goes into a block.
TRANSACTIONS = 8
GAS = 20_000_000
PAYERS = 40

# Channels of a wave, and how many of them do what before the next.
WAVE = 1_500
OTHERS = 1 / 6
TOPPED_UP, CLAIMED, REDEEMED, WITHDRAWING, TAKEN, REFUNDED = 600, 900, 500, 450, 300, 250
QUIET_BLOCKS = 10


CONFIG = "(address,address,address,address,address,uint40,bytes32)"
SIGNATURES = {
    "deposit": f"deposit({CONFIG},uint128,address,bytes)",
    "finalizeWithdraw": f"finalizeWithdraw({CONFIG})",
    "initiateWithdraw": f"initiateWithdraw({CONFIG},uint128)",
    "refund": f"refund({CONFIG},uint128)",
}


def _account(name: str) -> LocalAccount:
    account: LocalAccount = Account.from_key(keccak(text=f"catch up {name}"))
    return account


PAYER_ACCOUNTS = [_account(f"payer {number}") for number in range(PAYERS)]
RECEIVER, AUTHORIZER = _account("receiver"), _account("authorizer")
OTHER = _account("other publisher")


@dataclass
class History:
    """A chain with a history, still running.

    Attributes:
        start_block: The block the settlement contract was made in.
        ids: The channels of `RECEIVER`.
        mix: How many events there are of each kind.
    """

    url: str
    w3: Web3
    settlement: Settlement
    token: str
    start_block: int
    ids: list[bytes] = field(default_factory=list)
    mix: Counter[str] = field(default_factory=Counter)


@contextmanager
def history(events: int) -> Iterator[History]:
    """Runs a node whose settlement contract has at least so many events."""
    with anvil("--gas-limit", "1000000000", "--auto-impersonate", "--prune-history") as url:
        w3 = connect(url)
        operator = Sender(w3, Account.from_key(ANVIL_KEYS[0]))
        token = place(operator, "TestUSD").address
        settlement = Settlement(w3, place(operator, "BatchSettlement").address)
        made = History(url, w3, settlement, token, w3.eth.block_number)
        _Maker(made, operator).run(events)
        yield made


class _Maker:
    """Makes the history, wave after wave."""

    def __init__(self, made: History, operator: Sender) -> None:
        self._made = made
        self._settlement = made.settlement
        self._session = requests.Session()
        self._random = random.Random(1)
        self._channels = 0
        self._counted = made.start_block
        self._collector = self._prepare(operator)

    def _prepare(self, operator: Sender) -> str:
        """Gives the payers dollars, and the collector leave to take them."""
        compiled = json.loads(compile_artifact("contracts/mocks/TestCollector.vy"))
        code = bytes.fromhex(compiled["bytecode"][2:])
        collector = str(operator.transact(Transaction(None, code, 2_000_000))["contractAddress"])
        payers = [payer.address for payer in PAYER_ACCOUNTS]
        token = self._made.token
        calls = [(payers[0], _encoded("mintBatch(address[],uint256)", payers, 10**18))]
        approve = _encoded("approve(address,uint256)", collector, 2**255)
        calls += [(payer, approve) for payer in payers]
        senders = [*payers, RECEIVER.address, OTHER.address]
        self._request([("anvil_setBalance", [sender, hex(10**24)]) for sender in senders])
        self._request([("evm_setAutomine", [False])])
        self._send(calls, token)
        return collector

    def run(self, events: int) -> None:
        withdrawing: list[ChannelConfig] = []
        while self._made.mix.total() < events:
            wave = [self._config() for _ in range(WAVE)]
            ours = [config for config in wave if config.receiver == RECEIVER.address]
            self._made.ids += map(self._id, ours)
            self._deposit(wave, DEPOSIT)
            self._request([("evm_mine", [])] * QUIET_BLOCKS)
            self._deposit(self._random.sample(wave, TOPPED_UP), TOP_UP)
            # Of those of the wave before, whose delay is over.
            self._call("finalizeWithdraw", [(c.payer, c, ()) for c in withdrawing[:TAKEN]])
            self._claim(self._random.sample(ours, CLAIMED))
            self._redeem(self._random.sample(ours, REDEEMED))
            withdrawing = self._random.sample(wave, WITHDRAWING)
            self._call("initiateWithdraw", [(c.payer, c, (TOP_UP,)) for c in withdrawing])
            refunded = self._random.sample(wave, REFUNDED)
            self._call("refund", [(c.receiver, c, (PRICE,)) for c in refunded])
            self._request([("evm_increaseTime", [DELAY])])
            self._count()

    # ------------------------------------------------------------ what happens

    def _config(self) -> ChannelConfig:
        self._channels += 1
        payer = PAYER_ACCOUNTS[self._channels % PAYERS].address
        other = self._random.random() < OTHERS
        return ChannelConfig(
            payer=payer,
            payer_authorizer=payer,
            receiver=OTHER.address if other else RECEIVER.address,
            receiver_authorizer=OTHER.address if other else AUTHORIZER.address,
            token=self._made.token,
            withdraw_delay=DELAY,
            salt=self._channels.to_bytes(32, "big"),
        )

    def _id(self, config: ChannelConfig) -> bytes:
        return config.channel_id(self._settlement.domain)

    def _deposit(self, configs: Sequence[ChannelConfig], amount: int) -> None:
        self._call("deposit", [(c.payer, c, (amount, self._collector, b"")) for c in configs])

    def _claim(self, configs: Sequence[ChannelConfig]) -> None:
        rows = [claim.as_tuple() for claim in self._vouchers(configs, PRICE)]
        signature = f"claim((({CONFIG},uint128),bytes,uint128)[])"
        calls = [
            _encoded(signature, rows[start : start + MAX_CLAIMS])
            for start in range(0, len(rows), MAX_CLAIMS)
        ]
        self._send([(RECEIVER.address, call) for call in calls])

    def _redeem(self, configs: Sequence[ChannelConfig]) -> None:
        batches = pack(self._vouchers(configs, 2 * PRICE), self._settlement.domain).batches
        self._send([(RECEIVER.address, batch.call()) for batch in batches])
        settle = _encoded("settle(address,address)", RECEIVER.address, self._made.token)
        self._send([(RECEIVER.address, settle)])

    def _vouchers(self, configs: Sequence[ChannelConfig], total: int) -> list[VoucherClaim]:
        keys = {str(payer.address): payer for payer in PAYER_ACCOUNTS}
        domain = self._settlement.domain
        return [
            VoucherClaim(c, total, sign(keys[c.payer], Voucher(self._id(c), total), domain), total)
            for c in configs
        ]

    # ------------------------------------------------------------ how it is sent

    def _call(
        self, function: str, calls: Sequence[tuple[str, ChannelConfig, tuple[Any, ...]]]
    ) -> None:
        """Calls a function that wants a config and more, for many senders, many calls at once."""
        by_sender: dict[str, list[bytes]] = {}
        for sender, config, more in calls:
            by_sender.setdefault(sender, []).append(
                _encoded(SIGNATURES[function], config.as_tuple(), *more)
            )
        self._send(
            [
                (sender, _encoded("multicall(bytes[])", encoded[start : start + CALLS]))
                for sender, encoded in by_sender.items()
                for start in range(0, len(encoded), CALLS)
            ]
        )

    def _send(self, calls: Sequence[tuple[str, bytes]], to: str | None = None) -> None:
        """Sends transactions, a few to a block, and sees that every one succeeds."""
        to = to or self._settlement.address
        for start in range(0, len(calls), TRANSACTIONS):
            sent = self._request(
                [
                    (
                        "eth_sendTransaction",
                        [{"from": sender, "to": to, "data": "0x" + data.hex(), "gas": hex(GAS)}],
                    )
                    for sender, data in calls[start : start + TRANSACTIONS]
                ]
                + [("evm_mine", [])]
            )
            receipts = self._request([("eth_getTransactionReceipt", [each]) for each in sent[:-1]])
            assert all(receipt["status"] == "0x1" for receipt in receipts), receipts

    def _request(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        body = [
            {"jsonrpc": "2.0", "id": place, "method": method, "params": params}
            for place, (method, params) in enumerate(calls)
        ]
        answers = self._session.post(self._made.url, json=body).json()
        assert all("result" in answer for answer in answers), answers
        return [answer["result"] for answer in sorted(answers, key=lambda answer: answer["id"])]

    def _count(self) -> None:
        """Adds what is new to the mix, by the node's own logs."""
        (head,) = self._request([("eth_blockNumber", [])])
        where = {"fromBlock": hex(self._counted), "toBlock": head}
        (logs,) = self._request([("eth_getLogs", [{"address": self._settlement.address, **where}])])
        self._made.mix.update(event_topics()[log["topics"][0]] for log in logs)
        self._counted = int(head, 16) + 1


def _encoded(signature: str, *arguments: Any) -> bytes:
    """A call's data."""
    types = signature[signature.index("(") :]
    data = encode([types], [arguments])
    # A tuple of changing size is told apart from the arguments of a call by where it starts.
    return keccak(text=signature)[:4] + data[32 if parse(types).is_dynamic else 0 :]
