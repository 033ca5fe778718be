"""What a queue asks a node. Every answer is looked at before it is believed.

Behind one URL there may be many nodes, some of them late, and a proxy that mixes answers up.
Whatever is not a clean answer to just that question raises, and so changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from eth_typing import BlockNumber
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3RPCError
from web3.types import RPCEndpoint, TxParams, TxReceipt, Wei

from farthing.chain.connection import WrongChain
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import GAS_MARGIN_PERCENT, as_farthing_error, node_words
from farthing.protocol.errors import FarthingError

T = TypeVar("T")
Receipt: TypeAlias = TxReceipt

# What nodes say of a transaction they have got before.
_KNOWN = re.compile(r"already (known|imported|exists|in)|known transaction", re.IGNORECASE)
# What they say of one whose nonce is used: the count of the account tells the same.
_LATE = re.compile(r"nonce (is )?too low|old ?nonce", re.IGNORECASE)
# What they say of a call that would fail in a block too, when it is not the contract's own refusal.
# Each node has other words, and what is not among these is asked again.
_HOPELESS = re.compile(
    r"out ?of ?gas|oog\b|gas required exceeds|intrinsic gas|gas cannot be negative|evm error"
    r"|always fails below|invalid.{0,3}opcode|stack ?(under|over)flow|invalid ?jump",
    re.IGNORECASE,
)


class AnswerUnusable(FarthingError):
    """A node answered, and not what it was asked."""

    def __init__(self, question: str, words: str) -> None:
        super().__init__(
            f"the node gave no answer about {question} ({words.rstrip('.')}): it is asked again; "
            "use another node if this goes on."
        )


class WouldFail(FarthingError):
    """A transaction would fail in its block, and not by the contract's own refusal."""

    def __init__(self, words: str) -> None:
        super().__init__(f"it would fail ({words.rstrip('.')}): plan it with another gas limit.")


@dataclass(frozen=True)
class Head:
    """The latest block. ``time`` in unix seconds, ``base_fee`` in wei."""

    number: int
    hash: bytes
    time: int
    base_fee: int
    gas_limit: int


@dataclass(frozen=True)
class Call:
    """What a transaction does: a call of ``to`` by ``sender``."""

    sender: str
    to: str
    data: bytes
    gas: int | None = None

    def params(self) -> TxParams:
        filled: TxParams = {
            "from": Web3.to_checksum_address(self.sender),
            "to": Web3.to_checksum_address(self.to),
            "data": HexBytes(self.data),
            "value": Wei(0),
        }
        if self.gas is not None:
            filled["gas"] = self.gas
        return filled


class CheckedNode:
    """One chain's node. Every method raises `AnswerUnusable` or `NodeUnreachable`."""

    def __init__(self, w3: Web3) -> None:
        self._w3 = w3
        self.chain_id = self._chain_now()

    def check_chain(self) -> None:
        """Raises `WrongChain` when the node has another chain than it had."""
        found = self._chain_now()
        if found != self.chain_id:
            raise WrongChain(self.chain_id, found)

    def _chain_now(self) -> int:
        return self._number("its chain", lambda: self._w3.eth.chain_id)

    def head(self) -> Head:
        found: Any = self._ask("the latest block", lambda: self._w3.eth.get_block("latest"))
        try:
            return Head(
                int(found["number"]),
                bytes(found["hash"]),
                int(found["timestamp"]),
                int(found["baseFeePerGas"]),
                int(found["gasLimit"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise AnswerUnusable("the latest block", "it is not complete") from error

    def block_hash(self, number: int) -> bytes | None:
        """The hash of the block with that number; None when the node has none yet."""
        found = self._block(number, full=False)
        return None if found is None else bytes(found["hash"])

    def sent_in(self, number: int, sender: str) -> dict[int, bytes]:
        """What an account sent in a block, by nonce: the hashes."""
        found = self._block(number, full=True)
        if found is None:
            raise AnswerUnusable(f"block {number}", "it has no such block")
        try:
            return {
                int(each["nonce"]): bytes(each["hash"])
                for each in found["transactions"]
                if each["from"].lower() == sender.lower()
                and each.get("chainId", self.chain_id) == self.chain_id
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AnswerUnusable(f"block {number}", "it is not complete") from error

    def _block(self, number: int, *, full: bool) -> Any:
        question = f"block {number}"

        def get() -> Any:
            try:
                return self._w3.eth.get_block(BlockNumber(number), full)
            except BlockNotFound:
                return None

        found = self._ask(question, get)
        if found is None:
            return None
        try:
            is_that = found["number"] == number and len(found["hash"]) == 32
        except (KeyError, TypeError) as error:
            raise AnswerUnusable(question, "it is not complete") from error
        if not is_that:
            raise AnswerUnusable(question, "it is about another block")
        return found

    def count(self, address: str, block: int | None = None) -> int:
        """How many transactions of an account are in the chain, up to that block or all."""
        at: Any = "latest" if block is None else block
        account = Web3.to_checksum_address(address)
        return self._number(
            "the account's count", lambda: self._w3.eth.get_transaction_count(account, at)
        )

    def balance(self, address: str) -> int:
        """What an account has of the chain's coin, in wei."""
        account = Web3.to_checksum_address(address)
        return self._number("the account's balance", lambda: self._w3.eth.get_balance(account))

    def tip(self) -> int | None:
        """The tip the node suggests, in wei for each gas; None when it suggests none."""

        def get() -> Any:
            try:
                found = self._w3.manager.request_blocking(
                    RPCEndpoint("eth_maxPriorityFeePerGas"), []
                )
            except Web3RPCError:
                return None
            return int(found, 16) if isinstance(found, str) else found

        found = self._ask("a tip", get)
        return None if found is None else _whole(found, "a tip")

    def receipt(self, transaction: bytes) -> Receipt | None:
        """The receipt of a transaction that is in a block of the chain."""

        def get() -> Receipt | None:
            try:
                return self._w3.eth.get_transaction_receipt(HexBytes(transaction))
            except TransactionNotFound:
                return None

        found = self._ask("a receipt", get)
        if found is None:
            return None
        try:
            is_complete = (
                bytes(found["transactionHash"]) == transaction
                and len(found["blockHash"]) == 32
                and found["status"] in (0, 1)
                and all(type(found[name]) is int for name in ("blockNumber", "gasUsed"))
                and all(type(log["data"]) is HexBytes for log in found["logs"])
            )
        except (KeyError, TypeError) as error:
            raise AnswerUnusable("a receipt", "it is not complete") from error
        if not is_complete:
            raise AnswerUnusable("a receipt", "it is about something else")
        return found

    def send(self, raw: bytes, expected: bytes) -> str:
        """Hands a signed transaction over; what the node has against it, in its own words.

        Nothing when it has it now, or had it before, or its nonce is used.
        """
        try:
            answer = self._w3.eth.send_raw_transaction(raw)
        except Web3RPCError as error:
            words = node_words(error)
            return "" if _KNOWN.search(words) or _LATE.search(words) else words
        except FarthingError:
            raise
        except Exception as error:
            raise AnswerUnusable("what it was sent", node_words(error)) from error
        if bytes(answer) != expected:
            raise AnswerUnusable("what it was sent", "it names another transaction")
        return ""

    def simulate(self, call: Call, block: int | None = None) -> None:
        """Runs a call on the state after that block, or the latest.

        Raises:
            ContractReverted: The contract refuses.
            WouldFail: It fails otherwise.
        """
        at: Any = "latest" if block is None else block
        self._try("a call", lambda: self._w3.eth.call(call.params(), at))

    def estimate(self, call: Call) -> int:
        """The gas a call takes, with some more, for the state can move until it is in a block.

        Raises: as `simulate`.
        """
        found = self._try("a call's gas", lambda: self._w3.eth.estimate_gas(call.params()))
        return _whole(found, "a call's gas") * (100 + GAS_MARGIN_PERCENT) // 100

    def _try(self, question: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except Exception as error:
            found = as_farthing_error(error, "")
            words = node_words(error)
            if isinstance(found, ContractReverted):
                raise found from error
            if _HOPELESS.search(words):
                raise WouldFail(words) from error
            if isinstance(error, FarthingError):
                raise
            raise AnswerUnusable(question, words) from error

    def _number(self, question: str, ask: Callable[[], object]) -> int:
        return _whole(self._ask(question, ask), question)

    def _ask(self, question: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except FarthingError:
            raise
        except Exception as error:  # an answer can be JSON and still be anything
            raise AnswerUnusable(question, node_words(error)) from error


def _whole(found: object, question: str) -> int:
    if type(found) is not int or found < 0:
        raise AnswerUnusable(question, "it is not a number")
    return found
