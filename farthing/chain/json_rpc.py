"""JSON-RPC without web3's formatters, for what is asked thousands of times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from web3 import Web3
from web3.exceptions import Web3RPCError
from web3.types import RPCEndpoint

from farthing.chain.checked_node import AnswerUnusable
from farthing.chain.sender import node_words
from farthing.protocol.errors import FarthingError

T = TypeVar("T")


class NodeRefused(FarthingError):
    """The node answered a request with an error.

    Attributes:
        method: What it was asked for.
        message: Its own words.
    """

    def __init__(self, method: str, message: str) -> None:
        self.method = method
        self.message = message
        super().__init__(
            f"the node refused {method} ({message}): ask again later, or use another node."
        )


def ask(w3: Web3, method: str, *params: Any, as_: type[T]) -> T:
    """Asks the node, and gives the result if it is of the type ``as_``.

    Raises:
        NodeUnreachable: It does not answer.
        NodeRefused: It answers with an error.
        AnswerUnusable: The result is of another type.
    """
    result = _result(w3, method, params)
    return _convert(method, result, as_)


@contextmanager
def asking(what: str) -> Iterator[None]:
    """What a node refuses through web3 while the block lasts is raised as of `ask`.

    A contract that reverts is something else, and web3 raises that otherwise.
    """
    try:
        yield
    except Web3RPCError as error:
        raise NodeRefused(what, node_words(error)) from error


def look_up(w3: Web3, method: str, *params: Any, as_: type[T]) -> T | None:
    """The same for what the node may not have, which it answers with nothing."""
    result = _result(w3, method, params)
    return None if result is None else _convert(method, result, as_)


def _result(w3: Web3, method: str, params: Sequence[Any]) -> Any:
    answer = w3.provider.make_request(RPCEndpoint(method), list(params))
    error: Any = answer.get("error")
    if error is not None:
        message = error.get("message") if isinstance(error, dict) else error
        raise NodeRefused(method, " ".join(str(message).split()))
    return answer.get("result")


def _convert(method: str, result: Any, as_: type[T]) -> T:
    try:
        return msgspec.convert(result, as_)
    except msgspec.ValidationError as wrong:
        raise AnswerUnusable(method, str(wrong)) from wrong


def from_hex(method: str, text: str) -> bytes:
    """The bytes of an answer's hex text; raises `AnswerUnusable` for any other text."""
    if text.startswith("0x"):
        try:
            return bytes.fromhex(text[2:])
        except ValueError:
            pass
    raise AnswerUnusable(method, "it is not in hex")


def number(method: str, text: str) -> int:
    """The number in an answer's hex text; raises `AnswerUnusable` for any other text."""
    try:
        return int(text, 16)
    except ValueError as wrong:
        raise AnswerUnusable(method, "it is not a number in hex") from wrong
