"""What the ledger knows of payers: `farthing entitlements` and `farthing refusals`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from farthing.commands.looking import PAGE, ROWS
from farthing.commands.options import (
    Moment,
    books,
    config_option,
    csv_option,
    json_lines_option,
    limit_option,
    print_csv,
    print_json_lines,
    print_table,
    taken,
    when,
)
from farthing.ledger import Entitled, Ledger, Refusal
from farthing.protocol.values import address
from farthing.settings import Settings


@click.command("entitlements")
@click.argument("payer", required=False)
@config_option
@limit_option
@csv_option
@json_lines_option
def entitlements_command(
    payer: str | None, config: Path, limit: int | None, as_csv: bool, as_json: bool
) -> None:
    """List what payers have bought and need not pay again, or only what PAYER has.

    Each belongs to a payer and who signs for it. The table has 100 rows, unless --limit says
    otherwise.
    """
    settings = Settings.load(config)
    checked = None if payer is None else address("PAYER", payer)
    if not (as_csv or as_json):
        limit = limit or ROWS
    with books(settings) as ledger:
        found = taken(_entitlements(ledger, checked), limit)
        if as_json:
            print_json_lines(map(_entitled_json, found))
            return
        names = ("payer", "signer", "kind", "item", "since", "until", "bought", "used", "charge")
        (print_csv if as_csv else print_table)(names, map(_entitled_row, found))


@click.command("refusals")
@config_option
@click.option("--since", type=Moment(), default=0, help="Only those of days that began then.")
@limit_option
@csv_option
@json_lines_option
def refusals_command(
    config: Path, since: int, limit: int | None, as_csv: bool, as_json: bool
) -> None:
    """List how often rules refused payers: by day, newest first, 100 rows without --limit."""
    with books(Settings.load(config)) as ledger:
        found = ledger.refusals(since=since, limit=limit or ROWS)
    if as_json:
        print_json_lines(map(_refusal_json, found))
        return
    names = ("day", "payer", "signer", "route", "code", "count")
    (print_csv if as_csv else print_table)(names, map(_refusal_row, found))


def _entitlements(ledger: Ledger, payer: str | None) -> Iterator[list[Entitled]]:
    after = None
    while page := ledger.entitlements(payer, after=after, limit=PAGE):
        yield page
        after = page[-1]


def _entitled_json(each: Entitled) -> dict[str, object]:
    bought = each.entitlement
    return {
        "payer": each.payer.address,
        "signer": each.payer.signer,
        "kind": bought.kind,
        "item": bought.item,
        "since": bought.since,
        "until": bought.until,
        "bought": bought.bought,
        "used": bought.used,
        "charge": each.charge,
    }


def _entitled_row(each: Entitled) -> tuple[object, ...]:
    bought = each.entitlement
    return (
        *(each.payer.address, each.payer.signer, bought.kind, bought.item),
        *(when(bought.since), when(bought.until), bought.bought, bought.used, each.charge),
    )


def _refusal_json(each: Refusal) -> dict[str, object]:
    return {
        "day": each.day,
        "payer": each.payer.address,
        "signer": each.payer.signer,
        "route": each.route,
        "code": each.code,
        "count": each.count,
    }


def _refusal_row(each: Refusal) -> tuple[object, ...]:
    payer, day = each.payer, when(each.day)[:10]
    return day, payer.address, payer.signer, each.route, each.code, each.count
