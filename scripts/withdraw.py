"""Takes back, as the payer, what is in a channel and not claimed: asks first, gets it later."""

from datetime import UTC, datetime
from pathlib import Path

import click
from ape.api import AccountAPI

from farthing.chain.reverts import WithdrawDelayNotElapsed
from farthing.chain.sender import Sender
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from scripts._channels import ChannelFile
from scripts._support import (
    BadInput,
    Command,
    account_option,
    catch_up_with_the_clock,
    chain,
    show,
    signer,
    to_units,
)


@click.command(cls=Command)
@account_option()
@click.argument("channel", type=click.Path(path_type=Path))
@click.option("--amount", metavar="DECIMAL", help="[default: all that is not claimed]")
def cli(account: AccountAPI | None, channel: Path, amount: str | None) -> None:
    """Initiate a withdrawal from CHANNEL, a file that fund wrote, or finalize the pending one.

    The account is the channel's payer or payer authorizer. The money goes to the payer.
    """
    w3 = chain()
    owner = signer(account)
    on_file = ChannelFile.load(channel, w3.eth.chain_id)
    config = on_file.config
    if owner.address not in (config.payer, config.payer_authorizer):
        raise BadInput(
            f"{owner.address} is neither payer nor payer authorizer of this channel: withdraw "
            f"from {config.payer}."
        )
    settlement = Settlement(w3, on_file.domain.contract)
    token = Token(w3, config.token)
    sender = Sender(w3, owner)

    pending = settlement.pending_withdrawal(on_file.channel_id)
    if pending is not None:
        ready = pending.initiated_at + config.withdraw_delay
        shown = show(pending.amount, token.decimals, token.symbol)
        before = token.balance_of(config.payer)
        catch_up_with_the_clock()
        try:
            settlement.finalize_withdraw(sender, config)
        except WithdrawDelayNotElapsed as error:
            raise BadInput(
                f"the withdrawal of {shown} waits until {_time(ready)}: run this again then."
            ) from error
        paid = token.balance_of(config.payer) - before
        click.echo(f"Withdrawn: {show(paid, token.decimals, token.symbol)} went to {config.payer}.")
        return

    available = settlement.channel(on_file.channel_id).available
    units = available if amount is None else to_units("--amount", amount, token.decimals)
    if not available or units > available:
        raise BadInput(
            f"the channel has {show(available, token.decimals, token.symbol)} that is not "
            "claimed: there is no more to withdraw."
        )
    settlement.initiate_withdraw(sender, config, units)
    started = settlement.pending_withdrawal(on_file.channel_id)
    ready = (started.initiated_at if started else 0) + config.withdraw_delay
    click.echo(f"Withdrawal of {show(units, token.decimals, token.symbol)} initiated.")
    click.echo(f"It can be finalized from {_time(ready)} on: run this again then.")


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
