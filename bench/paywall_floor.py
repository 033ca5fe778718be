"""What is left when a paywall itself takes no time: the server, one signature, one synced row.

It is none, for it looks at nothing. Beside it, in the same minutes, a figure tells how much of a
request is the paywall's own, and how much is uvicorn's, libsecp256k1's, SQLite's and the disk's.
Started by uvicorn as a factory: ``bench.paywall_floor:app``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import apsw

from bench import paywall_farthing
from bench.core_speed import recover
from bench.paywall_app import ANSWERS, App, Message, Receive, Send, started
from farthing.paywall.batcher import Batcher
from farthing.paywall.books import COMMIT_BATCH

BODY = ANSWERS["/paid"]
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
    # As long as a real one.
    (b"payment-response", b"x" * 484),
]


def rows(ledger: str) -> int:
    """How many rows were synced beside this ledger."""
    connection = apsw.Connection(_file(ledger))
    ((number,),) = connection.execute("SELECT count(*) FROM charges")
    connection.close()
    return int(number)


@started
def app() -> App:
    """What has a payment is answered as fast as can be, all else is the paywall's."""
    paywall = paywall_farthing.on_asgi()
    connection = apsw.Connection(_file(os.environ[paywall_farthing.LEDGER]))
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE charges (id INTEGER PRIMARY KEY, voucher BLOB NOT NULL)")

    def write(vouchers: Sequence[bytes]) -> list[None]:
        for _ in vouchers:
            recover()
        with connection:
            connection.executemany(
                "INSERT INTO charges (voucher) VALUES (?)", [(each,) for each in vouchers]
            )
        return [None for _ in vouchers]

    batcher: Batcher[bytes, None] = Batcher(write, None, COMMIT_BATCH)

    async def serve(scope: Message, receive: Receive, send: Send) -> None:
        paid = scope["type"] == "http" and dict(scope["headers"]).get(b"payment-signature")
        if not paid:
            await paywall(scope, receive, send)
            return
        await batcher.submit(paid[:200])
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})

    return serve


def _file(ledger: str) -> str:
    return str(Path(ledger).with_suffix(".floor"))
