"""`farthing redeem` and `farthing refund`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from farthing.chain.journal import FAILED, FINAL, MINED, REFUSED, Queued
from farthing.commands.options import ChannelId, asker, books, config_option, json_option
from farthing.opening import open_contracts, open_keys
from farthing.operations.parts import OpenRedeemer, open_queue, open_redeemer
from farthing.operations.refunds import refund
from farthing.protocol.amounts import AmountInvalid, from_units, to_units
from farthing.redeemer.plan import Plan
from farthing.settings import COIN_DECIMALS, Settings

# Seconds in which a transaction should be in a block.
WAIT_SECONDS = 120
# Seconds until a step is tried again that another redeemer is at.
PAUSE = 0.5
ENDS = {
    MINED: "is in block {block}",
    FINAL: "is in block {block}, for good",
    FAILED: "failed: {reason}",
    REFUSED: "was not sent: {reason}",
}


@click.command("redeem")
@config_option
@click.option("--now", is_flag=True, help="All that brings more than it costs, due or not.")
@click.option("--dry-run", is_flag=True, help="Only say what would be redeemed, and what not.")
@json_option
def redeem_command(config: Path, now: bool, dry_run: bool, as_json: bool) -> None:
    """Redeem what is due by the policy of farthing.toml, and wait until it is in a block.

    Says what is redeemed, what that costs, and what is left and why. It may be given while
    `farthing serve` runs: nothing is redeemed twice. Ends with 1 if a transaction failed.
    """
    settings = Settings.load(config)
    keys = open_keys(settings, asker())
    contracts = open_contracts(settings)
    decimals, symbol = contracts.token.decimals, contracts.token.symbol

    def show(units: int) -> str:
        return f"{from_units(units, decimals)} {symbol}"

    with _opened(open_redeemer(settings, keys, contracts)) as opened:
        plans, sent, problems = [], [], []
        if dry_run:
            plans.append(opened.redeemer.plan(now=now))
        # Once more as long as something was ordered: not all may have had room at a time.
        is_over, until = dry_run, time.monotonic() + WAIT_SECONDS
        while not is_over:
            step = opened.redeemer.step(now=now)
            problems += step.problems
            if step.plan is None:
                # One that serves has the lease for a step, and gives it back.
                if time.monotonic() >= until:
                    problems.append(step.why)
                    break
                time.sleep(PAUSE)
                continue
            plans.append(step.plan)
            sent += [opened.queue.wait(number, WAIT_SECONDS) for number in step.submitted]
            is_over = not step.submitted
    if as_json:
        click.echo(json.dumps(_plans_json(plans, sent, problems)))
    else:
        # The last plan is of what is left; those before it say what was redeemed.
        for plan in plans[:-1] or plans:
            click.echo("\n".join(plan.lines(show)))
        for each in sent:
            click.echo(_line(each))
        for problem in problems:
            click.echo(f"Problem  {problem}")
    if problems or any(each.state in (FAILED, REFUSED) for each in sent):
        sys.exit(1)


@click.command("refund")
@click.argument("channel", type=ChannelId())
@click.option("--amount", help="In units of the token; all that is left, if left out.")
@config_option
def refund_command(channel: bytes, amount: str | None, config: Path) -> None:
    """Give the payer of CHANNEL back what was not charged, after claiming what was.

    The payer needs to do nothing, and gets the money at once.
    """
    settings = Settings.load(config)
    keys = open_keys(settings, asker())
    contracts = open_contracts(settings)
    decimals, symbol = contracts.token.decimals, contracts.token.symbol
    try:
        units = None if amount is None else to_units(amount, decimals)
    except AmountInvalid as error:
        raise click.BadParameter(f"{error}.", param_hint="--amount") from error
    with books(settings) as ledger, books(settings) as journal:
        queue = open_queue(settings, keys, contracts, journal, "refund")
        done = refund(ledger, contracts.settlement, queue, keys.authorizer, channel, units)
    if done.claimed:
        click.echo(f"Claims   {from_units(done.claimed, decimals)} {symbol}")
    click.echo(f"Refunds  {from_units(done.amount, decimals)} {symbol}")
    click.echo(_line(done.transaction))
    if done.transaction.state in (FAILED, REFUSED):
        sys.exit(1)


@contextmanager
def _opened(opened: OpenRedeemer) -> Iterator[OpenRedeemer]:
    try:
        yield opened
    finally:
        opened.close()


def _line(sent: Queued) -> str:
    """A transaction, and what became of it."""
    end = ENDS.get(sent.state, "is on its way, and `farthing serve` follows it: {reason}")
    cost = f" for {from_units(sent.fee, COIN_DECIMALS)} coins" if sent.fee else ""
    told = end.format(block=sent.block, reason=sent.reason or "no block has it yet")
    return f"Sent     transaction {sent.id}, a {sent.kind}, {told}{cost}"


def _plans_json(plans: list[Plan], sent: list[Queued], problems: list[str]) -> dict[str, object]:
    redeemed = [plan for plan in plans if plan.batches or plan.settles]
    last = plans[-1] if plans else None
    return {
        "why": plans[0].why if plans else "",
        "transactions_planned": sum(len(plan.batches) + len(plan.settles) for plan in redeemed),
        "channels": sum(plan.channels for plan in redeemed),
        "value": str(sum(plan.value for plan in redeemed)),
        "cost": str(sum(plan.cost for plan in redeemed)),
        "left": [
            {"reason": left.reason.value, "channels": left.channels, "value": str(left.value)}
            for left in (last.left if last else ())
        ],
        "sent": [
            {
                "id": each.id,
                "kind": each.kind,
                "state": each.state,
                "block": each.block,
                "gas_used": each.gas_used,
                "fee_wei": str(each.fee),
                "reason": each.reason,
            }
            for each in sent
        ],
        "problems": problems,
    }
