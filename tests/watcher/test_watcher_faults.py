"""Nodes that fail, and nodes behind a proxy that does: nothing is lost, and nothing is made up."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from farthing.chain import watcher
from farthing.chain.checked_node import AnswerUnusable
from farthing.chain.connection import NodeUnreachable, WrongChain
from farthing.chain.json_rpc import NodeRefused
from farthing.chain.watcher import NodeBehind
from farthing.ledger import Mirror
from farthing.protocol import FarthingError
from tests.escrow_world import PAYER, SECOND_PAYER
from tests.faulty_node import ALL, Fault, faulty_node
from tests.follower_kit import CONFIRMATIONS, Shop, catch_up
from tests.stub_node import forward, method, result, stub_node

# What a delay does other than to wait is what the others do.
FAULTS = tuple(fault for fault in ALL if fault is not Fault.DELAY)


@pytest.mark.parametrize("seed", range(6))
def test_step__faults_at_random(shop: Shop, node_url: str, seed: int) -> None:
    chance = random.Random(seed)
    shop.deposit(PAYER)
    shop.deposit(SECOND_PAYER)
    failed = 0
    with faulty_node(node_url) as faulty:
        follower = shop.follower(faulty.url, start_block=1)
        faulty.at_random(0.08, seed, FAULTS)
        for _ in range(30):
            match chance.choice(["deposit", "redeem", "refund", "mine", "reorganise"]):
                case "deposit":
                    shop.deposit(PAYER, 100)
                case "redeem":
                    shop.redeem(SECOND_PAYER)
                case "refund":
                    shop.refund(SECOND_PAYER, 5)
                case "mine":
                    shop.mine(chance.randrange(CONFIRMATIONS))
                case "reorganise":
                    # Not so deep that the first deposits are gone.
                    shop.mine(CONFIRMATIONS)
                    shop.reorganise(CONFIRMATIONS)
            try:
                follower.step()
            except FarthingError:
                failed += 1
        faulty.calm()
        assert failed > 3
        catch_up(follower)
        shop.mine(CONFIRMATIONS + 1)
        follower.step()
    shop.compare()


@pytest.mark.parametrize(
    ("asked", "fault", "error"),
    [
        ("eth_chainId", Fault.OTHER_CHAIN, WrongChain),
        ("eth_chainId", Fault.EMPTY, AnswerUnusable),
        ("eth_getBlockByNumber", Fault.REFUSE, NodeRefused),
        ("eth_getBlockByNumber", Fault.EMPTY, NodeRefused),
        ("eth_getBlockByHash", Fault.EMPTY, NodeRefused),
        ("eth_getBlockByHash", Fault.TRUNCATE, NodeUnreachable),
        ("eth_getLogs", Fault.TRUNCATE, NodeUnreachable),
        ("eth_getLogs", Fault.MIX_UP, NodeUnreachable),
        ("eth_getLogs", Fault.EMPTY, AnswerUnusable),
        ("eth_call", Fault.TRUNCATE, NodeUnreachable),
        ("eth_call", Fault.MIX_UP, NodeUnreachable),
        ("eth_call", Fault.EMPTY, AnswerUnusable),
        ("*", Fault.REFUSE, NodeRefused),
    ],
)
def test_step__a_fault_changes_nothing(
    shop: Shop, node_url: str, asked: str, fault: Fault, error: type[Exception]
) -> None:
    with faulty_node(node_url) as faulty:
        follower = shop.follower(faulty.url)
        catch_up(follower)
        shop.deposit(PAYER)
        shop.mine(CONFIRMATIONS // 2)
        name = _cursor_name(shop)
        before = shop.mirrors(), shop.ledger.recall(name)
        faulty.always(asked, fault)
        for _ in range(2):
            with pytest.raises(error):
                follower.step()
            assert (shop.mirrors(), shop.ledger.recall(name)) == before
        faulty.calm()
        follower.step()
    shop.compare()
    assert len(shop.mirrors()) == 1


def _cursor_name(shop: Shop) -> str:
    settlement = shop.world.settlement
    return f"cursor eip155:{settlement.domain.chain_id} {settlement.address}"


# ------------------------------------------------------------ a node that is late


@pytest.mark.parametrize("late_by", [1, CONFIRMATIONS, CONFIRMATIONS + 1, 2 * CONFIRMATIONS])
def test_step__a_node_that_lags(shop: Shop, node_url: str, late_by: int) -> None:
    """A withdrawal that was seen stays seen."""
    with faulty_node(node_url) as faulty:
        follower = shop.follower(faulty.url)
        catch_up(follower)
        channel_id = shop.deposit(PAYER)
        shop.withdraw(PAYER)
        shop.mine(CONFIRMATIONS - 2)
        follower.step()
        before = shop.mirrors()
        assert before[channel_id].withdraw_amount == 100
        faulty.late_by = late_by
        with pytest.raises(NodeBehind) as caught:
            follower.step()
        head = shop.world.w3.eth.block_number
        assert (caught.value.head, caught.value.seen) == (head - late_by, head)
        assert shop.mirrors() == before
        # With the others' next blocks it comes to where it was, and has nothing new.
        shop.redeem(PAYER)
        shop.mine(late_by - 1)
        assert follower.step().events == {}
        assert shop.mirrors() == before
        faulty.calm()
        follower.step()
    shop.compare()


def test_step__a_node_behind_what_the_paywall_saw(shop: Shop, node_url: str) -> None:
    """What is known of a later block stays, and nobody is alarmed."""
    with faulty_node(node_url) as faulty:
        shop.clock = lambda: shop.now  # type: ignore[method-assign]
        follower = shop.follower(faulty.url)
        channel_id = shop.deposit(PAYER, 1_000)
        catch_up(follower)
        # One that something happened to, and one that is only looked at.
        other = shop.deposit(SECOND_PAYER, 500)
        shop.deposit(PAYER, 700)
        shop.deposit(SECOND_PAYER, 400)
        for each in (channel_id, other):
            found = shop.world.settlement.snapshot(each)
            said = Mirror(found.balance, 0, 0, 0, 0, int(shop.now * 1_000), found.block)
            shop.ledger.mirror(each, shop.configs[each], said)
        before = shop.mirrors()
        assert [before[each].balance for each in (channel_id, other)] == [1_700, 900]
        shop.now += 100
        for late_by in (2, 1):
            faulty.late_by = late_by
            assert follower.step().differences == []
            assert shop.mirrors() == before
        faulty.calm()
        follower.step()
    shop.compare()


def test_step__what_the_paywall_saw_is_in_no_block_any_more(shop: Shop, node_url: str) -> None:
    """The other chain is shorter at first: what is undone in it is not forgotten until it grows."""
    shop.clock = lambda: shop.now  # type: ignore[method-assign]
    follower = shop.follower()
    channel_id = shop.deposit(PAYER, 1_000)
    catch_up(follower)
    shop.deposit(PAYER, 700)
    follower.step()
    found = shop.world.settlement.snapshot(channel_id)
    said = Mirror(1_700, 0, 0, 0, 0, int(shop.now * 1_000), found.block + 1)
    shop.ledger.mirror(channel_id, shop.configs[channel_id], said)
    shop.reorganise(1)
    follower.step()
    assert shop.mirrors()[channel_id] == said
    shop.mine()
    shop.now += 100
    assert follower.step().differences == []
    assert shop.mirrors()[channel_id].balance == 1_000
    shop.compare()


def test_step__a_node_that_lags_after_a_restart(shop: Shop, node_url: str) -> None:
    shop.deposit(PAYER)
    shop.mine(2 * CONFIRMATIONS)
    with faulty_node(node_url) as faulty:
        catch_up(shop.follower(faulty.url, start_block=1))
        faulty.late_by = CONFIRMATIONS + 2
        follower = shop.follower(faulty.url)
        with pytest.raises(NodeBehind):
            follower.step()
        faulty.calm()
        catch_up(follower)
    shop.compare()


def test_step__a_chain_that_was_set_back(shop: Shop) -> None:
    """As development chains are. Until it is longer again it looks like a node that lags."""
    follower = shop.follower()
    catch_up(follower)
    snapshot = _rpc(shop, "evm_snapshot")
    shop.deposit(PAYER)
    shop.deposit(SECOND_PAYER)
    follower.step()
    assert _rpc(shop, "evm_revert", snapshot)
    with pytest.raises(NodeBehind):
        follower.step()
    shop.deposit(SECOND_PAYER, 5)
    follower.step()
    shop.compare()
    assert {mirror.balance for mirror in shop.mirrors().values()} == {0, 5}


def _rpc(shop: Shop, name: str, *arguments: Any) -> Any:
    request: Any = shop.world.w3.provider.make_request
    return request(name, list(arguments))["result"]


# ------------------------------------------------------------ a node with limits


def _busy_blocks(shop: Shop) -> None:
    shop.deposit(PAYER)
    shop.deposit(SECOND_PAYER)
    for _ in range(4):
        shop.redeem(PAYER)
        shop.refund(SECOND_PAYER, 5)
    shop.mine(CONFIRMATIONS)


def _range(body: bytes) -> int:
    where = json.loads(body)["params"][0]
    if "fromBlock" not in where:
        return 1
    return int(where["toBlock"], 16) - int(where["fromBlock"], 16) + 1


def _logs(answer: bytes) -> list[Any]:
    found: list[Any] = json.loads(answer)["result"]
    return found


def test_step__a_node_that_limits_results(shop: Shop, node_url: str) -> None:
    start_block = shop.world.w3.eth.block_number + 1
    _busy_blocks(shop)
    refused = 0

    def limited(body: bytes) -> bytes:
        nonlocal refused
        answer = forward(node_url, body)
        if method(body) == "eth_getLogs" and len(_logs(answer)) > 3:
            refused += 1
            error = {"code": -32_005, "message": "query returned more than 10000 results"}
            return json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
        return answer

    with stub_node(limited) as url:
        step = catch_up(shop.follower(url, start_block=start_block))
    assert refused > 0
    assert step.differences == []
    shop.compare()


def test_step__a_node_that_leaves_out_what_is_above_its_limit(
    shop: Shop, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "ROUND", 3)
    start_block = shop.world.w3.eth.block_number + 1
    _busy_blocks(shop)
    cut = 0

    def limited(body: bytes) -> bytes:
        nonlocal cut
        answer = forward(node_url, body)
        if method(body) == "eth_getLogs" and len(_logs(answer)) > 3:
            cut += 1
            return result(_logs(answer)[:3])
        return answer

    with stub_node(limited) as url:
        follower = shop.follower(url, start_block=start_block)
        events = follower.step().events
        assert cut > 0
        assert events == {"ChannelCreated": 2, "Deposited": 2, "Redeemed": 4, "Refunded": 4}
    shop.compare()


def test_step__a_node_that_hangs_up_on_long_ranges(shop: Shop, node_url: str) -> None:
    start_block = shop.world.w3.eth.block_number + 1
    _busy_blocks(shop)

    def limited(body: bytes) -> bytes:
        if method(body) == "eth_getLogs" and _range(body) > 3:
            return b"<html>502 Bad Gateway</html>"
        return forward(node_url, body)

    with stub_node(limited) as url:
        follower = shop.follower(url, start_block=start_block, range_blocks=16)
        # Twelve blocks, six, and then what it takes.
        for _ in range(2):
            with pytest.raises(NodeUnreachable):
                follower.step()
        catch_up(follower)
    shop.compare()


def test_step__what_was_read_before_a_fault_is_kept(shop: Shop, node_url: str) -> None:
    start_block = shop.world.w3.eth.block_number + 1
    _busy_blocks(shop)

    def limited(body: bytes) -> bytes:
        if method(body) == "eth_getLogs":
            first = json.loads(body)["params"][0].get("fromBlock", "0x0")
            if int(first, 16) >= start_block + 4:
                return b"not now"
        return forward(node_url, body)

    with stub_node(limited) as url:
        follower = shop.follower(url, start_block=start_block, range_blocks=2)
        step = follower.step()
        assert step.behind == shop.world.w3.eth.block_number - CONFIRMATIONS - (start_block + 3)
        assert step.events["ChannelCreated"] == 2
        with pytest.raises(NodeUnreachable):
            follower.step()
    catch_up(shop.follower(start_block=start_block))
    shop.compare()


def test_step__a_node_that_refuses_even_one_block(shop: Shop, node_url: str) -> None:
    _busy_blocks(shop)

    def closed(body: bytes) -> bytes:
        if method(body) == "eth_getLogs":
            error = {"code": -32_601, "message": "the method is not available"}
            return json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
        return forward(node_url, body)

    with stub_node(closed) as url, pytest.raises(NodeRefused) as caught:
        shop.follower(url, start_block=1).step()
    assert str(caught.value) == (
        "the node refused eth_getLogs (the method is not available): ask again later, or use "
        "another node."
    )


# ------------------------------------------------------------ a node that is wrong


def test_step__a_node_that_keeps_events_to_itself(shop: Shop, node_url: str) -> None:
    """Every channel is looked at in turn, so that it is found out, and told."""
    is_silent = False

    def answer(body: bytes) -> bytes:
        if is_silent and method(body) == "eth_getLogs":
            return result([])
        return forward(node_url, body)

    with stub_node(answer) as url:
        follower = shop.follower(url)
        catch_up(follower)
        channel_id = shop.deposit(PAYER)
        follower.step()
        is_silent = True
        shop.withdraw(PAYER)
        step = follower.step()
    assert [found.channel_id for found in step.differences] == [channel_id]
    assert [found.channel_id for found in step.withdrawals] == [channel_id]
    shop.compare()


def test_step__events_that_came_late(shop: Shop, node_url: str) -> None:
    """What was left out while its block could still go is read when it is final."""
    is_silent = True

    def answer(body: bytes) -> bytes:
        if is_silent and method(body) == "eth_getLogs":
            return result([])
        return forward(node_url, body)

    with stub_node(answer) as url:
        follower = shop.follower(url)
        catch_up(follower)
        shop.deposit(PAYER)
        assert follower.step().events == {}
        assert shop.mirrors() == {}
        is_silent = False
        shop.mine(CONFIRMATIONS)
        assert follower.step().events == {"ChannelCreated": 1, "Deposited": 1}
    shop.compare()


@pytest.mark.parametrize(
    "spoil",
    [
        {"topics": []},
        {"topics": ["0x" + "11" * 32]},
        {"data": "0x12"},
        {"data": "zz"},
        {"blockNumber": "0x1"},
        {"blockNumber": "one"},
        {"blockHash": "0x" + "22" * 32},
        {"logIndex": None},
    ],
)
@pytest.mark.parametrize("is_final", [True, False])
def test_step__logs_that_are_not_those_asked_for(
    shop: Shop, node_url: str, spoil: dict[str, Any], is_final: bool
) -> None:
    def answer(body: bytes) -> bytes:
        found = forward(node_url, body)
        if method(body) == "eth_getLogs":
            return result([log | spoil for log in _logs(found)])
        return found

    with stub_node(answer) as url:
        follower = shop.follower(url)
        catch_up(follower)
        shop.deposit(PAYER)
        # In the middle of what is read for good, or at its end.
        shop.mine(CONFIRMATIONS if is_final else 1)
        with pytest.raises(AnswerUnusable):
            follower.step()
    assert shop.mirrors() == {}
