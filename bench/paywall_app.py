"""The app every paywall is measured on: two routes that do nothing but answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from fastapi import FastAPI

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


def fastapi_app() -> FastAPI:
    """Without a paywall. ``/paid`` is the one to protect, ``/free`` stays free."""
    app = FastAPI()

    @app.get("/paid")
    async def paid() -> dict[str, str]:
        return {"weather": "sunny"}

    @app.get("/free")
    async def free() -> dict[str, str]:
        return {"weather": "unknown"}

    return app


ANSWERS = {"/paid": b'{"weather":"sunny"}', "/free": b'{"weather":"unknown"}'}


def bare_app() -> App:
    """The same routes and answers without a framework: what is left is the server."""
    return _answer


async def _answer(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        for _ in ("startup", "shutdown"):
            event = await receive()
            await send({"type": event["type"] + ".complete"})
        return
    body = ANSWERS[scope["path"]]
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
