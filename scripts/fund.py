"""Deposits into a channel, as its payer: signs an ERC-3009 authorization and sends it."""

import secrets

import click
from ape.api import AccountAPI

from farthing.chain.sender import Sender, TransactionLost
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.protocol import ChannelConfig, DepositAuthorization, sign
from scripts._channels import ChannelFile
from scripts._support import (
    CHANNELS,
    BadInput,
    Command,
    account_option,
    chain,
    deployment,
    show,
    signer,
    to_units,
)

# How long the authorization may wait for its block.
VALID_SECONDS = 3_600


@click.command(cls=Command)
@account_option()
@click.option("--receiver", required=True, metavar="ADDRESS", help="Who is to be paid.")
@click.option("--amount", required=True, metavar="DECIMAL", help="For example 5.00.")
@click.option(
    "--receiver-authorizer", metavar="ADDRESS", help="Who signs claims. [default: the receiver]"
)
@click.option(
    "--payer-authorizer", metavar="ADDRESS", help="Who signs vouchers. [default: the account]"
)
@click.option("--token", metavar="ADDRESS", help="An ERC-3009 token. [default: the test dollar]")
@click.option("--delay", default=86_400, show_default=True, help="Seconds a withdrawal waits.")
@click.option("--salt", default=0, show_default=True, help="Tells further channels apart.")
@click.option("--mint", is_flag=True, help="Make the money first; the test dollar only.")
def cli(
    account: AccountAPI | None,
    receiver: str,
    amount: str,
    receiver_authorizer: str | None,
    payer_authorizer: str | None,
    token: str | None,
    delay: int,
    salt: int,
    mint: bool,
) -> None:
    """Deposit into a channel and write its config to a file.

    The account is the payer, and pays the gas. The same parties, delay and salt are the same
    channel: a second deposit adds to the first.
    """
    w3 = chain()
    payer = signer(account)
    contracts = deployment()
    settlement = Settlement(w3, contracts.settlement)
    money = Token(w3, _token(token, contracts.token))
    units = to_units("--amount", amount, money.decimals)
    config = ChannelConfig(
        payer=payer.address,
        payer_authorizer=payer_authorizer or payer.address,
        receiver=receiver,
        receiver_authorizer=receiver_authorizer or receiver,
        token=money.address,
        withdraw_delay=delay,
        salt=_salt(salt),
    )
    channel = ChannelFile(settlement.domain, config)
    held = money.balance_of(payer.address)
    if held < units and not mint:
        raise BadInput(
            f"{payer.address} holds {show(held, money.decimals, money.symbol)}, less than the "
            f"deposit of {show(units, money.decimals, money.symbol)}: get more, or give --mint if "
            "this is the test dollar."
        )

    sender = Sender(w3, payer)
    if mint:
        sender.transact(money.plan_mint([payer.address], units))
    authorization = DepositAuthorization(
        payer=payer.address,
        collector=contracts.erc3009_collector,
        amount=units,
        valid_after=0,
        valid_before=w3.eth.get_block("latest")["timestamp"] + VALID_SECONDS,
        channel_id=channel.channel_id,
        salt=secrets.randbits(256),
    )
    data = authorization.collector_data(sign(payer, authorization, money.domain))
    try:
        receipt = settlement.deposit(sender, config, units, contracts.erc3009_collector, data)
    except TransactionLost:
        # It may still be mined, and then its channel must not be lost.
        channel.save(CHANNELS)
        raise
    path = channel.save(CHANNELS)

    balance = settlement.channel(channel.channel_id).balance
    click.echo(f"Channel 0x{channel.channel_id.hex()}")
    click.echo(f"  deposited {show(units, money.decimals, money.symbol)}")
    click.echo(f"  balance   {show(balance, money.decimals, money.symbol)}")
    click.echo(f"  gas       {receipt['gasUsed']:,}")
    click.echo(f"Written to {path}.")


def _token(given: str | None, deployed: str | None) -> str:
    address = given or deployed
    if address is None:
        raise BadInput(
            "no token: name one with --token, or run `ape run deploy --test-token` first."
        )
    return address


def _salt(number: int) -> bytes:
    if not 0 <= number < 2**256:
        raise BadInput(f"--salt {number} does not fit: give a whole number of 0 to 2**256 - 1.")
    return number.to_bytes(32, "big")
