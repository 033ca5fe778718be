"""`kill -9` between any two steps of a payment: nothing is lost, and nothing is charged twice."""

from tests.crash.kills import Database, run

KILLS = 20


def test_kill__anywhere_under_load_charges_every_200_once(database: Database) -> None:
    tally = run(database, KILLS, seed=1)
    assert tally.kills.total() == KILLS
    assert (tally.lost, tally.double) == (0, 0)
    assert tally.unanswered > 0
    assert tally.repeated > 0
