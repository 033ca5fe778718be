"""What passes between a server and the paywall: requests that come, and what became of them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from farthing.paywall.prices import Rule
from farthing.paywall.reservations import Reservation
from farthing.protocol import FarthingError
from farthing.protocol.payments import Payment


class ChargeInvalid(FarthingError):
    """A handler asked for more than the price it was called for, or for no amount at all."""

    def __init__(self, amount: object, price: int) -> None:
        super().__init__(f"a charge is an int of 0 to the price of {price}, not {amount!r}.")


class Admission:
    """Leave to run a handler for a request that can be paid.

    Attributes:
        payer: Who pays, an address.
        channel_id: From which channel.
        price: What it costs at most, in the token's smallest unit.
        amount: What will be charged if the handler succeeds; `charge` lowers it.
    """

    __slots__ = (
        "_deposited",
        "_payment",
        "_request",
        "_reservation",
        "_rule",
        "_started",
        "_target",
        "amount",
        "price",
    )

    def __init__(
        self,
        payment: Payment,
        rule: Rule,
        price: int,
        target: bytes,
        reservation: Reservation,
        deposited: str,
        started: float,
    ) -> None:
        # Method and URL, where a receipt is to be signed.
        self._request: tuple[str, str] | None = None
        self._started = started
        self._payment = payment
        self._rule = rule
        self._target = target
        self._reservation = reservation
        self._deposited = deposited
        self.price = price
        self.amount = price

    @property
    def payer(self) -> str:
        return self._payment.config.payer

    @property
    def channel_id(self) -> bytes:
        return self._payment.channel_id

    def charge(self, amount: int) -> None:
        """Charges ``amount`` smallest units instead of the whole price.

        Raises:
            ChargeInvalid: It is not an int of 0 to the price.
        """
        if type(amount) is not int or not 0 <= amount <= self.price:
            raise ChargeInvalid(amount, self.price)
        self.amount = amount


class Arrival(msgspec.Struct):
    """A request as a server hands it over. Header names are in lower case."""

    method: str
    path: str
    query: bytes
    url: Callable[[], str]
    headers: list[tuple[bytes, bytes]]


class Charged(msgspec.Struct, frozen=True):
    """A charge that is on the disk, for logs and metrics.

    Attributes:
        request_id: As it is in the ledger.
        route: The price's rule.
        payer: An address.
        amount: What was charged, in the token's smallest unit.
        status: The answer's.
        seconds: From the request to the charge, and ``commit_seconds`` of them for the disk.
    """

    request_id: str
    route: str
    payer: str
    channel_id: bytes
    amount: int
    status: int
    seconds: float
    commit_seconds: float
