"""`farthing serve`, and what one begins with: `farthing init` and `farthing devnet`."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import click

from farthing.chain.accounts import PASSWORD_VARIABLE
from farthing.chain.devnet import DEVNET_PORT, devnet
from farthing.commands.options import asker, config_option, json_option
from farthing.operations.start import PARTS
from farthing.serve.start import start

_PORT = click.IntRange(0, 65_535)


@click.command("devnet")
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=DEVNET_PORT,
    show_default=True,
    help="Port on 127.0.0.1.",
)
@json_option
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


@click.command("serve")
@click.argument("app", required=False)
@config_option
@click.option("--prices", metavar="NAME", help="module:attribute of prices written in Python.")
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
@click.option(
    "--only",
    type=click.Choice(PARTS),
    multiple=True,
    help="Run this part and no other; may be given again.",
)
def serve_command(
    app: str | None,
    config: Path,
    prices: str | None,
    host: str,
    port: int,
    admin_host: str,
    admin_port: int,
    grace: int,
    only: tuple[str, ...],
) -> None:
    """Serve APP, module:attribute of an ASGI app, behind the paywall of farthing.toml.

    With it run the watcher, which follows the chain, and the redeemer, which turns charges into
    money. Each may run in a process or on a machine of its own, with --only; the paywall as often
    as there are readers for it.

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
    serve(app, config, public, admin, grace=grace, only=only, ask=asker(), prices=prices)


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option("--devnet", "for_devnet", is_flag=True, help="For a chain by `farthing devnet`.")
def init_command(folder: Path, for_devnet: bool) -> None:
    """Make settings, an encrypted key and a sample app in FOLDER (here without it).

    The key's password comes from FARTHING_PASSWORD, or is asked for. No file is written over.
    """
    click.echo(start(folder, _new_password, devnet=for_devnet).as_text())


def _new_password() -> str:
    password: str = os.environ.get(PASSWORD_VARIABLE) or click.prompt(
        "Password for the new key", hide_input=True, confirmation_prompt=True, err=True
    )
    return password
