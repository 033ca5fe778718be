"""Where a key comes from: a keystore file, or the environment. Never an argument, never a log."""

import json
import os
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from farthing.protocol.errors import FarthingError

KEY_VARIABLE = "FARTHING_KEY"
PASSWORD_VARIABLE = "FARTHING_PASSWORD"  # noqa: S105  # the name, not the secret


class KeyUnusable(FarthingError):
    """No key could be read. The sentence never shows key or password."""


def account_from_environment() -> LocalAccount | None:
    """The account of the private key in ``FARTHING_KEY``; None when the variable is not set.

    Raises:
        KeyUnusable: The variable holds something that is not a private key.
    """
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        return None
    try:
        account: LocalAccount = Account.from_key(key)
    except Exception:
        # Not chained: the library's own message shows the key.
        raise KeyUnusable(
            f"{KEY_VARIABLE} is not a private key: set it to 32 bytes in hex, 0x first."
        ) from None
    return account


def account_from_keystore(path: Path, password: str) -> LocalAccount:
    """The account in an encrypted keystore file (Web3 Secret Storage).

    Raises:
        KeyUnusable: There is no such file, it is not a keystore, or the password is wrong.
    """
    try:
        keystore = json.loads(path.read_text())
        account: LocalAccount = Account.from_key(Account.decrypt(keystore, password))
    except OSError as error:
        raise KeyUnusable(
            f"keystore {path} cannot be read: {error.strerror}: name a file with a key."
        ) from None
    except Exception:
        # Whatever is in the file, the library takes for what it expects there: of another version,
        # with a huge number or a list for a table, it raises all kinds of errors.
        raise KeyUnusable(
            f"keystore {path} does not open: check the password and that it is a keystore file."
        ) from None
    return account
