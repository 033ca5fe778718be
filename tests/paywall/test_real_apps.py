"""Starlette and FastAPI apps behind a real server: no request reaches a priced handler unpaid."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi import Request as FastRequest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from farthing.paywall import PaywallMiddleware
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, Payer, Shop
from tests.real_server import served

RULES: dict[str, Any] = {
    "/paid": "0.0001",
    "GET /articles/{slug}": "0.0001",
    "/v{n}/item": "0.0001",
    "/mounted/inner": "0.0001",
    "/socket": "0.0001",
    "/files/free/{p:path}": "free",
    "/files/{p:path}": "0.0001",
    "/own": "0.0001",
}
# It is how older apps are mounted behind a proxy.
pytestmark = pytest.mark.filterwarnings("ignore:The `root_path` parameter")

REACHED: list[str] = []
CLOSE = b"Connection: close\r\n"


async def endpoint(request: Request) -> PlainTextResponse:
    REACHED.append(request.url.path)
    return PlainTextResponse("secret")


async def open_endpoint(request: Request) -> PlainTextResponse:
    return PlainTextResponse("open")


async def socket_endpoint(websocket: WebSocket) -> None:
    REACHED.append("socket")
    await websocket.accept()
    await websocket.send_text("secret")
    await websocket.close()


def starlette_app(folder: Path, shop: Shop) -> Any:
    (folder / "free").mkdir()
    (folder / "free" / "a.txt").write_text("open")
    (folder / "dear.txt").write_text("secret")
    routes = [
        Route("/paid", endpoint, methods=["GET", "POST"]),
        Route("/articles/{slug}", endpoint),
        Route("/v{n:int}/item", endpoint),
        Mount("/mounted", routes=[Route("/inner", endpoint)]),
        WebSocketRoute("/socket", socket_endpoint),
        Mount("/files", StaticFiles(directory=folder)),
        Route("/open", open_endpoint),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(GZipMiddleware, minimum_size=1),
            Middleware(PaywallMiddleware, paywall=shop.paywall),
        ],
    )


def fastapi_app(folder: Path, shop: Shop, *, is_inside: bool = False) -> Any:
    app = FastAPI(root_path="/api")
    inner = FastAPI()

    @app.api_route("/paid", methods=["GET", "POST"])
    @app.get("/articles/{slug}")
    @app.get("/v{n}/item")
    @app.get("/files/dear.txt")
    async def paid(request: FastRequest) -> str:
        REACHED.append(request.url.path)
        return "secret"

    @inner.get("/inner")
    async def inside(request: FastRequest) -> str:
        REACHED.append(request.url.path)
        return "secret"

    @app.get("/open")
    async def free() -> str:
        return "open"

    app.mount("/mounted", inner)
    app.router.routes.append(WebSocketRoute("/socket", socket_endpoint))
    if is_inside:
        app.add_middleware(PaywallMiddleware, paywall=shop.paywall)
        return app
    return PaywallMiddleware(app, shop.paywall)


def fastapi_app_around(folder: Path, shop: Shop) -> Any:
    return fastapi_app(folder, shop, is_inside=True)


def ask(port: int, target: bytes, method: bytes = b"GET", more: bytes = CLOSE) -> bytes:
    """One request, written by hand: no client would send some of these."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(method + b" " + target + b" HTTP/1.1\r\nHost: test\r\n" + more + b"\r\n")
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    return answer


TARGETS = [
    b"/paid", b"/paid/", b"//paid", b"/paid//", b"/./paid", b"/x/../paid", b"/PAID", b"/Paid",
    b"/%70aid", b"/%2570aid", b"/paid%2f", b"/paid%2F", b"/paid%252f", b"/paid%00", b"/paid%0a",
    b"/paid%0d%0a", b"/paid%20", b"/paid%09", b"/paid;x", b"/paid%3bx", b"/paid%3f", b"/paid%23",
    b"/paid?", b"/paid?x=/open", b"/paid#x", b"\\paid", b"/\\paid", b"/%5cpaid", b"/paid\\",
    b"http://test/paid", b"http://other/paid", b"/paid.", b"/paid%2e", b"/%c0%afpaid", b"/paid%ff",
    b"/articles/x", b"/articles/x/", b"/articles/x%0a", b"/articles//x", b"/articles%2fx",
    b"/articles/%2e%2e/articles/x", b"/articles/%00", b"/articles/x%2fy", b"/articles/x;y",
    b"/articles/.", b"/articles/%2e", b"/v1/item", b"/v1/item%0a", b"/v1/item/", b"/v%31/item",
    b"/mounted/inner", b"/mounted//inner", b"/mounted/inner/", b"/mounted%2finner",
    b"/mounted/inner%0a", b"/mounted/../mounted/inner", b"/api/paid", b"/api//paid",
    b"/api/api/paid", b"/api/articles/x", b"/api/v1/item%0a", b"/api/mounted/inner",
    b"/api%2fpaid", b"/API/paid",
    b"/files/dear.txt", b"/files/free/../dear.txt", b"/files/free/%2e%2e/dear.txt",
    b"/files/free/..%2fdear.txt", b"/files/free//../dear.txt", b"/files/./dear.txt",
    b"/files//dear.txt", b"/files/x/../dear.txt", b"/files/dear.txt/", b"/files/dear.txt%00",
    b"/files/free%2f..%2fdear.txt", b"/Files/dear.txt", b"/open/../paid",
    b"/open/../files/dear.txt", b"*", b"/",
]  # fmt: skip
METHODS = [b"GET", b"HEAD", b"POST", b"get", b"OPTIONS", b"PUT", b"X"]


@pytest.fixture(
    params=[
        "starlette-httptools",
        "starlette-h11",
        "fastapi-httptools",
        "around-h11",
        "around-farthing.serve.http:OneWrite",
    ]
)
def port(
    request: pytest.FixtureRequest, open_shop: OpenShop, tmp_path: Path
) -> Iterator[tuple[int, str]]:
    kind, http = request.param.split("-")
    shop = open_shop(prices=RULES)
    shop.open_channel(Payer())
    folder = tmp_path / "files"
    folder.mkdir()
    REACHED.clear()
    make = {"starlette": starlette_app, "fastapi": fastapi_app, "around": fastapi_app_around}
    with served(make[kind](folder, shop), http) as number:
        yield number, kind


def test_unpaid__however_the_path_is_written__the_handler_is_not_reached(
    port: tuple[int, str],
) -> None:
    for target in TARGETS:
        for method in METHODS:
            answer = ask(port[0], target, method)
            assert b"secret" not in answer, (method, target)
            assert not answer.startswith(b"HTTP/1.1 5"), (method, target, answer)
            assert REACHED == [], (method, target)


def test_unpaid__what_is_free__is_served(port: tuple[int, str]) -> None:
    number, kind = port
    assert b"open" in ask(number, b"/open")
    if kind == "starlette":
        assert b"open" in ask(number, b"/files/free/a.txt")
    else:
        assert b"open" in ask(number, b"/api/open")


def test_paid__through_the_server__is_served_once(port: tuple[int, str]) -> None:
    number, kind = port
    header = b"payment-signature: " + Payer().header(CHEAP).encode() + b"\r\n" + CLOSE
    target = b"/paid" if kind == "starlette" else b"/api/paid"
    for _ in range(2):
        answer = ask(number, target, more=header)
        assert answer.startswith(b"HTTP/1.1 200") and b"secret" in answer
        assert b"payment-response: " in answer and b"private, no-store" in answer
    assert len(REACHED) == 1


def test_paid__head__is_charged_and_has_no_body(port: tuple[int, str]) -> None:
    header = b"payment-signature: " + Payer().header(CHEAP).encode() + b"\r\n" + CLOSE
    answer = ask(port[0], b"/articles/x", b"GET", header)
    header = b"payment-signature: " + Payer().header(2 * CHEAP).encode() + b"\r\n" + CLOSE
    if port[1] == "starlette":
        answer = ask(port[0], b"/articles/x", b"HEAD", header)
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n")
        assert b"content-length: 6\r\n" in answer


def test_paid__with_gzip_outside__the_answer_is_whole(port: tuple[int, str]) -> None:
    header = b"payment-signature: " + Payer().header(CHEAP).encode() + b"\r\n" + CLOSE
    more = header + b"Accept-Encoding: gzip\r\n"
    answer = ask(port[0], b"/paid", more=more)
    assert answer.startswith(b"HTTP/1.1 200")


def test_websocket__beneath_a_price__is_refused(port: tuple[int, str]) -> None:
    upgrade = (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    for target in (b"/socket", b"/socket/", b"//socket", b"/api/socket", b"/%73ocket"):
        answer = ask(port[0], target, more=upgrade)
        assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 404")), (target, answer)
        assert b"secret" not in answer
    assert REACHED == []
