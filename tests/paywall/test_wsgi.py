"""The paywall in front of WSGI apps: a bare one, called as a server does, and Flask on a socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flask
import httpx
import pytest
from werkzeug.serving import make_server

from farthing.ledger import LedgerUnavailable
from farthing.paywall import (
    FreeQuota,
    PerUnit,
    Price,
    Tiers,
    WsgiPaywall,
    open_paywall,
    payment_of,
)
from farthing.protocol.proofs import read_proof
from tests.escrow_world import PAYER, RECEIVER, World
from tests.paywall.site import Reader
from tests.paywall.wsgi_kit import LIMIT, Answer, App, Site

PRICES = {
    "/metered": Price(PerUnit("0.00001", most=300), FreeQuota(1, "P1Y")),
    "/tier": Price(Tiers("tier", {"gold": "0.001"})),
}


@pytest.fixture
def site(node_world: World, settings: Path) -> Iterator[Site]:
    site = Site(node_world, settings, App(), PRICES)
    yield site
    site.wsgi.close()


# ---------------------------------------------------------------- paid, and not


def test_wsgi__a_path_without_a_price(site: Site) -> None:
    answer = site.get("/about")
    assert (answer.status, answer.body) == ("200 OK", b"text of /about")
    assert site.app.closed == 1


def test_wsgi__a_receipt__is_for_the_url_that_was_asked_for(site: Site) -> None:
    where = {"QUERY_STRING": "a=%20", "HTTP_HOST": "news.example"}

    def moved(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # As middleware inside of the paywall may, and as a dispatcher does.
        environ["HTTP_HOST"] = "backend"
        return site.app.plain(environ, start_response)

    site.app.handle = moved
    answer = site.get("/articles/\xc3\xa9", site.payment("/articles/e"), **where)
    found = read_proof(answer.headers["payment-response"].encode(), RECEIVER.address)
    assert found.given.charge is not None
    assert found.given.charge.said.url == "http://news.example/articles/%C3%A9?a=%20"
    assert found.given.charge.said.amount == site.charged[-1]


def test_wsgi__without_a_payment(site: Site) -> None:
    answer = site.get("/articles/one", QUERY_STRING="a=b", SCRIPT_NAME="/site")
    assert answer.status == "402 Payment Required"
    told = json.loads(answer.body)
    assert told["resource"]["url"] == "http://site.example:80/site/articles/one?a=b"
    assert told["accepts"][0]["amount"] == "2000"
    assert answer.headers["content-length"] == str(len(answer.body))
    page = site.get("/articles/one", {"accept": "text/html"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b"0.002" in page.body
    head = site.get("/articles/one", REQUEST_METHOD="HEAD")
    assert (head.status, head.body) == ("402 Payment Required", b"")
    assert site.app.calls == 0


def test_wsgi__paid(site: Site) -> None:
    answer = site.pay("/articles/one")
    assert (answer.status, answer.body) == ("200 OK", b"text of /articles/one")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["cache-control"] == "private, no-store"
    assert site.charged == [2_000]
    assert site.app.closed == 1


def test_wsgi__an_answer_without_a_body_has_no_length(site: Site) -> None:
    site.app.handle = lambda environ, start_response: (start_response("204 No Content", []), [])[1]
    answer = site.pay("/articles/one")
    assert (answer.status, answer.body) == ("204 No Content", b"")
    assert "content-length" not in answer.headers
    assert site.charged == [2_000]


def test_wsgi__the_same_payment_again(site: Site) -> None:
    header = site.payment("/articles/one")
    first, second = site.get("/articles/one", header), site.get("/articles/one", header)
    assert second == first
    assert site.app.calls == 1
    assert site.charged == [2_000]


def test_wsgi__the_answer_waits_for_the_charge(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> Any:
        raise LedgerUnavailable("books.db", "disk full")

    header = site.payment("/articles/one")
    for name in ("commit", "commit_at_once"):
        monkeypatch.setattr(site.paywall.ledger, name, fail)
    answer = site.get("/articles/one", header)
    assert answer.status == "503 Service Unavailable"
    assert b"text of" not in answer.body
    assert (site.app.calls, site.app.closed) == (1, 1)
    assert site.charged == []


def test_wsgi__a_handler_may_charge_less(site: Site) -> None:
    def cheap(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        assert payment_of(environ).payer == PAYER.address
        payment_of(environ).charge(7)
        return site.app.plain(environ, start_response)

    site.app.handle = cheap
    assert site.pay("/articles/one").status == "200 OK"
    assert site.charged == [7]


def test_wsgi__prices_with_rules(site: Site) -> None:
    def handle(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        payment_of(environ).use(123)
        return site.app.plain(environ, start_response)

    site.app.handle = handle
    for _ in range(2):
        assert site.pay("/metered").status == "200 OK"
    assert site.charged == [0, 1_230]
    reasons = [charge.reason for charge in site.paywall.ledger.charges()]
    assert reasons == ["123 units; free, 1 of 1", "123 units"]


def test_wsgi__a_request_without_a_price_of_its_own(site: Site) -> None:
    answer = site.get("/tier", QUERY_STRING="tier=lead")
    assert answer.status == "400 Bad Request"
    assert json.loads(answer.body)["error"] == "request_invalid"
    assert site.app.calls == 0


def test_wsgi__a_failure_charges_nothing(site: Site) -> None:
    site.app.status = "404 Not Found"
    answer = site.pay("/articles/none")
    assert (answer.status, answer.body) == ("404 Not Found", b"text of /articles/none")
    assert "payment-response" not in answer.headers
    assert site.charged == []
    assert site.app.closed == 1
    # The channel is free again.
    site.app.status = "200 OK"
    assert site.pay("/articles/one").status == "200 OK"


@pytest.mark.parametrize("moment", ["before", "within", "after a part"])
def test_wsgi__an_exception_charges_nothing(site: Site, moment: str) -> None:
    def broken(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if moment == "before":
            raise KeyError("broken")
        return parts(start_response)

    def parts(start_response: Any) -> Iterator[bytes]:
        if moment == "after a part":
            start_response("200 OK", [])
            yield b"some"
        raise KeyError("broken")

    site.app.handle = broken
    with pytest.raises(KeyError, match="broken"):
        site.pay("/articles/one")
    assert site.charged == []
    assert site.app.closed == (0 if moment == "before" else 1)
    site.app.handle = site.app.plain
    assert site.pay("/articles/one").status == "200 OK"


def test_wsgi__a_header_that_is_none__charges_nothing_and_lets_the_next_go_on(site: Site) -> None:
    def handle(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("X-Title", "\u0107")])
        return [b"x"]

    site.app.handle = handle
    with pytest.raises(UnicodeEncodeError):
        site.pay("/articles/a")
    assert site.app.closed == 1
    site.app.handle = site.app.plain
    assert list(site.paywall.books.reservations._held) == []
    assert site.pay("/articles/a").status == "200 OK"
    assert site.charged == [2_000]


def test_wsgi__no_answer_at_all(site: Site) -> None:
    site.app.handle = lambda environ, start_response: [b"text"]
    with pytest.raises(RuntimeError, match="without calling start_response"):
        site.pay("/articles/one")
    assert site.charged == []
    assert site.app.closed == 1


def test_wsgi__an_answer_that_is_taken_back(site: Site) -> None:
    def second_thoughts(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"half of it"
        start_response("500 Oh", [], (KeyError, KeyError("broken"), None))
        yield b"sorry"

    site.app.handle = second_thoughts
    answer = site.pay("/articles/one")
    assert (answer.status, answer.body) == ("500 Oh", b"sorry")
    assert site.charged == []
    assert site.app.closed == 1


def test_wsgi__an_answer_that_is_written(site: Site) -> None:
    def writes(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"written, ")
        return [b"then given"]

    site.app.handle = writes
    assert site.pay("/articles/one").body == b"written, then given"
    assert site.charged == [2_000]


# ---------------------------------------------------------------- streams


def test_wsgi__a_long_answer_is_charged_first_then_streamed(site: Site) -> None:
    charged_at: list[int] = []

    def stream(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        for number in range(4):
            charged_at.append(len(site.charged))
            yield b"%d" % number * LIMIT

    site.app.handle = stream
    header = site.payment("/articles/one")
    answer = site.get("/articles/one", header)
    assert answer.body == b"".join(b"%d" % number * LIMIT for number in range(4))
    assert charged_at == [0, 0, 1, 1]
    assert site.charged == [2_000]
    assert site.app.closed == 1
    # It was not kept; the client learns where it stands.
    assert site.get("/articles/one", header).status == "402 Payment Required"


def test_wsgi__a_stream_that_breaks_off_is_charged_and_closed(site: Site) -> None:
    def stream(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"x" * (LIMIT + 1)
        start_response("500 Oh", [], (KeyError, KeyError("broken"), None))

    site.app.handle = stream
    with pytest.raises(KeyError, match="broken"):
        site.pay("/articles/one")
    assert site.charged == [2_000]
    assert site.app.closed == 1


def test_wsgi__a_long_failure_is_streamed(site: Site) -> None:
    asked: list[int] = []

    def stream(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("500 Oh", [])
        for number in range(3):
            asked.append(number)
            yield b"x" * LIMIT

    site.app.handle = stream
    header = site.payment("/articles/one")
    answer = site.get("/articles/one", header)
    assert answer.body == b"x" * 3 * LIMIT
    assert site.charged == []
    assert site.app.closed == 1


def test_wsgi__a_stream_that_cannot_be_charged(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> Any:
        raise LedgerUnavailable("books.db", "disk full")

    site.app.handle = lambda environ, start_response: (
        start_response("200 OK", []),
        [b"x" * LIMIT, b"y"],
    )[1]
    header = site.payment("/articles/one")
    for name in ("commit", "commit_at_once"):
        monkeypatch.setattr(site.paywall.ledger, name, fail)
    answer = site.get("/articles/one", header)
    assert answer.status == "503 Service Unavailable"
    assert b"x" not in answer.body
    assert site.app.closed == 1


# ---------------------------------------------------------------- what may reach the app


@pytest.mark.parametrize(
    "path", ["/articles//one", "/ARTICLES/one", "/articles/%6fne/x", "/x/../articles/one/y"]
)
def test_wsgi__a_path_beneath_a_price_that_no_rule_names(site: Site, path: str) -> None:
    assert site.get(path).status == "404 Not Found"
    assert site.app.calls == 0


@pytest.mark.parametrize(
    ("root", "path"), [("/x", "/articles/one"), ("/articles", "/one"), ("/articles/one", "")]
)
def test_wsgi__priced_with_or_without_what_is_taken_off_the_front(
    site: Site, root: str, path: str
) -> None:
    # Some servers let a client say what that is.
    assert site.get(path, SCRIPT_NAME=root).status == "402 Payment Required"


def test_wsgi__a_path_of_other_letters(site: Site) -> None:
    path = "/articles/caf\u00e9".encode().decode("latin-1")
    answer = site.get(path)
    assert json.loads(answer.body)["resource"]["url"].endswith("/articles/caf%C3%A9")
    site.app.handle = lambda environ, start_response: (start_response("200 OK", []), [b"ok"])[1]
    assert site.pay(path).body == b"ok"


def test_wsgi__many_threads_with_one_payment(site: Site) -> None:
    together = threading.Barrier(8)
    header = site.payment("/articles/one")

    def ask(_: int) -> Answer:
        together.wait()
        return site.get("/articles/one", header)

    with ThreadPoolExecutor(8) as threads:
        first, *others = threads.map(ask, range(8))
    assert first.body == b"text of /articles/one"
    assert others == [first] * 7
    assert site.app.calls == 1
    assert site.charged == [2_000]


def test_close__twice_and_without_a_request(settings: Path) -> None:
    wsgi = WsgiPaywall(App(), open_paywall(settings))
    wsgi.close()
    # A closed ledger has folded its log into the file.
    assert not settings.with_name("books.db-wal").exists()
    wsgi.close()


# ---------------------------------------------------------------- Flask


def test_flask__deposit_and_pages_over_a_socket(node_world: World, settings: Path) -> None:
    app = flask.Flask("site")
    ended: list[str] = []

    @app.get("/articles/<slug>")
    def article(slug: str) -> dict[str, str]:
        payment_of(flask.request.environ).charge(1_500)
        if slug == "broken":
            raise KeyError(slug)
        return {"text": slug}

    @app.teardown_request
    def teardown(_: Any) -> None:
        ended.append(flask.request.path)

    paywall = open_paywall(settings)
    app.wsgi_app = wsgi = WsgiPaywall(app.wsgi_app, paywall)  # type: ignore[assignment,method-assign]
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/articles/"
        required = httpx.get(url + "one").headers["payment-required"]
        reader = Reader(node_world, PAYER, required)
        answer = httpx.get(url + "one", headers=reader.pay(required, deposit=50_000), timeout=30)
        assert (answer.status_code, answer.json()) == (200, {"text": "one"})
        assert reader.note(answer.headers["payment-response"]) == 1_500
        broken = httpx.get(url + "broken", headers=reader.pay(required))
        assert broken.status_code == 500
        again = httpx.get(url + "two", headers=reader.pay(required))
        assert again.json() == {"text": "two"}
        assert ended == ["/articles/one", "/articles/broken", "/articles/two"]
        assert [each.amount for each in paywall.ledger.charges()] == [1_500, 1_500]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        wsgi.close()
