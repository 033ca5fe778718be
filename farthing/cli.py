"""The `farthing` command: reads options, calls the packages, prints. No logic of its own."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
from farthing.chain.devnet import DEVNET_PORT, devnet
from farthing.chain.in_process import in_process_chain
from farthing.chain.token import TEST_USD_DECIMALS
from farthing.protocol.errors import FarthingError
from farthing.replay.access_log import read_log
from farthing.replay.prices import PriceList
from farthing.replay.progress import Bars, Silent
from farthing.replay.report import Market, render
from farthing.replay.run import replay, set_stage
from farthing.serve.start import start

ANVIL_CHAIN_ID = 31_337
INTERRUPTED = 130
BUG = 70
DEBUG_VARIABLE = "FARTHING_DEBUG"
_PORT = click.IntRange(0, 65_535)
_DOLLARS = re.compile(rf"([0-9]{{1,30}})(?:\.([0-9]{{1,{TEST_USD_DECIMALS}}}))?")


class InvalidDeposit(FarthingError):
    """The deposit is not an amount of the token."""

    def __init__(self, value: str) -> None:
        self.value = value
        super().__init__(
            f"--deposit {value!r} is not an amount: give dollars above 0 with at most "
            f"{TEST_USD_DECIMALS} decimals, for example 5.00."
        )


@click.group()
@click.version_option(package_name="farthing")
def cli() -> None:
    """Charge fractions of a cent: signed vouchers off chain, cheap redemption on chain."""


@cli.command("replay")
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


@cli.command("devnet")
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=DEVNET_PORT,
    show_default=True,
    help="Port on 127.0.0.1.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")
def devnet_command(port: int, as_json: bool) -> None:
    """Run a development chain until Ctrl-C, with all contracts where stock clients expect them.

    Everything on it is for play: the keys are public, and the chain is gone when it stops.
    """
    # By default SIGTERM would leave the node behind, and a shell's background job ignores SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt), devnet(port) as chain:
        click.echo(json.dumps(chain.as_json()) if as_json else chain.as_text())
        chain.node.wait()


@cli.command("serve")
@click.argument("app")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("farthing.toml"),
    show_default=True,
    help="Settings.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where readers come.")
@click.option("--port", type=_PORT, default=8_000, show_default=True, help="0 is a free one.")
@click.option(
    "--admin-host",
    default="127.0.0.1",
    show_default=True,
    help="Where /metrics and /healthz are; not for readers' eyes.",
)
@click.option("--admin-port", type=_PORT, default=9_402, show_default=True, help="0 is a free one.")
@click.option(
    "--grace",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    help="Seconds that requests under way have to end after SIGTERM.",
)
def serve_command(
    app: str,
    config: Path,
    host: str,
    port: int,
    admin_host: str,
    admin_port: int,
    grace: int,
) -> None:
    """Serve APP, module:attribute of an ASGI app, behind the paywall of farthing.toml.

    Logs are JSON lines on standard error, one for each paid request. SIGTERM and Ctrl-C end what is
    under way first.
    """
    try:
        from farthing.serve.server import Address, serve
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed: pip install 'farthing[serve]'."
        ) from error
    public = Address(host, port, "--host and --port")
    admin = Address(admin_host, admin_port, "--admin-host and --admin-port")
    ask = _ask_password if sys.stdin.isatty() else None
    serve(app, config, public, admin, grace=grace, ask=ask)


@cli.command("init")
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option("--devnet", "for_devnet", is_flag=True, help="For a chain by `farthing devnet`.")
def init_command(folder: Path, for_devnet: bool) -> None:
    """Make settings, an encrypted key and a sample app in FOLDER (here without it).

    The key's password comes from FARTHING_PASSWORD, or is asked for. No file is written over.
    """
    click.echo(start(folder, _new_password, devnet=for_devnet).as_text())


def main() -> None:
    """Runs the command line: a user meets one sentence and an exit code, never a traceback."""
    try:
        cli.main(standalone_mode=False)
    except FarthingError as error:
        click.echo(f"farthing: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("farthing: interrupted.", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        click.echo(
            f"farthing: unexpected {type(error).__name__}: this is a bug; set {DEBUG_VARIABLE}=1 "
            "to see where it happens, and report that.",
            err=True,
        )
        sys.exit(BUG)


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
            keystore, _ask_password(keystore) if password is None else password
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


def _ask_password(keystore: Path) -> str:
    password: str = click.prompt(f"Password of {keystore}", hide_input=True, err=True)
    return password


def _new_password() -> str:
    password: str = os.environ.get(PASSWORD_VARIABLE) or click.prompt(
        "Password for the new key", hide_input=True, confirmation_prompt=True, err=True
    )
    return password


def _amount(text: str) -> int:
    digits = _DOLLARS.fullmatch(text)
    units = int(digits[1] + (digits[2] or "").ljust(TEST_USD_DECIMALS, "0")) if digits else 0
    if not 0 < units < 2**96:
        raise InvalidDeposit(text)
    return units


if __name__ == "__main__":
    main()
