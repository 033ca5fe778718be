"""A wallet as a person keeps it: a folder with its memory and its two encrypted keys.

    wallet.db      rules, channels, history
    main.json      the key that owns the money, a keystore file
    session.json   the key that signs vouchers, a keystore file

Where no money is to be added, as beside a program that spends by itself, ``main.json`` is best kept
elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from farthing.chain.accounts import account_from_keystore
from farthing.chain.connection import connect
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.chain.wallets import is_contract
from farthing.protocol import (
    X402_ERC3009_COLLECTOR,
    X402_PERMIT2_COLLECTOR,
    X402_SETTLEMENT,
    values,
)
from farthing.wallet.errors import WalletUnusable
from farthing.wallet.keys import session_of
from farthing.wallet.offers import Place
from farthing.wallet.records import Home
from farthing.wallet.request import Approval
from farthing.wallet.rules import Rules
from farthing.wallet.store import Store
from farthing.wallet.wallet import Wallet

MEMORY, MAIN, SESSION = "wallet.db", "main.json", "session.json"


def create_wallet(
    folder: Path,
    password: str,
    rules: Rules,
    *,
    rpc: str,
    token: str,
    settlement: str = X402_SETTLEMENT,
    collector: str = X402_ERC3009_COLLECTOR,
    permit2_collector: str = X402_PERMIT2_COLLECTOR,
    main: LocalAccount | None = None,
) -> Home:
    """Makes a wallet in a folder that has none.

    Args:
        password: Of both keystore files.
        rpc: A node of the chain it will pay on, which decides the chain.
        token: What it pays with.
        settlement, collector, permit2_collector: The contracts; those that x402 has fixed, unless
            others are named. Without the last one deposits through Permit2 are not made.
        main: The key whose money it is; a new one without it. A wallet that was lost is made anew
            with its key, and has its channels back after `recover`.

    Raises:
        WalletUnusable: There is a wallet already, or a contract is not there.
        NodeUnreachable, NotASettlement, NotAToken: The chain has not what is asked for.
    """
    names = [folder / name for name in (MEMORY, MAIN, SESSION)]
    if any(path.exists() for path in names):
        raise WalletUnusable(str(folder), "there is one already: name another folder")
    w3 = connect(rpc)
    domain = Settlement(w3, values.address("settlement", settlement)).domain
    dollars = Token(w3, values.address("token", token))
    collector = values.address("collector", collector)
    if not is_contract(w3, collector):
        raise WalletUnusable(str(folder), f"there is no collector at {collector}: check it")
    permit2_collector = values.address("permit2_collector", permit2_collector)
    account = main or Account.create()
    session = session_of(account, domain)
    home = Home(
        *(account.address, session.address, rpc, domain, dollars.address, collector),
        permit2_collector=permit2_collector if is_contract(w3, permit2_collector) else "",
        symbol=dollars.symbol,
        decimals=dollars.decimals,
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The keys first: a memory without them would be of no use.
    _write_keystore(folder / MAIN, account, password)
    _write_keystore(folder / SESSION, session, password)
    Store.create(folder / MEMORY, account, home, rules).close()
    return home


def open_wallet(
    folder: Path,
    password: str,
    *,
    with_main: bool = True,
    approve: Callable[[Approval], bool] | None = None,
    receipts: bool = True,
) -> Wallet:
    """Opens the wallet in a folder; whoever opens it closes it.

    Args:
        with_main: Whether it may deposit by itself; then ``main.json`` must be there.
        approve: Asks the owner about payments above the threshold.
        receipts: Whether it asks publishers for signed statements of what they charge.

    Raises:
        WalletUnusable: There is none, or its parts do not belong together.
        KeyUnusable: A key is not there, or the password is wrong.
        NodeUnreachable, WrongChain: Its chain cannot be asked.
    """
    store = Store(folder / MEMORY)
    try:
        home = store.home
        session = account_from_keystore(folder / SESSION, password)
        main = account_from_keystore(folder / MAIN, password) if with_main else None
        w3 = connect(home.rpc, chain_id=home.domain.chain_id)
        settlement = Settlement(w3, home.domain.contract)
        token = Token(w3, home.token).domain
        place = Place(home.domain, token, home.collector, home.permit2_collector)
        return Wallet(
            store, session, settlement, place, main=main, approve=approve, receipts=receipts
        )
    except BaseException:
        store.close()
        raise


def main_key(folder: Path, password: str) -> LocalAccount:
    """The main key, for what only it may do: to set rules, to withdraw, to reset the clock.

    Raises:
        KeyUnusable: It is not there, or the password is wrong.
    """
    return account_from_keystore(folder / MAIN, password)


def _write_keystore(path: Path, account: LocalAccount, password: str) -> None:
    text = json.dumps(Account.encrypt(bytes(account.key), password))
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
