"""A channel's config and the id it gives the channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeAlias

import msgspec

from farthing.protocol import values
from farthing.protocol.domain import Domain
from farthing.protocol.errors import InvalidField
from farthing.protocol.typed_data import StructType, TypedMessage

ConfigTuple: TypeAlias = tuple[str, str, str, str, str, int, bytes]

CHANNEL_CONFIG = StructType(
    "ChannelConfig(address payer,address payerAuthorizer,address receiver,"
    "address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
)


@dataclass(frozen=True)
class ChannelConfig(TypedMessage):
    """Everything that makes a channel the channel it is; it never changes.

    - ``payer``: whose deposit it is, and who gets back what is not claimed.
    - ``payer_authorizer``: the key that signs vouchers; the zero address means the payer itself.
    - ``receiver``: who is paid; ``receiver_authorizer`` signs claims and refunds.
    - ``token``: the ERC-20 contract; ``withdraw_delay``: 900 to 2,592,000 seconds.
    - ``salt``: 32 bytes that tell channels of the same parties apart.

    Addresses are stored with their checksum. Raises
    :class:`~farthing.protocol.errors.InvalidField` by the contract's own rules for a deposit.
    """

    payer: str
    payer_authorizer: str
    receiver: str
    receiver_authorizer: str
    token: str
    withdraw_delay: int
    salt: bytes
    # The last answer of `channel_id`: for whom, and what. Everybody asks for one domain only.
    _named: ClassVar[tuple[Domain, bytes] | None] = None

    def __post_init__(self) -> None:
        fields = vars(self)
        for name in ("payer", "receiver", "receiver_authorizer", "token"):
            fields[name] = values.non_zero_address(name, fields[name])
        fields["payer_authorizer"] = values.address("payer_authorizer", self.payer_authorizer)
        values.withdraw_delay("withdraw_delay", self.withdraw_delay)
        fields["salt"] = values.bytes32("salt", self.salt)

    @classmethod
    def of_checked(cls, values: ConfigTuple) -> ChannelConfig:
        """A config from the tuple of one that was checked before, which takes most of the time.

        The tuple is trusted: only for what this program has written down itself.
        """
        config = object.__new__(cls)
        vars(config).update(zip(cls.__match_args__, values, strict=True))
        return config

    def struct_hash(self) -> bytes:
        return CHANNEL_CONFIG.hash(*self.as_tuple())

    def channel_id(self, domain: Domain) -> bytes:
        """The channel's id in ``domain``: the full EIP-712 digest of this config, 32 bytes."""
        named = self._named
        if named is None or named[0] is not domain:
            named = domain, self.digest(domain)
            object.__setattr__(self, "_named", named)
        return named[1]

    def as_tuple(self) -> ConfigTuple:
        """The fields in the order of the contract's struct, for an ABI call."""
        return (
            self.payer,
            self.payer_authorizer,
            self.receiver,
            self.receiver_authorizer,
            self.token,
            self.withdraw_delay,
            self.salt,
        )

    def to_json(self) -> dict[str, str | int]:
        """The config as x402 writes it: camelCase, salt in hex."""
        return {
            "payer": self.payer,
            "payerAuthorizer": self.payer_authorizer,
            "receiver": self.receiver,
            "receiverAuthorizer": self.receiver_authorizer,
            "token": self.token,
            "withdrawDelay": self.withdraw_delay,
            "salt": "0x" + self.salt.hex(),
        }

    @cached_property
    def written(self) -> msgspec.Raw:
        """:meth:`to_json` as it stands in a message, written once."""
        return msgspec.Raw(msgspec.json.encode(self.to_json()))

    @classmethod
    def from_json(cls, data: object) -> ChannelConfig:
        """Read a config from x402's JSON form. Fields it does not know are not looked at.

        Raises :class:`~farthing.protocol.errors.InvalidField`, also for a field that is missing;
        errors use the Python names of the fields.
        """
        if not isinstance(data, Mapping):
            raise InvalidField("channel_config", data, "must be a JSON object")
        return cls(
            payer=data.get("payer"),  # type: ignore[arg-type]  # checked by the constructor
            payer_authorizer=data.get("payerAuthorizer"),  # type: ignore[arg-type]
            receiver=data.get("receiver"),  # type: ignore[arg-type]
            receiver_authorizer=data.get("receiverAuthorizer"),  # type: ignore[arg-type]
            token=data.get("token"),  # type: ignore[arg-type]
            withdraw_delay=data.get("withdrawDelay"),  # type: ignore[arg-type]
            salt=values.bytes32_from_hex("salt", data.get("salt")),
        )
