"""What may stand in a field. Each check returns the value in its one stored form, or raises
:class:`~farthing.protocol.errors.InvalidField` with the name of the field.

Amounts are ``int`` in the token's smallest unit, delays and times are ``int`` in seconds.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from functools import lru_cache

from farthing.protocol.errors import InvalidField
from farthing.protocol.keccak import keccak

ZERO_ADDRESS = "0x0000000000000000000000000000000000000000"

# Bounds of a channel's withdraw delay in seconds, as the contract has them.
MIN_WITHDRAW_DELAY = 900
MAX_WITHDRAW_DELAY = 2_592_000
# The longest signature the contract takes from a receiver authorizer, and for a voucher, in bytes.
MAX_SIGNATURE = 768
MAX_VOUCHER_SIGNATURE = 256

# For `fullmatch`: a `$` would let a newline through.
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def address(field: str, value: object) -> str:
    """A 20-byte address as ``0x`` and 40 hex digits, returned with its EIP-55 checksum.

    All-lower and all-upper digits carry no checksum and are taken; a mixed-case address whose
    checksum is wrong is refused, for it was mistyped or tampered with.
    """
    checksummed = _address(value) if isinstance(value, str) else None
    if checksummed is None:
        raise InvalidField(field, value, "must be an address, 0x and 40 hex digits")
    if value != checksummed and _is_mixed(str(value)):
        raise InvalidField(field, value, f"has a wrong checksum (right would be {checksummed})")
    return checksummed


def _is_mixed(address: str) -> bool:
    return address[2:] not in (address[2:].lower(), address[2:].upper())


def non_zero_address(field: str, value: object) -> str:
    """An :func:`address` that is somebody's."""
    checked = address(field, value)
    if checked == ZERO_ADDRESS:
        raise InvalidField(field, value, "must not be the zero address")
    return checked


def bytes32(field: str, value: object) -> bytes:
    """Exactly 32 bytes."""
    if not isinstance(value, bytes) or len(value) != 32:
        raise InvalidField(field, value, "must be 32 bytes")
    return value if type(value) is bytes else bytes(value)


def bytes32_from_hex(field: str, value: object) -> bytes:
    """32 bytes from their JSON form, ``0x`` and 64 hex digits."""
    word = _from_hex(value, 32)
    if word is None or len(word) != 32:
        raise InvalidField(field, value, "must be 32 bytes, 0x and 64 hex digits")
    return word


def text(field: str, value: object) -> str:
    """A text that can be written as UTF-8, so that it can be signed."""
    # `encode` alone knows of lone surrogates.
    if not isinstance(value, str) or value.encode("utf-8", "replace").decode() != value:
        raise InvalidField(field, value, "must be a text of Unicode characters")
    return value


def signature_bytes(field: str, value: object, longest: int = MAX_SIGNATURE) -> bytes:
    """A signature the contract would look at: bytes, at most ``longest`` of them."""
    if not isinstance(value, bytes) or len(value) > longest:
        raise InvalidField(field, value, f"must be at most {longest} bytes")
    return value if type(value) is bytes else bytes(value)


def signature_from_hex(field: str, value: object, longest: int = MAX_SIGNATURE) -> bytes:
    """A :func:`signature_bytes` from its JSON form, ``0x`` and hex digits."""
    signature = _from_hex(value, longest)
    if signature is None:
        text = f"must be 0x and the hex digits of at most {longest} bytes"
        raise InvalidField(field, value, text)
    return signature


def _from_hex(value: object, longest: int) -> bytes | None:
    # Every payment comes by here twice: a pattern would take longer than the reading.
    if not isinstance(value, str) or value[:2] != "0x" or len(value) > 2 + 2 * longest:
        return None
    try:
        # Not `bytes.fromhex`, which lets spaces through.
        return unhexlify(value[2:])
    except ValueError:
        return None


def uint40(field: str, value: object) -> int:
    """An integer of at most 40 bits."""
    return _uint(field, value, 40)


def uint64(field: str, value: object) -> int:
    """An integer of at most 64 bits: a time in seconds."""
    return _uint(field, value, 64)


def uint128(field: str, value: object) -> int:
    """An integer of at most 128 bits: every amount in escrow."""
    return _uint(field, value, 128)


def uint256(field: str, value: object) -> int:
    """An integer of at most 256 bits."""
    return _uint(field, value, 256)


def uint128_from_decimal(field: str, value: object) -> int:
    """An amount from its JSON form: a string of 1 to 39 ASCII digits, at most 128 bits."""
    return _from_decimal(field, value, 39, 128)


def uint256_from_decimal(field: str, value: object) -> int:
    """A number from its JSON form: a string of 1 to 78 ASCII digits, at most 256 bits."""
    return _from_decimal(field, value, 78, 256)


def _from_decimal(field: str, value: object, digits: int, bits: int) -> int:
    # Only ASCII: there are digits of other scripts, and `int` reads them all.
    if isinstance(value, str) and len(value) <= digits and value.isascii() and value.isdigit():
        return _uint(field, int(value), bits)
    raise InvalidField(field, value, f"must be a decimal string of 1 to {digits} digits")


def withdraw_delay(field: str, value: object) -> int:
    """Seconds between asking for a withdrawal and getting it: 900 to 2,592,000."""
    checked = uint40(field, value)
    if not MIN_WITHDRAW_DELAY <= checked <= MAX_WITHDRAW_DELAY:
        bounds = f"{MIN_WITHDRAW_DELAY} to {MAX_WITHDRAW_DELAY}"
        raise InvalidField(field, value, f"must be {bounds} seconds")
    return checked


def _uint(field: str, value: object, bits: int) -> int:
    # `type`, not `isinstance`: True is an int to Python and never an amount to us.
    if type(value) is not int:
        raise InvalidField(field, value, "must be an int")
    if not 0 <= value < 1 << bits:
        raise InvalidField(field, value, f"must be 0 to 2**{bits} - 1")
    return value


# A publisher meets its own addresses in every channel; hashing them each time would cost more than
# all other checks of a channel together.
@lru_cache(maxsize=4_096)
def _address(value: str) -> str | None:
    """The checksummed form of an address in any case; None when it is no address."""
    if not _ADDRESS.fullmatch(value):
        return None
    lower = value[2:].lower().encode()
    # A letter is upper where the hash has a nibble above 7. All forty at once, as one number in
    # which 0x20 stands for the case of a letter.
    letters = int.from_bytes(lower.translate(_LETTERS), "big")
    high = int.from_bytes(keccak(lower).hex()[:40].encode().translate(_HIGH), "big")
    cased = int.from_bytes(lower, "big") ^ (letters & high)
    return "0x" + cased.to_bytes(40, "big").decode()


_LETTERS = bytes(0x20 if chr(byte) in "abcdef" else 0 for byte in range(256))
_HIGH = bytes(0x20 if chr(byte) in "89abcdef" else 0 for byte in range(256))
