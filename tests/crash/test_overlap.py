"""Handlers that outlive their reservation, and clients that do not wait for their answer."""

from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.crash.kill_points import GATES, add_gates, open_again, shut, wait_at_gate, wait_for_lock
from tests.crash.market import market
from tests.crash.payers import Payer
from tests.postgres import Cluster


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


def test_postgresql__charge_of_a_dead_server_is_made_while_it_is_repeated(
    postgres_cluster: Cluster,
) -> None:
    gate = GATES["before commit"]
    # One payer, so that nobody else's charge goes first and waits at the gate.
    with postgres_cluster.database() as url, market(url, payers=1) as shop:
        add_gates(url)
        (server,) = shop.places
        with shop.load() as load, psycopg.connect(url, autocommit=True) as guard:
            load.until_answers(50)
            shut(guard, gate)
            wait_at_gate(guard, gate)
            server.kill()
            server.wait_for_death()
            server.start(shop.order)
            # The same voucher again, on its way to be charged once more.
            wait_for_lock(guard, "locktype = 'transactionid'")
            open_again(guard, gate)
            load.until_answers(50)
        shop.settle()
        assert shop.refusals > 0
