"""Reading what publishers signed, and proofs of what was charged that need nobody to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import pybase64

from farthing.protocol import values
from farthing.protocol.channel import ChannelConfig
from farthing.protocol.domain import Domain
from farthing.protocol.errors import InvalidField
from farthing.protocol.receipts import (
    EXTENSION,
    FORMAT,
    RECEIPT_VERSION,
    Charge,
    Given,
    Receipt,
    Statement,
    StatementWrong,
)

# Somebody's words are cut at this length where they are told.
_SHOWN = 200

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
    return values.signature_from_hex("signature", signed.signature, 65)


T = TypeVar("T")


def _decode(text: bytes | msgspec.Raw, form: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=form)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        # msgspec's words name the field, and one that should not be there is of anybody's choice.
        words = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise StatementWrong(f"it cannot be read, {shown(words)}") from None


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
