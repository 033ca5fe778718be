"""The long soak: ``make test-soak``.

    SOAK_SECONDS=1800 SOAK_SEED=7 python -m tests.soak

Half an hour without SOAK_SECONDS, another seed every time without SOAK_SEED. The last line is one
JSON object; it ends with 1 if anything was lost, or is not as it should be.
"""

import json
import os
import secrets
import sys

from tests.soak.soak import soak

HALF_AN_HOUR = 1_800


def main() -> None:
    """Runs one, and tells."""
    seconds = int(os.environ.get("SOAK_SECONDS", HALF_AN_HOUR))
    seed = int(os.environ.get("SOAK_SEED", secrets.randbelow(10**6)))
    print(f"Soaks for {seconds} seconds, seed {seed}.", flush=True)
    report, problems = soak(seed, 0, seconds)
    for problem in problems:
        print(f"Problem: {problem}")
    print(json.dumps(report))
    sys.exit(1 if problems or report["lost"] else 0)


if __name__ == "__main__":
    main()
