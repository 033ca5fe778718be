"""HTTP as uvicorn speaks it, with the head and the body of an answer in one write to the socket."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Bytes of a request's head after which no more of it is read, besides those that came at once.
MAX_HEAD = 65_536


class OneWrite(HttpToolsProtocol):
    """To be named as uvicorn's ``http``, in place of its ``httptools``.

    uvicorn writes an answer's head as soon as it knows it, and then the body. The system sends each
    by itself: a call and a packet more for every short answer. And it reads a request's head
    however long it is; here one that does not end is answered with 400.
    """

    # What came of a request whose head is not complete; None between heads.
    _head: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._joining = _Joining(transport, self.loop)
        super().connection_made(self._joining)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.send_400_response(f"The request's head is longer than {MAX_HEAD} bytes.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        # From here on another protocol writes, which is on its own with the transport.
        self.transport = self._joining.parted()
        super().handle_websocket_upgrade()


class _Joining(asyncio.Transport):
    """A transport whose first write waits for a second one, at most until the loop's next turn.

    No longer, and for one only, so that an answer in many parts is held up by what its client does
    not read, as it is without this.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._held:
            data, self._held = b"".join((self._held, data)), b""
            self._transport.write(data)
        elif data:
            self._held = bytes(data)
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        data, self._held = self._held, b""
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def parted(self) -> asyncio.Transport:
        """The transport itself, with nothing held back."""
        self._flush()
        return self._transport

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()
