"""Two minutes of payments, withdrawals, refunds, faults and restarts; `make test-soak` has more."""

from tests.soak.soak import soak

SEED = 5
BLOCKS = 220


def test_soak__with_faults_of_every_kind_loses_nothing() -> None:
    report, problems = soak(SEED, BLOCKS)
    assert problems == [], report
    assert report["lost"] == 0
    assert report["left"] == 0
    done = ("served", "withdrawn", "refunds", "redemptions", "reorgs", "kills", "dropped")
    assert all(report[each] for each in done), report
