"""The two lines that protect a Starlette or FastAPI app, from before its loop runs to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from farthing.ledger import LedgerUnusable, Mirror
from farthing.paywall import Paywall, PaywallMiddleware, open_paywall
from tests.escrow_world import PAYER, RECEIVER, World
from tests.paywall.site import PASSWORD, Reader, site_text, write_keystore


@pytest.fixture
def paywall(
    tmp_path: Path, node_world: World, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Paywall]:
    (tmp_path / "farthing.toml").write_text(site_text(node_world, node_url))
    write_keystore(tmp_path / "sender.json", RECEIVER)
    monkeypatch.setenv("FARTHING_PASSWORD", PASSWORD)
    monkeypatch.delenv("FARTHING_KEY", raising=False)
    paywall = open_paywall(tmp_path / "farthing.toml")
    yield paywall
    paywall.ledger.close()


def test_add_middleware__serves_and_closes(paywall: Paywall, node_world: World) -> None:
    app = FastAPI()
    app.add_middleware(PaywallMiddleware, paywall=paywall)

    @app.get("/articles/{slug}")
    async def article(slug: str) -> dict[str, str]:
        return {"text": slug}

    wal = Path(f"{paywall.ledger._path}-wal")  # type: ignore[attr-defined]
    with TestClient(app) as client:
        required = client.get("/articles/one").headers["payment-required"]
        reader = Reader(node_world, PAYER, required)
        mirror = Mirror(10**6, 0, 0, 0, 0, 2**52)
        paywall.ledger.mirror(reader.channel_id, reader.config, mirror)
        answer = client.get("/articles/one", headers=reader.pay(required))
        assert answer.json() == {"text": "one"}
        assert wal.exists()
    # A closed ledger has folded its log into the file.
    assert not wal.exists()


@pytest.mark.parametrize("ending", ["complete", "failed"])
def test_lifespan__the_server_is_told_when_all_is_closed(paywall: Paywall, ending: str) -> None:
    told: list[str] = []

    async def close() -> None:
        told.append("closed")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})
        await send({"type": f"lifespan.shutdown.{ending}"})

    async def send(message: Any) -> None:
        told.append(message["type"])

    paywall.close = close  # type: ignore[method-assign]
    asyncio.run(PaywallMiddleware(app, paywall)({"type": "lifespan"}, None, send))  # type: ignore[arg-type]
    assert told == ["lifespan.startup.complete", "closed", f"lifespan.shutdown.{ending}"]


def test_close__waits_for_a_refund_whose_request_is_gone(paywall: Paywall) -> None:
    async def run() -> list[str]:
        saved: list[str] = []
        loop = asyncio.get_running_loop()

        def hold() -> None:
            held = paywall.books.write(saved.append, "refund")
            asyncio.run_coroutine_threadsafe(held, loop).result()

        # As a refund does, from a thread, when nobody waits for it any more.
        paywall.channels._threads.submit(hold)
        await paywall.close()
        return saved

    assert asyncio.run(asyncio.wait_for(run(), 30)) == ["refund"]


def test_health__names_a_ledger_that_fails(
    paywall: Paywall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise LedgerUnusable("books.db", "it is gone")

    assert asyncio.run(paywall.health()) == {}
    monkeypatch.setattr(paywall.ledger, "recall", fail)
    assert asyncio.run(paywall.health()) == {
        "ledger": "the ledger books.db cannot be used: it is gone."
    }
