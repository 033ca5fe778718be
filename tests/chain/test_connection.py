import json
import socket

import pytest
from eth_abi.abi import encode
from web3.exceptions import OffchainLookup

from farthing.chain.connection import NodeUnreachable, WrongChain, connect
from farthing.chain.reverts import RevertedWithReason
from farthing.chain.sender import as_farthing_error
from tests.stub_node import method, refusal, result, stub_node


def test_connect__any_chain() -> None:
    with stub_node(lambda _: result("0x2105")) as url:
        assert connect(url).eth.chain_id == 8453


def test_connect__the_chain_asked_for() -> None:
    with stub_node(lambda _: result("0x2105")) as url:
        assert connect(url, chain_id=8453).eth.chain_id == 8453


def test_connect__another_chain() -> None:
    with stub_node(lambda _: result("0x2105")) as url, pytest.raises(WrongChain) as caught:
        connect(url, chain_id=1)
    assert (caught.value.expected, caught.value.found) == (1, 8453)
    assert str(caught.value) == (
        "the node is on chain 8453, not on 1: use a node of chain 1, or ask for the chain you mean."
    )


def test_connect__nobody_listens() -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else can take the port meanwhile.
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NodeUnreachable) as caught:
            connect(url)
    assert caught.value.url == url
    assert str(caught.value) == (
        f"no node answers at {url} (ConnectionError): check the URL and that it runs."
    )


def test_node_unreachable__shows_no_key_of_a_provider() -> None:
    error = NodeUnreachable("https://me:secret@node.example:8545/v3/secret?key=secret", "Timeout")
    assert str(error) == (
        "no node answers at https://node.example:8545 (Timeout): check the URL and that it runs."
    )
    assert "secret" in error.url


def test_connect__the_node_hangs_up() -> None:
    with stub_node(lambda _: None) as url, pytest.raises(NodeUnreachable):
        connect(url)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "its answer is not JSON"),
        (b"<html>It works!</html>", "its answer is not JSON"),
        (b"\xff\xfe", "its answer is not JSON"),
        (b"[]", "its answer is not JSON-RPC"),
        (b"null", "its answer is not JSON-RPC"),
        (b'"0x1"', "its answer is not JSON-RPC"),
        (b"{}", "its answer is not a chain id"),
        (b'{"jsonrpc": "2.0", "id": 0, "error": "no"}', "its answer is not a chain id"),
        (
            b'{"jsonrpc": "2.0", "id": 0, "error": {"code": -32005, "message": "key 0xf00: busy"}}',
            "it refuses to tell its chain id now",
        ),
        (result(None), "its answer is not a chain id"),
        (result("one"), "its answer is not a chain id"),
        (result({}), "its answer is not a chain id"),
        (result(True), "its answer is not a chain id"),
    ],
)
def test_connect__something_else_answers(answer: bytes, reason: str) -> None:
    with stub_node(lambda _: answer) as url, pytest.raises(NodeUnreachable) as caught:
        connect(url)
    assert str(caught.value) == (
        f"no node answers at {url} ({reason}): check the URL and that it runs."
    )


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8545", "ws://127.0.0.1:8545", "file:///etc/passwd", "http//127.0.0.1"],
)
def test_connect__not_an_http_url(url: str) -> None:
    with pytest.raises(NodeUnreachable, match="a URL starts with http:// or https://") as caught:
        connect(url)
    assert caught.value.url == url


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://a b/", "http://127.0.0.1:99999", "http://127.0.0.1:x"]
)
def test_connect__malformed_url(url: str) -> None:
    with pytest.raises(NodeUnreachable) as caught:
        connect(url)
    assert " (InvalidURL)" in str(caught.value)
    assert caught.value.url == url


def test_request__node_gone_after_it_was_connected() -> None:
    with stub_node(lambda _: result("0x1")) as url:
        w3 = connect(url)
    with pytest.raises(NodeUnreachable) as caught:
        w3.eth.get_block("latest")
    assert caught.value.url == url


def test_request__a_contract_cannot_send_us_to_a_url() -> None:
    """A refusal that asks for a look-up elsewhere (EIP-3668) is a refusal like any other."""
    contract = "0x" + "11" * 20
    asked = []

    def answer(body: bytes) -> bytes:
        asked.append(method(body))
        if asked[-1] == "eth_chainId":
            return result("0x1")
        arguments = (contract, [f"{url}/elsewhere"], b"", bytes(4), b"")
        types = ["address", "string[]", "bytes", "bytes4", "bytes"]
        data = "0x556f1830" + encode(types, arguments).hex()
        return refusal(data)

    with stub_node(answer) as url:
        w3 = connect(url)
        with pytest.raises(OffchainLookup) as caught:
            w3.eth.call({"to": contract})
    assert set(asked) == {"eth_chainId", "eth_call"}
    error = as_farthing_error(caught.value, contract)
    assert type(error) is RevertedWithReason
    assert error.data[:4].hex() == "556f1830"


def test_connect__an_answer_to_another_question() -> None:
    def mixed_up(body: bytes) -> bytes:
        before = json.loads(body)["id"] - 1
        return json.dumps({"jsonrpc": "2.0", "id": before, "result": "0x1"}).encode()

    with stub_node(mixed_up) as url, pytest.raises(NodeUnreachable, match="to another question"):
        connect(url)
