import json
from pathlib import Path

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from farthing.chain.accounts import (
    KEY_VARIABLE,
    KeyUnusable,
    account_from_environment,
    account_from_keystore,
)

KEY = keccak(text="a key of these tests")
ADDRESS = Account.from_key(KEY).address
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "publisher.json"
    # Few rounds: this key guards nothing.
    path.write_text(json.dumps(Account.encrypt(KEY, PASSWORD, kdf="pbkdf2", iterations=2)))
    return path


@pytest.mark.parametrize("text", ["0x" + KEY.hex(), KEY.hex()])
def test_environment__a_key(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(KEY_VARIABLE, text)
    account = account_from_environment()
    assert account is not None
    assert account.address == ADDRESS


@pytest.mark.parametrize("text", [None, ""])
def test_environment__no_key(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(KEY_VARIABLE, text)
    assert account_from_environment() is None


@pytest.mark.parametrize(
    "secret",
    ["0x1234abcd", KEY.hex() + "ff", "my secret phrase", "0x" + "00" * 32, "0x" + "ff" * 32, " "],
)
def test_environment__not_a_key_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, secret)
    with pytest.raises(KeyUnusable) as caught:
        account_from_environment()
    assert str(caught.value) == (
        "FARTHING_KEY is not a private key: set it to 32 bytes in hex, 0x first."
    )
    # Nor through what it was raised from.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_keystore__right_password(keystore: Path) -> None:
    assert account_from_keystore(keystore, PASSWORD).address == ADDRESS


@pytest.mark.parametrize("password", ["", "Correct horse", "correct horse "])
def test_keystore__wrong_password(keystore: Path, password: str) -> None:
    with pytest.raises(KeyUnusable) as caught:
        account_from_keystore(keystore, password)
    assert str(caught.value) == (
        f"keystore {keystore} does not open: check the password and that it is a keystore file."
    )
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "null", "3", '"text"'),
        *('{"version": 3}', '{"crypto": {}, "version": 3}', '{"crypto": [], "version": 3}'),
        *('{"version": 9}', '{"version": "3"}', '{"version": 4}', '{"crypto": [], "version": 4}'),
    ],
)
def test_keystore__not_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    with pytest.raises(KeyUnusable, match=r"does not open: check the password"):
        account_from_keystore(path, PASSWORD)


def test_keystore__not_text(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KeyUnusable, match=r"does not open"):
        account_from_keystore(path, PASSWORD)


def test_keystore__spoiled_parts(keystore: Path, tmp_path: Path) -> None:
    """Every value of a keystore file replaced by something else is a sentence, never a crash."""
    whole = json.loads(keystore.read_text())
    path = tmp_path / "key.json"
    for part in ("cipherparams", "ciphertext", "kdf", "kdfparams", "mac"):
        for value in (None, 5, "zz", "00", [], {}):
            spoiled = {**whole, "crypto": {**whole["crypto"], part: value}}
            path.write_text(json.dumps(spoiled))
            with pytest.raises(KeyUnusable):
                account_from_keystore(path, PASSWORD)
    for name in ("c", "dklen", "prf", "salt"):
        for value in (5, -1, 2**70, "zz", "hmac-none", [], {}):
            crypto = whole["crypto"]
            parameters = {**crypto["kdfparams"], name: value}
            path.write_text(json.dumps({**whole, "crypto": {**crypto, "kdfparams": parameters}}))
            with pytest.raises(KeyUnusable):
                account_from_keystore(path, PASSWORD)


def test_keystore__no_file(tmp_path: Path) -> None:
    path = tmp_path / "missing.json"
    with pytest.raises(KeyUnusable) as caught:
        account_from_keystore(path, PASSWORD)
    assert str(caught.value) == (
        f"keystore {path} cannot be read: No such file or directory: name a file with a key."
    )
