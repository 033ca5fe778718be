"""The main job in one go: a thousand payments on one deposit, and where every unit went."""

from dataclasses import dataclass

import ape
import click
from ape.api import AccountAPI
from eth_account import Account
from eth_account.signers.local import LocalAccount

from farthing.chain.deployment import as_deployment, place_all
from farthing.chain.sender import Sender
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.protocol import (
    MIN_WITHDRAW_DELAY,
    ChannelConfig,
    DepositAuthorization,
    FarthingError,
    Voucher,
    VoucherClaim,
    is_payer_signature,
    sign,
)
from farthing.redeemer import redeem
from scripts._channels import ChannelFile
from scripts._support import CHANNELS, Command, account_option, chain, show, signer

PAYMENTS = 1_000
PRICE = 2_500  # a quarter of a cent of a token with six decimals
DEPOSIT = 5_000_000
DELAY = MIN_WITHDRAW_DELAY
FOREVER = 2**40 - 1


class BooksDoNotBalance(FarthingError):
    """Payer, receiver and contract do not add up."""


@dataclass(frozen=True)
class Wealth:
    """What a payer owns, in the wallet and unclaimed in escrow, and what a receiver holds."""

    payer: int
    receiver: int


@click.command(cls=Command)
@account_option()
def cli(account: AccountAPI | None) -> None:
    """Deploy, deposit, sign 1,000 payments, redeem them, and take the rest back.

    The account is the payer and pays the gas; receiver and keys are made for the occasion. All
    money is the test dollar.
    """
    w3 = chain()
    payer = signer(account)
    sender = Sender(w3, payer)
    session, publisher = Account.create(), Account.create()

    contracts = as_deployment(w3.eth.chain_id, place_all(sender, test_token=True))
    settlement, token = Settlement(w3, contracts.settlement), Token(w3, str(contracts.token))
    _line("Contract", f"{settlement.address} on chain {w3.eth.chain_id}")

    config = ChannelConfig(
        payer=payer.address,
        payer_authorizer=session.address,
        receiver=publisher.address,
        receiver_authorizer=publisher.address,
        token=token.address,
        withdraw_delay=DELAY,
        salt=bytes(32),
    )
    channel = ChannelFile(settlement.domain, config)
    sender.transact(token.plan_mint([payer.address], DEPOSIT))
    before = _wealth(settlement, token, config)
    authorization = DepositAuthorization(
        payer=payer.address,
        collector=contracts.erc3009_collector,
        amount=DEPOSIT,
        valid_after=0,
        valid_before=FOREVER,
        channel_id=channel.channel_id,
        salt=0,
    )
    data = authorization.collector_data(sign(payer, authorization, token.domain))
    receipt = settlement.deposit(sender, config, DEPOSIT, contracts.erc3009_collector, data)
    _line("Deposit", f"{_money(token, DEPOSIT)}, {receipt['gasUsed']:,} gas")

    last = _pay(settlement, config, session)
    _line("Payments", f"{PAYMENTS:,} of {_money(token, PRICE)}, signed and checked, 0 gas")

    redemption = redeem(settlement, sender, publisher, [last])
    _line("Redeemed", f"{_money(token, redemption.paid)} in one voucher, {redemption.gas:,} gas")
    _line("", f"{redemption.gas / PAYMENTS:,.0f} gas a payment")

    rest = settlement.channel(channel.channel_id).available
    settlement.initiate_withdraw(sender, config, rest)
    if _skip_time(DELAY):
        settlement.finalize_withdraw(sender, config)
        _line("Withdrawn", f"{_money(token, rest)} after {DELAY} seconds (the clock was moved)")
    else:
        path = channel.save(CHANNELS)
        _line("Withdrawal", f"{_money(token, rest)} in {DELAY} seconds: ape run withdraw {path}")

    _prove(before, _wealth(settlement, token, config), token)


def _pay(settlement: Settlement, config: ChannelConfig, session: LocalAccount) -> VoucherClaim:
    """Signs and checks one voucher for every payment, and keeps the last: it stands for all."""
    channel_id = config.channel_id(settlement.domain)
    signature = b""
    for number in range(1, PAYMENTS + 1):
        voucher = Voucher(channel_id, number * PRICE)
        signature = sign(session, voucher, settlement.domain)
        if not is_payer_signature(config, voucher.digest(settlement.domain), signature):
            raise BooksDoNotBalance(f"payment {number} has a signature that does not count.")
    return VoucherClaim(config, PAYMENTS * PRICE, signature, PAYMENTS * PRICE)


def _wealth(settlement: Settlement, token: Token, config: ChannelConfig) -> Wealth:
    escrow = settlement.channel(config.channel_id(settlement.domain)).available
    payer = token.balance_of(config.payer) + escrow
    return Wealth(payer, token.balance_of(config.receiver))


def _prove(before: Wealth, after: Wealth, token: Token) -> None:
    lost, gained = before.payer - after.payer, after.receiver - before.receiver
    if not lost == gained == PAYMENTS * PRICE:
        raise BooksDoNotBalance(
            f"the books do not balance: the payer lost {lost}, the receiver gained {gained}, and "
            f"the payments were {PAYMENTS * PRICE}."
        )
    _line("Books", f"the payer lost {_money(token, lost)}, the receiver gained the same")


def _skip_time(seconds: int) -> bool:
    """Moves a development chain's clock; False where time passes by itself."""
    if not ape.networks.provider.network.is_dev:
        return False
    ape.chain.pending_timestamp += seconds
    return True


def _money(token: Token, units: int) -> str:
    return show(units, token.decimals, token.symbol)


def _line(what: str, text: str) -> None:
    click.echo(f"{what:<11}{text}")
