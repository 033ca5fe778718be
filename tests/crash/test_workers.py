"""Several workers on one ledger, and payers that go from one to the other."""

from tests.crash.market import market


def test_workers__two_under_load_keep_exact_books(ledger_url: str) -> None:
    with market(ledger_url, servers=2, payers=16) as shop:
        with shop.load() as load:
            load.until_answers(1_500)
        shop.settle()
        assert len(shop.served) == shop.answers
