from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from uvicorn.server import ServerState
from websockets.sync.client import connect

from farthing.serve.http import MAX_HEAD, OneWrite
from tests.real_server import served

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
REQUEST = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"


class Recorded(asyncio.Transport):
    """What is written to a client, write by write. After ``room`` bytes it says that it is full."""

    def __init__(self, room: int = 1 << 30) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False
        self.room = room
        self.protocol: OneWrite

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closed
        self.writes.append(bytes(data))
        if sum(map(len, self.writes)) > self.room:
            self.protocol.pause_writing()

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def connected(app: Any, transport: Recorded) -> OneWrite:
    """A connection to ``app`` whose other end is ``transport``."""
    config = uvicorn.Config(
        app, interface="asgi3", http=OneWrite, log_config=None, access_log=False
    )
    config.load()
    protocol = OneWrite(config, ServerState(), {})
    transport.protocol = protocol
    protocol.connection_made(transport)
    return protocol


async def turns() -> None:
    """As many turns of the loop as anything here takes."""
    for _ in range(20):
        await asyncio.sleep(0)


async def begin(send: Send, length: int | None) -> None:
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def hello(scope: Any, receive: Any, send: Send) -> None:
    await begin(send, 5)
    await send({"type": "http.response.body", "body": b"hello"})


def test_one_write__for_the_head_and_the_body_of_an_answer() -> None:
    async def run() -> None:
        transport = Recorded()
        connected(hello, transport).data_received(REQUEST)
        await turns()
        (whole,) = transport.writes
        assert whole.startswith(b"HTTP/1.1 200 OK\r\n") and whole.endswith(b"\r\n\r\nhello")

    asyncio.run(run())


def test_one_write__requests_sent_at_once_are_answered_in_their_order() -> None:
    async def echo(scope: Any, receive: Any, send: Send) -> None:
        path = scope["path"].encode()
        await begin(send, len(path))
        await send({"type": "http.response.body", "body": path})

    async def run() -> None:
        transport = Recorded()
        requests = [REQUEST.replace(b" / ", b" /%d " % number) for number in range(4)]
        connected(echo, transport).data_received(b"".join(requests))
        await turns()
        ends = [each.rsplit(b"\r\n\r\n")[-1] for each in transport.writes]
        assert ends == [b"/0", b"/1", b"/2", b"/3"]

    asyncio.run(run())


def test_one_write__what_has_nothing_after_it_does_not_wait() -> None:
    async def run() -> None:
        go_on = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Send) -> None:
            await begin(send, 10)
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            go_on.clear()
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"later"})

        transport = Recorded()
        connected(slow, transport).data_received(REQUEST)
        await turns()
        assert len(transport.writes) == 1 and transport.writes[0].endswith(b"\r\n\r\n")
        go_on.set()
        await turns()
        assert transport.writes[1:] == [b"first"]
        go_on.set()
        await turns()
        assert transport.writes[2:] == [b"later"]

    asyncio.run(run())


def test_one_write__a_client_that_does_not_read_holds_its_answer_up() -> None:
    part, sent = bytes(1000), []

    async def endless(scope: Any, receive: Any, send: Send) -> None:
        await begin(send, None)
        # It never waits by itself.
        for number in range(100):
            sent.append(number)
            await send({"type": "http.response.body", "body": part, "more_body": True})

    async def run() -> None:
        transport = Recorded(room=10_000)
        protocol = connected(endless, transport)
        protocol.data_received(REQUEST)
        await turns()
        # What fills it, and one that is held back, and one that waits.
        assert len(sent) <= 13
        transport.room = 1 << 30
        protocol.resume_writing()
        await turns()
        assert len(sent) == 100
        assert sum(each.count(part) for each in b"".join(transport.writes).split(b"\r\n")) == 100

    asyncio.run(run())


def test_one_write__what_is_no_request_is_told_before_the_end() -> None:
    async def run() -> None:
        transport = Recorded()
        connected(hello, transport).data_received(b"no request at all\r\n\r\n")
        assert transport.is_closed
        (whole,) = transport.writes
        assert whole.startswith(b"HTTP/1.1 400 ")
        await turns()

    asyncio.run(run())


def test_head__without_an_end__is_not_read_for_ever() -> None:
    async def run() -> None:
        transport = Recorded()
        protocol = connected(hello, transport)
        protocol.data_received(REQUEST[:-2])
        line, sent = b"x-more: " + b"x" * 990 + b"\r\n", 0
        while not transport.is_closed:
            protocol.data_received(line)
            sent += len(line)
        assert MAX_HEAD <= sent <= MAX_HEAD + len(line)
        (whole,) = transport.writes
        assert whole.startswith(b"HTTP/1.1 400 ") and b"head is longer" in whole

    asyncio.run(run())


def test_head__and_a_body_of_any_length__are_read() -> None:
    async def count(scope: Any, receive: Any, send: Send) -> None:
        length, goes_on = 0, True
        while goes_on:
            message = await receive()
            length += len(message["body"])
            goes_on = message["more_body"]
        text = str(length).encode()
        await begin(send, len(text))
        await send({"type": "http.response.body", "body": text})

    async def run() -> None:
        transport = Recorded()
        protocol = connected(count, transport)
        length = 3 * MAX_HEAD
        protocol.data_received(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n" % length)
        protocol.data_received(b"host: here\r\n\r\n")
        for _ in range(3):
            protocol.data_received(bytes(MAX_HEAD))
            await turns()
        protocol.data_received(REQUEST)
        await turns()
        assert [each.rsplit(b"\r\n\r\n")[-1] for each in transport.writes[:1]] == [b"%d" % length]
        assert len(transport.writes) == 2

    asyncio.run(run())


def test_one_write__a_client_that_is_gone_is_not_written_to() -> None:
    async def run() -> None:
        transport = Recorded()
        failed: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: failed.append(told))

        async def left(scope: Any, receive: Any, send: Send) -> None:
            await begin(send, 5)
            # The head is held back at this moment.
            transport.is_closed = True
            transport.protocol.connection_lost(ConnectionResetError())

        connected(left, transport).data_received(REQUEST)
        await turns()
        assert transport.writes == [] and failed == []

    asyncio.run(run())


def test_one_write__a_connection_that_becomes_a_websocket() -> None:
    async def echo(scope: Any, receive: Any, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"]})
        await send({"type": "websocket.close"})

    with served(echo, OneWrite) as port, connect(f"ws://127.0.0.1:{port}/") as client:
        client.send("over and out")
        assert list(client) == ["over and out"]
