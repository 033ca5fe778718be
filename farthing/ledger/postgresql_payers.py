"""The part of a PostgreSQL ledger that keeps what rules of prices know of payers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from farthing.ledger.columns import ENTITLEMENT, REFUSAL, TALLY
from farthing.ledger.listings import entitlements_query, entitlements_values
from farthing.ledger.postgresql_part import PostgresPart, mark
from farthing.ledger.records import (
    Entitled,
    Entitlement,
    NotReserved,
    Payer,
    Refusal,
    Standing,
    Tally,
)

_READ_VERSIONS = "SELECT payer_id, version FROM payers WHERE payer_id = ANY(%s::bytea[])"
_READ_TALLIES = f"SELECT {TALLY} FROM tallies WHERE payer_id = %s AND name = ANY(%s::text[])"
_READ_ENTITLEMENTS = (
    f"SELECT {ENTITLEMENT} FROM entitlements WHERE payer_id = %s "
    "AND (kind, item) IN (SELECT * FROM unnest(%s::text[], %s::text[]))"
)


class PostgresPayers(PostgresPart):
    """See `Ledger`."""

    _held: set[bytes]

    @abstractmethod
    def _lock(
        self, names: list[bytes], query: str, values: Any
    ) -> tuple[list[bytes], list[tuple[Any, ...]]]:
        """Locks names, and runs a query once they are; those that are locked, and its rows."""

    def reserve_payers(self, payer_ids: Sequence[bytes]) -> list[int | NotReserved]:
        wanted = [each for each in dict.fromkeys(payer_ids) if each not in self._held]
        if not wanted:
            return [NotReserved.BUSY] * len(payer_ids)
        locked, rows = self._lock(wanted, _READ_VERSIONS, (wanted,))
        self._held.update(locked)
        versions = {
            **dict.fromkeys(locked, 0),
            **{row[0]: row[1] for row in rows if row[0] in locked},
        }
        # Of several for one payer the first gets it.
        return [versions.pop(each, NotReserved.BUSY) for each in payer_ids]

    def standing(
        self, payer_id: bytes, tallies: Sequence[str], entitlements: Sequence[tuple[str, str]]
    ) -> Standing:
        counted = self._rows(_READ_TALLIES, (payer_id, list(tallies))) if tallies else []
        bought = []
        if entitlements:
            kinds, items = map(list, zip(*entitlements, strict=True))
            bought = self._rows(_READ_ENTITLEMENTS, (payer_id, kinds, items))
        return Standing(
            {row[0]: Tally(*row) for row in counted},
            {(row[0], row[1]): Entitlement(*row) for row in bought},
        )

    def entitlements(
        self, payer: str | None = None, *, after: Entitled | None = None, limit: int = 1000
    ) -> list[Entitled]:
        values = entitlements_values(payer, after, limit)
        return [
            Entitled(Payer(address, signer), Entitlement(*row), charge)
            for address, signer, *row, charge in self._rows(
                entitlements_query(mark, values), values
            )
        ]

    def count_refusals(self, refusals: Sequence[Refusal]) -> None:
        # In one order for everybody, so that two never wait for each other.
        ordered = sorted(
            (each.day, each.payer.address, each.payer.signer, each.route, each.code, each.count)
            for each in refusals
        )
        with self._link.session() as connection, connection.transaction():
            connection.cursor().executemany(
                "INSERT INTO refusals (day, payer, signer, route, code, count) "
                "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (day, payer, signer, route, code) "
                "DO UPDATE SET count = refusals.count + excluded.count",
                ordered,
            )

    def refusals(self, *, since: int = 0, limit: int = 1000) -> list[Refusal]:
        rows = self._rows(
            f"SELECT {REFUSAL} FROM refusals WHERE day >= %s::bigint "
            "ORDER BY day DESC, payer, signer, route, code LIMIT %s",
            (since, limit),
        )
        return [Refusal(Payer(address, signer), *row) for address, signer, *row in rows]
