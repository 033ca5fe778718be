"""Alerts to a webhook: JSON, signed, so that who gets it knows that it is from here and is new."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import msgspec

from farthing.operations.alerts import DeliveryFailed, Message
from farthing.protocol import FarthingError

SIGNATURE_HEADER = "Farthing-Signature"
TIMEOUT_SECONDS = 10
# How old what is signed may be when it is checked, in seconds.
TOLERANCE = 300
SHORTEST_SECRET = 16


class SecretTooShort(FarthingError):
    """A webhook's secret that can be guessed."""

    def __init__(self) -> None:
        super().__init__(
            f"the secret has fewer than {SHORTEST_SECRET} characters: make one with "
            "`openssl rand -hex 32`."
        )


class Webhook:
    """Sends messages to a URL.

    A message is taken when the answer is a 2xx. Each has the header ``Farthing-Signature``,
    ``t=<unix seconds>,v1=<hex>``: the HMAC-SHA256, with the secret, of the seconds, a dot and the
    body. `is_signed` checks it.

    Args:
        url: ``http://`` or ``https://``.
        secret: Shared with who gets the messages.
        site: Whose they are: receiver and chain.
        clock: Unix seconds.

    Raises:
        SecretTooShort: The secret is.
    """

    def __init__(
        self, url: str, secret: bytes, site: str, clock: Callable[[], float] = time.time
    ) -> None:
        if len(secret) < SHORTEST_SECRET:
            raise SecretTooShort
        self._url = url
        self._secret = secret
        self._site = site
        self._clock = clock
        self._opener = build_opener(_NoRedirects)

    def send(self, message: Message) -> None:
        body = msgspec.json.encode({"site": self._site, **msgspec.structs.asdict(message)})
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "farthing",
            SIGNATURE_HEADER: signature_of(body, self._secret, int(self._clock())),
        }
        request = Request(self._url, body, headers, method="POST")  # noqa: S310  # http or https
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS):
                pass
        except HTTPError as error:
            with error:
                raise DeliveryFailed(
                    f"the webhook answered {error.code}: it has to answer 2xx."
                ) from error
        except (OSError, HTTPException) as error:
            # The URL is not shown: there may be a token in it.
            reason = type(getattr(error, "reason", error)).__name__
            raise DeliveryFailed(
                f"the webhook does not answer ({reason}): check alerts.webhook."
            ) from error


def signature_of(body: bytes, secret: bytes, seconds: int) -> str:
    """The header's value for a body that is sent at that time."""
    mac = hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={mac.hexdigest()}"


def is_signed(header: str, body: bytes, secret: bytes, now: float) -> bool:
    """Whether a message is from who has the secret, and not an old one that somebody repeats."""
    seconds = header.partition(",")[0].removeprefix("t=")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 20):
        return False
    expected = signature_of(body, secret, int(seconds))
    is_fresh = abs(now - int(seconds)) <= TOLERANCE
    return hmac.compare_digest(header.encode(), expected.encode()) and is_fresh


class _NoRedirects(HTTPRedirectHandler):
    """What is signed for one place does not go to another one."""

    def redirect_request(self, *_: Any) -> None:
        return None
