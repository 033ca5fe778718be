"""What the tables of both databases have in common: columns in the order their values are in."""

from __future__ import annotations

import msgspec

# In the order of `ChannelState`, its mirror last.
STATE = """charged, charges, ceiling, signature, last_charge,
    balance, total_claimed, withdraw_amount, withdraw_requested_at, refund_nonce, synced_at,
    block"""
# In the order of `ChannelConfig`.
CONFIG = "payer, payer_authorizer, receiver, receiver_authorizer, token, withdraw_delay, salt"
# In the order of `Charge`.
CHARGE = "id, channel_id, previous, amount, total, price, route, request_id, time, reason"
# In the order of `Answer`; the headers packed.
ANSWER = "target, status, headers, body, expires_at"
# In the order of `QueuedTransaction`; ``target`` is its ``to``.
TRANSACTION = """id, sender, kind, subject, target, data, gas, state, nonce, block, block_hash,
    succeeded, gas_used, fee, reason, created_at, updated_at, fee_limit"""
# In the order of `Attempt`.
ATTEMPT = "transaction_id, hash, raw, nonce, max_fee, tip, time"

# In the order of `Tally`.
TALLY = "name, since, value"
# In the order of `Entitlement`.
ENTITLEMENT = "kind, item, since, until, bought, used"
# In the order of `Refusal`, its payer's first.
REFUSAL = "payer, signer, route, code, day, count"

pack_headers = msgspec.msgpack.Encoder().encode
unpack_headers = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]]).decode
