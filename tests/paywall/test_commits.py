"""Where charges are committed: beside the loop, or on it where there is one processor for both."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import apsw
import pytest

from farthing.ledger import LedgerUnavailable, NewCharge
from farthing.paywall import books
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, Payer, Shop, run

PAYER = Payer()


@pytest.fixture
def lone_shop(open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop with one processor, on whose disk every commit is quick."""
    monkeypatch.setattr(books, "_processors", lambda: 1)
    monkeypatch.setattr(books, "QUICK", 60)
    shop = open_shop()
    shop.open_channel(PAYER)
    return shop


def watched(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where commits are made from now on: on the "loop", which is this thread, or a "thread"."""
    made: list[str] = []
    for name in ("commit", "commit_at_once"):
        real = getattr(shop.ledger, name)

        def noted(charges: Sequence[NewCharge], real: Any = real) -> Any:
            results = real(charges)
            if results is not None:
                is_here = threading.current_thread() is threading.main_thread()
                made.append("loop" if is_here else "thread")
            return results

        monkeypatch.setattr(shop.ledger, name, noted)
    return made


def pay(shop: Shop, number: int) -> None:
    """The channel's request of this number is served, and its charge is in the books."""
    assert run(shop.get("/cheap", PAYER.header(number * CHEAP))).status == 200
    assert shop.charged(PAYER) == number * CHEAP


def test_commit__one_processor__on_the_loop(
    lone_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = watched(lone_shop, monkeypatch)
    pay(lone_shop, 1)
    assert made == ["loop"]


def test_commit__several_processors__beside_it(
    open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "_processors", lambda: 2)
    shop = open_shop()
    shop.open_channel(PAYER)
    made = watched(shop, monkeypatch)
    pay(shop, 1)
    assert made == ["thread"]


def test_commit__a_slow_disk__beside_the_loop_until_it_is_quick(
    lone_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = watched(lone_shop, monkeypatch)
    for number, quick in enumerate([-1, -1, 60, 60, 60], 1):
        monkeypatch.setattr(books, "QUICK", quick)
        pay(lone_shop, number)
    assert made == ["loop", "thread", "thread", "loop", "loop"]


def test_commit__another_process_writes__is_waited_for_beside_the_loop(
    lone_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = watched(lone_shop, monkeypatch)
    at_once = lone_shop.ledger.commit_at_once
    with closing(apsw.Connection(str(lone_shop.ledger._path))) as other:  # type: ignore[attr-defined]
        other.execute("BEGIN IMMEDIATE")

        def tried(charges: Sequence[NewCharge]) -> list[bool] | None:
            results = at_once(charges)
            assert results is None
            other.execute("ROLLBACK")
            return results

        monkeypatch.setattr(lone_shop.ledger, "commit_at_once", tried)
        pay(lone_shop, 1)
    assert made == ["thread"]


def test_commit__on_the_loop__fails__nothing_leaves(
    lone_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(charges: Sequence[NewCharge]) -> None:
        raise LedgerUnavailable("test", "disk full")

    with monkeypatch.context() as patched:
        patched.setattr(lone_shop.ledger, "commit_at_once", fail)
        got = run(lone_shop.get("/cheap", PAYER.header(CHEAP)))
    assert (got.status, got.json) == (503, {"error": "ledger_unavailable"})
    assert not got.has("payment-response")
    assert lone_shop.charged(PAYER) == 0
    pay(lone_shop, 1)
