"""The full run: servers killed hundreds of times over both databases. ``make test-crash``.

The last line is one JSON object. It is made only if nothing was lost and nothing charged twice.
"""

import json
import sys
from collections import Counter

from tests.crash.conftest import sqlite
from tests.crash.kills import run
from tests.crash.test_kills import KILLS
from tests.postgres import cluster

FULL = 400


def main(kills: int = FULL) -> None:
    """Kills servers ``kills`` times with each database."""
    # Another seed than the short run's, and other moments.
    seed = KILLS + kills
    with cluster() as server:
        tallies = {
            "sqlite": run(sqlite, kills, seed),
            "postgresql": run(server.database, kills, seed),
        }
    total: Counter[str] = Counter()
    for tally in tallies.values():
        total.update(
            {
                "kills": tally.kills.total(),
                "charges": tally.answers,
                "lost": tally.lost,
                "double": tally.double,
            }
        )
    print(json.dumps({**total, **{name: vars(tally) for name, tally in tallies.items()}}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
