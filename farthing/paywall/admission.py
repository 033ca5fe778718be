"""What passes between a server and the paywall: requests that come, and what became of them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from farthing.ledger import Payer, PayerChange
from farthing.paywall.deal import Deal
from farthing.paywall.prices import Rule
from farthing.paywall.pricing.bases import PerUnit
from farthing.paywall.pricing.rules import Quote
from farthing.paywall.reservations import ChannelReservation
from farthing.protocol import FarthingError
from farthing.protocol.payments import Payment


class ChargeInvalid(FarthingError):
    """A handler asked for more than the price it was called for, or for no amount at all."""

    def __init__(self, amount: object, price: int, why: str = "") -> None:
        why = why or f"a charge is an int of 0 to the price of {price}"
        super().__init__(f"{why}, not {amount!r}.")


class Admission(msgspec.Struct, eq=False):
    """Leave to run a handler for a request that can be paid.

    Attributes:
        payer: Who pays, an address.
        channel_id: From which channel.
        price: What it costs at most, in the token's smallest unit.
        amount: What will be charged if the handler succeeds; rules and `charge` lower it.
        reason: Why it is that and not the price; empty where it is.
    """

    _payment: Payment
    _rule: Rule
    _target: bytes
    _reservation: ChannelReservation
    _deposited: str
    _started: float
    # Called only where the price has to be asked for once more.
    _url: Callable[[], str]
    price: int
    amount: int
    reason: str = ""
    # Method and URL, where a receipt is to be signed.
    _request: tuple[str, str] | None = None
    _deal: Deal | None = None
    _quote: Quote | None = None
    _base_reason: str = ""

    @property
    def payer(self) -> str:
        return self._payment.config.payer

    @property
    def channel_id(self) -> bytes:
        return self._payment.channel_id

    @property
    def signer(self) -> str:
        """Who signs for the payer. Take both for who somebody is: anybody may open a channel in
        another's name, with a signer of their own."""
        return Payer.of(self._payment.config).signer

    def charge(self, amount: int) -> None:
        """Charges ``amount`` smallest units instead of the whole price; rules lower it further.

        Raises:
            ChargeInvalid: It is not an int of 0 to the price.
        """
        if type(amount) is not int or not 0 <= amount <= self.price:
            raise ChargeInvalid(amount, self.price)
        self._settle(amount, "as used" if amount < self.price else "")

    def use(self, units: int) -> None:
        """Charges for so many units, where the price is one `PerUnit`.

        Raises:
            ChargeInvalid: It is not, or ``units`` is not an int of 0 to the most of a request.
        """
        base = self._rule.base
        if not isinstance(base, PerUnit):
            raise ChargeInvalid(units, self.price, "this route has no price per unit")
        if type(units) is not int or not 0 <= units <= base.most:
            raise ChargeInvalid(units, self.price, f"a request uses 0 to {base.most} units")
        self._settle(base.cost(units), f"{units} units")

    def _settle(self, amount: int, said: str) -> None:
        reasons = [said or self._base_reason]
        if self._deal is not None:
            self._quote = self._deal.quote(amount)
            amount = self._quote.amount
            reasons += self._quote.reasons
        self.amount = amount
        self.reason = "; ".join(filter(None, reasons))

    def _open(self, deal: Deal | None, said: str) -> None:
        """Has rules lower what is charged.

        Raises:
            RuleRefused: One of them does not allow it.
        """
        self._deal = deal
        self._base_reason = said
        self._settle(self.price, "")

    @property
    def _change(self) -> PayerChange | None:
        if self._deal is None or self._quote is None:
            return None
        return self._deal.change(self._quote)


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
