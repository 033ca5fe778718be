"""x402 version 2 on the wire: what is asked for, what a client sends, what it is told.

Headers are base64 of JSON; amounts are decimal strings. Reading is strict, for a hostile client
writes what is read here. Source: x402's ``scheme_batch_settlement_evm.md``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import msgspec
import pybase64

from farthing.protocol import values
from farthing.protocol.channel import ChannelConfig
from farthing.protocol.errors import FarthingError, InvalidField
from farthing.protocol.receipts import EXTENSION

SCHEME = "batch-settlement"
VERSION = 2
REQUIRED_HEADER = "PAYMENT-REQUIRED"
SIGNATURE_HEADER = "PAYMENT-SIGNATURE"
RESPONSE_HEADER = "PAYMENT-RESPONSE"
# A header of the published clients is about 1,600 bytes, with a Permit2 deposit about 2,600.
MAX_HEADER = 16_384
# x402's extension by which a client names a payment and its repetitions.
IDENTIFIER = "payment-identifier"

_NAME = re.compile(r"[A-Za-z0-9_-]{16,128}")
_PREFIX = "invalid_batch_settlement_evm_"


class ErrorCode(StrEnum):
    """The codes of x402 that a server of resources answers with."""

    CHANNEL_BUSY = _PREFIX + "channel_busy"
    CHANNEL_ID_MISMATCH = _PREFIX + "channel_id_mismatch"
    CHANNEL_NOT_FOUND = _PREFIX + "channel_not_found"
    CHANNEL_STATE_READ_FAILED = _PREFIX + "channel_state_read_failed"
    CUMULATIVE_AMOUNT_MISMATCH = _PREFIX + "cumulative_amount_mismatch"
    CUMULATIVE_BELOW_CLAIMED = _PREFIX + "cumulative_below_claimed"
    CUMULATIVE_EXCEEDS_BALANCE = _PREFIX + "cumulative_exceeds_balance"
    DEPOSIT_BELOW_MIN_DEPOSIT = _PREFIX + "deposit_below_min_deposit"
    DEPOSIT_PAYLOAD = _PREFIX + "deposit_payload"
    DEPOSIT_SIMULATION_FAILED = _PREFIX + "deposit_simulation_failed"
    DEPOSIT_TRANSACTION_FAILED = _PREFIX + "deposit_transaction_failed"
    ERC3009_AUTHORIZATION_REQUIRED = _PREFIX + "erc3009_authorization_required"
    NETWORK_MISMATCH = _PREFIX + "network_mismatch"
    PAYLOAD_TYPE = _PREFIX + "payload_type"
    PERMIT2_AUTHORIZATION_REQUIRED = _PREFIX + "permit2_authorization_required"
    RECEIVER_AUTHORIZER_MISMATCH = _PREFIX + "receiver_authorizer_mismatch"
    RECEIVER_MISMATCH = _PREFIX + "receiver_mismatch"
    REFUND_AMOUNT_INVALID = _PREFIX + "refund_amount_invalid"
    REFUND_NO_BALANCE = _PREFIX + "refund_no_balance"
    REFUND_PAYLOAD = _PREFIX + "refund_payload"
    REFUND_TRANSACTION_FAILED = _PREFIX + "refund_transaction_failed"
    RPC_READ_FAILED = _PREFIX + "rpc_read_failed"
    SCHEME = _PREFIX + "scheme"
    TOKEN_MISMATCH = _PREFIX + "token_mismatch"
    VOUCHER_PAYLOAD = _PREFIX + "voucher_payload"
    VOUCHER_SIGNATURE = _PREFIX + "voucher_signature"
    WITHDRAW_DELAY_MISMATCH = _PREFIX + "withdraw_delay_mismatch"


class PaymentRefused(FarthingError):
    """A payment that cannot be taken.

    Attributes:
        code: What x402 calls the reason, or a code of ours where it has none.
        reason: The same in one sentence for a person.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


# ---------------------------------------------------------------- what is asked for


@dataclass(frozen=True)
class Terms:
    """On what terms a publisher is paid, whatever the price.

    Attributes:
        network: The chain as x402 writes it, ``eip155:<chain id>``.
        token: The token's address.
        token_name: The name its EIP-712 domain hashes, and its version.
        receiver: Who is paid.
        receiver_authorizer: Whose key signs claims and refunds.
        withdraw_delay: Seconds between a payer's wish to withdraw and the withdrawal.
        min_deposit: The least a deposit may be, in the token's smallest unit.
        transfer_methods: How a deposit may be authorised: ``eip3009``, ``permit2``, in the order
            they are offered.
        timeout: Seconds a client should allow for the answer.
    """

    network: str
    token: str
    token_name: str
    token_version: str
    receiver: str
    receiver_authorizer: str
    withdraw_delay: int
    min_deposit: int
    transfer_methods: tuple[str, ...] = ("eip3009",)
    timeout: int = 60

    def requirements(self, price: int, **extra: Any) -> list[dict[str, Any]]:
        """The ``accepts`` of a 402: one entry for each way to deposit."""
        return [
            {
                "scheme": SCHEME,
                "network": self.network,
                "amount": str(price),
                "asset": self.token,
                "payTo": self.receiver,
                "maxTimeoutSeconds": self.timeout,
                "extra": {
                    "receiverAuthorizer": self.receiver_authorizer,
                    "withdrawDelay": self.withdraw_delay,
                    "name": self.token_name,
                    "version": self.token_version,
                    "assetTransferMethod": method,
                    "minDeposit": str(self.min_deposit),
                    **extra,
                },
            }
            for method in self.transfer_methods
        ]


# ---------------------------------------------------------------- what a client sends


class _Accepted(msgspec.Struct, frozen=True):
    scheme: str
    network: str
    amount: str
    asset: str
    payTo: str  # noqa: N815  # as x402 spells it


class _Config(msgspec.Struct, frozen=True):
    payer: str
    payerAuthorizer: str  # noqa: N815
    receiver: str
    receiverAuthorizer: str  # noqa: N815
    token: str
    withdrawDelay: int  # noqa: N815
    salt: str


class _Voucher(msgspec.Struct, frozen=True):
    channelId: str  # noqa: N815
    maxClaimableAmount: str  # noqa: N815
    signature: str


class _Erc3009(msgspec.Struct, frozen=True):
    validAfter: str  # noqa: N815
    validBefore: str  # noqa: N815
    salt: str
    signature: str


class _Permitted(msgspec.Struct, frozen=True):
    token: str
    amount: str


class _Witness(msgspec.Struct, frozen=True):
    channelId: str  # noqa: N815


class _Permit2(msgspec.Struct, frozen=True):
    permitted: _Permitted
    spender: str
    nonce: str
    deadline: str
    witness: _Witness
    signature: str


class _Authorization(msgspec.Struct, frozen=True):
    erc3009Authorization: _Erc3009 | None = None  # noqa: N815
    permit2Authorization: _Permit2 | None = None  # noqa: N815


class _Deposit(msgspec.Struct, frozen=True):
    amount: str
    authorization: _Authorization


class _Paying(msgspec.Struct, frozen=True):
    channelConfig: _Config  # noqa: N815
    voucher: _Voucher


class _VoucherPayload(_Paying, frozen=True, tag_field="type", tag="voucher"):
    pass


class _DepositPayload(_Paying, frozen=True, tag_field="type", tag="deposit"):
    deposit: _Deposit


class _RefundPayload(_Paying, frozen=True, tag_field="type", tag="refund"):
    amount: str | None = None


class _Extensions(
    msgspec.Struct, frozen=True, rename={"receipts": EXTENSION, "identifier": IDENTIFIER}
):
    # Whatever stands there asks for a receipt; published clients send back what was announced.
    receipts: Any = None
    identifier: Any = None


class _PaymentPayload(msgspec.Struct, frozen=True):
    x402Version: int  # noqa: N815
    accepted: _Accepted
    payload: _VoucherPayload | _DepositPayload | _RefundPayload
    extensions: _Extensions | None = None


_decoder = msgspec.json.Decoder(_PaymentPayload)


@dataclass(frozen=True)
class Erc3009Consent:
    """A payer's signed ERC-3009 authorization: unix seconds, and a salt of 256 bits."""

    valid_after: int
    valid_before: int
    salt: int
    signature: bytes


@dataclass(frozen=True)
class Permit2Consent:
    """A payer's signed Permit2 transfer: an unused nonce, and unix seconds."""

    nonce: int
    deadline: int
    signature: bytes


@dataclass(frozen=True)
class DepositWish:
    """What a deposit payload asks to be done: ``amount`` smallest units, and the payer's leave."""

    amount: int
    consent: Erc3009Consent | Permit2Consent


class Payment(msgspec.Struct, frozen=True):
    """A payment header, read: its fields have the right form, nothing more is known.

    Attributes:
        network, amount, asset, pay_to: The terms the client says it accepted; the price in
            smallest units.
        config: The channel it pays from.
        channel_id: The id it says that channel has.
        ceiling, signature: Its voucher.
        deposit: For a deposit payload, what is to be deposited first.
        is_refund: Whether it asks for its money back instead of a resource.
        refund_amount: How much; None is all of it.
        wants_receipt: Whether it asks for a signed statement of the charge.
        identifier: What the client calls this payment and its repetitions; empty for nothing.
    """

    network: str
    amount: int
    asset: str
    pay_to: str
    config: ChannelConfig
    channel_id: bytes
    ceiling: int
    signature: bytes
    deposit: DepositWish | None = None
    is_refund: bool = False
    refund_amount: int | None = None
    wants_receipt: bool = False
    identifier: str = ""


def read_payment(header: bytes) -> Payment:
    """Reads a ``PAYMENT-SIGNATURE`` header.

    Raises:
        PaymentRefused: It is not one. The code says which part is wrong.
    """
    if len(header) > MAX_HEADER:
        raise PaymentRefused(
            ErrorCode.VOUCHER_PAYLOAD, f"the payment header is longer than {MAX_HEADER} bytes"
        )
    try:
        text = pybase64.b64decode(header, validate=True)
    except ValueError:
        raise PaymentRefused(
            ErrorCode.VOUCHER_PAYLOAD, "the payment header is not base64"
        ) from None
    try:
        sent = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        # msgspec's words name the field; they never hold what the client wrote.
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise PaymentRefused(
            ErrorCode.VOUCHER_PAYLOAD, f"the payment header cannot be read: {reason}"
        ) from None
    if sent.x402Version != VERSION:
        raise PaymentRefused(ErrorCode.VOUCHER_PAYLOAD, "x402Version must be 2")
    if sent.accepted.scheme != SCHEME:
        raise PaymentRefused(ErrorCode.SCHEME, f"the scheme must be {SCHEME}")
    payload = sent.payload
    code = _CODES[type(payload)]
    try:
        return _payment(sent, payload)
    except InvalidField as error:
        raise PaymentRefused(code, str(error)) from None


_CODES: dict[type, ErrorCode] = {
    _VoucherPayload: ErrorCode.VOUCHER_PAYLOAD,
    _DepositPayload: ErrorCode.DEPOSIT_PAYLOAD,
    _RefundPayload: ErrorCode.REFUND_PAYLOAD,
}


def _payment(
    sent: _PaymentPayload, payload: _VoucherPayload | _DepositPayload | _RefundPayload
) -> Payment:
    accepted, voucher = sent.accepted, payload.voucher
    deposit = refund = None
    if isinstance(payload, _DepositPayload):
        deposit = _deposit_wish(payload)
    elif isinstance(payload, _RefundPayload) and payload.amount is not None:
        refund = _amount("refund amount", payload.amount, ErrorCode.REFUND_AMOUNT_INVALID)
    return Payment(
        network=accepted.network,
        amount=values.uint128_from_decimal("amount", accepted.amount),
        asset=accepted.asset,
        pay_to=accepted.payTo,
        config=_config(payload.channelConfig),
        channel_id=values.bytes32_from_hex("channel_id", voucher.channelId),
        ceiling=values.uint128_from_decimal("max_claimable_amount", voucher.maxClaimableAmount),
        signature=values.signature_from_hex(
            "signature", voucher.signature, values.MAX_VOUCHER_SIGNATURE
        ),
        deposit=deposit,
        is_refund=isinstance(payload, _RefundPayload),
        refund_amount=refund,
        wants_receipt=sent.extensions is not None and sent.extensions.receipts is not None,
        identifier="" if sent.extensions is None else _identifier(sent.extensions.identifier),
    )


def identifier_of(name: str) -> dict[str, Any]:
    """The ``extensions`` of a payment that has a name of its own: 16 to 128 letters, digits,
    hyphens and underscores. Source: x402's extension ``payment-identifier``."""
    return {IDENTIFIER: {"info": {"required": False, "id": name}}}


def _identifier(sent: Any) -> str:
    """The name; empty for none, or one that cannot be."""
    info = sent.get("info") if isinstance(sent, dict) else None
    name = info.get("id") if isinstance(info, dict) else None
    return name if isinstance(name, str) and _NAME.fullmatch(name) else ""


# A client sends the same config with every payment, and checking it costs as much as reading it.
@lru_cache(maxsize=16_384)
def _config(sent: _Config) -> ChannelConfig:
    return ChannelConfig(
        payer=sent.payer,
        payer_authorizer=sent.payerAuthorizer,
        receiver=sent.receiver,
        receiver_authorizer=sent.receiverAuthorizer,
        token=sent.token,
        withdraw_delay=sent.withdrawDelay,
        salt=values.bytes32_from_hex("salt", sent.salt),
    )


def _amount(name: str, text: str, code: ErrorCode) -> int:
    amount = values.uint128_from_decimal(name, text)
    if amount == 0:
        raise PaymentRefused(code, f"{name} must be above 0")
    return amount


def _deposit_wish(payload: _DepositPayload) -> DepositWish:
    amount = _amount("deposit amount", payload.deposit.amount, ErrorCode.DEPOSIT_PAYLOAD)
    erc3009 = payload.deposit.authorization.erc3009Authorization
    permit2 = payload.deposit.authorization.permit2Authorization
    if (erc3009 is None) == (permit2 is None):
        raise PaymentRefused(
            ErrorCode.ERC3009_AUTHORIZATION_REQUIRED,
            "a deposit needs one erc3009Authorization or one permit2Authorization",
        )
    if erc3009 is not None:
        return DepositWish(
            amount,
            Erc3009Consent(
                valid_after=values.uint256_from_decimal("valid_after", erc3009.validAfter),
                valid_before=values.uint256_from_decimal("valid_before", erc3009.validBefore),
                salt=int.from_bytes(values.bytes32_from_hex("salt", erc3009.salt), "big"),
                signature=values.signature_from_hex("signature", erc3009.signature),
            ),
        )
    assert permit2 is not None
    if values.uint128_from_decimal("permitted amount", permit2.permitted.amount) != amount:
        raise PaymentRefused(
            ErrorCode.DEPOSIT_PAYLOAD, "the permitted amount must be the deposit's amount"
        )
    return DepositWish(
        amount,
        Permit2Consent(
            nonce=values.uint256_from_decimal("nonce", permit2.nonce),
            deadline=values.uint256_from_decimal("deadline", permit2.deadline),
            signature=values.signature_from_hex("signature", permit2.signature),
        ),
    )


# ---------------------------------------------------------------- what it is told


def write_header(message: Any) -> bytes:
    """A message as a header carries it: base64 of compact JSON."""
    return pybase64.b64encode(msgspec.json.encode(message))
