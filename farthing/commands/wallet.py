"""`farthing wallet`: the payer's side."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from farthing.chain.accounts import PASSWORD_VARIABLE, KeyUnusable, account_from_environment
from farthing.chain.connection import connect
from farthing.chain.sender import Sender
from farthing.chain.token import Token
from farthing.commands.options import (
    ChannelId,
    ask_password,
    asker,
    csv_option,
    json_lines_option,
    limit_option,
    print_json_lines,
    print_table,
    when,
)
from farthing.protocol import X402_ERC3009_COLLECTOR, X402_PERMIT2_COLLECTOR, X402_SETTLEMENT
from farthing.protocol.amounts import from_units, to_units
from farthing.wallet import Approval, Budget, Payment, Period, Rules, Store, Wallet, actions
from farthing.wallet.export import write_csv
from farthing.wallet.folder import MAIN, MEMORY, create_wallet, main_key, open_wallet
from farthing.wallet.onchain import finish_withdrawal, recover, withdraw
from farthing.wallet.receipts import evidence_of
from farthing.wallet.watch import Alert, Watch

# A bare duration repeats from here: a Monday, the first of a month and of a year.
EPOCH = "2024-01-01T00:00"
# What is read of the history at a time, and seconds between two looks at it.
PAGE = 1_000
LOOK_SECONDS = 1.0

folder_option = click.option(
    "--wallet",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("wallet"),
    show_default=True,
    envvar="FARTHING_WALLET",
    help="The wallet's folder.",
)
_RULES: list[Callable[[Any], Any]] = [
    click.option(
        "--budget",
        "budgets",
        multiple=True,
        metavar="'AMOUNT PERIOD [HOST]'",
        help="Like '5 P1M' or '1 P1D[Europe/Berlin] news.example'; the period is an ISO 8601 "
        "duration, in UTC or a time zone, or a repeating interval like "
        "R/2026-01-01T00:00+09:00/P1M. May be given more than once.",
    ),
    click.option("--per-request", metavar="AMOUNT", help="The most one request may cost, or none."),
    click.option("--approve-above", metavar="AMOUNT", help="Above it you are asked, or none."),
    click.option("--top-up", metavar="AMOUNT", help="Deposit so much at a time; 0 is by hand."),
    click.option("--allow", multiple=True, metavar="HOST", help="Only these: HOST, *.HOST or *."),
    click.option("--deny", multiple=True, metavar="HOST", help="Not these, whatever is allowed."),
    click.option("--lanes", type=int, help="Channels per publisher: requests at a time."),
]


def rules_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that change rules."""
    for option in reversed(_RULES):
        command = option(command)
    return command


@click.group("wallet")
def wallet_command() -> None:
    """Pay for what has a price, within budgets.

    A command that a rule stops ends with 3, one that a server refuses with 4, and one that had no
    answer with 5.
    """


@wallet_command.command("create")
@folder_option
@click.option("--rpc", required=True, help="A node of the chain to pay on.")
@click.option("--token", required=True, metavar="ADDRESS", help="What to pay with.")
@click.option("--settlement", default=X402_SETTLEMENT, show_default=True, metavar="ADDRESS")
@click.option("--collector", default=X402_ERC3009_COLLECTOR, show_default=True, metavar="ADDRESS")
@click.option(
    "--permit2-collector", default=X402_PERMIT2_COLLECTOR, show_default=True, metavar="ADDRESS"
)
@rules_options
def create_command(
    folder: Path,
    rpc: str,
    token: str,
    settlement: str,
    collector: str,
    permit2_collector: str,
    **options: Any,
) -> None:
    """Make a wallet, with a new key or the one in FARTHING_KEY.

    A wallet that was lost is made anew with its key: then `farthing wallet recover`.
    """
    decimals = Token(connect(rpc), token).decimals
    rules = _changed(Rules(), decimals, options)
    password = os.environ.get(PASSWORD_VARIABLE) or _new_password()
    home = create_wallet(
        folder,
        password,
        rules,
        rpc=rpc,
        token=token,
        settlement=settlement,
        collector=collector,
        permit2_collector=permit2_collector,
        main=account_from_environment(),
    )
    click.echo(f"Wallet   {folder}")
    click.echo(f"Address  {home.payer}")
    click.echo("Send it some of the token, and keep the folder and its password safe.")


@wallet_command.command("budget")
@folder_option
@click.option("--reset-clock", is_flag=True, help="The clock was ahead by mistake: believe it now.")
@rules_options
def budget_command(folder: Path, reset_clock: bool, **options: Any) -> None:
    """Show the rules and what is used of the budgets, or change those that are given.

    When the clock goes back, budgets stay in the period they had reached.
    """
    store = Store(folder / MEMORY)
    try:
        if any(options.values()):
            rules = _changed(store.rules(), store.home.decimals, options)
            store.set_rules(main_key(folder, _password(folder / MAIN)), rules)
        if reset_clock:
            store.reset_clock(main_key(folder, _password(folder / MAIN)))
        _show_rules(store)
    finally:
        store.close()


@wallet_command.command("fund")
@click.argument("url")
@click.argument("amount")
@folder_option
def fund_command(url: str, amount: str, folder: Path) -> None:
    """Deposit AMOUNT for the publisher of URL, whatever the budgets say."""
    with _opened(folder) as wallet:
        main, home = main_key(folder, _password(folder / MAIN)), wallet.store.home
        units = to_units(amount, home.decimals)
        lane = actions.fund(wallet, main, Sender(wallet.settlement.w3, main), url, units)
        click.echo(f"Deposited  {home.show(units)}")
        click.echo(f"Channel    0x{lane.channel_id.hex()}")


@wallet_command.command("permit2")
@folder_option
def permit2_command(folder: Path) -> None:
    """Let Permit2 take the token, which some publishers' deposits need; a transaction, once.

    It takes nothing without a signature for each deposit.
    """
    with _opened(folder) as wallet:
        main = main_key(folder, _password(folder / MAIN))
        actions.allow_permit2(wallet, Sender(wallet.settlement.w3, main))
        click.echo(f"Allowed  Permit2 takes {wallet.store.home.symbol} for deposits")


@wallet_command.command("get")
@click.argument("url")
@folder_option
@click.option("--no-deposit", is_flag=True, help="Only from what is deposited; no main key needed.")
@click.option("--output", type=click.Path(path_type=Path), help="Write there, not to the terminal.")
def get_command(url: str, folder: Path, no_deposit: bool, output: Path | None) -> None:
    """Print what is at URL, paying if it has a price. Ends with 4 if the server did not give it."""
    with _opened(folder, with_main=not no_deposit) as wallet:
        response = actions.get(wallet, url)
    if output is None:
        click.get_binary_stream("stdout").write(response.content)
    else:
        output.write_bytes(response.content)
    if not response.is_success:
        click.echo(f"farthing: {url} answered {response.status_code}.", err=True)
        sys.exit(4)


@wallet_command.command("balance")
@folder_option
def balance_command(folder: Path) -> None:
    """Show what there is: free, and with every publisher."""
    with _opened(folder, with_main=False) as wallet:
        found, home = actions.balance(wallet), wallet.store.home
        click.echo(f"Free    {home.show(found.free)}, at {home.payer}")
        click.echo(f"Escrow  {home.show(found.unspent)} not spent")
        rows = [
            (
                "0x" + each.lane.channel_id.hex(),
                each.lane.origin,
                from_units(each.unspent, home.decimals),
                from_units(each.owed, home.decimals),
                when(each.withdraw_after),
            )
            for each in found.channels
        ]
        if rows:
            print_table(("channel", "publisher", "unspent", "owed", "withdraws"), rows)


@wallet_command.command("history")
@folder_option
@limit_option
@csv_option
@json_lines_option
def history_command(folder: Path, limit: int | None, as_csv: bool, as_json: bool) -> None:
    """List payments, oldest first; receipts are in CSV and JSON.

    JSON has amounts in the token's smallest unit, CSV and the table in units of the token.
    """
    store = Store(folder / MEMORY)
    try:
        payments, decimals = _history(store, limit), store.home.decimals
        if as_csv:
            write_csv(payments, decimals, sys.stdout)
        elif as_json:
            print_json_lines(_payment_json(store, each) for each in payments)
        else:
            names = ("id", "time", "method", "url", "price", "charged")
            print_table(names, (_payment_row(each, decimals) for each in payments))
    finally:
        store.close()


@wallet_command.command("refund")
@click.argument("url")
@folder_option
@click.option("--amount", help="All that is left, if left out.")
def refund_command(url: str, folder: Path, amount: str | None) -> None:
    """Ask the publisher of URL for money back; it comes at once, if the publisher agrees."""
    with _opened(folder, with_main=False) as wallet:
        home = wallet.store.home
        units = None if amount is None else to_units(amount, home.decimals)
        click.echo(f"Refunded  {home.show(actions.refund(wallet, url, units))}")


@wallet_command.command("withdraw")
@click.argument("channel", type=ChannelId())
@folder_option
@click.option("--finish", is_flag=True, help="The delay is over: take the money.")
def withdraw_command(channel: bytes, folder: Path, finish: bool) -> None:
    """Take back what is not spent of CHANNEL, without the publisher: ask now, finish later."""
    with _opened(folder) as wallet:
        sender = Sender(wallet.settlement.w3, main_key(folder, _password(folder / MAIN)))
        if finish:
            came = finish_withdrawal(wallet, sender, channel)
            click.echo(f"Withdrawn  {wallet.store.home.show(came)}")
        else:
            after = withdraw(wallet, sender, channel)
            click.echo(f"Asked for; it can be taken with --finish after {when(after)}.")


@wallet_command.command("recover")
@folder_option
@click.option("--first-block", type=click.IntRange(0), default=0, help="Where to begin to look.")
def recover_command(folder: Path, first_block: int) -> None:
    """Find the wallet's channels on the chain, after it was made anew with its key."""
    with _opened(folder, with_main=False) as wallet:
        for lane in recover(wallet, first_block):
            click.echo(f"Found  0x{lane.channel_id.hex()}")


@wallet_command.command("watch")
@folder_option
@click.option("--once", is_flag=True, help="Show what there is so far, and end.")
def watch_command(folder: Path, once: bool) -> None:
    """Show payments and alerts as they come, until Ctrl-C."""
    store = Store(folder / MEMORY)
    try:
        watch = Watch(store)
        while True:
            for each in watch.look():
                if isinstance(each, Alert):
                    click.echo(f"ALERT  {each.subject}: {each.text}")
                else:
                    click.echo("  ".join(map(str, _payment_row(each, store.home.decimals))))
            if once:
                return
            time.sleep(LOOK_SECONDS)
    finally:
        store.close()


# ---------------------------------------------------------------- what they share


@contextmanager
def _opened(folder: Path, *, with_main: bool = True) -> Iterator[Wallet]:
    # Before a password is asked for.
    store = Store(folder / MEMORY)
    store.close()

    def approve(asked: Approval) -> bool:
        question = f"Pay {store.home.show(asked.price)} for {asked.request.url}?"
        return click.confirm(question, err=True)

    asks = approve if sys.stdin.isatty() else None
    wallet = open_wallet(folder, _password(folder), with_main=with_main, approve=asks)
    try:
        yield wallet
    finally:
        wallet.close()


def _password(keystore: Path) -> str:
    """The password, asked for once in a process."""
    known = os.environ.get(PASSWORD_VARIABLE)
    if known is None:
        ask = asker()
        if ask is None:
            raise KeyUnusable(f"{keystore} is locked: set {PASSWORD_VARIABLE} to its password.")
        known = os.environ[PASSWORD_VARIABLE] = ask_password(keystore)
    return known


def _new_password() -> str:
    if not sys.stdin.isatty():
        raise KeyUnusable(f"a wallet needs a password: set {PASSWORD_VARIABLE}.")
    chosen: str = click.prompt(
        "A password for the wallet", hide_input=True, confirmation_prompt=True, err=True
    )
    return chosen


def _changed(rules: Rules, decimals: int, options: dict[str, Any]) -> Rules:
    """The rules with what was given in the place of what was there."""
    changes: dict[str, Any] = {}
    if options["budgets"]:
        changes["budgets"] = tuple(_budget(text, decimals) for text in options["budgets"])
    for name in ("per_request", "approve_above"):
        text = options[name]
        if text is not None:
            changes[name] = None if text == "none" else to_units(text, decimals)
    if options["top_up"] is not None:
        changes["top_up"] = to_units(options["top_up"], decimals)
    for name in ("allow", "deny"):
        if options[name]:
            changes[name] = tuple(each for each in options[name] if each != "none")
    if options["lanes"] is not None:
        changes["lanes"] = options["lanes"]
    return replace(rules, **changes)


def _budget(text: str, decimals: int) -> Budget:
    amount, period, host = [*text.split(), "", "", ""][:3]
    if not amount or not period or len(text.split()) > 3:
        raise click.BadParameter("write it like '5 P1M' or '1 P1D news.example'.")
    # A period is one in UTC, or in the zone that is named behind it.
    duration, bracket, zone = period.partition("[")
    bare = f"R/{EPOCH}{bracket + zone or 'Z'}/{duration}"
    written = period if period.startswith("R") else bare
    return Budget(to_units(amount, decimals), Period.parse(written), host or "*")


def _show_rules(store: Store) -> None:
    rules, show = store.rules(), store.home.show
    for budget, spent, deposited, until in store.used():
        click.echo(
            f"Budget         {show(budget.limit)} for {budget.name}: {show(spent)} spent, "
            f"{show(deposited)} deposited until {when(until)}"
        )
    if not rules.budgets:
        click.echo("Budget         none: nothing is paid; give one with --budget '5 P1M'")
    for name, units in (
        ("Per request", rules.per_request),
        ("Approve above", rules.approve_above),
        ("Top-up", rules.top_up),
    ):
        click.echo(f"{name:13}  {'none' if units is None else show(units)}")
    click.echo(f"Allow          {', '.join(rules.allow) or 'none'}")
    click.echo(f"Deny           {', '.join(rules.deny) or 'none'}")
    click.echo(f"Lanes          {rules.lanes} a publisher")


def _history(store: Store, limit: int | None) -> Iterator[Payment]:
    after, left = 0, limit
    while page := store.history(after, PAGE if left is None else min(PAGE, left)):
        yield from page
        after = page[-1].id
        left = None if left is None else left - len(page)
        if left == 0:
            return


def _payment_row(each: Payment, decimals: int) -> tuple[object, ...]:
    price = from_units(each.price, decimals)
    charged = "open" if each.charged is None else from_units(each.charged, decimals)
    return each.id, when(each.time), each.method, each.url, price, charged


def _payment_json(store: Store, each: Payment) -> dict[str, object]:
    found = evidence_of(store, each)
    return {
        "id": each.id,
        "time": when(each.time),
        "host": each.host,
        "method": each.method,
        "url": each.url,
        "channel": "0x" + each.channel_id.hex(),
        "price": str(each.price),
        "ceiling": str(each.ceiling),
        "charged": None if each.charged is None else str(each.charged),
        "receipt": each.receipt,
        "proof": found.proof,
        "problem": found.problem,
    }
