"""What a publisher signs for a charge: x402's receipt, and beside it a statement of the amount.

A receipt of x402's extension ``offer-receipt`` says who was served what and when, and not what it
cost. So the same object carries a `Charge` too, in the same form. Both are EIP-712, signed by the
channel's receiver authorizer. Source: x402's ``extension-offer-and-receipt.md``; ours is specified
in ``docs/receipts.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import pybase64

from farthing.protocol import values
from farthing.protocol.channel import ChannelConfig
from farthing.protocol.domain import Domain, StatementDomain
from farthing.protocol.errors import FarthingError, InvalidField
from farthing.protocol.keccak import keccak
from farthing.protocol.signatures import Signer, is_strict, recover, sign
from farthing.protocol.typed_data import StructType, TypedMessage

EXTENSION = "offer-receipt"
_SHOWN = 200
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
        return f"this receipt proves nothing: {self.reason}."


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


# ---------------------------------------------------------------- reading


class _Version(msgspec.Struct):
    version: int


class _Receipt(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    network: str
    resourceUrl: str  # noqa: N815  # as x402 spells it
    payer: str
    issuedAt: int  # noqa: N815
    transaction: str = ""


class _Charge(msgspec.Struct, forbid_unknown_fields=True):
    channelId: str  # noqa: N815
    amount: str
    total: str
    method: str
    url: str
    requestId: str  # noqa: N815
    time: int


class _Signed(msgspec.Struct):
    format: str
    signature: str
    payload: msgspec.Raw = msgspec.Raw()


class _Info(msgspec.Struct):
    receipt: _Signed | None = None
    charge: _Signed | None = None


class _Part(msgspec.Struct):
    info: _Info


class _Extensions(msgspec.Struct, rename={"part": EXTENSION}):
    part: _Part | None = None


class _Document(_Info):
    extensions: _Extensions | None = None
    network: str | None = None
    settlement: str | None = None
    channelConfig: dict[str, Any] | None = None  # noqa: N815


def read_given(message: bytes) -> Given:
    """What a publisher gave, from the JSON of its PAYMENT-RESPONSE or of a proof.

    A receipt in another form or version than this one counts as none.

    Raises:
        StatementWrong: It cannot be read.
    """
    return _given(_info(_decode(message, _Document)))


def _info(document: _Document) -> _Info:
    extensions = document.extensions
    return document if extensions is None or extensions.part is None else extensions.part.info


def _given(info: _Info) -> Given:
    try:
        return Given(
            None if info.receipt is None else _receipt(info.receipt),
            None if info.charge is None else _charge(info.charge),
        )
    except InvalidField as error:
        raise StatementWrong(f"its {error}") from None


def _receipt(signed: _Signed) -> Statement[Receipt] | None:
    if signed.format != FORMAT or _decode(signed.payload, _Version).version != RECEIPT_VERSION:
        return None
    sent = _decode(signed.payload, _Receipt)
    said = Receipt(sent.network, sent.resourceUrl, sent.payer, sent.issuedAt, sent.transaction)
    return Statement(said, _signature(signed))


def _charge(signed: _Signed) -> Statement[Charge] | None:
    if signed.format != FORMAT:
        return None
    sent = _decode(signed.payload, _Charge)
    said = Charge(
        values.bytes32_from_hex("channel_id", sent.channelId),
        values.uint128_from_decimal("amount", sent.amount),
        values.uint128_from_decimal("total", sent.total),
        sent.method,
        sent.url,
        sent.requestId,
        sent.time,
    )
    return Statement(said, _signature(signed))


def _signature(signed: _Signed) -> bytes:
    signature = values.signature_from_hex("signature", signed.signature, 65)
    if not is_strict(signature):
        raise InvalidField("signature", signed.signature, "must be 65 bytes r, s, v with a low s")
    return signature


T = TypeVar("T")


def _decode(text: bytes | msgspec.Raw, form: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=form)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        # msgspec's words name the field; they never hold what somebody wrote.
        words = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise StatementWrong(f"it cannot be read ({words})") from None


# ---------------------------------------------------------------- proving


@dataclass(frozen=True)
class Proof:
    """A charge that is proven, or a receipt.

    Attributes:
        signer: Who signed all of it. Whose address that is, only the publisher's own 402 tells, or
            whoever trusts it.
        given: What was signed.
        config: The channel that was charged, where it is part of the proof, and ``domain`` where it
            is.
    """

    signer: str
    given: Given
    config: ChannelConfig | None = None
    domain: Domain | None = None


def write_proof(given: Given, config: ChannelConfig, domain: Domain) -> dict[str, Any]:
    """What a payer keeps, or hands to somebody else, to prove what it was charged."""
    return {
        "network": f"eip155:{domain.chain_id}",
        "settlement": domain.contract,
        "channelConfig": config.to_json(),
        **given.info(),
    }


def read_proof(text: bytes, signer: str | None = None) -> Proof:
    """Checks a proof, or a PAYMENT-RESPONSE as its header or as JSON, and gives what it says.

    Args:
        signer: Who should have signed. Without it that is the receiver authorizer of the channel,
            which only a proof names.

    Raises:
        StatementWrong: It is not right, and why.
    """
    text = text.strip()
    if not text.startswith(b"{"):
        try:
            text = pybase64.b64decode(text, validate=True)
        except ValueError:
            raise StatementWrong("it is neither JSON nor base64 of it") from None
    document = _decode(text, _Document)
    info = _info(document)
    given = _given(info)
    for name in ("receipt", "charge"):
        if getattr(info, name) is not None and getattr(given, name) is None:
            raise StatementWrong(f"its {name} is in a form or version that is not known here")
    found = given.signer()
    config = domain = None
    # Only a charge names its channel.
    if given.charge is not None and document.channelConfig is not None:
        try:
            config = ChannelConfig.from_json(document.channelConfig)
            domain = Domain(_chain_id(document.network), document.settlement)  # type: ignore[arg-type]  # checked by it
        except InvalidField as error:
            raise StatementWrong(f"its {error}") from None
        check_channel(given, found, config, domain)
    elif signer is None:
        raise StatementWrong(
            f"it is signed by {found} and does not say for which channel, so name the address that "
            "should have signed"
        )
    if signer is not None and found != values.address("signer", signer):
        raise StatementWrong(f"it is signed by {found}, not by {signer}")
    return Proof(found, given, config, domain)


def check_channel(given: Given, signer: str, config: ChannelConfig, domain: Domain) -> None:
    """That what was given is of this channel, and ``signer`` the one who may speak for it.

    A receipt alone may be signed by anybody whom its publisher leaves that to, as x402 has it.

    Raises:
        StatementWrong: It is not.
    """
    if given.charge is not None:
        if given.charge.said.channel_id != config.channel_id(domain):
            raise StatementWrong("it is of another channel")
        if signer != config.receiver_authorizer:
            raise StatementWrong(
                f"it is signed by {signer}, the channel's receiver authorizer is "
                f"{config.receiver_authorizer}"
            )
    if given.receipt is not None:
        receipt, network = given.receipt.said, f"eip155:{domain.chain_id}"
        if receipt.payer.lower() != config.payer.lower():
            raise StatementWrong(f"its payer is {shown(receipt.payer)}, not {config.payer}")
        if receipt.network != network:
            raise StatementWrong(f"it is for {shown(receipt.network)}, the channel on {network}")


def shown(text: str) -> str:
    """Somebody's words, in a form that harms no terminal and fills no log."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _chain_id(network: str | None) -> int:
    name, _, number = (network or "").partition(":")
    if name != "eip155":
        raise InvalidField("network", network, "must be eip155 and a chain id")
    return values.uint256_from_decimal("network", number)


def _hash(text: str) -> bytes:
    return keccak(text.encode())
