"""What is paid for, and what it cost the last time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from farthing.wallet.offers import Offer

# Requests whose price is remembered, at most.
REMEMBERED = 1_000


@dataclass(frozen=True)
class Request:
    """A request that has to be paid.

    Attributes:
        method, url: As they are sent; the url without user, password and fragment.
        host: Its name in lower case, which the rules know it by.
        origin: Scheme, host and port: what its channels are for.
    """

    method: str
    url: str
    host: str
    origin: str

    @staticmethod
    @lru_cache(maxsize=REMEMBERED)
    def of(method: str, url: str) -> Request:
        """The request that ``method`` and an absolute ``url`` make."""
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        shown_host = f"[{host}]" if ":" in host else host
        place = shown_host if parts.port is None else f"{shown_host}:{parts.port}"
        shown = urlunsplit((parts.scheme, place, parts.path, parts.query, ""))
        return Request(method.upper(), shown, host, f"{parts.scheme}://{place}")


@dataclass(frozen=True)
class Approval:
    """What the owner is asked: may ``request`` cost ``price`` smallest units?"""

    request: Request
    price: int


class Remembered:
    """What requests cost when they were last paid, so that they need not be asked for twice."""

    def __init__(self) -> None:
        self._offers: OrderedDict[Request, Offer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, request: Request) -> Offer | None:
        """The offer that was last taken; None where it is not known."""
        with self._lock:
            offer = self._offers.get(request)
            if offer is not None:
                self._offers.move_to_end(request)
            return offer

    def keep(self, request: Request, offer: Offer) -> None:
        """Remembers an offer that was taken and charged for."""
        with self._lock:
            self._offers[request] = offer
            if len(self._offers) > REMEMBERED:
                self._offers.popitem(last=False)

    def forget(self, request: Request) -> None:
        """Asks the next time."""
        with self._lock:
            self._offers.pop(request, None)
