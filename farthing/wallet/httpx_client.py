"""`httpx` clients that pay: the wallet stands between the client and its transport.

    with PayingTransport(wallet) as transport, httpx.Client(transport=transport) as client:
        client.get("https://news.example/articles/7")

Redirects are followed above a transport, so that each one is a request of its own: another host
gets no voucher that was signed for the first, and is paid by its own rules.
"""

from __future__ import annotations

import time

import anyio
import anyio.to_thread
import httpx

from farthing.protocol.payments import SIGNATURE_HEADER
from farthing.wallet.flow import KEPT_BYTES, Answer, Flow, Send, Step, lost, pay
from farthing.wallet.wallet import Wallet


class PayingTransport(httpx.BaseTransport):
    """Sends requests through ``inner``, an `httpx.HTTPTransport` by default, and pays for them."""

    def __init__(self, wallet: Wallet, inner: httpx.BaseTransport | None = None) -> None:
        self._wallet = wallet
        self._inner = inner or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises, besides what the inner transport does, what `farthing.wallet.flow.pay` does."""
        return self.run(request, pay(self._wallet, request.method, str(request.url)))

    def run(self, request: httpx.Request, flow: Flow) -> httpx.Response:
        """Does what ``flow`` asks for; gives the last answer."""
        # A body that is sent twice has to be kept.
        request.read()
        response: httpx.Response | None = None
        try:
            step: Step = next(flow)
            while True:
                answer = None
                if isinstance(step, Send):
                    if response is not None:
                        response.close()
                        response = None
                    try:
                        response = self._inner.handle_request(_with(request, step))
                        if _is_kept(step, response):
                            stream = response.stream
                            assert isinstance(stream, httpx.SyncByteStream)
                            response.stream = httpx.ByteStream(b"".join(stream))
                            stream.close()
                        answer = _answer(response)
                    except httpx.TransportError as error:
                        answer = _lost(step, error)
                else:
                    time.sleep(step.seconds)
                step = flow.send(answer)
        except StopIteration:
            assert response is not None
            return response
        except BaseException:
            if response is not None:
                response.close()
            raise
        finally:
            flow.close()

    def close(self) -> None:
        self._inner.close()


class AsyncPayingTransport(httpx.AsyncBaseTransport):
    """The same for `httpx.AsyncClient`. What the wallet does runs on threads."""

    def __init__(self, wallet: Wallet, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._wallet = wallet
        self._inner = inner or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises, besides what the inner transport does, what `farthing.wallet.flow.pay` does."""
        return await self.run(request, pay(self._wallet, request.method, str(request.url)))

    async def run(self, request: httpx.Request, flow: Flow) -> httpx.Response:
        """Does what ``flow`` asks for; gives the last answer."""
        await request.aread()
        response: httpx.Response | None = None
        try:
            step = await anyio.to_thread.run_sync(_step, flow, None)
            while step is not None:
                answer = None
                if isinstance(step, Send):
                    if response is not None:
                        await response.aclose()
                        response = None
                    try:
                        response = await self._inner.handle_async_request(_with(request, step))
                        if _is_kept(step, response):
                            stream = response.stream
                            assert isinstance(stream, httpx.AsyncByteStream)
                            body = b"".join([part async for part in stream])
                            response.stream = httpx.ByteStream(body)
                            await stream.aclose()
                        answer = _answer(response)
                    except httpx.TransportError as error:
                        answer = _lost(step, error)
                else:
                    await anyio.sleep(step.seconds)
                step = await anyio.to_thread.run_sync(_step, flow, answer)
        except BaseException:
            if response is not None:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
            raise
        finally:
            flow.close()
        assert response is not None
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def _step(flow: Flow, answer: Answer | None) -> Step | None:
    """The next step; None at the end, for a StopIteration cannot leave a thread."""
    try:
        return flow.send(answer)
    except StopIteration:
        return None


def _with(request: httpx.Request, step: Send) -> httpx.Request:
    """The request with its payment. The caller's own stays: redirects are made of it."""
    if step.payment is None:
        return request
    paid = httpx.Request(
        request.method,
        request.url,
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions,
    )
    paid.headers[SIGNATURE_HEADER] = step.payment
    return paid


def _is_kept(step: Send, response: httpx.Response) -> bool:
    """Whether an answer is read to its end before it is believed to have come.

    What was paid for and breaks off is asked for again with the same voucher; a 402 that was read
    leaves its connection to the next request. Long ones, and streams, are left to the caller.
    """
    length = response.headers.get("content-length", "")
    is_short = length.isdecimal() and len(length) < 10 and int(length) <= KEPT_BYTES
    return is_short and (step.payment is not None or response.status_code == 402)


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.headers.get)


def _lost(step: Send, error: httpx.TransportError) -> Answer:
    if step.payment is None:
        raise error
    return lost(error)
