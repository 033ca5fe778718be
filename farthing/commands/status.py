"""`farthing status`: one command that says how things stand."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import msgspec
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from farthing.commands.options import books, config_option, json_option, print_nicely, when
from farthing.ledger import Ledger, Totals
from farthing.opening import key_addresses, open_contracts
from farthing.operations.alerts import Alert, Problem, standing_alerts
from farthing.operations.money import Unit, unit_of
from farthing.operations.parts import policy_coin_price
from farthing.operations.problems import Bounds, ago, find_problems
from farthing.operations.standing import Look, Standing
from farthing.protocol.amounts import from_units, plural
from farthing.settings import COIN_DECIMALS, Settings

WATCH_SECONDS = 2.0


@click.command("status")
@config_option
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@json_option
def status_command(config: Path, watch: bool, as_json: bool) -> None:
    """Say how things stand: chain, money, transactions, parts, and what somebody has to see to.

    Needs no key and no password. It reads the whole ledger: on a large one it takes seconds.
    """
    settings = Settings.load(config)
    with books(settings) as ledger:
        take = _taker(settings, ledger)
        if as_json:
            click.echo(json.dumps(_as_json(*take())))
            return
        unit = unit_of(settings, ledger)
        with suppress(KeyboardInterrupt), _screen(watch and sys.stdout.isatty()) as show:
            show(_page(settings, unit, *take()))
            while watch:
                time.sleep(WATCH_SECONDS)
                show(_page(settings, unit, *take()))


@contextmanager
def _screen(is_whole: bool) -> Iterator[Callable[[Group], None]]:
    """Shows one page after another: on the whole screen, or below each other."""
    if not is_whole:
        yield print_nicely
        return
    with Live(screen=True) as live:
        yield live.update


def _taker(
    settings: Settings, ledger: Ledger
) -> Callable[[], tuple[Standing, Totals, list[Problem], list[Alert]]]:
    """Takes all there is to show."""
    unit = unit_of(settings, ledger)
    bounds = Bounds.of(settings, unit.decimals, unit.symbol)
    sender, authorizer = key_addresses(settings)
    look = Look(
        settings,
        ledger,
        lambda: open_contracts(settings),
        sender=sender,
        authorizer=authorizer,
        coin_price=policy_coin_price(settings, unit.decimals),
    )

    def take() -> tuple[Standing, Totals, list[Problem], list[Alert]]:
        standing = look.take()
        problems = find_problems(standing, bounds)
        return standing, ledger.totals(), problems, standing_alerts(ledger)

    return take


def _page(
    settings: Settings,
    unit: Unit,
    standing: Standing,
    totals: Totals,
    problems: list[Problem],
    alerts: list[Alert],
) -> Group:
    table = Table.grid(padding=(0, 2))
    for name, text in _lines(settings, unit, standing, totals):
        table.add_row(name, Text(text, overflow="fold"))
    told: list[Text] = [Text("")]
    since = {alert.name: alert.raised_at for alert in alerts}
    for problem in problems:
        raised = since.get(problem.name)
        age = f", for {ago(standing.time - raised)}" if raised else ""
        told.append(Text(f"! {problem.name}{age}: {problem.sentence}"))
    if not problems:
        told.append(Text("All is well."))
    return Group(table, *told)


def _lines(
    settings: Settings, unit: Unit, standing: Standing, totals: Totals
) -> Iterator[tuple[str, str]]:
    now, chain, owed = standing.time, standing.chain, standing.unredeemed
    if chain.error:
        yield "Chain", f"{settings.chain.id}, cannot be asked"
    else:
        yield "Chain", f"{settings.chain.id}, block {chain.head:,}"
    yield "Receiver", settings.terms.receiver
    if standing.sender:
        coins = (
            "" if chain.coins is None else f" has {from_units(chain.coins, COIN_DECIMALS)} coins"
        )
        yield "Key", f"{standing.sender}{coins}"
    yield "Escrow", f"{unit.show(totals.escrowed)} in {plural(totals.channels, 'channel')}"
    yield "Charged", f"{unit.show(totals.charged)} in {plural(totals.charges, 'charge')}"
    oldest = f", the oldest {ago(now - owed.oldest_at)} ago" if owed.oldest_at else ""
    yield "To redeem", f"{unit.show(owed.value)} of {plural(owed.channels, 'channel')}{oldest}"
    if owed.withdrawing:
        yield "Withdrawn", f"{unit.show(owed.withdrawing)} of it, from {when(owed.deadline)} on"
    if chain.credited:
        yield "Credited", f"{unit.show(chain.credited)} claimed and not paid out"
    waiting = standing.waiting
    if waiting.count:
        age = ago(now - waiting.oldest_at)
        yield "On its way", f"{plural(waiting.count, 'transaction')}, the oldest for {age}"
    for process, beat in sorted(standing.beats.items()):
        if now - beat.at >= settings.thresholds.silent_seconds:
            yield process, f"says nothing for {ago(now - beat.at)}"
            continue
        for name, state in sorted(beat.parts.items()):
            note = f"fails: {state.error}" if state.error else state.note or "runs"
            yield f"{process} {name}", note


def _as_json(
    standing: Standing, totals: Totals, problems: list[Problem], alerts: list[Alert]
) -> dict[str, object]:
    """The same for machines; amounts in the token's smallest unit, coins in wei."""
    return {
        "standing": msgspec.to_builtins(standing),
        "totals": msgspec.to_builtins(totals),
        "problems": msgspec.to_builtins(problems),
        "alerts": msgspec.to_builtins(alerts),
    }
