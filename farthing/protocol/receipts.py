"""What a publisher signs for a charge: x402's receipt, and beside it a statement of the amount.

A receipt of x402's extension ``offer-receipt`` says who was served what and when, and not what it
cost. So the same object carries a `Charge` too, in the same form. Both are EIP-712, signed by the
channel's receiver authorizer. Source: x402's ``extension-offer-and-receipt.md``; ours is specified
in ``docs/receipts.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from farthing.protocol import values
from farthing.protocol.domain import StatementDomain
from farthing.protocol.errors import FarthingError, InvalidField
from farthing.protocol.keccak import keccak
from farthing.protocol.signatures import Signer, recover, sign
from farthing.protocol.typed_data import StructType, TypedMessage

EXTENSION = "offer-receipt"
# The version of x402's receipt, and of the form it is signed in.
RECEIPT_VERSION = 1
FORMAT = "eip712"
# What the extension's part of a message may hold, as x402 wants it said.
SCHEMA = {
    "type": "object",
    "properties": {"receipt": {"type": "object"}, "charge": {"type": "object"}},
}

RECEIPT = StructType(
    "Receipt(uint256 version,string network,string resourceUrl,string payer,uint256 issuedAt,"
    "string transaction)"
)
CHARGE = StructType(
    "Charge(bytes32 channelId,uint128 amount,uint128 total,string method,string url,"
    "string requestId,uint64 time)"
)


class StatementWrong(FarthingError):
    """A receipt, or a statement of a charge, proves nothing.

    Attributes:
        reason: Why, in words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"this receipt proves nothing, do not count on it: {self.reason}."


@dataclass(frozen=True)
class Receipt(TypedMessage):
    """x402's receipt: ``payer`` paid for ``url`` and was served.

    Attributes:
        network: The chain as x402 writes it, ``eip155:<chain id>``.
        url: What was asked for.
        payer: An address, as it was written; it is signed as text.
        issued_at: Unix seconds.
        transaction: Hash of a transaction that has to do with it; mostly empty.

    Raises :class:`~farthing.protocol.errors.InvalidField`.
    """

    DOMAIN: ClassVar[StatementDomain] = StatementDomain("x402 receipt")

    network: str
    url: str
    payer: str
    issued_at: int
    transaction: str = ""

    def __post_init__(self) -> None:
        for name in ("network", "url", "payer", "transaction"):
            values.text(name, getattr(self, name))
        values.uint256("issued_at", self.issued_at)

    def struct_hash(self) -> bytes:
        return RECEIPT.hash(
            RECEIPT_VERSION,
            _hash(self.network),
            _hash(self.url),
            _hash(self.payer),
            self.issued_at,
            _hash(self.transaction),
        )

    def to_json(self) -> dict[str, str | int]:
        """The receipt as x402 writes it."""
        return {
            "version": RECEIPT_VERSION,
            "network": self.network,
            "resourceUrl": self.url,
            "payer": self.payer,
            "issuedAt": self.issued_at,
            "transaction": self.transaction,
        }


@dataclass(frozen=True)
class Charge(TypedMessage):
    """This request was charged ``amount``, which made ``total`` of its channel in all.

    The channel's id is the hash of its config and so names payer, receiver, token, chain and
    contract. Amounts are smallest units of the token.

    Attributes:
        method, url: The request.
        request_id: Its name in the publisher's ledger.
        time: Of the charge, unix seconds.

    Raises :class:`~farthing.protocol.errors.InvalidField`.
    """

    DOMAIN: ClassVar[StatementDomain] = StatementDomain("Farthing charge")

    channel_id: bytes
    amount: int
    total: int
    method: str
    url: str
    request_id: str
    time: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel_id", values.bytes32("channel_id", self.channel_id))
        total = values.uint128("total", self.total)
        if values.uint128("amount", self.amount) > total:
            raise InvalidField("amount", self.amount, f"must not exceed the total of {total}")
        for name in ("method", "url", "request_id"):
            values.text(name, getattr(self, name))
        values.uint64("time", self.time)

    def struct_hash(self) -> bytes:
        return CHARGE.hash(
            self.channel_id,
            self.amount,
            self.total,
            _hash(self.method),
            _hash(self.url),
            _hash(self.request_id),
            self.time,
        )

    def to_json(self) -> dict[str, str | int]:
        """The statement as it is sent: camelCase, amounts in decimal, the id in hex."""
        return {
            "channelId": "0x" + self.channel_id.hex(),
            "amount": str(self.amount),
            "total": str(self.total),
            "method": self.method,
            "url": self.url,
            "requestId": self.request_id,
            "time": self.time,
        }


M = TypeVar("M", Receipt, Charge)


@dataclass(frozen=True)
class Statement(Generic[M]):
    """Something said, and the signature under it, which may be anybody's."""

    said: M
    signature: bytes

    @classmethod
    def by(cls, signer: Signer, said: M) -> Statement[M]:
        """What ``signer`` says. Raises :class:`~farthing.protocol.errors.SigningFailed`."""
        return cls(said, sign(signer, said, said.DOMAIN))

    def signer(self) -> str | None:
        """Who signed; None when the signature is none."""
        return recover(self.said.digest(self.said.DOMAIN), self.signature)

    def to_json(self) -> dict[str, Any]:
        """The form in which x402 passes it on."""
        return {
            "format": FORMAT,
            "payload": self.said.to_json(),
            "signature": "0x" + self.signature.hex(),
        }


@dataclass(frozen=True)
class Given:
    """What a publisher gave for one charge: all of it, a part, or nothing."""

    receipt: Statement[Receipt] | None = None
    charge: Statement[Charge] | None = None

    def info(self) -> dict[str, Any]:
        """What is there, each in its JSON form."""
        found = {"receipt": self.receipt, "charge": self.charge}
        return {name: each.to_json() for name, each in found.items() if each is not None}

    def extension(self) -> dict[str, Any]:
        """The ``extensions`` of a message that carries it."""
        return extension(self.info())

    def signer(self) -> str:
        """Who signed all of it.

        Raises:
            StatementWrong: Nobody did, there is nothing, or its two parts contradict each other.
        """
        signers = {}
        for name, each in (("receipt", self.receipt), ("charge", self.charge)):
            if each is not None:
                signer = each.signer()
                if signer is None:
                    raise StatementWrong(f"what stands under its {name} is no signature")
                signers[signer] = name
        if not signers:
            raise StatementWrong("it has neither a receipt nor a charge that is signed")
        if len(signers) > 1:
            words = " and ".join(f"its {name} by {signer}" for signer, name in signers.items())
            raise StatementWrong(f"it is signed by two, {words}")
        if self.receipt is not None and self.charge is not None:
            receipt, charge = self.receipt.said, self.charge.said
            if (receipt.url, receipt.issued_at) != (charge.url, charge.time):
                raise StatementWrong("its receipt and its charge are of two requests")
        return next(iter(signers))


def extension(info: dict[str, Any]) -> dict[str, Any]:
    """The ``extensions`` of a message with this ``info``; an empty one announces receipts."""
    return {EXTENSION: {"info": info, "schema": SCHEMA}}


def _hash(text: str) -> bytes:
    return keccak(text.encode())
