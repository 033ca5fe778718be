"""What a payer signs to fund a channel: the token's or Permit2's typed data, never ours.

Each message gives the ``collectorData`` its collector contract wants once it is signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eth_abi.abi import encode as abi_encode

from farthing.protocol import values
from farthing.protocol.errors import InvalidField
from farthing.protocol.keccak import keccak
from farthing.protocol.typed_data import StructType, TypedMessage, encode_words

RECEIVE_WITH_AUTHORIZATION = StructType(
    "ReceiveWithAuthorization(address from,address to,uint256 value,"
    "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
PERMIT = StructType(
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)

_TOKEN_PERMISSIONS_TEXT = "TokenPermissions(address token,uint256 amount)"  # noqa: S105  # no secret
_DEPOSIT_WITNESS_TEXT = "DepositWitness(bytes32 channelId)"
TOKEN_PERMISSIONS = StructType(_TOKEN_PERMISSIONS_TEXT)
DEPOSIT_WITNESS = StructType(_DEPOSIT_WITNESS_TEXT)
PERMIT_WITNESS_TRANSFER = StructType(
    "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,"
    "uint256 nonce,uint256 deadline,DepositWitness witness)"
    + _DEPOSIT_WITNESS_TEXT
    + _TOKEN_PERMISSIONS_TEXT
)


@dataclass(frozen=True)
class DepositAuthorization(TypedMessage):
    """An ERC-3009 ``receiveWithAuthorization`` that can fund one channel only.

    Signed by ``payer`` under the token's domain (:class:`~farthing.protocol.domain.TokenDomain`).
    ``amount`` is in the token's smallest unit, at least 1 and at most 128 bits; ``valid_after``
    and ``valid_before`` are unix seconds, both excluded; ``salt`` tells deposits into the same
    channel apart. Raises :class:`~farthing.protocol.errors.InvalidField`.
    """

    payer: str
    collector: str
    amount: int
    valid_after: int
    valid_before: int
    channel_id: bytes
    salt: int

    def __post_init__(self) -> None:
        _normalize(self, values.non_zero_address, "payer", "collector")
        _normalize(self, _deposit_amount, "amount")
        _normalize(self, values.uint256, "valid_after", "valid_before", "salt")
        _normalize(self, values.bytes32, "channel_id")
        if self.valid_before <= self.valid_after:
            raise InvalidField("valid_before", self.valid_before, "must be later than valid_after")

    @property
    def nonce(self) -> bytes:
        """The authorization's nonce, 32 bytes. It names the channel, so a relayer cannot divert it.

        ``keccak256(abi.encode(channelId, salt))``.
        """
        return keccak(encode_words(self.channel_id, self.salt))

    def struct_hash(self) -> bytes:
        return RECEIVE_WITH_AUTHORIZATION.hash(
            self.payer,
            self.collector,
            self.amount,
            self.valid_after,
            self.valid_before,
            self.nonce,
        )

    def collector_data(self, signature: bytes) -> bytes:
        """``abi.encode(validAfter, validBefore, salt, signature)`` for the ERC-3009 collector."""
        checked = values.signature_bytes("signature", signature)
        return abi_encode(
            ["uint256", "uint256", "uint256", "bytes"],
            [self.valid_after, self.valid_before, self.salt, checked],
        )


@dataclass(frozen=True)
class Permit2Deposit(TypedMessage):
    """A Permit2 ``permitWitnessTransferFrom`` whose witness is the channel it may fund.

    Signed by the payer under :class:`~farthing.protocol.domain.Permit2Domain`. ``collector`` is
    the spender; ``nonce`` any unused Permit2 nonce of the payer; ``deadline`` unix seconds,
    included. Raises :class:`~farthing.protocol.errors.InvalidField`.
    """

    token: str
    amount: int
    collector: str
    nonce: int
    deadline: int
    channel_id: bytes

    def __post_init__(self) -> None:
        _normalize(self, values.non_zero_address, "token", "collector")
        _normalize(self, _deposit_amount, "amount")
        _normalize(self, values.uint256, "nonce", "deadline")
        _normalize(self, values.bytes32, "channel_id")

    def struct_hash(self) -> bytes:
        return PERMIT_WITNESS_TRANSFER.hash(
            TOKEN_PERMISSIONS.hash(self.token, self.amount),
            self.collector,
            self.nonce,
            self.deadline,
            DEPOSIT_WITNESS.hash(self.channel_id),
        )

    def collector_data(self, signature: bytes, permit_data: bytes = b"") -> bytes:
        """``abi.encode(nonce, deadline, signature, eip2612Data)`` for the Permit2 collector.

        ``permit_data`` is :meth:`Permit.data` when Permit2 has no allowance yet.
        """
        checked = values.signature_bytes("signature", signature)
        return abi_encode(
            ["uint256", "uint256", "bytes", "bytes"],
            [self.nonce, self.deadline, checked, permit_data],
        )


@dataclass(frozen=True)
class Permit(TypedMessage):
    """An EIP-2612 permit: ``spender`` may take up to ``value`` of ``owner``'s tokens.

    Signed by ``owner`` under the token's domain (:class:`~farthing.protocol.domain.TokenDomain`).
    ``value`` is in the token's smallest unit, ``nonce`` the token's ``nonces(owner)``,
    ``deadline`` unix seconds, included. Raises :class:`~farthing.protocol.errors.InvalidField`.
    """

    owner: str
    spender: str
    value: int
    nonce: int
    deadline: int

    def __post_init__(self) -> None:
        _normalize(self, values.non_zero_address, "owner", "spender")
        _normalize(self, values.uint256, "value", "nonce", "deadline")

    def struct_hash(self) -> bytes:
        return PERMIT.hash(self.owner, self.spender, self.value, self.nonce, self.deadline)

    def data(self, signature: bytes) -> bytes:
        """``abi.encode(value, deadline, v, r, s)``, the form collectors take a permit in.

        ``signature`` is 65 bytes r, s, v; anything else is refused, for a permit has no other form.
        """
        if not isinstance(signature, bytes) or len(signature) != 65:
            raise InvalidField("signature", signature, "must be 65 bytes r, s, v")
        r, s, v = signature[:32], signature[32:64], signature[64]
        return encode_words(self.value, self.deadline, v, r, s)


def _normalize(message: TypedMessage, check: Callable[[str, object], object], *fields: str) -> None:
    for name in fields:
        object.__setattr__(message, name, check(name, getattr(message, name)))


def _deposit_amount(field: str, value: object) -> int:
    checked = values.uint128(field, value)
    if checked == 0:
        raise InvalidField(field, value, "must be at least 1")
    return checked
