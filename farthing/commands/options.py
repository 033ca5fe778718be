"""What commands share: their options, and who is asked for a password."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

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


def ask_password(keystore: Path) -> str:
    """Asks whoever sits there for the password of a keystore."""
    password: str = click.prompt(f"Password of {keystore}", hide_input=True, err=True)
    return password


def asker() -> Callable[[Path], str] | None:
    """How a password is asked for; None where nobody sits at a terminal."""
    return ask_password if sys.stdin.isatty() else None
