"""The ledger looked after: `farthing check`, `backup` and `restore`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from farthing.commands.options import books, config_option, json_option
from farthing.opening import open_contracts
from farthing.operations.backups import make_backup, mark_restored, restore
from farthing.operations.compare import compare
from farthing.operations.money import unit_of
from farthing.operations.parts import forget_differences, read_differences
from farthing.settings import Settings


@click.command("check")
@config_option
@click.option("--forget", is_flag=True, help="Forget what the watcher found, and end its alert.")
@json_option
def check_command(config: Path, forget: bool, as_json: bool) -> None:
    """Prove the books, and compare every channel with the chain, or list each difference.

    Others may go on with the ledger meanwhile. Ends with 1 if anything differs.
    """
    settings = Settings.load(config)
    settlement = open_contracts(settings).settlement
    with books(settings) as ledger:
        if forget:
            forget_differences(ledger)
        # What just happened on the chain is written down at the watcher's next looks.
        pause = 3 * settings.watcher.poll_seconds
        found = compare(ledger, settlement, settle=lambda: time.sleep(pause))
        seen = read_differences(ledger)
        unit = unit_of(settings, ledger)
    differences = [str(each) for each in found.differences]
    if as_json:
        told = {
            "channels": found.channels,
            "charged": str(found.charged),
            "claimed": str(found.claimed),
            "escrowed": str(found.escrowed),
            "differences": differences,
            "seen_by_watcher": seen,
        }
        click.echo(json.dumps(told))
    else:
        click.echo(f"Channels  {found.channels:,}")
        click.echo(f"Charged   {unit.show(found.charged)}")
        click.echo(f"Claimed   {unit.show(found.claimed)}")
        click.echo(f"Escrowed  {unit.show(found.escrowed)} not claimed")
        for each in differences:
            click.echo(f"Differs   {each}")
        for each in seen:
            click.echo(f"Seen      {each} (by the watcher, before)")
        if not differences:
            click.echo("The books are proven: the ledger agrees with itself and with the chain.")
    if differences:
        sys.exit(1)


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
def backup_command(file: Path, config: Path) -> None:
    """Copy the ledger into FILE, a new one, while readers go on paying.

    The copy holds the vouchers that are redeemed, and no key. What is charged after it is not in
    it, so make one often.
    """
    make_backup(Settings.load(config), file)
    click.echo(f"{file} is a copy of the ledger.")


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--mark", is_flag=True, help="A PostgreSQL ledger was restored by other means.")
@config_option
def restore_command(file: Path | None, mark: bool, config: Path) -> None:
    """Put FILE, made by `farthing backup`, in the place of the ledger, where there must be none.

    Nothing is charged on it until a watcher has compared it with the chain: `farthing serve`
    answers 503 to what has a price until then.
    """
    settings = Settings.load(config)
    if mark == (file is not None):
        raise click.UsageError("Name a backup's file, or give --mark.")
    if file is None:
        mark_restored(settings)
        click.echo("The ledger is marked as restored.")
    else:
        channels = restore(settings, file)
        click.echo(f"The ledger is restored, with {channels:,} channels.")
    click.echo("Start `farthing serve`: it charges again when it has caught up with the chain.")
