"""What a forked child must not keep of its parent's ledger.

A child has the same open files. As long as it kept them, neither a lock on a file nor a session of
a database would end with the process that holds it.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class LeftBehind(Protocol):
    """Something with an open file that is the parent's alone."""

    def leave(self) -> None:
        """Closes the file in the child, without a word to anybody."""


_left: WeakSet[LeftBehind] = WeakSet()


def leave_at_fork(what: LeftBehind) -> None:
    """Has ``what.leave`` called in every child that is forked from now on."""
    _left.add(what)


def _leave_all() -> None:
    for what in list(_left):
        what.leave()


os.register_at_fork(after_in_child=_leave_all)
