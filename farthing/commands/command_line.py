"""The `farthing` command: reads options, calls the packages, prints. No logic of its own."""

import os
import sys

import click

from farthing.commands.keeping import backup_command, check_command, restore_command
from farthing.commands.looking import channels_command, charges_command, transactions_command
from farthing.commands.payers import entitlements_command, refusals_command
from farthing.commands.receipts import receipt_command, verify_receipt_command
from farthing.commands.redeeming import redeem_command, refund_command
from farthing.commands.replay import replay_command
from farthing.commands.serving import devnet_command, init_command, serve_command
from farthing.commands.status import status_command
from farthing.commands.wallet import wallet_command
from farthing.protocol.errors import FarthingError
from farthing.wallet import WalletError

INTERRUPTED = 130
BUG = 70
DEBUG_VARIABLE = "FARTHING_DEBUG"


@click.group()
@click.version_option(package_name="farthing")
def cli() -> None:
    """Charge fractions of a cent: signed vouchers off chain, cheap redemption on chain."""


for command in (
    serve_command,
    status_command,
    redeem_command,
    channels_command,
    charges_command,
    entitlements_command,
    refusals_command,
    transactions_command,
    refund_command,
    check_command,
    backup_command,
    restore_command,
    init_command,
    devnet_command,
    replay_command,
    wallet_command,
    verify_receipt_command,
):
    cli.add_command(command)
wallet_command.add_command(receipt_command)


def main() -> None:
    """Runs the command line: a user meets one sentence and an exit code, never a traceback."""
    try:
        cli.main(standalone_mode=False)
    except FarthingError as error:
        click.echo(f"farthing: {error}", err=True)
        sys.exit(error.exit_code if isinstance(error, WalletError) else 1)
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
