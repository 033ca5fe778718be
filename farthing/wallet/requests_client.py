"""A `requests` session that pays: the wallet stands between the session and its adapter.

session = requests.Session()
session.mount("https://", PayingAdapter(wallet))
"""

from __future__ import annotations

import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from farthing.protocol.payments import SIGNATURE_HEADER
from farthing.wallet.errors import WalletError
from farthing.wallet.flow import KEPT_BYTES, Answer, Flow, Send, Step, lost, pay
from farthing.wallet.wallet import Wallet

LOST = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


class BodyNotKept(WalletError):
    """A request that may have to be sent twice has a body that can be read once only."""

    def __init__(self) -> None:
        super().__init__("a paid request's body must be bytes or text: read the file first.")


class PayingAdapter(HTTPAdapter):
    """Sends requests as `HTTPAdapter` does, and pays for them.

    Redirects are followed above an adapter: each is a request of its own, paid by its own rules.
    """

    def __init__(self, wallet: Wallet, **options: Any) -> None:
        self._wallet = wallet
        super().__init__(**options)

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        """Raises, besides what `HTTPAdapter` does, what `farthing.wallet.flow.pay` does."""
        method, url = request.method or "GET", request.url or ""
        return self.run(request, pay(self._wallet, method, url), *args, **options)

    def run(
        self, request: requests.PreparedRequest, flow: Flow, *args: Any, **options: Any
    ) -> requests.Response:
        """Does what ``flow`` asks for; gives the last answer."""
        if not isinstance(request.body, bytes | str | None):
            raise BodyNotKept
        response: requests.Response | None = None
        try:
            step: Step = next(flow)
            while True:
                answer = None
                if isinstance(step, Send):
                    if response is not None:
                        response.close()
                        response = None
                    try:
                        response = super().send(_with(request, step), *args, **options)
                        if _is_kept(step, response):
                            # Read here, so that what breaks off is asked for again.
                            _ = response.content
                        answer = Answer(response.status_code, response.headers.get)
                    except LOST as error:
                        if step.payment is None:
                            raise
                        answer = lost(error)
                else:
                    time.sleep(step.seconds)
                step = flow.send(answer)
        except StopIteration:
            assert response is not None
            # A redirect is made of it, which must not carry the payment.
            response.request = request
            return response
        except BaseException:
            if response is not None:
                response.close()
            raise
        finally:
            flow.close()


def _is_kept(step: Send, response: requests.Response) -> bool:
    length = response.headers.get("content-length", "")
    is_short = length.isdecimal() and len(length) < 10 and int(length) <= KEPT_BYTES
    return is_short and (step.payment is not None or response.status_code == 402)


def _with(request: requests.PreparedRequest, step: Send) -> requests.PreparedRequest:
    if step.payment is None:
        return request
    paid = request.copy()
    paid.headers[SIGNATURE_HEADER] = step.payment
    return paid
