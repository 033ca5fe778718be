"""A contract's events in a receipt, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.abi import event_abi_to_log_topic
from web3._utils.events import get_event_data
from web3.contract import Contract
from web3.types import TxReceipt


@dataclass(frozen=True)
class Event:
    """One event: its name and its arguments by name, as web3 decodes them."""

    name: str
    args: Mapping[str, Any]


def read_events(contract: Contract, receipt: TxReceipt) -> list[Event]:
    """The events of ``contract`` in ``receipt``, in the order they were logged."""
    known = {
        event_abi_to_log_topic(entry): entry for entry in contract.abi if entry["type"] == "event"
    }
    found = []
    for log in receipt["logs"]:
        if log["address"] != contract.address or not log["topics"]:
            continue
        entry = known.get(bytes(log["topics"][0]))
        if entry is not None:
            data = get_event_data(contract.w3.codec, entry, log)
            found.append(Event(entry["name"], data["args"]))
    return found
