"""The lens reads what the contract's own views say, or it says that it cannot, on every node."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from farthing.chain.checked_node import AnswerUnusable
from farthing.chain.connection import NodeUnreachable, connect
from farthing.chain.json_rpc import NodeRefused
from farthing.chain.lens import FEW, MAX_CHANNELS, Lens
from farthing.chain.settlement import Snapshot
from tests.escrow_world import PAYER, SECOND_PAYER
from tests.follower_kit import Shop
from tests.stub_node import forward, method, result, stub_node

UNKNOWN = [number.to_bytes(32, "big") for number in range(3 * MAX_CHANNELS)]


def lens_of(shop: Shop, url: str | None = None) -> Lens:
    w3 = shop.world.w3 if url is None else connect(url)
    return Lens(w3, shop.world.settlement.address, shop.world.settlement.domain.chain_id)


def read(shop: Shop, lens: Lens, ids: list[bytes]) -> list[Snapshot]:
    head = shop.world.w3.eth.get_block("latest")
    return lens.read(ids, head["number"], head["hash"].to_0x_hex())


@pytest.fixture
def ids(shop: Shop) -> list[bytes]:
    """Two channels with something in every field."""
    found = [shop.deposit(PAYER, 900_000), shop.deposit(SECOND_PAYER, 700)]
    shop.claim(PAYER, SECOND_PAYER)
    shop.refund(SECOND_PAYER)
    shop.withdraw(PAYER, 800_000)
    return found


def afresh(shop: Shop, ids: list[bytes]) -> list[Snapshot]:
    return [shop.world.settlement.snapshot(channel_id) for channel_id in ids]


def test_read__what_the_views_say(shop: Shop, ids: list[bytes]) -> None:
    found = read(shop, lens_of(shop), ids)
    assert found == afresh(shop, ids)
    assert found[0].withdraw_amount == 800_000
    assert found[0].withdraw_requested_at == shop.world.now()
    assert (found[1].total_claimed, found[1].refund_nonce) == (10, 1)


@pytest.mark.parametrize("more", [0, 1, MAX_CHANNELS - 2, MAX_CHANNELS - 1, len(UNKNOWN)])
def test_read__so_many_channels(shop: Shop, ids: list[bytes], more: int) -> None:
    mixed = [*UNKNOWN[:more], *ids]
    found = read(shop, lens_of(shop), mixed)
    assert found[-2:] == afresh(shop, ids)
    assert {each.balance for each in found[:-2]} <= {0}
    assert len(found) == len(mixed)


def test_read__none(shop: Shop) -> None:
    assert read(shop, lens_of(shop), []) == []


def test_read__an_earlier_block(shop: Shop, ids: list[bytes]) -> None:
    head = shop.world.w3.eth.get_block("latest")
    before = afresh(shop, ids)
    shop.deposit(PAYER, 5)
    lens = lens_of(shop)
    assert lens.read(ids, head["number"], head["hash"].to_0x_hex()) == before
    assert read(shop, lens, ids) == afresh(shop, ids) != before


def test_read__a_block_that_is_gone(shop: Shop, ids: list[bytes]) -> None:
    head = shop.world.w3.eth.get_block("latest")
    shop.reorganise(1)
    with pytest.raises(NodeRefused):
        lens_of(shop).read(ids, head["number"], head["hash"].to_0x_hex())


def test_read__a_node_that_runs_no_creations(shop: Shop, ids: list[bytes], node_url: str) -> None:
    def plain(body: bytes) -> bytes:
        if method(body) == "eth_call" and "to" not in json.loads(body)["params"][0]:
            return _failure("missing field: to")
        return forward(node_url, body)

    with stub_node(plain) as url:
        assert read(shop, lens_of(shop, url), [*UNKNOWN[:FEW], *ids])[-2:] == afresh(shop, ids)


def test_read__a_node_with_little_gas_for_a_call(
    shop: Shop, ids: list[bytes], node_url: str
) -> None:
    asked: list[int] = []

    def frugal(body: bytes) -> bytes:
        if method(body) == "eth_call":
            channels = (len(json.loads(body)["params"][0]["data"]) // 2 - 700) // 32
            asked.append(channels)
            if channels > MAX_CHANNELS // 3:
                return _failure("out of gas")
        return forward(node_url, body)

    with stub_node(frugal) as url:
        lens = lens_of(shop, url)
        assert read(shop, lens, [*UNKNOWN, *ids])[-2:] == afresh(shop, ids)
        refused = sum(channels > MAX_CHANNELS // 3 for channels in asked)
        # It has learned how much the node takes.
        assert refused == 2
        assert min(asked) >= 1


def test_read__a_block_the_node_does_not_have_yet(
    shop: Shop, ids: list[bytes], node_url: str
) -> None:
    """Asked again later it is asked for as many as ever."""
    late = True
    asked = 0

    def answer(body: bytes) -> bytes:
        nonlocal asked
        if method(body) == "eth_call":
            asked += 1
            if late:
                return _failure("header not found")
        return forward(node_url, body)

    with stub_node(answer) as url:
        lens = lens_of(shop, url)
        with pytest.raises(NodeRefused, match="header not found"):
            read(shop, lens, [*UNKNOWN, *ids])
        late, asked = False, 0
        assert read(shop, lens, [*UNKNOWN, *ids])[-2:] == afresh(shop, ids)
        assert asked == -(-len([*UNKNOWN, *ids]) // MAX_CHANNELS)


def _failure(message: str) -> bytes:
    error = {"code": -32_000, "message": message}
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()


def _cut(body: bytes) -> bytes:
    return result(json.loads(body)["result"][:-64])


def _odd(body: bytes) -> bytes:
    return result(json.loads(body)["result"][:-1])


def _nothing(_: bytes) -> bytes:
    return result("0x")


def _no_text(_: bytes) -> bytes:
    return result(7)


def _no_answer(_: bytes) -> bytes:
    return result(None)


@pytest.mark.parametrize("spoil", [_cut, _odd, _nothing, _no_text, _no_answer])
@pytest.mark.parametrize("through_lens", [True, False])
def test_read__a_spoiled_answer(
    shop: Shop,
    ids: list[bytes],
    node_url: str,
    spoil: Callable[[bytes], bytes],
    through_lens: bool,
) -> None:
    def answer(body: bytes) -> bytes:
        if method(body) != "eth_call":
            return forward(node_url, body)
        if not through_lens and "to" not in json.loads(body)["params"][0]:
            return _failure("no")
        return spoil(forward(node_url, body))

    with stub_node(answer) as url, pytest.raises(AnswerUnusable):
        read(shop, lens_of(shop, url), ids)


def test_read__half_an_answer(shop: Shop, ids: list[bytes], node_url: str) -> None:
    def answer(body: bytes) -> bytes:
        found = forward(node_url, body)
        return found[: len(found) // 2] if method(body) == "eth_call" else found

    with stub_node(answer) as url, pytest.raises(NodeUnreachable):
        read(shop, lens_of(shop, url), ids)


def test_read__the_answer_of_another_call(shop: Shop, ids: list[bytes], node_url: str) -> None:
    """Of as many other channels, so that only what it repeats of the question tells."""
    kept: list[bytes] = []

    def answer(body: bytes) -> bytes:
        found = forward(node_url, body)
        if method(body) == "eth_call":
            kept.append(result(json.loads(found)["result"]))
            return kept[0]
        return found

    with stub_node(answer) as url:
        lens = lens_of(shop, url)
        read(shop, lens, UNKNOWN[:2])
        with pytest.raises(AnswerUnusable, match="another question"):
            read(shop, lens, ids)


def test_read__another_chain(shop: Shop, ids: list[bytes]) -> None:
    lens = Lens(shop.world.w3, shop.world.settlement.address, 1)
    with pytest.raises(AnswerUnusable, match="another question"):
        read(shop, lens, ids)


def test_read__no_settlement_contract(shop: Shop, ids: list[bytes]) -> None:
    chain_id = shop.world.settlement.domain.chain_id
    with pytest.raises((NodeRefused, AnswerUnusable)):
        read(shop, Lens(shop.world.w3, shop.world.token.address, chain_id), ids)
