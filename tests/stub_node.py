"""A node that misbehaves: JSON-RPC on a real socket of loopback, with answers a test chooses."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeAlias

Answer: TypeAlias = Callable[[bytes], bytes | None]
"""From the body of a request to that of its answer; None hangs up without one."""


@contextmanager
def stub_node(answer: Answer) -> Iterator[str]:
    """Runs the node for as long as the block lasts and gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            question = self.rfile.read(length)
            # Who asks may be killed in the middle of a question.
            if len(question) < length:
                return
            body = answer(question)
            if body is None:
                return
            # What `result` and `refusal` leave open.
            number = json.dumps({"id": json.loads(question).get("id")})[1:-1].encode()
            body = body.replace(b'"id": null', number, 1)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # Or before it is answered.
            with suppress(ConnectionError):
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def forward(url: str, body: bytes) -> bytes:
    """What the real node at ``url`` answers."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        answer: bytes = response.read()
        return answer


def method(body: bytes) -> str:
    name: str = json.loads(body)["method"]
    return name


def result(value: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": None, "result": value}).encode()


def refusal(data: str) -> bytes:
    """A contract's revert with ``data``, 0x and hex."""
    error = {"code": 3, "message": "execution reverted", "data": data}
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
