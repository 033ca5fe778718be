"""The root of every error Farthing raises on purpose, and the errors of the protocol itself."""

_SHOWN = 80


class FarthingError(Exception):
    """Something a user can act on: ``str(error)`` is one clear sentence that says what to do.

    Children carry what is known about the failure as attributes, so that programs need not read
    the sentence.
    """


class InvalidField(FarthingError, ValueError):
    """A value cannot stand in the field it was given for.

    ``field`` is the Python name of the field, ``value`` what was given, ``reason`` what the field
    wants. The sentence shows a long value cut, so that a hostile one cannot fill a log.
    """

    def __init__(self, field: str, value: object, reason: str) -> None:
        super().__init__(field, value, reason)
        self.field = field
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field} {self.reason}, got {_show(self.value)}"


class ChainReadNeeded(FarthingError):
    """Only the chain knows whether this signature counts, and no way to ask it was given.

    ``address`` is the account that must be looked up.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address

    def __str__(self) -> str:
        return (
            f"{self.address} may be a contract wallet: "
            "pass is_contract and is_valid_erc1271 to check its signature"
        )


class SigningFailed(FarthingError):
    """A signer gave no signature that is its own.

    ``address`` is the signer, ``reason`` what it did instead.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return f"signer {self.address} {self.reason}: check the account or the device behind it"


def _show(value: object) -> str:
    if isinstance(value, str | bytes | bytearray) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]!r}... (length {len(value)})"
    # Python refuses to print an int of thousands of digits.
    if isinstance(value, int) and value.bit_length() > 8 * _SHOWN:
        return f"an int of {value.bit_length()} bits"
    if value is None or isinstance(value, str | bytes | bytearray | int | float):
        return repr(value)
    return f"a value of type {type(value).__name__}"
