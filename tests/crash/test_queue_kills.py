"""`kill -9` between any two steps of a transaction: each is made once, and none forgotten."""

from tests.crash.kills import Database
from tests.crash.queue_kills import run

KILLS = 16


def test_kill__anywhere_on_a_transactions_way__each_payment_once(database: Database) -> None:
    tally = run(database, KILLS, seed=1)
    assert tally.kills.total() == KILLS
    assert tally.payments >= KILLS
    assert (tally.lost, tally.double) == (0, 0)
    assert tally.mishaps.total() > 0
