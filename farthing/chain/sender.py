"""One key's transactions: numbered, signed here, sent, and followed to their receipt."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from eth_typing import BlockNumber
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import TimeExhausted
from web3.types import Nonce, TxParams, TxReceipt, Wei

from farthing.chain.connection import NodeUnreachable
from farthing.chain.reverts import revert_data, typed_revert
from farthing.protocol.errors import FarthingError

# Transactions sent and not yet confirmed, at most. Nodes take 16 and more of one sender.
IN_FLIGHT = 16
RECEIPT_SECONDS = 120
# The fee offered: room for the base fee to double, which takes six full blocks.
BASE_FEE_FACTOR = 2
# Gas limits above what was estimated, in percent: state can move between estimate and block.
GAS_MARGIN_PERCENT = 20
TIP = Wei(10**9)
POLL_SECONDS = 0.02


class TransactionSigner(Protocol):
    """An account that signs transactions: an eth-account `LocalAccount`, or one like it."""

    @property
    def address(self) -> str: ...

    def sign_transaction(self, transaction_dict: Any, /) -> Any: ...


class TransactionRefused(FarthingError):
    """The node did not take a transaction.

    Attributes:
        sender: Who sent it.
        reason: The node's words.
    """

    def __init__(self, sender: str, reason: str) -> None:
        self.sender = sender
        self.reason = reason
        super().__init__(
            f"the node refused a transaction of {sender}: {reason.rstrip('.')}; if it is about "
            "funds, send this account some of the chain's coin for gas."
        )


class TransactionLost(FarthingError):
    """A transaction was sent and no receipt came. It may be mined, or still be; its hash tells.

    Attributes:
        hash: The transaction's hash.
    """

    def __init__(self, transaction: HexBytes, reason: str) -> None:
        self.hash = transaction
        super().__init__(
            f"no receipt came for transaction {transaction.to_0x_hex()} ({reason.rstrip('.')}): "
            "look it up before you send again."
        )


@dataclass(frozen=True)
class Transaction:
    """What is to be sent: the called contract (None deploys), the bytes, and the gas it may use.

    Without a gas limit the node is asked for an estimate, which also finds a refusal before it
    costs anything.
    """

    to: str | None
    data: bytes
    gas: int | None = None


@dataclass(frozen=True)
class Signed:
    """A signed transaction: its hash, and the bytes a node takes any number of times."""

    hash: HexBytes
    raw: bytes
    filled: TxParams


class Sender:
    """Sends transactions of one account on one chain.

    It counts the account's nonces itself from the first transaction on, so nothing else may send
    from the account meanwhile.
    """

    def __init__(self, w3: Web3, account: TransactionSigner) -> None:
        self.w3 = w3
        self.account = account
        self.address = Web3.to_checksum_address(account.address)
        self._chain_id = w3.eth.chain_id
        self._nonce: int | None = None

    def transact(self, transaction: Transaction) -> TxReceipt:
        """Sends one transaction and waits until it is mined.

        Raises:
            ContractReverted: The contract refused; nothing happened but the gas spent.
            TransactionRefused: The node did not take it.
            TransactionLost: It was sent and no receipt came.
        """
        signed = self.sign(transaction)
        self.broadcast(signed)
        return self.confirm(signed)

    def transact_all(self, transactions: Iterable[Transaction]) -> Iterator[TxReceipt]:
        """Sends many, several in flight at a time, and gives the receipts in their order.

        Raises: as `transact`, for the first that fails; later ones may be in flight then.
        """
        waiting = iter(transactions)
        while planned := list(islice(waiting, IN_FLIGHT)):
            window = []
            for each in planned:
                window.append(self.sign(each))
                self.broadcast(window[-1])
            for signed in window:
                yield self.confirm(signed)

    def forget_nonce(self) -> None:
        """Asks the node for the account's count before the next transaction: it was changed by
        somebody else, or the chain was set back."""
        self._nonce = None

    def sign(self, transaction: Transaction) -> Signed:
        """Gives the transaction its nonce and fees, and signs it. Nothing is sent.

        Raises:
            ContractReverted: The contract would refuse.
            TransactionRefused: It cannot be made.
        """
        try:
            filled = self._fill(transaction)
            signed = self.account.sign_transaction(filled)
        except Exception as error:
            self._nonce = None
            raise as_farthing_error(error, self.address) from error
        return Signed(HexBytes(signed.hash), bytes(signed.raw_transaction), filled)

    def broadcast(self, signed: Signed) -> None:
        """Hands a signed transaction to the node.

        Raises:
            TransactionRefused: The node did not take it.
            TransactionLost: It may have.
        """
        try:
            self.w3.eth.send_raw_transaction(signed.raw)
        except Exception as error:
            # Whether the node counted this nonce is not known any more.
            self.forget_nonce()
            refusal = as_farthing_error(error, self.address)
            if isinstance(refusal, NodeUnreachable):
                # The node may have taken it and died before it said so.
                raise TransactionLost(signed.hash, str(refusal)) from error
            raise refusal from error
        self._nonce = signed.filled["nonce"] + 1

    def _fill(self, transaction: Transaction) -> TxParams:
        if self._nonce is None:
            self._nonce = self.w3.eth.get_transaction_count(self.address, "pending")
        base_fee = self.w3.eth.get_block("latest")["baseFeePerGas"]
        filled: TxParams = {
            "chainId": self._chain_id,
            "nonce": Nonce(self._nonce),
            "maxPriorityFeePerGas": TIP,
            "maxFeePerGas": Wei(base_fee * BASE_FEE_FACTOR + TIP),
            "value": Wei(0),
            "data": HexBytes(transaction.data),
        }
        if transaction.to is not None:
            filled["to"] = Web3.to_checksum_address(transaction.to)
        filled["gas"] = transaction.gas or self._estimate(filled)
        return filled

    def _estimate(self, filled: TxParams) -> int:
        estimate = self.w3.eth.estimate_gas({**filled, "from": self.address})
        return estimate * (100 + GAS_MARGIN_PERCENT) // 100

    def confirm(self, signed: Signed) -> TxReceipt:
        """Waits until a transaction that was sent is mined.

        Raises:
            ContractReverted: The contract refused.
            TransactionRefused: It failed for another reason.
            TransactionLost: No receipt came.
        """
        receipt = self._wait(signed.hash)
        if receipt["status"] != 1:
            raise self._reason(signed.filled, receipt)
        return receipt

    def _wait(self, transaction: HexBytes) -> TxReceipt:
        try:
            receipt = self.w3.eth.wait_for_transaction_receipt(
                transaction, timeout=RECEIPT_SECONDS, poll_latency=POLL_SECONDS
            )
        except TimeExhausted as error:
            raise TransactionLost(transaction, f"waited {RECEIPT_SECONDS} s") from error
        except Exception as error:  # whatever it is, the transaction is out
            raise TransactionLost(transaction, node_words(error)) from error
        if not {"status", "gasUsed", "logs"} <= receipt.keys():
            raise TransactionLost(transaction, "the node's receipt is not complete")
        return receipt

    def _reason(self, filled: TxParams, receipt: TxReceipt) -> FarthingError:
        """Runs a failed transaction again on the state it met, for its revert data."""
        again: TxParams = {**filled, "from": self.address}
        again.pop("nonce")
        try:
            self.w3.eth.call(again, BlockNumber(receipt["blockNumber"] - 1))
        except Exception as error:  # every kind becomes one of ours
            found = as_farthing_error(error, self.address)
            out_of_gas = receipt["gasUsed"] == filled["gas"]
            if out_of_gas and isinstance(found, TransactionRefused):
                # Every node has other words for it.
                return TransactionRefused(self.address, f"it ran out of its {filled['gas']:,} gas")
            return found
        return TransactionRefused(self.address, "it failed in its block but would succeed now")


def coins_of(w3: Web3, address: str) -> int:
    """What an address has of the chain's coin, in wei."""
    try:
        return w3.eth.get_balance(Web3.to_checksum_address(address))
    except Exception as error:
        raise as_farthing_error(error, address) from error


def gas_price(w3: Web3, address: str) -> int:
    """What the node takes gas to cost now, in wei; it is asked for ``address``."""
    try:
        return w3.eth.gas_price
    except Exception as error:
        raise as_farthing_error(error, address) from error


def as_farthing_error(error: Exception, sender: str) -> FarthingError:
    """What a node raised for a call, as one of our errors."""
    if isinstance(error, FarthingError):
        return error
    data = revert_data(error)
    return TransactionRefused(sender, node_words(error)) if data is None else typed_revert(data)


def node_words(error: Exception) -> str:
    """The node's own words where it said any, on one line."""
    response: Any = getattr(error, "rpc_response", None) or {}
    answered = response.get("error")
    words = answered.get("message") if isinstance(answered, dict) else None
    return " ".join(str(words or error or type(error).__name__).split())
