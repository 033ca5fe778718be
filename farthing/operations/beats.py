"""Each process tells in the ledger which parts it has and how they do, for others to see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from farthing.operations.supervisor import PartState

# Under what name the ledger keeps them.
TEXT = "processes"
# Seconds after which a process that says nothing more is not listed any more.
FORGOTTEN = 86_400


class Store(Protocol):
    """Where they are kept: the ledger."""

    def remember(self, name: str, value: str) -> None: ...

    def recall(self, name: str) -> str | None: ...


class Beat(msgspec.Struct, frozen=True):
    """What a process tells.

    Attributes:
        at: When, unix seconds.
        parts: How its parts do, by name.
    """

    at: int
    parts: dict[str, PartState]


def read_beats(store: Store) -> dict[str, Beat]:
    """What each process told last, by the process's name."""
    text = store.recall(TEXT)
    return msgspec.json.decode(text, type=dict[str, Beat]) if text else {}


def beat(store: Store, process: str, parts: Mapping[str, PartState], now: int) -> None:
    """Tells how a process does.

    Two that tell at the same moment can undo each other's; the next time puts it right.
    """
    told = {
        name: each
        for name, each in read_beats(store).items()
        if name != process and now - each.at < FORGOTTEN
    }
    told[process] = Beat(now, dict(parts))
    store.remember(TEXT, msgspec.json.encode(told).decode())


def leave(store: Store, process: str) -> None:
    """A process ends as it should: nobody has to miss it."""
    told = read_beats(store)
    if told.pop(process, None) is not None:
        store.remember(TEXT, msgspec.json.encode(told).decode())
