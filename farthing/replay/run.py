"""The main job on real input: from an access log to redeemed escrow, with the books proven."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from eth_account.signers.local import LocalAccount
from web3 import Web3

from farthing.chain.deployment import as_deployment, place_all
from farthing.chain.sender import Sender, Transaction
from farthing.chain.settlement import Settlement
from farthing.chain.token import MAX_MINT, Token
from farthing.protocol import DepositAuthorization, sign
from farthing.redeemer import Redemption, redeem
from farthing.replay.access_log import Entry, Unreadable
from farthing.replay.prices import PriceList
from farthing.replay.readers import Reader, Readers, Terms
from farthing.replay.report import UNREADABLE_SHOWN, Market, ReplayReport

WITHDRAW_DELAY = 86_400
# An authorization's end that never comes; the smallest number of bytes that says so.
NEVER = 2**40 - 1
# One mint names at most this many accounts, so that it fits a block beside others.
MINT_BATCH = min(MAX_MINT, 200)


class Progress(Protocol):
    """Hears how far a replay is. ``total`` is None while it is not known."""

    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, steps: int) -> None: ...


@dataclass
class Tally:
    """What was read of the log so far."""

    lines: int = 0
    paid_reads: int = 0
    free_reads: int = 0
    unpaid: int = 0
    skipped: int = 0
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True)
class Stage:
    """A chain with the contracts in place, and the publisher's account, which pays all gas."""

    w3: Web3
    name: str
    publisher: Sender
    authorizer: LocalAccount
    settlement: Settlement
    token: Token
    collector: str


def set_stage(w3: Web3, name: str, account: LocalAccount) -> Stage:
    """Puts the contracts and the test dollar on the chain, or finds them there.

    Raises: as `farthing.chain.deployment.place_all`.
    """
    publisher = Sender(w3, account)
    deployment = as_deployment(w3.eth.chain_id, place_all(publisher, test_token=True))
    return Stage(
        w3=w3,
        name=name,
        publisher=publisher,
        authorizer=account,
        settlement=Settlement(w3, deployment.settlement),
        token=Token(w3, str(deployment.token)),
        collector=deployment.erc3009_collector,
    )


def replay(
    entries: Iterable[Entry],
    prices: PriceList,
    stage: Stage,
    market: Market,
    *,
    deposit: int,
    progress: Progress,
) -> ReplayReport:
    """Charges every paid read of a log and redeems it.

    Args:
        entries: The log.
        prices: What each path costs.
        deposit: Smallest units a reader escrows at a time; it tops up when that is used up.

    Raises: VoucherRejected, and as the chain's `Sender.transact`. What was put on the chain by
        then stays there; the readers' money can be withdrawn from it.
    """
    started = time.monotonic()
    readers = Readers(_terms(stage))
    tally = _read(entries, prices, readers, progress)

    mint = -(-max((reader.charged for reader in readers), default=0) // deposit) * deposit
    _mint(stage, readers, mint, progress)
    before = Wealth.of(stage, readers, progress)
    deposits = [_deposits(stage, reader, deposit) for reader in readers]
    gas_deposits = _send(stage, [each for some in deposits for each in some], progress)
    redemption = _redeem(stage, readers, progress)
    after = Wealth.of(stage, readers, progress)

    return ReplayReport(
        chain=stage.name,
        market=market,
        token_symbol=stage.token.symbol,
        token_decimals=stage.token.decimals,
        lines=tally.lines,
        skipped_lines=tally.skipped,
        paid_reads=tally.paid_reads,
        free_reads=tally.free_reads,
        unpaid=tally.unpaid,
        readers=len(readers),
        revenue=readers.charged,
        payers_paid=before.payers - after.payers,
        receiver_got=after.receiver - before.receiver,
        deposits=sum(len(some) for some in deposits),
        batches=redemption.batches,
        gas_deposits=gas_deposits,
        gas_redemption=redemption.gas,
        milliseconds=int((time.monotonic() - started) * 1_000),
        unreadable=tally.unreadable,
    )


@dataclass(frozen=True)
class Wealth:
    """What payers own (in their wallets, and unclaimed in escrow) and what the receiver holds."""

    payers: int
    receiver: int

    @classmethod
    def of(cls, stage: Stage, readers: Readers, progress: Progress) -> "Wealth":
        """Reads every balance from the chain, trusting nothing that was computed here."""
        progress.stage("Reading balances", len(readers))
        payers = 0
        for reader in readers:
            payers += stage.token.balance_of(reader.account.address)
            payers += stage.settlement.channel(reader.channel_id).available
            progress.advance(1)
        return cls(payers, stage.token.balance_of(stage.publisher.address))


def _terms(stage: Stage) -> Terms:
    # Readers of an earlier replay on the same chain are left alone: the publisher has sent
    # transactions since, so its count names a run that was not there before.
    run = stage.w3.eth.get_transaction_count(stage.publisher.address)
    return Terms(
        domain=stage.settlement.domain,
        receiver=stage.publisher.address,
        receiver_authorizer=stage.authorizer.address,
        token=stage.token.address,
        withdraw_delay=WITHDRAW_DELAY,
        run=run,
    )


def _read(
    entries: Iterable[Entry], prices: PriceList, readers: Readers, progress: Progress
) -> Tally:
    progress.stage("Reading the log, signing vouchers", None)
    tally = Tally()
    for entry in entries:
        tally.lines += 1
        progress.advance(1)
        if isinstance(entry, Unreadable):
            tally.skipped += 1
            if len(tally.unreadable) < UNREADABLE_SHOWN:
                tally.unreadable += (entry,)
        elif not entry.delivered:
            tally.unpaid += 1
        elif price := prices.charge(entry):
            tally.paid_reads += 1
            readers.pay(entry.client, price)
        else:
            tally.free_reads += 1
    return tally


def _mint(stage: Stage, readers: Readers, amount: int, progress: Progress) -> None:
    progress.stage("Giving readers test dollars", len(readers))
    remaining = iter(readers)
    while some := list(islice(remaining, MINT_BATCH)):
        addresses = [reader.account.address for reader in some]
        stage.publisher.transact(stage.token.plan_mint(addresses, amount))
        progress.advance(len(some))


def _deposits(stage: Stage, reader: Reader, deposit: int) -> list[Transaction]:
    direct = stage.settlement.has_redeem
    transactions = []
    for salt in range(-(-reader.charged // deposit)):
        authorization = DepositAuthorization(
            payer=reader.account.address,
            collector=stage.settlement.address if direct else stage.collector,
            amount=deposit,
            valid_after=0,
            valid_before=NEVER,
            channel_id=reader.channel_id,
            salt=salt,
        )
        signature = sign(reader.account, authorization, stage.token.domain)
        transactions.append(
            stage.settlement.plan_deposit_with_authorization(
                reader.channel, authorization, signature
            )
            if direct
            else stage.settlement.plan_deposit(
                reader.channel, deposit, stage.collector, authorization.collector_data(signature)
            )
        )
    return transactions


def _send(stage: Stage, deposits: list[Transaction], progress: Progress) -> int:
    progress.stage("Depositing", len(deposits))
    gas = 0
    for receipt in stage.publisher.transact_all(deposits):
        gas += receipt["gasUsed"]
        progress.advance(1)
    return gas


def _redeem(stage: Stage, readers: Readers, progress: Progress) -> Redemption:
    progress.stage("Redeeming", len(readers))
    claims = (reader.claim() for reader in readers)
    return redeem(
        stage.settlement, stage.publisher, stage.authorizer, claims, on_batch=progress.advance
    )
