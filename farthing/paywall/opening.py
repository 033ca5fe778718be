"""From settings to a paywall that runs, or to one sentence that says why it cannot."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.chain.wallets import is_contract
from farthing.ledger import Ledger, open_ledger
from farthing.paywall.limits import Limits
from farthing.paywall.offer import Offers
from farthing.paywall.onchain import Collectors, OnChain
from farthing.paywall.paywall import Paywall
from farthing.paywall.prices import PriceFunction, Prices, to_units
from farthing.paywall.settings import ERC3009, PERMIT2, Settings
from farthing.protocol import FarthingError, values
from farthing.protocol.payments import Terms

log = logging.getLogger("farthing.paywall")

# Under what name a ledger keeps whose it is.
OWNER = "owner"


def open_paywall(
    settings: Settings | str | Path,
    *,
    prices: Mapping[str, PriceFunction] | None = None,
    ask: Callable[[Path], str] | None = None,
) -> Paywall:
    """Opens a publisher's paywall, with everything it needs looked at first.

    It may be made before an event loop runs. Whoever serves it closes it: `PaywallMiddleware` does
    when its server shuts down.

    Args:
        settings: The settings, or the path of their file.
        prices: Prices that a function computes; they are looked at before those of the file.
        ask: Asks for the password of a keystore when ``FARTHING_PASSWORD`` is not set; without it
            that is an error.

    Raises:
        SettingsInvalid: A setting cannot be, or what it names cannot be used. Nothing is open then.
        KeyUnusable: There is no key, or it does not open.
    """
    if not isinstance(settings, Settings):
        settings = Settings.load(settings)
    account = _key(settings, ask)
    authorizer = _authorizer(settings, account, ask)
    settlement, token = _contracts(settings)
    wanted = settings.terms
    read_prices = _prices(settings, prices or {}, token.decimals)
    min_deposit = _amount(settings, "min_deposit", wanted.min_deposit, token.decimals)
    terms = Terms(
        network=f"eip155:{settings.chain.id}",
        token=token.address,
        token_name=token.domain.name,
        token_version=token.domain.version,
        receiver=values.address("receiver", wanted.receiver),
        receiver_authorizer=authorizer.address,
        withdraw_delay=wanted.withdraw_delay,
        min_deposit=min_deposit,
        transfer_methods=wanted.transfer_methods,
    )
    collectors = _collectors(settings, settlement)
    limits = _limits(settings, read_prices, token.decimals)
    with _told(settings, "chain.rpc"):
        coins = settlement.w3.eth.get_balance(settlement.w3.to_checksum_address(account.address))
    if not coins:
        # Not an error: what is in escrow already can be charged without it.
        log.warning("the key %s has no coins for gas: send it some", account.address)
    with ExitStack() as opened:
        ledger = _ledger(settings, terms.receiver)
        opened.callback(ledger.close)
        # Another for what is sent: one thread at a time may use a ledger.
        with _told(settings, "ledger"):
            journal = open_ledger(_ledger_url(settings))
        opened.callback(journal.close)
        with _told(settings, "chain.rpc"):
            chain = OnChain(settlement, account, authorizer, collectors, min_deposit, journal)
        opened.pop_all()
    return Paywall(
        read_prices,
        Offers(terms, token.symbol, token.decimals),
        settlement.domain,
        ledger,
        chain,
        limits,
    )


def _key(settings: Settings, ask: Callable[[Path], str] | None) -> LocalAccount:
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


def _authorizer(
    settings: Settings, account: LocalAccount, ask: Callable[[Path], str] | None
) -> LocalAccount:
    name = settings.keys.authorizer_keystore
    if name is None:
        return account
    return _unlock(settings, "keys.authorizer_keystore", name, ask)


def _unlock(
    settings: Settings, field: str, name: str, ask: Callable[[Path], str] | None
) -> LocalAccount:
    path = settings.beside(name)
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        if ask is None:
            raise KeyUnusable(
                f"keystore {path} is locked: set {PASSWORD_VARIABLE} to its password."
            )
        password = ask(path)
    with _told(settings, field):
        return account_from_keystore(path, password)


def _contracts(settings: Settings) -> tuple[Settlement, Token]:
    chain = settings.chain
    try:
        w3 = connect(chain.rpc, chain_id=chain.id)
    except WrongChain as error:
        raise settings.invalid("chain.id", str(error)) from error
    except NodeUnreachable as error:
        raise settings.invalid("chain.rpc", str(error)) from error
    with _told(settings, "chain.settlement"):
        settlement = Settlement(w3, values.address("settlement", chain.settlement))
    with _told(settings, "chain.token"):
        return settlement, Token(w3, values.address("token", chain.token))


def _collectors(settings: Settings, settlement: Settlement) -> Collectors:
    chain, methods = settings.chain, settings.terms.transfer_methods
    taken: dict[str, str | None] = {ERC3009: None, PERMIT2: None}
    fields = {ERC3009: "erc3009_collector", PERMIT2: "permit2_collector"}
    for method in methods:
        field = fields[method]
        taken[method] = address = values.address(field, getattr(chain, field))
        with _told(settings, f"chain.{field}"):
            has_code = is_contract(settlement.w3, address)
        if not has_code:
            problem = f"there is no contract at {address} on chain {chain.id}: check the address"
            raise settings.invalid(f"chain.{field}", problem)
    return Collectors(taken[ERC3009], taken[PERMIT2])


def _prices(settings: Settings, functions: Mapping[str, PriceFunction], decimals: int) -> Prices:
    twice = functions.keys() & settings.prices.keys()
    if twice:
        problem = f"{min(twice)!r} is priced by a function too: remove the one or the other"
        raise settings.invalid("prices", problem)
    with _told(settings, "prices"):
        return Prices({**functions, **settings.prices}, decimals)


def _limits(settings: Settings, prices: Prices, decimals: int) -> Limits:
    written = settings.terms.exposure_cap
    cap = None if written is None else _amount(settings, "exposure_cap", written, decimals)
    for rule in prices.rules:
        if cap is not None and rule.price is not None and rule.price > cap:
            problem = f"{written!r} is less than the price of {rule.text!r}: give more"
            raise settings.invalid("terms.exposure_cap", problem)
    limits = settings.limits
    return Limits(
        exposure_cap=cap,
        wait_seconds=limits.wait_seconds,
        hold_seconds=limits.hold_seconds,
        answer_bytes=limits.answer_bytes,
        answer_seconds=limits.answer_seconds,
        sync_seconds=limits.sync_seconds,
    )


def _amount(settings: Settings, field: str, text: str, decimals: int) -> int:
    try:
        units = to_units(text, decimals)
    except ValueError as error:
        raise settings.invalid(f"terms.{field}", str(error)) from error
    if units == 0:
        raise settings.invalid(f"terms.{field}", "it is 0: give more")
    return units


def _ledger(settings: Settings, receiver: str) -> Ledger:
    """The ledger, which is of one receiver, contract and chain, and stays so."""
    with _told(settings, "ledger"):
        ledger = open_ledger(_ledger_url(settings))
        try:
            _claim(settings, ledger, receiver)
        except BaseException:
            ledger.close()
            raise
    return ledger


def _ledger_url(settings: Settings) -> str:
    is_file = "://" not in settings.ledger
    return str(settings.beside(settings.ledger)) if is_file else settings.ledger


def _claim(settings: Settings, ledger: Ledger, receiver: str) -> None:
    settlement = values.address("settlement", settings.chain.settlement)
    owner = f"receiver {receiver}, settlement {settlement}, chain {settings.chain.id}"
    known = ledger.recall(OWNER)
    if known is None:
        ledger.remember(OWNER, owner)
    elif known != owner:
        raise settings.invalid("ledger", f"it is that of {known}, not of {owner}: name another")


@contextmanager
def _told(settings: Settings, field: str) -> Iterator[None]:
    """Whatever is wrong with what a field names is told of that field."""
    try:
        yield
    except FarthingError as error:
        if getattr(error, "field", None) == field:
            raise
        raise settings.invalid(field, str(error)) from error
