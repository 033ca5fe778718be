"""The part of a SQLite ledger that keeps what the chain says of channels, and lists them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from farthing.ledger.columns import CONFIG, STATE
from farthing.ledger.listings import channels_query
from farthing.ledger.records import Channel, ChannelState, Mirror, Redeemable
from farthing.ledger.sqlite_part import SqlitePart, mark, to_amount, to_blob, to_state
from farthing.protocol import ChannelConfig

# Channels written in one transaction, and read at a time where all are read.
TOGETHER = 1_000

_READ_STATE = f"SELECT {STATE} FROM channels WHERE channel_id = ?"
_READ_HELD = """SELECT amount FROM refunds JOIN transactions ON id = transaction_id
    WHERE channel_id = ? AND refunds.nonce >= ? AND state NOT IN ('failed', 'refused')"""
# From the last charge back to what is claimed.
_OLDEST = """WITH RECURSIVE later (previous, time) AS (
        SELECT previous, time FROM charges WHERE id = :last AND total > :claimed
        UNION ALL
        SELECT charges.previous, charges.time FROM later JOIN charges ON id = later.previous
        WHERE total > :claimed
    )
    SELECT coalesce(min(time), 0) FROM later"""


class SqliteChannels(SqlitePart):
    """See `Ledger`."""

    def mirror(self, channel_id: bytes, config: ChannelConfig, mirror: Mirror) -> ChannelState:
        with self._transaction() as writer:
            _mirror(writer, channel_id, config, mirror)
            return to_state(writer.execute(_READ_STATE, (channel_id,)).fetchone())

    def mirror_many(self, seen: Sequence[tuple[bytes, ChannelConfig, Mirror]]) -> None:
        for start in range(0, len(seen), TOGETHER):
            with self._transaction() as writer:
                for each in seen[start : start + TOGETHER]:
                    _mirror(writer, *each)

    def held_refund(self, channel_id: bytes, nonce: int) -> int:
        return sum(to_amount(row[0]) for row in self._rows(_READ_HELD, (channel_id, nonce)))

    def channel(self, channel_id: bytes) -> Channel | None:
        row = self._row(
            f"SELECT channel_id, {CONFIG}, {STATE} FROM channels WHERE channel_id = ?",
            (channel_id,),
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
            "WHERE channel_id > ? AND charged > total_claimed AND charges > 0 "
            "ORDER BY channel_id LIMIT ?",
            (after, TOGETHER),
        ):
            for row in rows:
                channel = _channel(row[:-1])
                if channel.state.charged - channel.state.mirror.total_claimed >= min_value:
                    yield Redeemable(channel, row[-1])
            after = rows[-1][0]


def _mirror(
    writer: apsw.Connection, channel_id: bytes, config: ChannelConfig, mirror: Mirror
) -> None:
    claimed = to_blob(mirror.total_claimed)
    gone = mirror.withdraw_amount + _held(writer, channel_id, mirror.refund_nonce)
    chain_side = (
        to_blob(mirror.balance),
        claimed,
        # What was asked back may be more than is left, and is kept as it is said.
        to_blob(max(mirror.withdraw_amount, min(gone, mirror.balance))),
        mirror.withdraw_requested_at,
        mirror.refund_nonce,
        mirror.synced_at,
        mirror.block,
    )
    known = writer.execute(
        "SELECT charged, last_charge, total_claimed, unredeemed_since, synced_at, block "
        "FROM channels WHERE channel_id = ?",
        (channel_id,),
    ).fetchone()
    if known is None:
        writer.execute(
            f"INSERT INTO channels (channel_id, {CONFIG}, {STATE}) VALUES ({', '.join('?' * 20)})",
            (channel_id, *config.as_tuple(), *(claimed, 0, to_blob(0), b"", 0), *chain_side),
        )
        return
    charged, last_charge, claimed_before, since, synced_at, block = known
    if synced_at > mirror.synced_at or mirror.is_late(synced_at, block):
        return
    if charged <= claimed:
        since = 0
    elif claimed != claimed_before:
        values = {"last": last_charge, "claimed": claimed}
        ((since,),) = writer.execute(_OLDEST, values)
    writer.execute(
        "UPDATE channels SET balance = ?, total_claimed = ?, withdraw_amount = ?, "
        "withdraw_requested_at = ?, refund_nonce = ?, synced_at = ?, block = ?, "
        "unredeemed_since = ? WHERE channel_id = ?",
        (*chain_side, since, channel_id),
    )


def _held(writer: apsw.Connection, channel_id: bytes, nonce: int) -> int:
    """What is on its way back when ``nonce`` is the next."""
    return sum(to_amount(amount) for (amount,) in writer.execute(_READ_HELD, (channel_id, nonce)))


def _channel(row: Any) -> Channel:
    return Channel(row[0], ChannelConfig.of_checked(row[1:8]), to_state(row[8:]))
