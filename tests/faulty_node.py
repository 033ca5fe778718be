"""A proxy before a real node that fails as proxies and nodes do: on order, or at random."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from tests.stub_node import forward, stub_node

# A chain nobody asks for.
OTHER_CHAIN = 4_242
# After this an answer that is delayed comes in any case.
DELAY_SECONDS = 0.2
# Calls whose answer is about a block: where the block stands in their parameters.
_AT_BLOCK = {
    "eth_getBlockByNumber": 0,
    "eth_getTransactionCount": 1,
    "eth_getBalance": 1,
    "eth_call": 1,
    "eth_getCode": 1,
}


class Fault(Enum):
    """How one request goes wrong."""

    DROP = "drop"
    """The node never gets it, and the connection ends."""
    LOSE = "lose"
    """The node gets it, and its answer is lost."""
    DELAY = "delay"
    """The node gets it, and its answer waits for the next request, or for `FaultyNode.release`."""
    TWICE = "twice"
    """The node gets it twice, and the second answer counts."""
    REPEAT = "repeat"
    """The answer is the one before to the same method; the first time a true one."""
    MIX_UP = "mix up"
    """The answer is the one before, whatever was asked."""
    TRUNCATE = "truncate"
    """Half of the answer, as if that were all."""
    REFUSE = "refuse"
    """The node is busy and says so."""
    EMPTY = "empty"
    """There is an answer, and nothing in it."""
    OTHER_CHAIN = "other chain"
    """The answer is that of a node of another chain, which knows nothing of this one."""


# Those that may come with any request, in any order.
ALL = tuple(Fault)


class FaultyNode:
    """What a `faulty_node` block gives.

    Attributes:
        url: Where to ask.
        late_by: How many blocks behind the node seems to be.
        asked: How often each method was asked.
        faults: How often each fault came.
    """

    def __init__(self, node: str) -> None:
        self.url = ""
        self.late_by = 0
        self.asked: Counter[str] = Counter()
        self.faults: Counter[Fault] = Counter()
        self._node = node
        self._lock = threading.Lock()
        self._ordered: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Fault] = {}
        self._chance: random.Random | None = None
        self._rate = 0.0
        self._kinds: tuple[Fault, ...] = ALL
        self._last: dict[str, bytes] = {}
        self._go_on = threading.Event()

    def then(self, method: str, *faults: Fault) -> None:
        """The next requests of ``method`` fail so, one after the other."""
        self._ordered[method].extend(faults)

    def always(self, method: str, fault: Fault) -> None:
        """Every request of ``method`` fails so; ``*`` stands for all methods."""
        self._always[method] = fault

    def at_random(self, rate: float, seed: int, kinds: tuple[Fault, ...] = ALL) -> None:
        """From now on each request fails with this probability."""
        self._chance, self._rate, self._kinds = random.Random(seed), rate, kinds

    def calm(self) -> None:
        """From now on nothing fails."""
        self._chance, self.late_by = None, 0
        self._ordered.clear()
        self._always.clear()
        self.release()

    def release(self) -> None:
        """Lets answers go that are delayed."""
        self._go_on.set()

    def answer(self, body: bytes) -> bytes | None:
        request = json.loads(body)
        method: str = request["method"]
        with self._lock:
            self.asked[method] += 1
            fault = self._choose(method)
            if fault is not None:
                self.faults[fault] += 1
            waiting, self._go_on = self._go_on, threading.Event()
            waiting.set()
            go_on = self._go_on
        if fault is Fault.DROP:
            return None
        if fault is Fault.REFUSE:
            return _failure(request, -32_005, "limit exceeded")
        if fault is Fault.EMPTY:
            return _success(request, None)
        if fault is Fault.OTHER_CHAIN:
            return _other_chain(request)
        before = self._last.get("*" if fault is Fault.MIX_UP else method)
        if fault is Fault.TWICE:
            forward(self._node, body)
        answer = self._forward(request)
        self._last[method] = self._last["*"] = answer
        if fault is Fault.DELAY:
            go_on.wait(DELAY_SECONDS)
        if fault is Fault.LOSE:
            return None
        if fault is Fault.TRUNCATE:
            return answer[: len(answer) // 2]
        if fault in (Fault.REPEAT, Fault.MIX_UP):
            return before or answer
        return answer

    def _choose(self, method: str) -> Fault | None:
        if self._ordered[method]:
            return self._ordered[method].popleft()
        always = self._always.get(method) or self._always.get("*")
        if always is not None:
            return always
        if self._chance is not None and self._chance.random() < self._rate:
            return self._chance.choice(self._kinds)
        return None

    def _forward(self, request: dict[str, Any]) -> bytes:
        if not self.late_by:
            return forward(self._node, json.dumps(request).encode())
        number = {**request, "method": "eth_blockNumber", "params": []}
        newest = int(json.loads(forward(self._node, json.dumps(number).encode()))["result"], 16)
        seen = max(newest - self.late_by, 0)
        method, params = request["method"], list(request["params"])
        if method == "eth_blockNumber":
            return _success(request, hex(seen))
        place = _AT_BLOCK.get(method)
        if place is not None:
            if params[place] in ("latest", "pending"):
                params[place] = hex(seen)
            elif isinstance(params[place], str) and int(params[place], 16) > seen:
                if method == "eth_getBlockByNumber":
                    return _success(request, None)
                return _failure(request, -32_000, "header not found")
        answer = forward(self._node, json.dumps({**request, "params": params}).encode())
        found = json.loads(answer).get("result")
        is_known = not isinstance(found, dict) or int(found.get("blockNumber") or "0x0", 16) <= seen
        return answer if is_known else _success(request, None)


@contextmanager
def faulty_node(node: str) -> Iterator[FaultyNode]:
    """Runs the proxy before the node at that URL for as long as the block lasts."""
    faulty = FaultyNode(node)
    with stub_node(faulty.answer) as url:
        faulty.url = url
        try:
            yield faulty
        finally:
            faulty.calm()


def _success(request: dict[str, Any], result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()


def _failure(request: dict[str, Any], code: int, message: str) -> bytes:
    error = {"code": code, "message": message}
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()


def _other_chain(request: dict[str, Any]) -> bytes:
    method = request["method"]
    if method == "eth_chainId":
        return _success(request, hex(OTHER_CHAIN))
    if method in ("eth_getTransactionCount", "eth_getBalance"):
        return _success(request, hex(10**6))
    if method == "eth_getBlockByNumber":
        block = {
            "number": request["params"][0] if request["params"][0].startswith("0x") else "0xffffff",
            "hash": "0x" + "42" * 32,
            "timestamp": "0x70000000",
            "baseFeePerGas": "0x1",
            "gasLimit": "0x1c9c380",
            "transactions": [],
        }
        return _success(request, block)
    if method == "eth_sendRawTransaction":
        return _failure(request, -32_000, "invalid chain id for signer")
    return _success(request, None)
