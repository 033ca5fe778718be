"""Django behind the paywall: by WSGI, called as a server does, and by ASGI on a socket."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper

import httpx
import pytest
from django import conf
from django.core.asgi import get_asgi_application
from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.urls import path

from farthing.ledger import LedgerUnavailable
from farthing.paywall import PaywallMiddleware, payment_of
from tests.escrow_world import PAYER, World
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, Payer, Shop
from tests.paywall.wsgi_kit import LIMIT, Site
from tests.real_server import served

REACHED: list[str] = []
PARTS = 4
BODY = bytes(range(256)) * 1_000
"""More than a server reads at once."""


def about(request: HttpRequest) -> HttpResponse:
    return HttpResponse("about us")


def article(request: HttpRequest, slug: str) -> HttpResponseBase:
    REACHED.append(slug)
    match slug:
        case "cheaper":
            payment = payment_of(request.META)
            assert payment.payer == PAYER.address
            payment.charge(7)
        case "broken":
            raise KeyError(slug)
        case "missing":
            raise Http404
        case "stream":
            return StreamingHttpResponse(parts(request))
        case "file":
            return FileResponse(Path(__file__).open("rb"))
    return HttpResponse(f"text of {slug}")


def parts(request: HttpRequest) -> Iterator[bytes]:
    for number in range(PARTS):
        request.META["test.look"]()
        yield b"%d" % number * int(request.GET["size"])


def notes(request: HttpRequest) -> HttpResponse:
    REACHED.append("notes")
    return HttpResponse(request.body)


async def cheaper(request: Any) -> HttpResponse:
    payment_of(request.scope).charge(7)
    return HttpResponse("text of cheaper")


urlpatterns = [
    path("about", about),
    path("articles/<slug:slug>", article),
    path("notes", notes),
    path("cheaper", cheaper),
]
# Loggers are left to the test run.
conf.settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)


@pytest.fixture(autouse=True)
def nothing_reached() -> None:
    REACHED.clear()


@pytest.fixture
def finished() -> Iterator[list[Any]]:
    """What cleaned up after a request, as Django does with its database: one for each."""
    seen: list[Any] = []

    def note(**more: Any) -> None:
        seen.append(more["sender"])

    request_finished.connect(note)
    yield seen
    request_finished.disconnect(note)


# ---------------------------------------------------------------- WSGI


@pytest.fixture
def site(node_world: World, settings: Path) -> Iterator[Site]:
    """A site as its `wsgi.py` makes it."""
    site = Site(node_world, settings, get_wsgi_application(), {"/notes": "0.001"})
    yield site
    site.wsgi.close()


def test_wsgi__unpaid(site: Site) -> None:
    assert site.get("/articles/one").status == "402 Payment Required"
    assert site.get("/articles//one").status == "404 Not Found"
    assert REACHED == []
    assert site.get("/about").body == b"about us"


def test_wsgi__paid(site: Site, finished: list[Any]) -> None:
    header = site.payment("/articles/one")
    answer = site.get("/articles/one", header)
    assert (answer.status, answer.body) == ("200 OK", b"text of one")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-store"
    assert "payment-response" in answer.headers
    assert site.get("/articles/one", header) == answer
    assert site.charged == [2_000]
    assert (REACHED, len(finished)) == (["one"], 1)


def test_wsgi__a_view_may_charge_less(site: Site) -> None:
    assert site.pay("/articles/cheaper").body == b"text of cheaper"
    assert site.charged == [7]


@pytest.mark.parametrize(
    ("slug", "status"),
    [("broken", "500 Internal Server Error"), ("missing", "404 Not Found")],
)
def test_wsgi__a_failure_charges_nothing(
    site: Site, finished: list[Any], slug: str, status: str
) -> None:
    answer = site.pay(f"/articles/{slug}")
    assert answer.status == status
    assert "payment-response" not in answer.headers
    assert site.charged == []
    assert (REACHED, len(finished)) == ([slug], 1)
    # The channel is free again.
    assert site.pay("/articles/one").status == "200 OK"
    assert site.charged == [2_000]


@pytest.mark.parametrize(
    ("size", "charged_at"), [(1, [0, 0, 0, 0]), (LIMIT, [0, 0, 1, 1])], ids=["short", "long"]
)
def test_wsgi__a_stream__is_charged_before_more_than_the_limit_goes_out(
    site: Site, finished: list[Any], size: int, charged_at: list[int]
) -> None:
    seen: list[int] = []
    environ = {"QUERY_STRING": f"size={size}", "test.look": lambda: seen.append(len(site.charged))}
    answer = site.pay("/articles/stream", **environ)
    assert answer.status == "200 OK"
    assert answer.body == b"".join(b"%d" % number * size for number in range(PARTS))
    assert (seen, site.charged) == (charged_at, [2_000])
    assert len(finished) == 1


def test_wsgi__a_stream_that_cannot_be_charged(
    site: Site, finished: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> Any:
        raise LedgerUnavailable("books.db", "disk full")

    header = site.payment("/articles/stream")
    for name in ("commit", "commit_at_once"):
        monkeypatch.setattr(site.paywall.ledger, name, fail)
    environ = {"QUERY_STRING": f"size={LIMIT}", "test.look": lambda: None}
    answer = site.get("/articles/stream", header, **environ)
    assert answer.status == "503 Service Unavailable"
    assert b"0" * LIMIT not in answer.body
    assert len(finished) == 1


@pytest.mark.parametrize(
    "environ", [{}, {"wsgi.file_wrapper": FileWrapper}], ids=["plain", "by the server"]
)
def test_wsgi__a_file(site: Site, finished: list[Any], environ: dict[str, Any]) -> None:
    answer = site.pay("/articles/file", **environ)
    assert answer.body == Path(__file__).read_bytes()
    assert site.charged == [2_000]
    assert len(finished) == 1


def test_wsgi__a_body__reaches_the_view_whole(site: Site) -> None:
    length = str(len(BODY))
    environ = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": length, "wsgi.input": BytesIO(BODY)}
    assert site.get("/notes", **environ).status == "402 Payment Required"
    assert REACHED == []
    assert site.pay("/notes", **environ).body == BODY
    assert site.charged == [1_000]


# ---------------------------------------------------------------- ASGI


@pytest.fixture
def shop(open_shop: OpenShop) -> Shop:
    prices = {"/articles/{slug}": "0.0001", "/notes": "0.0001", "/cheaper": "0.0001"}
    shop = open_shop(prices=prices)
    shop.open_channel(Payer())
    return shop


@pytest.fixture
def client(shop: Shop) -> Iterator[httpx.Client]:
    app = PaywallMiddleware(get_asgi_application(), shop.paywall)
    with (
        served(app, "httptools") as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        yield client


def paying(ceiling: int) -> dict[str, str]:
    return {"payment-signature": Payer().header(ceiling)}


def test_asgi__unpaid(client: httpx.Client) -> None:
    assert client.get("/articles/one").status_code == 402
    assert client.post("/notes", content=BODY).status_code == 402
    assert REACHED == []
    assert client.get("/about").text == "about us"


def test_asgi__paid(client: httpx.Client, shop: Shop) -> None:
    answer = client.get("/articles/one", headers=paying(CHEAP))
    assert (answer.status_code, answer.text) == (200, "text of one")
    assert answer.headers["cache-control"] == "private, no-store"
    again = client.get("/articles/one", headers=paying(CHEAP))
    assert again.headers["payment-response"] == answer.headers["payment-response"]
    answer = client.post("/notes", content=BODY, headers=paying(2 * CHEAP))
    assert (answer.status_code, answer.content) == (200, BODY)
    assert [each.amount for each in shop.charges(Payer())] == [CHEAP, CHEAP]
    assert REACHED == ["one", "notes"]


def test_asgi__a_view_may_charge_less(client: httpx.Client, shop: Shop) -> None:
    assert client.get("/cheaper", headers=paying(CHEAP)).text == "text of cheaper"
    assert shop.charged(Payer()) == 7


@pytest.mark.parametrize(("slug", "status"), [("broken", 500), ("missing", 404)])
def test_asgi__a_failure_charges_nothing(
    client: httpx.Client, shop: Shop, slug: str, status: int
) -> None:
    answer = client.get(f"/articles/{slug}", headers=paying(CHEAP))
    assert answer.status_code == status
    assert "payment-response" not in answer.headers
    assert (REACHED, shop.charged(Payer())) == ([slug], 0)
    # The channel is free again.
    assert client.get("/articles/one", headers=paying(CHEAP)).status_code == 200
    assert shop.charged(Payer()) == CHEAP
