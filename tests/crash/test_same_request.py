"""One request, sent a hundred times at once to four processes: served once, answered alike."""

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.crash.books import charges_of
from tests.crash.kill_points import PATIENCE
from tests.crash.market import Market, market
from tests.crash.payers import Request

PROCESSES = 4
COPIES = 100


@pytest.mark.parametrize("manner", ["", "-slow"])
def test_same_request__100_at_once_over_4_processes(ledger_url: str, manner: str) -> None:
    with market(ledger_url, servers=PROCESSES, payers=3, wait_seconds=30) as shop:
        for number, payer in enumerate(shop.payers):
            request = payer.next_request(manner)
            answers = _send_at_once(shop, request)
            assert {status for status, _, _ in answers} == {200}
            assert len(set(answers)) == 1
            assert len(shop.served) == number + 1
            assert answers[0][2].decode() == shop.served[-1] + "\n"
            with shop.books() as ledger:
                made = charges_of(ledger)[payer.channel_id]
                assert ledger.prove() == []
            assert made == [(request.amount, request.amount)]


def _send_at_once(shop: Market, request: Request) -> list[tuple[int, str | None, bytes]]:
    barrier = threading.Barrier(COPIES)

    def send(number: int) -> tuple[int, str | None, bytes]:
        port = shop.places[number % PROCESSES].port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.connect()
        barrier.wait(PATIENCE)
        connection.request("GET", request.path, headers={"PAYMENT-SIGNATURE": request.header})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers["PAYMENT-RESPONSE"], body

    with ThreadPoolExecutor(COPIES) as pool:
        return list(pool.map(send, range(COPIES)))
