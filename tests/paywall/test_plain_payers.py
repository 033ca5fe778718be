"""Payers without an authorizer: only the chain knows whether they are contracts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pytest

from farthing.chain.connection import NodeUnreachable
from farthing.paywall.plain_payers import BLIND, PlainPayers
from farthing.protocol import ZERO_ADDRESS
from tests.escrow_world import STRANGER, World
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import (
    CHEAP,
    Payer,
    Shop,
    break_chain,
    encoded,
    on_chain,
    run,
    terms_of,
)

AMOUNT = 5_000


def asks(monkeypatch: pytest.MonkeyPatch, answers: Iterable[bool] = ()) -> list[str]:
    """The payers that the chain is asked about, and what it says if it is not what it is."""
    asked: list[str] = []
    said = iter(answers)

    def is_asked(w3: Any, address: str) -> bool:
        asked.append(address)
        return next(said, False)

    monkeypatch.setattr("farthing.paywall.onchain.is_contract", is_asked)
    return asked


def without_authorizer(shop: Shop, payer: Payer) -> Payer:
    """The payer signs for itself, so that only the chain knows how."""
    payer = payer.with_config(payer_authorizer=ZERO_ADDRESS)
    shop.open_channel(payer, AMOUNT)
    return payer


@pytest.mark.parametrize("sync_seconds", [300, 0])
def test_node_down__a_payer_without_an_authorizer_that_paid_before__served(
    open_shop: OpenShop,
    chain_payer: Payer,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    sync_seconds: int,
) -> None:
    shop = open_shop(
        chain=on_chain(world, sync_seconds=sync_seconds),
        terms=terms_of(world),
        domain=world.settlement.domain,
    )
    payer = without_authorizer(shop, chain_payer)
    assert run(shop.get("/cheap", payer.header(CHEAP))).status == 200
    break_chain(shop, monkeypatch)
    for number in (2, 3):
        assert run(shop.get("/cheap", payer.header(number * CHEAP))).status == 200
    assert shop.charged(payer) == 3 * CHEAP


def test_node_down__a_signature_of_another_for_a_payer_that_paid_before__refused(
    chain_shop: Shop, chain_payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    payer = without_authorizer(chain_shop, chain_payer)
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    break_chain(chain_shop, monkeypatch)
    forged = Payer(STRANGER, payer.terms, payer.domain).with_config(**asdict(payer.config))
    got = run(chain_shop.get("/cheap", forged.header(2 * CHEAP)))
    assert (got.status, got.error) == (402, "voucher_signature")
    assert chain_shop.served == 1


def test_node_down__a_payer_without_an_authorizer_that_is_new__told_to_come_back(
    chain_shop: Shop, chain_payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    payer = without_authorizer(chain_shop, chain_payer)
    with monkeypatch.context() as patched:
        break_chain(chain_shop, patched)
        got = run(chain_shop.get("/cheap", payer.header(CHEAP)))
    assert (got.status, got.error) == (503, "rpc_read_failed")
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200


def test_payer__without_code__asked_about_once_in_a_while(
    chain_shop: Shop, chain_payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    payer = without_authorizer(chain_shop, chain_payer)
    asked = asks(monkeypatch)
    for number in (1, 2, 3):
        assert run(chain_shop.get("/cheap", payer.header(number * CHEAP))).status == 200
    assert asked == [payer.config.payer]


def test_payer__that_becomes_a_wallet__its_other_signature_is_looked_at_on_the_chain(
    chain_shop: Shop, chain_payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    payer = without_authorizer(chain_shop, chain_payer)
    asked = asks(monkeypatch, [False, True])
    monkeypatch.setattr("farthing.paywall.onchain.is_valid_erc1271", lambda *arguments: True)
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 200
    message = payer.message(2 * CHEAP, CHEAP)
    message["payload"]["voucher"]["signature"] = "0x" + "11" * 70
    assert run(chain_shop.get("/cheap", encoded(message))).status == 200
    assert len(asked) == 2


def test_payer__whose_wallet_is_not_yet_there__asked_about_again(
    chain_shop: Shop, chain_payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    payer = without_authorizer(chain_shop, chain_payer.with_config(payer=STRANGER.address))
    asked = asks(monkeypatch)
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).error == "voucher_signature"
    break_chain(chain_shop, monkeypatch)
    assert run(chain_shop.get("/cheap", payer.header(CHEAP))).status == 503
    assert len(asked) == 1


# ---------------------------------------------------------------- what is remembered


class Plain(PlainPayers):
    """At a time that a test sets, and with a chain where nobody has code."""

    def __init__(self, **options: Any) -> None:
        self.now = 1_000.0
        super().__init__(300, clock=lambda: self.now, **options)

    def asks(self, payer: str, *, has_code: bool = False, is_down: bool = False) -> bool:
        """Whether the chain is asked about a payer that has signed."""
        asked = []

        def is_contract(address: str) -> bool:
            asked.append(address)
            if is_down:
                raise NodeUnreachable("http://node", "it is down")
            return has_code

        self.check(payer, is_contract, lambda *, is_contract: None)
        return bool(asked)


def test_plain_payers__more_than_are_remembered__the_last_ones_stay() -> None:
    plain = Plain(most=2)
    for payer in "abc":
        assert plain.asks(payer)
    assert [plain.asks(payer) for payer in "cba"] == [False, False, True]


def test_plain_payers__after_a_while__asked_again() -> None:
    plain = Plain()
    assert plain.asks("a")
    plain.now += 299
    assert not plain.asks("a")
    plain.now += 1
    assert plain.asks("a")
    assert not plain.asks("a")


def test_plain_payers__nobody_answers__not_waited_for_again_so_soon() -> None:
    plain = Plain()
    plain.asks("a")
    plain.now += 300
    assert plain.asks("a", is_down=True)
    assert not plain.asks("a", is_down=True)
    with pytest.raises(NodeUnreachable):
        plain.asks("b", is_down=True)
    plain.now += BLIND
    assert plain.asks("a", is_down=True)


def test_plain_payers__one_that_got_code__forgotten() -> None:
    plain = Plain()
    plain.asks("a")
    plain.now += 300
    assert plain.asks("a", has_code=True)
    assert plain.asks("a", has_code=True)
    with pytest.raises(NodeUnreachable):
        plain.asks("a", is_down=True)
