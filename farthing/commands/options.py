"""What commands share: their options, who is asked for a password, and how lists are printed."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.table import Table

from farthing.ledger import Ledger
from farthing.opening import open_books
from farthing.settings import Settings

# Wide enough for a channel's id and more, where nobody's window sets the width.
_WIDE = 240
# What a spreadsheet takes for a formula's beginning.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("farthing.toml"),
    show_default=True,
    help="Settings.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object for machines."
)
json_lines_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a line; amounts in units."
)
csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a head line.")
limit_option = click.option(
    "--limit", type=click.IntRange(1), help="So many at most; all, if left out."
)


class ChannelId(click.ParamType):
    """A channel's id, 0x and 64 hex digits."""

    name = "channel"

    def convert(self, value: Any, param: Any, ctx: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            found = bytes.fromhex(str(value).removeprefix("0x"))
        except ValueError:
            found = b""
        if len(found) != 32:
            self.fail(f"{value!r} is no channel: give 0x and 64 hex digits.", param, ctx)
        return found


class Moment(click.ParamType):
    """A time, in UTC where it does not say otherwise; unix seconds."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(
                f"{value!r} is no time: write it like 2026-01-31 or 2026-01-31T12:00.", param, ctx
            )
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def ask_password(keystore: Path) -> str:
    """Asks whoever sits there for the password of a keystore."""
    password: str = click.prompt(f"Password of {keystore}", hide_input=True, err=True)
    return password


def asker() -> Callable[[Path], str] | None:
    """How a password is asked for; None where nobody sits at a terminal."""
    return ask_password if sys.stdin.isatty() else None


@contextmanager
def books(settings: Settings) -> Iterator[Ledger]:
    """The ledger, as long as the block lasts."""
    ledger = open_books(settings)
    try:
        yield ledger
    finally:
        ledger.close()


def when(seconds: int) -> str:
    """Unix seconds as people and machines read them, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else ""


def print_nicely(shown: RenderableType) -> None:
    """Prints a table. A pipe gets it as wide as it is, and without blanks at its right."""
    if sys.stdout.isatty():
        Console().print(shown)
        return
    wide = Console(width=_WIDE)
    with wide.capture() as captured:
        wide.print(shown)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def print_json_lines(rows: Iterable[Mapping[str, object]]) -> None:
    """One object a line."""
    for row in rows:
        click.echo(json.dumps(row))


def print_csv(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A head line, and a line for each row."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_harmless(value) for value in row] for row in rows)


def _harmless(value: object) -> object:
    """What a spreadsheet does not take for a formula: a path may have any text in it."""
    is_formula = isinstance(value, str) and value.startswith(_FORMULA)
    return f"'{value}" if is_formula else value


def print_table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns for people. All is read before it is printed: give a limit to what may be long."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*map(str, row))
    print_nicely(table)


def taken(pages: Iterable[Sequence[Any]], limit: int | None) -> Iterator[Any]:
    """What is on the pages, at most ``limit``."""
    left = -1 if limit is None else limit
    for page in pages:
        for each in page:
            if left == 0:
                return
            left -= 1
            yield each
