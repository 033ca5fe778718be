"""`farthing replay`."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from eth_account import Account
from eth_account.signers.local import LocalAccount
from rich.console import Console
from web3 import Web3

from farthing.chain.accounts import (
    KEY_VARIABLE,
    PASSWORD_VARIABLE,
    KeyUnusable,
    account_from_environment,
    account_from_keystore,
)
from farthing.chain.anvil import ANVIL_KEYS, anvil
from farthing.chain.connection import connect
from farthing.chain.in_process import in_process_chain
from farthing.chain.token import TEST_USD_DECIMALS
from farthing.commands.options import ask_password
from farthing.protocol.amounts import AmountInvalid, to_units
from farthing.protocol.errors import FarthingError
from farthing.replay.access_log import read_log
from farthing.replay.prices import PriceList
from farthing.replay.progress import Bars, Silent
from farthing.replay.report import Market, render
from farthing.replay.run import replay, set_stage

ANVIL_CHAIN_ID = 31_337


class InvalidDeposit(FarthingError):
    """The deposit is not an amount of the token."""

    def __init__(self, value: str) -> None:
        self.value = value
        super().__init__(
            f"--deposit {value!r} is not an amount: give dollars above 0 with at most "
            f"{TEST_USD_DECIMALS} decimals, for example 5.00."
        )


@click.command("replay")
@click.argument("log")
@click.option("--prices", metavar="FILE", help="Price rules (TOML). Without it a news site's.")
@click.option("--deposit", default="5.00", show_default=True, help="Dollars escrowed at a time.")
@click.option("--gas-price", default="0.05", show_default=True, help="Gwei per gas.")
@click.option("--coin-price", default="3000", show_default=True, help="Dollars per coin.")
@click.option(
    "--network",
    type=click.Choice(["in-process", "anvil"]),
    default="in-process",
    show_default=True,
    help="A chain of its own: in this process, or an anvil node started for it.",
)
@click.option("--rpc", metavar="URL", help="A running node, instead of a chain of its own.")
@click.option("--chain-id", type=int, help="The chain the node must be on.")
@click.option("--account", type=Path, metavar="FILE", help="Keystore of the publisher's key.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")
def replay_command(
    log: str,
    prices: str | None,
    deposit: str,
    gas_price: str,
    coin_price: str,
    network: str,
    rpc: str | None,
    chain_id: int | None,
    account: Path | None,
    as_json: bool,
) -> None:
    """Turn the access log LOG into vouchers, redeem them, and prove the books.

    LOG is a web server's log in common or combined format, plain or gzip; "-" is standard input.
    Every client address is a reader with a key and a channel of its own. On a node given with
    --rpc the publisher's key comes from --account (its password from FARTHING_PASSWORD, or asked
    for) or from FARTHING_KEY.
    """
    # Everything a user can get wrong is read before anything is sent to a chain.
    if rpc is None and (chain_id is not None or account is not None):
        raise click.UsageError("--chain-id and --account are about a running node: give --rpc too.")
    market = Market.of(gas_price, coin_price)
    amount = _amount(deposit)
    entries = read_log(log)
    price_list = (
        PriceList.load(prices, TEST_USD_DECIMALS)
        if prices
        else PriceList.built_in(TEST_USD_DECIMALS)
    )
    with _chain(network, rpc, chain_id, account) as (w3, name, publisher):
        bars = Silent() if as_json else Bars(Console(stderr=True))
        with bars:
            stage = set_stage(w3, name, publisher)
            report = replay(entries, price_list, stage, market, deposit=amount, progress=bars)
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        render(report, Console())
    if not report.books_balance:
        sys.exit(1)


@contextmanager
def _chain(
    network: str, rpc: str | None, chain_id: int | None, keystore: Path | None
) -> Iterator[tuple[Web3, str, LocalAccount]]:
    if rpc is not None:
        w3 = connect(rpc, chain_id=chain_id)
        found = w3.eth.chain_id
        yield w3, f"chain {found}", _publisher(found, keystore)
    elif network == "anvil":
        with anvil() as url:
            yield connect(url), "anvil", Account.from_key(ANVIL_KEYS[0])
    else:
        w3, key = in_process_chain()
        yield w3, "in-process", Account.from_key(key)


def _publisher(chain_id: int, keystore: Path | None) -> LocalAccount:
    if keystore is not None:
        password = os.environ.get(PASSWORD_VARIABLE)
        return account_from_keystore(
            keystore, ask_password(keystore) if password is None else password
        )
    account = account_from_environment()
    if account is not None:
        return account
    if chain_id == ANVIL_CHAIN_ID:
        default: LocalAccount = Account.from_key(ANVIL_KEYS[0])
        return default
    raise KeyUnusable(
        f"chain {chain_id} needs the publisher's key: give a keystore with --account, or set "
        f"{KEY_VARIABLE}."
    )


def _amount(text: str) -> int:
    try:
        units = to_units(text, TEST_USD_DECIMALS)
    except AmountInvalid:
        units = 0
    if not 0 < units < 2**96:
        raise InvalidDeposit(text)
    return units
