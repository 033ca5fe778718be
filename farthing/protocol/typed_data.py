"""EIP-712 typed data, as far as the protocol needs it: structs whose fields are one word each.

Nested structs and arrays stand in a struct as the word of their own hash, so one way of encoding
is enough for every message and every domain.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from farthing.protocol.keccak import keccak

_PREFIX = b"\x19\x01"
_ADDRESS_PADDING = bytes(12)


class SigningDomain(Protocol):
    """Where a signature counts: one contract on one chain."""

    @property
    def separator(self) -> bytes:
        """EIP-712 domain separator, 32 bytes."""
        ...


class StructType:
    """One EIP-712 struct type, made from its full text (with the types it refers to)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.type_hash = keccak(text.encode())

    def hash(self, *words: int | bytes | str) -> bytes:
        """``hashStruct`` of the fields in order; see :func:`encode_words` for their form."""
        return keccak(self.type_hash + encode_words(*words))


class TypedMessage(ABC):
    """Something that is signed as EIP-712 typed data."""

    @abstractmethod
    def struct_hash(self) -> bytes:
        """EIP-712 ``hashStruct``, 32 bytes."""

    def digest(self, domain: SigningDomain) -> bytes:
        """The 32 bytes a signer signs: this message, valid in ``domain`` only."""
        return digest(self.struct_hash(), domain)


def digest(struct_hash: bytes, domain: SigningDomain) -> bytes:
    """The 32 bytes a signer signs for a struct of this hash."""
    return keccak(_PREFIX + domain.separator + struct_hash)


def encode_words(*words: int | bytes | str) -> bytes:
    """ABI encoding of static values: ``int`` unsigned, ``bytes`` of 32, ``str`` an address.

    The values are trusted to be checked: whoever holds them is a validated dataclass.
    """
    return b"".join(
        [
            _ADDRESS_PADDING + bytes.fromhex(word[2:])
            if isinstance(word, str)
            else word
            if isinstance(word, bytes)
            else word.to_bytes(32, "big")
            for word in words
        ]
    )
