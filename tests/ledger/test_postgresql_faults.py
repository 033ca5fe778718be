"""A PostgreSQL ledger whose connection or server goes away, and comes back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from ledger_samples import (
    ANSWER,
    CONFIG,
    LEASE,
    MIRROR,
    Backdoor,
    channel_id,
    enqueue,
    known,
    next_charge,
    order_refund,
    pay,
    reserved,
    sign,
)

from farthing.ledger import Ledger, LedgerUnavailable, NotReserved, open_ledger
from farthing.ledger import postgresql_link as link
from tests.postgres import Cluster


@pytest.fixture
def ledger_url(postgres_url: str) -> str:
    return postgres_url


def cut_connections(url: str) -> None:
    """Ends every session of the ledgers at ``url``."""
    Backdoor(url).run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = 'farthing' AND datname = current_database()"
    )


USES: dict[str, Callable[[Ledger], object]] = {
    "reserve": lambda ledger: ledger.reserve([channel_id(9)]),
    "answer": lambda ledger: ledger.answer(channel_id(1)),
    "mirror": lambda ledger: ledger.mirror(channel_id(1), CONFIG, MIRROR),
    "mirror_many": lambda ledger: ledger.mirror_many([(channel_id(1), CONFIG, MIRROR)]),
    "enqueue a refund": lambda ledger: order_refund(ledger, channel_id(1), 0, 5),
    "held_refund": lambda ledger: ledger.held_refund(channel_id(1), 0),
    "channels": lambda ledger: ledger.channels(),
    "redeemable": lambda ledger: list(ledger.redeemable()),
    "take_lease": lambda ledger: ledger.take_lease(LEASE, 60),
    "give_lease": lambda ledger: ledger.give_lease(LEASE),
    "enqueue": lambda ledger: enqueue(ledger),
    "transaction": lambda ledger: ledger.transaction(1),
    "find_transaction": lambda ledger: ledger.find_transaction("redeem", b""),
    "transactions": lambda ledger: ledger.transactions(),
    "attempts": lambda ledger: ledger.attempts(1),
    "rows": lambda ledger: ledger.rows(1),
    "in_flight": lambda ledger: ledger.in_flight(),
    "channel": lambda ledger: ledger.channel(channel_id(1)),
    "charges": lambda ledger: ledger.charges(),
    "totals": lambda ledger: ledger.totals(),
    "prove": lambda ledger: ledger.prove(),
    "forget_answers": lambda ledger: ledger.forget_answers(5),
    "remember": lambda ledger: ledger.remember("name", "value"),
    "recall": lambda ledger: ledger.recall("name"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_any_method__its_connection_was_cut(
    ledger: Ledger, ledger_url: str, use: Callable[[Ledger], object]
) -> None:
    known(ledger, 1)
    cut_connections(ledger_url)
    with pytest.raises(LedgerUnavailable):
        use(ledger)
    use(ledger)


@pytest.mark.parametrize("use", ["sign", "move"])
def test_sign_and_move__its_connection_was_cut(ledger: Ledger, ledger_url: str, use: str) -> None:
    number = enqueue(ledger)
    assert ledger.take_lease(LEASE, 60)
    before = ledger.transaction(number)

    def write() -> None:
        if use == "sign":
            sign(ledger, number)
        else:
            ledger.move_transaction(number, LEASE, "refused", time=70)

    cut_connections(ledger_url)
    with pytest.raises(LedgerUnavailable):
        write()
    assert ledger.transaction(number) == before
    write()
    assert ledger.transaction(number) != before


def test_commit__its_connection_was_cut(ledger: Ledger, ledger_url: str) -> None:
    channel = known(ledger, 1)
    charge = next_charge(channel, reserved(ledger, channel), answer=ANSWER)
    cut_connections(ledger_url)
    with pytest.raises(LedgerUnavailable):
        ledger.commit([charge])
    assert ledger.commit([charge]) == [True]
    with pytest.raises(LedgerUnavailable):
        ledger.totals()
    assert ledger.totals().charges == 1
    assert ledger.prove() == []


def test_release__its_connection_was_cut(ledger: Ledger, ledger_url: str) -> None:
    first, second = known(ledger, 1), known(ledger, 2)
    ledger.reserve([first, second])
    cut_connections(ledger_url)
    with pytest.raises(LedgerUnavailable):
        ledger.release([first])
    # Given back for all that, and without a word when there is no connection.
    ledger.release([second])
    another = open_ledger(ledger_url)
    for channel in (first, second):
        reserved(another, channel)
    another.close()


def test_reserve__is_taken_again_after_the_connection_was_cut(
    ledger: Ledger, another: Ledger, ledger_url: str
) -> None:
    channel = known(ledger, 1)
    reserved(ledger, channel)
    cut_connections(ledger_url)
    for each in (ledger, another):
        with pytest.raises(LedgerUnavailable):
            each.recall("name")
        each.recall("name")
    assert another.reserve([channel]) == [NotReserved.BUSY]
    assert ledger.reserve([channel]) == [NotReserved.BUSY]
    ledger.release([channel])
    reserved(another, channel)


def test_reserve__another_was_faster_after_the_connection_was_cut(
    ledger: Ledger, another: Ledger, ledger_url: str
) -> None:
    channel = known(ledger, 1)
    ours = next_charge(channel, reserved(ledger, channel), request_id="ours")
    cut_connections(ledger_url)
    with pytest.raises(LedgerUnavailable):
        another.recall("name")
    theirs = next_charge(channel, reserved(another, channel), request_id="theirs")
    with pytest.raises(LedgerUnavailable):
        ledger.recall("name")
    with pytest.raises(LedgerUnavailable):
        another.commit([theirs])
    assert another.commit([theirs]) == [True]
    # It came back without the reservation, and the commit is refused.
    with pytest.raises(LedgerUnavailable):
        ledger.commit([ours])
    assert ledger.commit([ours]) == [False]
    ledger.release([channel])
    assert ledger.reserve([channel]) == [NotReserved.BUSY]
    assert ledger.prove() == []


def test_server__stopped_and_started(ledger: Ledger, postgres_cluster: Cluster) -> None:
    channel = known(ledger, 1)
    charge = next_charge(channel, reserved(ledger, channel), answer=ANSWER)
    assert ledger.commit([charge]) == [True]
    second = next_charge(channel, ledger.channel(channel).state)  # type: ignore[union-attr]
    postgres_cluster.stop()
    try:
        for _ in range(2):
            for use in USES.values():
                with pytest.raises(LedgerUnavailable) as caught:
                    use(ledger)
                assert "\n" not in str(caught.value)
            with pytest.raises(LedgerUnavailable):
                ledger.commit([second])
    finally:
        postgres_cluster.start()
    assert ledger.commit([second]) == [True]
    ledger.release([channel])
    pay(ledger, channel)
    assert ledger.totals().charges == 3
    assert ledger.prove() == []


# ---------------------------------------------------------------- waiting for others


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(link._SETTINGS, "lock_timeout", "50ms")


@pytest.mark.usefixtures("impatient")
def test_commit__another_holds_the_channel(postgres_url: str) -> None:
    ledger = open_ledger(postgres_url)
    channel = known(ledger, 1)
    charge = next_charge(channel, reserved(ledger, channel))
    with psycopg.connect(postgres_url) as theirs:
        theirs.execute("UPDATE farthing.channels SET synced_at = 200")
        with pytest.raises(LedgerUnavailable, match="canceling statement due to lock timeout"):
            ledger.commit([charge])
        theirs.rollback()
    assert ledger.commit([charge]) == [True]
    ledger.close()


@pytest.mark.usefixtures("impatient")
def test_charges__wait_for_a_lower_id_that_is_not_committed_yet(postgres_url: str) -> None:
    """Who reads on from the last id it saw misses none."""
    ledger = open_ledger(postgres_url)
    first, second = known(ledger, 1), known(ledger, 2)
    slow = open_ledger(postgres_url)
    charge = next_charge(first, reserved(slow, first))
    with slow._commits.session() as connection:  # type: ignore[attr-defined]
        connection.execute("BEGIN")
        # Its own BEGIN and COMMIT are left out, as if it stood still before COMMIT.
        assert slow.commit([charge]) == [True]
        pay(ledger, second)
        with pytest.raises(LedgerUnavailable, match="lock timeout"):
            ledger.charges()
        # A channel's own charges wait for nobody.
        assert len(ledger.charges(channel_id=second)) == 1
        connection.execute("COMMIT")
    assert [each.channel_id for each in ledger.charges()] == [first, second]
    slow.close()
    ledger.close()


# ---------------------------------------------------------------- a lost answer


class Proxy:
    """Passes bytes between a client and the server until it is told to cut at the next request.

    Attributes:
        cut: ``"before"`` the next request reaches the server, ``"between"`` it and its answer, or
            ``"after"`` the server has answered and before the client hears of it.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut: str | None = None
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for work in (self._requests, self._answers):
                thread = threading.Thread(target=work, args=(client, server))
                self._threads.append(thread)
                thread.start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        while request := receive(client):
            if self.cut == "before":
                break
            server.sendall(request)
            if self.cut == "between":
                break
        hang_up(client)
        hang_up(server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        while answer := receive(server):
            if self.cut is not None:
                break
            client.sendall(answer)
        hang_up(client)
        hang_up(server)


def receive(source: socket.socket) -> bytes:
    try:
        return source.recv(1 << 20)
    except OSError:
        return b""


def hang_up(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        end.close()


@pytest.fixture
def proxy(postgres_cluster: Cluster) -> Iterator[Proxy]:
    started = Proxy(("127.0.0.1", postgres_cluster.port))
    yield started
    started.close()


@pytest.mark.parametrize("cut", ["before", "between", "after"])
def test_commit__its_answer_is_lost(
    postgres_cluster: Cluster, proxy: Proxy, ledger: Ledger, postgres_url: str, cut: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    direct = postgres_cluster.url(name, tcp=True)
    far = open_ledger(direct.replace(f":{postgres_cluster.port}/", f":{proxy.port}/"))
    # The first commit of a connection has to prepare its statement; not this one.
    pay(far, known(far, 99))
    channels = [known(far, number) for number in range(20)]
    batch = [next_charge(each, reserved(far, each), answer=ANSWER) for each in channels]
    proxy.cut = cut
    with pytest.raises(LedgerUnavailable):
        far.commit(batch)
    proxy.cut = None
    if cut == "after":
        assert ledger.totals().charges == 21
    if cut == "before":
        assert ledger.totals().charges == 1
    assert far.commit(batch) == [True] * 20
    assert far.commit(batch) == [True] * 20
    assert ledger.totals().charges == 21
    assert ledger.prove() == []
    far.close()
