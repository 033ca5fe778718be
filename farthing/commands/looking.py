"""What the ledger has: `farthing channels`, `charges` and `transactions`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from farthing.commands.options import (
    ChannelId,
    Moment,
    books,
    config_option,
    csv_option,
    json_lines_option,
    limit_option,
    print_csv,
    print_json_lines,
    print_table,
    taken,
    when,
)
from farthing.ledger import Channel, Charge, Ledger, QueuedTransaction
from farthing.operations.money import Unit, unit_of
from farthing.protocol.amounts import from_units
from farthing.protocol.values import address
from farthing.settings import COIN_DECIMALS, Settings

PAGE = 1_000
# Rows of a table for people, when they do not say how many.
ROWS = 100
STATES = ("queued", "signed", "mined", "final", "failed", "refused")


@click.command("channels")
@config_option
@click.option("--payer", metavar="ADDRESS", help="Only this payer's.")
@click.option("--withdrawing", is_flag=True, help="Only those whose payer takes money back.")
@limit_option
@csv_option
@json_lines_option
def channels_command(
    config: Path,
    payer: str | None,
    withdrawing: bool,
    limit: int | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """List the readers' channels: what they hold, and what was charged of it.

    JSON has amounts in the token's smallest unit, CSV and the table in units of the token. The
    table has 100 rows, unless --limit says otherwise.
    """
    settings = Settings.load(config)
    checked = None if payer is None else address("--payer", payer)
    with books(settings) as ledger:
        if not (as_csv or as_json):
            limit = limit or ROWS
        found = taken(_channels(ledger, checked, withdrawing), limit)
        if as_json:
            print_json_lines(map(_channel_json, found))
            return
        unit = unit_of(settings, ledger)
        names = ("channel", "payer", "balance", "charged", "claimed", "withdraws", "ends")
        rows = (_channel_row(each, unit) for each in found)
        (print_csv if as_csv else print_table)(names, rows)


@click.command("charges")
@config_option
@click.option("--channel", type=ChannelId(), help="Only this channel's.")
@click.option("--route", help="Only those for it, as the settings write it.")
@click.option("--since", type=Moment(), help="Only those made then or later, in UTC.")
@click.option("--until", type=Moment(), help="Only those made before.")
@limit_option
@csv_option
@json_lines_option
def charges_command(
    config: Path,
    channel: bytes | None,
    route: str | None,
    since: int | None,
    until: int | None,
    limit: int | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """List what was charged: oldest first for machines, newest first for people.

    JSON has amounts in the token's smallest unit, CSV and the table in units of the token. The
    table has 100 rows, unless --limit says otherwise.
    """
    settings = Settings.load(config)
    is_table = not (as_csv or as_json)

    def pages(ledger: Ledger) -> Iterator[list[Charge]]:
        after = 0
        while page := ledger.charges(
            channel_id=channel,
            route=route,
            since=since,
            until=until,
            after=after,
            limit=PAGE,
            newest_first=is_table,
        ):
            yield page
            after = page[-1].id

    with books(settings) as ledger:
        found = taken(pages(ledger), (limit or ROWS) if is_table else limit)
        if as_json:
            print_json_lines(map(_charge_json, found))
            return
        unit = unit_of(settings, ledger)
        names = ("id", "time", "channel", "route", "amount", "total", "price", "request", "reason")
        rows = (_charge_row(each, unit) for each in found)
        (print_csv if as_csv else print_table)(names, rows)


@click.command("transactions")
@config_option
@click.option("--state", type=click.Choice(STATES), multiple=True, help="Only in this state.")
@limit_option
@json_lines_option
def transactions_command(
    config: Path, state: tuple[str, ...], limit: int | None, as_json: bool
) -> None:
    """List what was sent to the chain or waits to be, newest first."""
    settings = Settings.load(config)

    def pages(ledger: Ledger) -> Iterator[list[QueuedTransaction]]:
        after = 0
        while page := ledger.transactions(
            states=state or None, after=after, limit=PAGE, newest_first=True
        ):
            yield page
            after = page[-1].id

    with books(settings) as ledger:
        found = taken(pages(ledger), limit if as_json else limit or ROWS)
        if as_json:
            print_json_lines(transaction_json(ledger, each) for each in found)
            return
        names = ("id", "ordered", "kind", "state", "nonce", "block", "cost", "hash", "why")
        print_table(names, (_transaction_row(ledger, each) for each in found))


def transaction_json(ledger: Ledger, each: QueuedTransaction) -> dict[str, object]:
    """A transaction, for machines."""
    return {
        "id": each.id,
        "kind": each.kind,
        "state": each.state,
        "nonce": each.nonce,
        "block": each.block,
        "hash": _hash(ledger, each),
        "channels": len(ledger.rows(each.id)),
        "gas_used": each.gas_used,
        "fee_wei": str(each.fee),
        "reason": each.reason,
        "created_at": each.created_at,
        "updated_at": each.updated_at,
    }


def _transaction_row(ledger: Ledger, each: QueuedTransaction) -> tuple[object, ...]:
    return (
        each.id,
        when(each.created_at),
        each.kind,
        each.state,
        "" if each.nonce is None else each.nonce,
        each.block or "",
        from_units(each.fee, COIN_DECIMALS) if each.fee else "",
        _hash(ledger, each),
        each.reason,
    )


def _hash(ledger: Ledger, each: QueuedTransaction) -> str:
    """The hash of the signing that is on its way, or was the last."""
    attempts = ledger.attempts(each.id)
    return "0x" + attempts[-1].hash.hex() if attempts else ""


def _channels(ledger: Ledger, payer: str | None, withdrawing: bool) -> Iterator[list[Channel]]:
    after = b""
    while page := ledger.channels(after=after, limit=PAGE, payer=payer, withdrawing=withdrawing):
        yield page
        after = page[-1].channel_id


def _ends(channel: Channel) -> int:
    """When a pending withdrawal may be taken; 0 without one."""
    asked_at = channel.state.mirror.withdraw_requested_at
    return asked_at + channel.config.withdraw_delay if asked_at else 0


def _channel_json(channel: Channel) -> dict[str, object]:
    state, mirror = channel.state, channel.state.mirror
    return {
        "channel": "0x" + channel.channel_id.hex(),
        "payer": channel.config.payer,
        "payer_authorizer": channel.config.payer_authorizer,
        "receiver_authorizer": channel.config.receiver_authorizer,
        "balance": str(mirror.balance),
        "charged": str(state.charged),
        "claimed": str(mirror.total_claimed),
        "charges": state.charges,
        "withdraw_amount": str(mirror.withdraw_amount),
        "withdraw_ends_at": _ends(channel),
        "synced_at": mirror.synced_at // 1_000,
    }


def _channel_row(channel: Channel, unit: Unit) -> tuple[object, ...]:
    mirror = channel.state.mirror
    return (
        "0x" + channel.channel_id.hex(),
        channel.config.payer,
        unit.plain(mirror.balance),
        unit.plain(channel.state.charged),
        unit.plain(mirror.total_claimed),
        unit.plain(mirror.withdraw_amount) if mirror.withdraw_amount else "",
        when(_ends(channel)),
    )


def _charge_json(charge: Charge) -> dict[str, object]:
    return {
        "id": charge.id,
        "time": charge.time,
        "channel": "0x" + charge.channel_id.hex(),
        "route": charge.route,
        "amount": str(charge.amount),
        "total": str(charge.total),
        "price": str(charge.price),
        "request": charge.request_id,
        "reason": charge.reason,
    }


def _charge_row(charge: Charge, unit: Unit) -> tuple[object, ...]:
    return (
        charge.id,
        when(charge.time),
        "0x" + charge.channel_id.hex(),
        charge.route,
        unit.plain(charge.amount),
        unit.plain(charge.total),
        unit.plain(charge.price),
        charge.request_id,
        charge.reason,
    )
