"""Queries that list: written once for both databases, which differ in how a value is marked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from farthing.ledger.columns import CHARGE, CONFIG, ENTITLEMENT, STATE, TRANSACTION
from farthing.ledger.records import Entitled

# The place of a named value in a query.
Mark: TypeAlias = Callable[[str], str]


# For `Ledger.lift_fee_limits`.
LIFT_FEE_LIMITS = """
    UPDATE transactions SET fee_limit = NULL
    WHERE fee_limit IS NOT NULL AND state IN ('queued', 'signed') AND id IN (
        SELECT transaction_id FROM transaction_rows JOIN channels USING (channel_id)
        WHERE withdraw_requested_at > 0
    )"""


def charges_query(mark: Mark, asked: Mapping[str, Any], *, newest_first: bool) -> str:
    """For `Ledger.charges`; ``asked`` has its arguments by name, and so have the values."""
    conditions = _conditions(
        asked,
        route=f"route = {mark('route')}",
        since=f"time >= {mark('since')}",
        until=f"time < {mark('until')}",
    )
    if asked["channel_id"] is None:
        return _page(mark, CHARGE, "charges", conditions, asked, newest_first)
    # Linked from the last one, or where the page before ended, back to the first.
    first = f"SELECT last_charge FROM channels WHERE channel_id = {mark('channel_id')}"
    lowest = mark("after")
    if newest_first:
        lowest = "0"
        if asked["after"]:
            first = (
                f"SELECT previous FROM charges WHERE id = {mark('after')} "
                f"AND channel_id = {mark('channel_id')}"
            )
    chain = f"""WITH RECURSIVE chain AS (
            SELECT * FROM charges WHERE id = ({first}) AND id > {lowest}
            UNION ALL
            SELECT charges.* FROM chain JOIN charges ON charges.id = chain.previous
            WHERE charges.id > {lowest}
        ) SELECT {CHARGE} FROM chain WHERE {conditions}"""
    # Newest first is how they are found, and after the last of a page nothing more is looked for.
    order = "" if newest_first else " ORDER BY id"
    return f"{chain}{order} LIMIT {mark('limit')}"


def transactions_query(mark: Mark, asked: Mapping[str, Any], *, newest_first: bool) -> str:
    """For `Ledger.transactions`; its states are values ``state0`` and so on."""
    # None of none: PostgreSQL knows no empty list.
    states = ", ".join(map(mark, _states(asked))) or "NULL"
    conditions = _conditions(
        asked, sender=f"sender = {mark('sender')}", states=f"state IN ({states})"
    )
    return _page(mark, TRANSACTION, "transactions", conditions, asked, newest_first)


def transactions_values(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The values for it."""
    return {**asked, **_states(asked)}


def channels_query(mark: Mark, asked: Mapping[str, Any], *, withdrawing: bool) -> str:
    """For `Ledger.channels`."""
    conditions = _conditions(asked, payer=f"payer = {mark('payer')}")
    if withdrawing:
        conditions += " AND withdraw_requested_at > 0"
    return (
        f"SELECT channel_id, {CONFIG}, {STATE} FROM channels "
        f"WHERE channel_id > {mark('after_id')} AND {conditions} "
        f"ORDER BY channel_id LIMIT {mark('limit')}"
    )


def entitlements_query(mark: Mark, values: Mapping[str, Any]) -> str:
    """For `Ledger.entitlements`."""
    conditions = _conditions(
        values,
        payer=f"payer = {mark('payer')}",
        after_payer=(
            # The first alone finds the place in an index.
            f"payer >= {mark('after_payer')} AND "
            f"(payer, signer, kind, item) > ({mark('after_payer')}, {mark('after_signer')}, "
            f"{mark('after_kind')}, {mark('after_item')})"
        ),
    )
    return (
        f"SELECT payer, signer, {ENTITLEMENT}, charge FROM payers "
        f"JOIN entitlements ON entitlements.payer_id = payers.payer_id WHERE {conditions} "
        f"ORDER BY payer, signer, kind, item LIMIT {mark('limit')}"
    )


def entitlements_values(payer: str | None, after: Entitled | None, limit: int) -> dict[str, Any]:
    """The values for it."""
    return {
        "payer": payer,
        "after_payer": after and after.payer.address,
        "after_signer": after and after.payer.signer,
        "after_kind": after and after.entitlement.kind,
        "after_item": after and after.entitlement.item,
        "limit": limit,
    }


def _states(asked: Mapping[str, Any]) -> dict[str, str]:
    return {f"state{place}": state for place, state in enumerate(asked["states"] or ())}


def _conditions(asked: Mapping[str, Any], **conditions: str) -> str:
    wanted = [text for name, text in conditions.items() if asked[name] is not None]
    return " AND ".join(wanted) or "true"


def _page(
    mark: Mark,
    columns: str,
    table: str,
    conditions: str,
    asked: Mapping[str, Any],
    newest_first: bool,
) -> str:
    if asked["after"]:
        conditions += f" AND id {'<' if newest_first else '>'} {mark('after')}"
    direction = "DESC" if newest_first else "ASC"
    return (
        f"SELECT {columns} FROM {table} WHERE {conditions} "
        f"ORDER BY id {direction} LIMIT {mark('limit')}"
    )
