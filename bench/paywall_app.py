"""The app every paywall is measured on: two routes that do nothing but answer."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, MutableMapping
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar

from fastapi import FastAPI

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

P = ParamSpec("P")
T = TypeVar("T")


def started(factory: Callable[P, T]) -> Callable[P, T]:
    """Has what a factory made left alone by the collector of cycles, as `farthing serve` does with
    every app. All servers are measured so; else an answer in a hundred is four times as late."""

    @wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> T:
        made = factory(*args, **kwargs)
        gc.collect()
        gc.freeze()
        return made

    return make


@started
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


@started
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
