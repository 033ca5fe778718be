"""The webhook: what arrives at a real server, and what counts as taken."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from farthing.operations.alerts import DeliveryFailed, Message
from farthing.operations.webhook import (
    SIGNATURE_HEADER,
    TOLERANCE,
    SecretTooShort,
    Webhook,
    is_signed,
)

SECRET = b"0123456789abcdef"
NOW = 1_700_000_000
MESSAGE = Message("gas_low-1-raised", "raised", "gas_low", "send it coins.", NOW - 5)


@contextmanager
def server(status: int) -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """A server that answers everything so, and what it got."""
    got: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, dict(self.headers), body))
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/hook?token=sesame", got
        finally:
            http.shutdown()
            thread.join()


def webhook(url: str) -> Webhook:
    return Webhook(url, SECRET, "receiver 0x1, chain 5", lambda: NOW)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_send__arrives_signed(status: int) -> None:
    with server(status) as (url, got):
        webhook(url).send(MESSAGE)
    ((path, headers, body),) = got
    assert path == "/hook?token=sesame"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {
        "site": "receiver 0x1, chain 5",
        "id": "gas_low-1-raised",
        "event": "raised",
        "alert": "gas_low",
        "sentence": "send it coins.",
        "time": NOW - 5,
    }
    signature = headers[SIGNATURE_HEADER]
    assert signature.startswith(f"t={NOW},v1=")
    assert is_signed(signature, body, SECRET, NOW)
    assert is_signed(signature, body, SECRET, NOW + TOLERANCE)
    assert not is_signed(signature, body, SECRET, NOW + TOLERANCE + 1)
    assert not is_signed(signature, body + b" ", SECRET, NOW)
    assert not is_signed(signature, body, b"another secret 16", NOW)
    assert not is_signed(signature.replace(f"t={NOW}", f"t={NOW + 1}"), body, SECRET, NOW)


@pytest.mark.parametrize("header", ["", "t=,v1=", "t=1", "t=x,v1=00", "t=\u0661,v1=\u0661", "v1=1"])
def test_is_signed__nonsense(header: str) -> None:
    assert not is_signed(header, b"{}", SECRET, NOW)


def test_signature__of_an_independent_implementation() -> None:
    # printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
    mac = "9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
    assert is_signed(f"t={NOW},v1={mac}", b'{"a":1}', SECRET, NOW)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 500, 503])
def test_send__not_taken(status: int) -> None:
    with server(status) as (url, got):
        with pytest.raises(DeliveryFailed, match=f"the webhook answered {status}"):
            webhook(url).send(MESSAGE)
        # And nothing went where a redirect pointed.
        assert len(got) == 1


def test_send__nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/?token=sesame"
    with pytest.raises(DeliveryFailed) as caught:
        webhook(url).send(MESSAGE)
    assert str(caught.value) == (
        "the webhook does not answer (ConnectionRefusedError): check alerts.webhook."
    )


def test_webhook__short_secret() -> None:
    with pytest.raises(SecretTooShort, match="fewer than 16 characters"):
        Webhook("http://x", b"short", "")
