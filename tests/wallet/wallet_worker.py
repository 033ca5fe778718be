"""Wallets in processes of their own, which can be told to die between any two steps.

    python -m tests.wallet.wallet_worker WALLET_FILE < jobs

Each line on standard input is a JSON list of jobs, which run at the same time, each in a process:
``{"url": …, "paths": […], "point": …, "passes": …}``. One line comes back when all have ended: a
JSON list of what each ended with, ``paid``, ``refused`` (by a rule) or ``killed``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import wraps
from pathlib import Path
from typing import Any

import httpx

from farthing.wallet import RefusedByRules, Rules, Store, Wallet
from farthing.wallet.httpx_client import PayingTransport
from farthing.wallet.lanes import LaneLocks
from tests.wallet.wallet_kit import PLACE, SESSION, Clock, FixedChain

POINTS = (
    "asked",
    "rules checked",
    "lane taken",
    "between statements",
    "before commit",
    "written down",
    "signed",
    "answered",
    "answer noted",
)
ENDS = {0: "paid", 3: "refused", -signal.SIGKILL: "killed"}


class KillPoint:
    """Kills its process when ``point`` is passed for the ``passes``-th time."""

    def __init__(self, point: str | None, passes: int) -> None:
        self._point = point
        self._passes = passes

    def reach(self, point: str) -> None:
        if point == self._point:
            self._passes -= 1
            if self._passes == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def install(self, store: Store) -> None:
        """Wraps the steps of a payment."""
        self._after(Rules, "check", "rules checked")
        self._after(LaneLocks, "take", "lane taken")
        self._after(Store, "authorize_ready", "written down")
        self._after(Wallet, "header", "signed")
        self._after(Store, "charged", "answer noted")
        # Called before each statement.
        store._db.connection.exec_trace = self._statement

    def _statement(self, cursor: object, statement: str, values: object) -> bool:
        if statement.startswith("INSERT INTO payments"):
            self.reach("between statements")
        elif statement == "COMMIT":
            self.reach("before commit")
        return True

    def _after(self, owner: Any, name: str, point: str) -> None:
        step = getattr(owner, name)

        @wraps(step)
        def taken(*values: Any, **named: Any) -> Any:
            result = step(*values, **named)
            self.reach(point)
            return result

        setattr(owner, name, taken)


class Line(httpx.HTTPTransport):
    """The network, which may be the last that a process sees."""

    def __init__(self, kill: KillPoint) -> None:
        super().__init__()
        self._kill = kill

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        is_paid = "payment-signature" in request.headers
        self._kill.reach("answered" if is_paid else "asked")
        return response


def work(path: Path, job: dict[str, Any]) -> int:
    """Pays for the paths of a job, one after the other."""
    store = Store(path, Clock())
    kill = KillPoint(job.get("point"), job.get("passes", 1))
    kill.install(store)
    chain: Any = FixedChain()
    wallet = Wallet(store, SESSION, chain, PLACE)
    with httpx.Client(transport=PayingTransport(wallet, Line(kill))) as client:
        for each in job["paths"]:
            try:
                assert client.get(job["url"] + each).status_code == 200
            except RefusedByRules:
                return 3
    return 0


def main() -> None:
    path = Path(sys.argv[1])
    for line in sys.stdin:
        children = []
        for job in json.loads(line):
            child = os.fork()
            if child == 0:
                status = 70
                try:
                    status = work(path.parent / job.get("file", path.name), job)
                finally:
                    os._exit(status)
            children.append(child)
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps([ENDS.get(end, f"failed: {end}") for end in ends]), flush=True)


if __name__ == "__main__":
    main()
