"""Handlers that outlive their reservation, and clients that do not wait for their answer."""

from concurrent.futures import ThreadPoolExecutor

from tests.crash.market import market
from tests.crash.payers import Payer


def test_hold_ended__two_handlers_of_one_voucher_make_one_charge(ledger_url: str) -> None:
    with market(ledger_url, servers=2, payers=2, hold_seconds=0.05) as shop:
        ports = [place.port for place in shop.places]
        payer = shop.payers[0]
        request = payer.next_request("-twice")
        # The same payer at each of the servers.
        twins = [Payer(1, [port]) for port in ports]
        for twin in twins:
            twin.pending = request
        with ThreadPoolExecutor(2) as pool:
            served = sorted(pool.map(Payer.pay, twins))
        # Neither handler ends before the other has begun; one of them was in time.
        assert served == [False, True]
        assert len(shop.served) == 2
        payer.pending = request
        shop.settle()
        assert payer.record.paid == [(request.amount, request.amount)]
        assert len(shop.served) == 2


def test_clients__gone_before_their_answer_pay_once(ledger_url: str) -> None:
    with market(ledger_url, servers=2, payers=8) as shop:
        for payer in shop.payers:
            payer.hurry = 40
        with shop.load() as load:
            load.until_answers(500)
        for payer in shop.payers:
            payer.hurry = 0
        shop.settle()
        assert sum(payer.record.lost for payer in shop.payers) > 100
