"""Gives a payer unclaimed money back, because the publisher wants to."""

from __future__ import annotations

from dataclasses import dataclass

from farthing.chain.journal import FAILED, REFUSED, Queued
from farthing.chain.queue import TransactionQueue
from farthing.chain.settlement import Settlement
from farthing.ledger import Channel, Ledger, NewCharge, NotReserved, RefundHold
from farthing.protocol import FarthingError, VoucherClaim
from farthing.protocol.signatures import Signer

KIND = "refund"
# Seconds a refund may take before it is left to whoever steps the queue.
WAIT_SECONDS = 120


class RefundRefused(FarthingError):
    """A refund cannot be given; nothing was sent."""


@dataclass(frozen=True)
class Refund:
    """What became of a refund.

    Attributes:
        amount: Smallest units that go back to the payer.
        claimed: What of the channel was charged and is claimed with it.
        transaction: As it is now; it may not be in a block yet.
    """

    amount: int
    claimed: int
    transaction: Queued


def refund(
    ledger: Ledger,
    settlement: Settlement,
    queue: TransactionQueue,
    authorizer: Signer,
    channel_id: bytes,
    amount: int | None = None,
) -> Refund:
    """Claims what was charged of a channel, and gives back the rest, or ``amount`` of it.

    Args:
        ledger: Not the queue's own.
        authorizer: The receiver authorizer's key.
        channel_id: The channel.
        amount: Smallest units; all that is left without it.

    Raises:
        RefundRefused: There is no such channel, it is busy, or less is left.
        ContractReverted: The contract would refuse.
        ChannelMoved: A request of the channel went first.
        FarthingError: Ledger or node cannot be asked.
    """
    channel = ledger.channel(channel_id)
    if channel is None:
        raise RefundRefused(f"the ledger knows no channel 0x{channel_id.hex()}: check the id.")
    if channel.config.receiver_authorizer != authorizer.address:
        raise RefundRefused(
            f"the channel's authorizer is {channel.config.receiver_authorizer}, and the key here "
            f"is {authorizer.address}: name the right one as keys.authorizer_keystore."
        )
    # Nothing is charged on the channel while it is counted what is left of it.
    (state,) = ledger.reserve([channel_id])
    if isinstance(state, NotReserved):
        raise RefundRefused("a request of this channel is under way: try again.")
    try:
        return _refund(
            ledger,
            settlement,
            queue,
            authorizer,
            Channel(channel_id, channel.config, state),
            amount,
        )
    finally:
        ledger.release([channel_id])


def _refund(
    ledger: Ledger,
    settlement: Settlement,
    queue: TransactionQueue,
    authorizer: Signer,
    channel: Channel,
    amount: int | None,
) -> Refund:
    state, config = channel.state, channel.config
    found = settlement.snapshot(channel.channel_id)
    if found.total_claimed > state.charged:
        raise RefundRefused(
            f"{found.total_claimed} is claimed on chain and {state.charged} was charged: see "
            "`farthing check` before you give anything back."
        )
    # The name that the paywall gives it too: there is one for each nonce.
    subject = channel.channel_id + found.refund_nonce.to_bytes(16, "big")
    known = queue.find(KIND, subject)
    if known is not None and known.state not in (FAILED, REFUSED):
        raise RefundRefused(
            f"a refund of this channel is on its way, transaction {known.id}: wait for it."
        )
    left = found.balance - state.charged
    wanted = left if amount is None else amount
    if not 0 < wanted <= left:
        raise RefundRefused(f"{max(left, 0)} smallest units of the deposit are left: ask for less.")
    claims = []
    if state.charged > found.total_claimed:
        claims.append(VoucherClaim(config, state.ceiling, state.signature, state.charged))
    plan = settlement.plan_refund(authorizer, config, wanted, found.refund_nonce, claims)
    rows = [(channel.channel_id, state.charged)] if claims else []
    hold = RefundHold(found.refund_nonce, wanted, _nothing(channel))
    number = queue.submit(KIND, subject, plan, rows, refund=hold)
    transaction = queue.wait(number, WAIT_SECONDS)
    return Refund(wanted, state.charged - found.total_claimed, transaction)


def _nothing(channel: Channel) -> NewCharge:
    state = channel.state
    return NewCharge.without_request(
        channel.channel_id,
        state,
        (state.ceiling, state.signature),
        KIND,
        f"{KIND}-{channel.channel_id.hex()[:16]}-{state.charges}",
    )
