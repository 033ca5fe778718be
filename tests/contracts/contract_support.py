"""Values the tests of the settlement contract compare with: its books and its events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from eth_abi import encode
from eth_utils import keccak

ZERO_ADDRESS = "0x" + "00" * 20
MAX_UINT128 = 2**128 - 1


class Books(NamedTuple):
    """Everything settlement keeps about one channel."""

    balance: int = 0
    claimed: int = 0
    pending: int = 0
    initiated_at: int = 0
    refund_nonce: int = 0


def books(settlement: Any, config: Any) -> Books:
    channel_id = settlement.getChannelId(config)
    return Books(
        *settlement.channels(channel_id),
        *settlement.pendingWithdrawals(channel_id),
        settlement.refundNonce(channel_id),
    )


def call_data(contract: Any, function: str, *args: Any) -> bytes:
    """The bytes of a call, for a multicall or a hook."""
    return bytes(getattr(contract, function).prepare_calldata(*args))


def claims_call(function: str, rows: Sequence[Any]) -> bytes:
    """The call of a function with rows of a claim, also with more rows than its ABI allows."""
    config = "(address,address,address,address,address,uint40,bytes32)"
    types = f"(({config},uint128),bytes,uint128)[]"
    return keccak(text=f"{function}({types})")[:4] + encode([types], [rows])


def transfer(owner: Any, to: Any, amount: int) -> tuple[str, dict[str, Any]]:
    return "Transfer", {"sender": owner.address, "receiver": to.address, "value": amount}


def channel_created(channel_id: bytes, config: Any) -> tuple[str, dict[str, Any]]:
    return "ChannelCreated", {"channelId": channel_id, "config": config}


def channel_closed(channel_id: bytes, config: Any) -> tuple[str, dict[str, Any]]:
    return "ChannelClosed", {"channelId": channel_id, "config": config}


def deposited(
    channel_id: bytes, sender: Any, amount: int, new_balance: int
) -> tuple[str, dict[str, Any]]:
    return "Deposited", {
        "channelId": channel_id,
        "sender": sender.address,
        "amount": amount,
        "newBalance": new_balance,
    }


def claimed(channel_id: bytes, sender: Any, amount: int, total: int) -> tuple[str, dict[str, Any]]:
    return "Claimed", {
        "channelId": channel_id,
        "sender": sender.address,
        "claimAmount": amount,
        "newTotalClaimed": total,
    }


def settled(receiver: Any, token: Any, sender: Any, amount: int) -> tuple[str, dict[str, Any]]:
    return "Settled", {
        "receiver": receiver.address,
        "token": token.address,
        "sender": sender.address,
        "amount": amount,
    }


def refunded(channel_id: bytes, sender: Any, amount: int) -> tuple[str, dict[str, Any]]:
    return "Refunded", {"channelId": channel_id, "sender": sender.address, "amount": amount}


def withdraw_initiated(
    channel_id: bytes, amount: int, finalize_after: int
) -> tuple[str, dict[str, Any]]:
    return "WithdrawInitiated", {
        "channelId": channel_id,
        "amount": amount,
        "finalizeAfter": finalize_after,
    }


def withdraw_finalized(channel_id: bytes, sender: Any, amount: int) -> tuple[str, dict[str, Any]]:
    return "WithdrawFinalized", {
        "channelId": channel_id,
        "sender": sender.address,
        "amount": amount,
    }
