"""The part of a PostgreSQL ledger that keeps what the chain says of channels, and lists them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from farthing.ledger.columns import CONFIG, STATE
from farthing.ledger.listings import channels_query
from farthing.ledger.postgresql_link import PostgresConnection
from farthing.ledger.postgresql_part import PostgresPart, mark, to_state
from farthing.ledger.records import LATE_MS, Channel, ChannelState, Mirror, Redeemable
from farthing.protocol import ChannelConfig

Seen: TypeAlias = tuple[bytes, ChannelConfig, Mirror]

# Channels written in one transaction, and read at a time where all are read.
TOGETHER = 1_000

_READ_STATE = f"SELECT {STATE} FROM channels WHERE channel_id = %s"
_LOCK = """SELECT FROM channels WHERE channel_id = ANY(%s::bytea[])
    ORDER BY channel_id FOR NO KEY UPDATE"""
_MEET = f"""INSERT INTO channels (channel_id, {CONFIG}, {STATE})
    VALUES ({", ".join(["%s"] * 20)}) ON CONFLICT (channel_id) DO NOTHING"""
# What is on its way back when a refund's nonce is the next.
_HELD = """SELECT coalesce(sum(refunds.amount), 0)
    FROM refunds JOIN transactions ON transactions.id = transaction_id
    WHERE refunds.channel_id = {channel_id} AND refunds.nonce >= {nonce}
        AND state NOT IN ('failed', 'refused')"""
# It is read after the channel is locked, as a refund is ordered.
_MIRROR = f"""UPDATE channels SET
        balance = %(balance)s,
        total_claimed = %(total_claimed)s,
        withdraw_amount = greatest(%(withdraw_amount)s, least(%(balance)s,
            %(withdraw_amount)s + ({
    _HELD.format(channel_id="channels.channel_id", nonce="%(refund_nonce)s")
})
        )),
        withdraw_requested_at = %(withdraw_requested_at)s,
        refund_nonce = %(refund_nonce)s,
        synced_at = %(synced_at)s,
        block = %(block)s,
        unredeemed_since = CASE
            WHEN charged <= %(total_claimed)s THEN 0
            WHEN total_claimed = %(total_claimed)s THEN unredeemed_since
            -- From the last charge back to what is claimed.
            ELSE (
                WITH RECURSIVE later AS (
                    SELECT previous, time FROM charges
                    WHERE id = last_charge AND total > %(total_claimed)s
                    UNION ALL
                    SELECT charges.previous, charges.time
                    FROM later JOIN charges ON id = later.previous
                    WHERE total > %(total_claimed)s
                )
                SELECT coalesce(min(time), 0) FROM later
            )
        END
    WHERE channel_id = %(channel_id)s AND synced_at <= %(synced_at)s
        -- As `Mirror.is_late`.
        AND NOT (
            0 < %(block)s AND %(block)s < block AND %(synced_at)s < synced_at + {LATE_MS}
        )"""


class PostgresChannels(PostgresPart):
    """See `Ledger`."""

    def mirror(self, channel_id: bytes, config: ChannelConfig, mirror: Mirror) -> ChannelState:
        with self._link.session() as connection:
            _mirror(connection, [(channel_id, config, mirror)])
            return to_state(connection.execute(_READ_STATE, (channel_id,)).fetchone())

    def mirror_many(self, seen: Sequence[Seen]) -> None:
        # In one order for everybody, so that two never wait for each other.
        seen = sorted(seen, key=lambda each: (each[0], each[2].synced_at))
        for start in range(0, len(seen), TOGETHER):
            with self._link.session() as connection:
                _mirror(connection, seen[start : start + TOGETHER])

    def held_refund(self, channel_id: bytes, nonce: int) -> int:
        ((held,),) = self._rows(_HELD.format(channel_id="%s", nonce="%s"), (channel_id, nonce))
        return int(held)

    def channel(self, channel_id: bytes) -> Channel | None:
        row = self._row(
            f"SELECT channel_id, {CONFIG}, {STATE} FROM channels WHERE channel_id = %s", channel_id
        )
        return None if row is None else _channel(row)

    def channels(
        self,
        *,
        after: bytes = b"",
        limit: int = 1000,
        payer: str | None = None,
        withdrawing: bool = False,
    ) -> list[Channel]:
        asked = {"after_id": after, "limit": limit, "payer": payer}
        query = channels_query(mark, asked, withdrawing=withdrawing)
        return [_channel(row) for row in self._rows(query, asked)]

    def redeemable(self, min_value: int = 1) -> Iterator[Redeemable]:
        after = b""
        while rows := self._rows(
            # Without a charge there is no voucher to redeem.
            f"SELECT channel_id, {CONFIG}, {STATE}, unredeemed_since FROM channels "
            "WHERE channel_id > %s AND charged - total_claimed >= %s AND charges > 0 "
            "ORDER BY channel_id LIMIT %s",
            (after, max(1, min_value), TOGETHER),
        ):
            for row in rows:
                yield Redeemable(_channel(row[:-1]), row[-1])
            after = rows[-1][0]


def _mirror(connection: PostgresConnection, seen: Sequence[Seen]) -> None:
    with connection.pipeline(), connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            _MEET,
            [
                (
                    channel_id,
                    *config.as_tuple(),
                    *(mirror.total_claimed, 0, 0, b"", 0),
                    *(mirror.balance, mirror.total_claimed, 0, 0, 0, 0, 0),
                )
                for channel_id, config, mirror in seen
            ],
        )
        cursor.execute(_LOCK, ([channel_id for channel_id, _, _ in seen],))
        cursor.executemany(
            _MIRROR,
            [
                {"channel_id": channel_id, **msgspec.structs.asdict(mirror)}
                for channel_id, _, mirror in seen
            ],
        )


def _channel(row: Any) -> Channel:
    return Channel(row[0], ChannelConfig.of_checked(row[1:8]), to_state(row[8:]))
