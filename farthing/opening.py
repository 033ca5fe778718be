"""From settings to what they name: keys, contracts, ledger; or to one sentence about a fault.

The paywall, the watcher, the redeemer and the commands all begin here, so that the same fault is
told in the same words wherever it is met.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount

from farthing.chain.accounts import (
    KEY_VARIABLE,
    PASSWORD_VARIABLE,
    KeyUnusable,
    account_from_environment,
    account_from_keystore,
)
from farthing.chain.connection import NodeUnreachable, WrongChain, connect
from farthing.chain.fees import FeePolicy
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.ledger import Ledger, open_ledger
from farthing.protocol import FarthingError, values
from farthing.settings import GWEI_DECIMALS, Settings

# Under what name a ledger keeps whose it is.
OWNER = "owner"

Ask = Callable[[Path], str]


@dataclass(frozen=True)
class Keys:
    """The publisher's keys.

    Attributes:
        sender: Sends transactions, and pays their gas.
        authorizer: Signs claims and refunds; may be the same.
    """

    sender: LocalAccount
    authorizer: LocalAccount


@dataclass(frozen=True)
class Contracts:
    """The contracts that the settings name, looked at."""

    settlement: Settlement
    token: Token


def open_keys(settings: Settings, ask: Ask | None = None) -> Keys:
    """The keys.

    Args:
        settings: Where they are.
        ask: Asks for the password of a keystore when ``FARTHING_PASSWORD`` is not set; without it
            that is an error.

    Raises:
        SettingsInvalid: There is none, or it does not open.
        KeyUnusable: A keystore is locked, or the environment has no key in ``FARTHING_KEY``.
    """
    sender = _sender(settings, ask)
    name = settings.keys.authorizer_keystore
    if name is None:
        return Keys(sender, sender)
    return Keys(sender, _unlock(settings, "keys.authorizer_keystore", name, ask))


def key_addresses(settings: Settings) -> tuple[str, str]:
    """The addresses of sender and authorizer as far as they can be told without a password; empty
    where they cannot."""
    name = settings.keys.keystore
    if name is None:
        account = account_from_environment()
        sender = "" if account is None else str(account.address)
    else:
        sender = _address_of(settings.beside(name))
    authorizer = settings.keys.authorizer_keystore
    return sender, sender if authorizer is None else _address_of(settings.beside(authorizer))


def _address_of(keystore: Path) -> str:
    try:
        written = json.loads(keystore.read_text())["address"]
        return values.address("address", "0x" + str(written).removeprefix("0x"))
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def open_contracts(settings: Settings) -> Contracts:
    """The contracts, on the chain that they should be on.

    Raises:
        SettingsInvalid: The node does not answer, is on another chain, or there is no such
            contract.
    """
    chain = settings.chain
    try:
        w3 = connect(chain.rpc, chain_id=chain.id)
    except WrongChain as error:
        raise settings.invalid("chain.id", str(error)) from error
    except NodeUnreachable as error:
        raise settings.invalid("chain.rpc", str(error)) from error
    with told(settings, "chain.settlement"):
        settlement = Settlement(w3, values.address("settlement", chain.settlement))
    with told(settings, "chain.token"):
        return Contracts(settlement, Token(w3, values.address("token", chain.token)))


def fee_policy(settings: Settings) -> FeePolicy:
    """What transactions may cost."""
    cap = settings.units("fees.cap", settings.fees.cap, GWEI_DECIMALS)
    return FeePolicy(cap=cap, replace_after=settings.fees.replace_after)


def open_books(settings: Settings) -> Ledger:
    """The ledger, which is of one receiver, contract and chain, and stays so.

    Raises:
        SettingsInvalid: It cannot be opened, or is somebody else's.
    """
    path = ledger_path(settings)
    with told(settings, "ledger"):
        ledger = open_ledger(settings.ledger if path is None else str(path))
        try:
            claim_ledger(settings, ledger)
        except BaseException:
            ledger.close()
            raise
    return ledger


def ledger_path(settings: Settings) -> Path | None:
    """The ledger's file; None for one in a database server."""
    return None if "://" in settings.ledger else settings.beside(settings.ledger)


def claim_ledger(settings: Settings, ledger: Ledger) -> None:
    """Binds a new ledger to receiver, contract and chain, and looks that an old one is theirs.

    Raises:
        SettingsInvalid: It is somebody else's.
    """
    receiver = values.address("receiver", settings.terms.receiver)
    settlement = values.address("settlement", settings.chain.settlement)
    owner = f"receiver {receiver}, settlement {settlement}, chain {settings.chain.id}"
    known = ledger.recall(OWNER)
    if known is None:
        ledger.remember(OWNER, owner)
    elif known != owner:
        raise settings.invalid("ledger", f"it is that of {known}, not of {owner}: name another")


@contextmanager
def told(settings: Settings, field: str) -> Iterator[None]:
    """Whatever is wrong with what a field names is told of that field."""
    try:
        yield
    except FarthingError as error:
        if getattr(error, "field", None) == field:
            raise
        raise settings.invalid(field, str(error)) from error


def _sender(settings: Settings, ask: Ask | None) -> LocalAccount:
    in_environment = account_from_environment()
    name = settings.keys.keystore
    if name is None:
        if in_environment is None:
            problem = f"there is no key: name a keystore file, or set {KEY_VARIABLE}"
            raise settings.invalid("keys.keystore", problem)
        return in_environment
    account = _unlock(settings, "keys.keystore", name, ask)
    if in_environment is not None and in_environment.address != account.address:
        # Which of the two is meant decides whose channels these are.
        problem = (
            f"it holds the key of {account.address}, {KEY_VARIABLE} that of "
            f"{in_environment.address}: unset the one or remove the other"
        )
        raise settings.invalid("keys.keystore", problem)
    return account


def _unlock(settings: Settings, field: str, name: str, ask: Ask | None) -> LocalAccount:
    path = settings.beside(name)
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        if ask is None:
            raise KeyUnusable(
                f"keystore {path} is locked: set {PASSWORD_VARIABLE} to its password."
            )
        password = ask(path)
    with told(settings, field):
        return account_from_keystore(path, password)
