"""The part of a SQLite ledger that keeps what rules of prices know of payers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import apsw

from farthing.ledger.columns import ENTITLEMENT, REFUSAL, TALLY
from farthing.ledger.listings import entitlements_query, entitlements_values
from farthing.ledger.locks import ByteLocks
from farthing.ledger.records import (
    Entitled,
    Entitlement,
    NotReserved,
    Payer,
    PayerChange,
    Refusal,
    Standing,
    Tally,
)
from farthing.ledger.sqlite_part import SqlitePart, mark, to_amount, to_blob

_READ_VERSIONS = "SELECT payer_id, version FROM payers WHERE payer_id IN carray(?)"
_READ_TALLIES = (
    f"SELECT {TALLY} FROM tallies WHERE payer_id = ? AND name IN (SELECT value FROM json_each(?))"
)
_READ_ENTITLEMENTS = (
    f"SELECT {ENTITLEMENT} FROM entitlements WHERE payer_id = ? AND (kind, item) IN "
    "(SELECT value ->> 0, value ->> 1 FROM json_each(?))"
)


class SqlitePayers(SqlitePart):
    """See `Ledger`."""

    _held: set[bytes]
    _locks: ByteLocks

    def reserve_payers(self, payer_ids: Sequence[bytes]) -> list[int | NotReserved]:
        versions: list[int | NotReserved] = [NotReserved.BUSY] * len(payer_ids)
        taken: dict[bytes, int] = {}
        try:
            with self._failing:
                for place, payer_id in enumerate(payer_ids):
                    if payer_id not in self._held and self._locks.take(payer_id):
                        self._held.add(payer_id)
                        taken[payer_id] = place
            # Only now that they are reserved, so that what is read stays true.
            known = dict(self._rows(_READ_VERSIONS, (apsw.carray(tuple(taken)),))) if taken else {}
        except BaseException:
            self.release(list(taken))
            raise
        for payer_id, place in taken.items():
            versions[place] = known.get(payer_id, 0)
        return versions

    def standing(
        self, payer_id: bytes, tallies: Sequence[str], entitlements: Sequence[tuple[str, str]]
    ) -> Standing:
        counted = self._rows(_READ_TALLIES, (payer_id, json.dumps(tallies))) if tallies else []
        bought: list[tuple[str, str, int, int, int, int]] = []
        if entitlements:
            bought = self._rows(_READ_ENTITLEMENTS, (payer_id, json.dumps(entitlements)))
        return Standing(
            {name: Tally(name, since, to_amount(value)) for name, since, value in counted},
            {row[:2]: Entitlement(*row) for row in bought},
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
        with self._transaction() as writer:
            writer.executemany(
                f"INSERT INTO refusals ({REFUSAL}) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET count = count + excluded.count",
                [(each.payer.address, each.payer.signer, *_rest(each)) for each in refusals],
            )

    def refusals(self, *, since: int = 0, limit: int = 1000) -> list[Refusal]:
        rows = self._rows(
            f"SELECT {REFUSAL} FROM refusals WHERE day >= ? "
            "ORDER BY day DESC, payer, signer, route, code LIMIT ?",
            (since, limit),
        )
        return [Refusal(Payer(address, signer), *row) for address, signer, *row in rows]


def change_payer(writer: apsw.Connection, change: PayerChange, charge: int) -> bool:
    """Writes what the charge with that id changes; whether the payer's books stood where they were
    reserved."""
    payer_id = change.payer.id
    if change.version == 0:
        writer.execute(
            "INSERT INTO payers VALUES (?, ?, ?, 1) ON CONFLICT DO NOTHING",
            (payer_id, change.payer.address, change.payer.signer),
        )
    else:
        writer.execute(
            "UPDATE payers SET version = version + 1 WHERE payer_id = ? AND version = ?",
            (payer_id, change.version),
        )
    if writer.changes() != 1:
        return False
    writer.executemany(
        f"INSERT OR REPLACE INTO tallies (payer_id, {TALLY}) VALUES (?, ?, ?, ?)",
        [(payer_id, each.name, each.since, to_blob(each.value)) for each in change.tallies],
    )
    writer.executemany(
        f"INSERT OR REPLACE INTO entitlements (payer_id, charge, {ENTITLEMENT}) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(payer_id, charge, each.kind, each.item),
                *(each.since, each.until, each.bought, each.used),
            )
            for each in change.entitlements
        ],
    )
    return True


def _rest(refusal: Refusal) -> tuple[str, str, int, int]:
    return refusal.route, refusal.code, refusal.day, refusal.count
