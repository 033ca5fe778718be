"""Where a server can be told to die: between any two steps of a payment, by SIGKILL."""

import inspect
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import psycopg

import farthing.paywall.intake as steps
from farthing.ledger import Ledger, checkpoints
from farthing.ledger.sqlite import SqliteLedger
from farthing.paywall.reservations import Reservations

POINTS = (
    "parsed",
    "verified",
    "reserved",
    "handler begins",
    "handler done",
    "batch built",
    "between statements",
    "before commit",
    "committed",
    "answer half sent",
    "answer sent",
)
# Seconds after which somebody who waits gives up.
PATIENCE = 30
# Only a SQLite ledger writes its log itself.
DISK_POINTS = ("log written", "log synced", "log copied")
# Pages after which the log is copied into the file, so that it happens often.
LOG_PAGES = 16

# Classes of advisory locks that triggers in the tables wait for; see `add_gates`.
GATES = {"between statements": 1, "before commit": 2}
_GATE_CLASS = 424_242


class KillPoint:
    """Kills its process when ``point`` is passed for the ``passes``-th time."""

    def __init__(self, point: str | None, passes: int) -> None:
        self._point = point
        self._passes = passes
        self._lock = threading.Lock()

    @property
    def is_of_disk(self) -> bool:
        return self._point in DISK_POINTS

    def reach(self, point: str) -> None:
        """Says that the process is at ``point``, maybe for the last time."""
        if self._is_last(point):
            die()

    def install(self, ledger: Ledger, url: str) -> None:
        """Wraps the steps of a payment. Must come before the paywall is made."""
        self._after(steps, "read_payment", "parsed")
        self._after(steps, "check_signatures", "verified")
        self._after(Reservations, "take_free" if ledger.is_local else "take", "reserved")
        if isinstance(ledger, SqliteLedger):
            if self.is_of_disk:
                checkpoints.PAGES = LOG_PAGES
            # Called before each statement.
            ledger._writer.exec_trace = self._statement
        commit, at_once = ledger.commit, ledger.commit_at_once

        def committing(charges: Any) -> list[bool]:
            self.reach("batch built")
            for point, gate in GATES.items():
                if not isinstance(ledger, SqliteLedger) and self._is_last(point):
                    _die_at_gate(url, gate)
            made = commit(charges)
            self.reach("committed")
            return made

        def committing_at_once(charges: Any) -> list[bool] | None:
            self.reach("batch built")
            made = at_once(charges)
            self.reach("committed" if made else "left to the thread")
            return made

        ledger.commit = committing  # type: ignore[method-assign]
        ledger.commit_at_once = committing_at_once  # type: ignore[method-assign]

    def _is_last(self, point: str) -> bool:
        if point != self._point:
            return False
        with self._lock:
            self._passes -= 1
            return self._passes == 0

    def _statement(self, cursor: object, statement: str, values: object) -> bool:
        if statement.startswith("INSERT INTO charges"):
            self.reach("between statements")
        elif statement == "COMMIT":
            self.reach("before commit")
        return True

    def _after(self, owner: Any, name: str, point: str) -> None:
        step: Callable[..., Any] = getattr(owner, name)
        if inspect.iscoroutinefunction(step):

            @wraps(step)
            async def taken(*values: Any, **named: Any) -> Any:
                result = await step(*values, **named)
                self.reach(point)
                return result

        else:

            @wraps(step)
            def taken(*values: Any, **named: Any) -> Any:
                result = step(*values, **named)
                self.reach(point)
                return result

        setattr(owner, name, taken)


def die() -> None:
    """Ends this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def add_gates(url: str) -> None:
    """Has every charge in a PostgreSQL ledger wait, in the transaction, while a gate is shut."""
    with psycopg.connect(url) as connection:
        connection.execute(
            f"""CREATE FUNCTION farthing.gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                PERFORM pg_advisory_xact_lock_shared({_GATE_CLASS}, TG_ARGV[0]::int);
                RETURN NEW; END $$;
            CREATE TRIGGER gate_in_statement BEFORE INSERT ON farthing.charges
                FOR EACH ROW EXECUTE FUNCTION farthing.gate(1);
            CREATE CONSTRAINT TRIGGER gate_at_commit AFTER INSERT ON farthing.charges
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION farthing.gate(2);"""
        )


def shut(guard: psycopg.Connection, gate: int) -> None:
    """Shuts a gate until ``guard`` opens it or is gone."""
    guard.execute("SELECT pg_advisory_lock(%s, %s)", (_GATE_CLASS, gate))


def open_again(guard: psycopg.Connection, gate: int) -> None:
    """Opens a gate that ``guard`` has shut."""
    guard.execute("SELECT pg_advisory_unlock(%s, %s)", (_GATE_CLASS, gate))


def wait_at_gate(guard: psycopg.Connection, gate: int) -> int:
    """Waits until a transaction waits at a gate; the process id of its session."""
    return wait_for_lock(
        guard, f"locktype = 'advisory' AND classid = {_GATE_CLASS} AND objid = {gate}"
    )


def wait_for_lock(guard: psycopg.Connection, which: str) -> int:
    """Waits until some session waits for such a lock; its process id."""
    waiting = None
    until = time.monotonic() + PATIENCE
    while waiting is None:
        assert time.monotonic() < until, f"nobody waits for {which}"
        waiting = guard.execute(
            f"SELECT pid FROM pg_locks WHERE NOT granted AND {which} LIMIT 1"
        ).fetchone()
    return int(waiting[0])


def _die_at_gate(url: str, gate: int) -> None:
    """Shuts a gate, and dies once the transaction waits there.

    At the first the transaction ends with the process, as it does when the machine dies. At the
    second the database goes on alone, and commits for a process that is no more.
    """
    guard = psycopg.connect(url, autocommit=True)
    shut(guard, gate)

    def watch() -> None:
        session = wait_at_gate(guard, gate)
        if gate == GATES["between statements"]:
            guard.execute("SELECT pg_terminate_backend(%s)", (session,))
        die()

    threading.Thread(target=watch, daemon=True).start()
