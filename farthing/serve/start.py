"""What `farthing init` does: a publisher's first folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from eth_account import Account
from eth_account.signers.local import LocalAccount

from farthing.chain.anvil import ANVIL_KEYS
from farthing.chain.artifacts import artifact
from farthing.chain.deployment import create2_address
from farthing.chain.devnet import DEVNET_PORT
from farthing.protocol import (
    X402_ERC3009_COLLECTOR,
    X402_PERMIT2_COLLECTOR,
    X402_SETTLEMENT,
    FarthingError,
)

SETTINGS, KEYSTORE, APP = "farthing.toml", "farthing.key.json", "app.py"


class FolderTaken(FarthingError):
    """A file that would be made is there already, or cannot be made."""


@dataclass(frozen=True)
class Network:
    """A chain to begin on, with the token to be paid in, and what a coin costs in it."""

    name: str
    chain_id: int
    rpc: str
    token: str
    coin_price: str


BASE_SEPOLIA = Network(
    "Base Sepolia, a public test chain",
    84_532,
    "https://sepolia.base.org",
    "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
    "3000",
)


def devnet_network() -> Network:
    """What `farthing devnet` runs on its usual port."""
    token = create2_address(artifact("TestUSD").bytecode)
    return Network("`farthing devnet`", 31_337, f"http://127.0.0.1:{DEVNET_PORT}", token, "0")


@dataclass(frozen=True)
class Start:
    """A folder that was made; ``address`` is that of the key in it."""

    folder: Path
    address: str
    is_devnet: bool

    def as_text(self) -> str:
        """What is there, and what to do next."""
        steps = [] if self.folder == Path() else [f"cd {self.folder}"]
        if self.is_devnet:
            steps.append("farthing devnet         # in a terminal of its own, if it does not run")
        else:
            steps.append(f"send {self.address} some coins for gas; read {SETTINGS}")
        steps += ["pip install 'farthing[serve]' fastapi", "farthing serve app:app"]
        lines = [
            f"{SETTINGS}      settings, with comments",
            f"{KEYSTORE}  the key of {self.address}, encrypted; keep a copy, and the password",
            f"{APP}             a sample app",
            "",
            "Next:",
            *(f"  {number}. {step}" for number, step in enumerate(steps, 1)),
        ]
        return "\n".join(lines)


def start(folder: Path, password: Callable[[], str], *, devnet: bool) -> Start:
    """Makes a folder's settings, key and sample app. Nothing is ever written over.

    Args:
        folder: Made if there is none.
        password: Gives the password of the key's file; asked when nothing else stands in the way.
        devnet: Take the chain of `farthing devnet`, and its publisher's key, known to everyone.

    Raises:
        FolderTaken: One of the files is there, or cannot be made. None was made then.
    """
    for name in (SETTINGS, KEYSTORE, APP):
        if os.path.lexists(folder / name):
            problem = f"{folder / name} is there already: choose another folder, or move it away."
            raise FolderTaken(problem)
    account: LocalAccount = Account.from_key(ANVIL_KEYS[0]) if devnet else Account.create()
    network = devnet_network() if devnet else BASE_SEPOLIA
    templates = files("farthing.serve").joinpath("starter")
    settings = Template(templates.joinpath(SETTINGS).read_text("utf-8")).substitute(
        rpc=network.rpc,
        chain_id=network.chain_id,
        chain_name=network.name,
        token=network.token,
        coin_price=network.coin_price,
        settlement=X402_SETTLEMENT,
        erc3009=X402_ERC3009_COLLECTOR,
        permit2=X402_PERMIT2_COLLECTOR,
        receiver=account.address,
    )
    keystore = json.dumps(Account.encrypt(bytes(account.key), password()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / KEYSTORE, keystore + "\n", 0o600)
        _write(folder / SETTINGS, settings, 0o644)
        _write(folder / APP, templates.joinpath(APP).read_text("utf-8"), 0o644)
    except OSError as error:
        problem = f"{error.filename} cannot be made ({error.strerror}): choose another folder."
        raise FolderTaken(problem) from error
    return Start(folder, account.address, devnet)


def _write(path: Path, text: str, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
