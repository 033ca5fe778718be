"""What a redemption will cost and do, before it is sent.

The outcome of every row is predicted by the contract's own rules, the gas by counting what each row
makes the contract do. The constants were measured on anvil (prague); ``tests/redeemer`` holds the
prediction within 1% of the receipt. Where they come from: ``docs/gas.md``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farthing.chain.settlement import Channel
from farthing.protocol import (
    ZERO_ADDRESS,
    ChannelConfig,
    Domain,
    Outcome,
    Reason,
    Voucher,
    VoucherClaim,
    count_extras,
    is_payer_signature,
)

if TYPE_CHECKING:
    from farthing.redeemer.packer import Batch

TRANSACTION_GAS = 21_000
ZERO_BYTE_GAS = 4
BYTE_GAS = 16
# So many quarters of its data's price a transaction pays at least, whatever it does (EIP-7623).
FLOOR_QUARTERS = 10

# A call without its rows: dispatch, lock, domain, arguments in memory, the event's head.
CALL_GAS = 7_383
# The calldata that all its rows share, about.
SHARED_DATA_GAS = 1_700
# One row that is not due: read, hashed, looked up for the first time in the transaction.
ROW_GAS = 3_192
# What verifying a signature adds, and what recording adds to a row that is good.
VERIFY_GAS = 3_325
RECORD_GAS = 3_235
# What a channel costs less that an earlier row looked up, or recorded too.
WARM_LOOKUP_GAS = 2_000
WARM_RECORD_GAS = 2_806
# What a row's rarer parts add: that it has some, each of their words, and finding out who signs
# where an authorizer is one of them.
FLAGS_GAS = 155
EXTRA_GAS = 106
SIGNER_GAS = 154
# Asking whether a payer without an authorizer has code, and what of it is saved the second time.
CODE_GAS = 2_635
WARM_CODE_GAS = 2_500
# An ordinary token's transfer to a receiver that holds some of it, with the call that guards it.
PAYOUT_GAS = 15_784
# What must be left for a payout, whatever the token then uses of it; see the contract.
PAYOUT_RESERVE = 250_000

# Limit of what relaying adds to a redemption: the authorizer's signature and the call within the
# call; and what it does add, once and for each row.
RELAY_GAS = 100_000
RELAY_CALL_GAS = 8_000
RELAY_ROW_GAS = 110
# A `claimWithSignature` with the settlement after it, and one of its rows, about as much as the
# official contract was measured to take; a contract wallet's own check comes on top.
CLAIM_CALL_GAS = 60_000
SETTLE_GAS = 47_000
CLAIM_ROW_GAS = 24_000
WALLET_GAS = 20_000
UNKNOWN = Channel(0, 0)


@dataclass(frozen=True)
class Prediction:
    """What a batch will do on the state it was predicted for.

    Attributes:
        gas: Of the whole transaction, sent by the receiver or its authorizer.
        amount: Smallest units that will be paid out.
        outcomes: What will become of each row, in their order.
    """

    gas: int
    amount: int
    outcomes: list[Outcome]


def calldata_gas(call: bytes) -> int:
    """What a transaction pays for its data."""
    zeros = call.count(0)
    return zeros * ZERO_BYTE_GAS + (len(call) - zeros) * BYTE_GAS


def good_row_gas(claim: VoucherClaim, extras: int | None = None) -> int:
    """About what a good row adds to a batch, calldata included; for planning batches.

    Args:
        extras: The number of words it adds to the extras, if it is known.
    """
    words = count_extras(claim) if extras is None else extras
    return row_gas(claim.channel, words)


def row_gas(channel: ChannelConfig, words: int) -> int:
    """`good_row_gas` of a channel's row that adds so many words to the extras."""
    execution = ROW_GAS + VERIFY_GAS + RECORD_GAS + _rarer_parts_gas(channel, words)
    return execution + (96 + 32 * words) * BYTE_GAS


def batch_gas(claims: Sequence[VoucherClaim]) -> int:
    """About what a redemption of good rows uses, payout included; for planning."""
    once = TRANSACTION_GAS + CALL_GAS + SHARED_DATA_GAS + PAYOUT_GAS
    return once + sum(map(good_row_gas, claims))


def relay_gas(rows: int) -> int:
    """About what it adds that somebody else sends a redemption; for planning."""
    return RELAY_CALL_GAS + RELAY_ROW_GAS * rows


def claims_gas(claims: Sequence[VoucherClaim]) -> int:
    """About what claiming row by row and settling uses; for planning."""
    wallets = sum(claim.channel.payer_authorizer == ZERO_ADDRESS for claim in claims)
    return CLAIM_CALL_GAS + SETTLE_GAS + CLAIM_ROW_GAS * len(claims) + WALLET_GAS * wallets


def gas_limit(batch: "Batch") -> int:
    """A gas limit that a batch cannot exceed: every row good, and the payout's reserve."""
    rows = sum(good_row_gas(claim) for claim in batch.claims)
    return TRANSACTION_GAS + CALL_GAS + PAYOUT_RESERVE + rows * 5 // 4


def predict(
    batch: "Batch",
    domain: Domain,
    channels: Mapping[bytes, Channel],
    *,
    is_contract: Callable[[str], bool] = lambda address: False,
    payout_gas: int = PAYOUT_GAS,
    verified: bool = False,
) -> Prediction:
    """Plays a batch on the given state.

    Args:
        channels: The books of the batch's channels on chain, by channel id; one it does not name
            is taken for unknown.
        is_contract: Whether an address has code; asked for payers without an authorizer.
        payout_gas: What the token needs for a transfer to the receiver.
        verified: Every signature was checked before by the contract's rules, and is taken for good:
            recovering it once more would cost ten times as much as all the rest.
    """
    data_gas = calldata_gas(batch.call())
    gas = TRANSACTION_GAS + CALL_GAS + data_gas
    asked: set[str] = set()
    claimed: dict[bytes, int] = {}
    recorded: set[bytes] = set()
    amount = 0
    outcomes = []
    for index, claim in enumerate(batch.claims):
        channel_id = batch.channel_ids[index]
        channel = channels.get(channel_id, UNKNOWN)
        before = claimed.get(channel_id, channel.total_claimed)
        gas += ROW_GAS + _rarer_parts_gas(claim.channel, count_extras(claim))
        gas -= WARM_LOOKUP_GAS if channel_id in claimed else 0
        if claim.channel.payer_authorizer == ZERO_ADDRESS:
            gas -= WARM_CODE_GAS if claim.channel.payer in asked else 0
            asked.add(claim.channel.payer)
        claimed[channel_id] = before
        reason, total = _judge(claim, channel, before, is_contract)
        if reason is Reason.REDEEMED:
            gas += VERIFY_GAS
            if not verified and not _is_signed(claim, channel_id, domain):
                reason, total = Reason.BAD_SIGNATURE, 0
            else:
                gas += RECORD_GAS
                gas -= WARM_RECORD_GAS if channel_id in recorded else 0
                recorded.add(channel_id)
                amount += total - before
                claimed[channel_id] = total
        if reason is Reason.REDEEMED:
            outcomes.append(Outcome(index, reason, channel_id[:20], total))
        else:
            outcomes.append(Outcome(index, reason))
    gas += payout_gas if amount else 0
    floor = TRANSACTION_GAS + data_gas * FLOOR_QUARTERS // 4
    return Prediction(max(gas, floor), amount, outcomes)


def _rarer_parts_gas(channel: ChannelConfig, words: int) -> int:
    if not words:
        return 0
    gas = FLAGS_GAS + EXTRA_GAS * words
    if channel.payer_authorizer != channel.payer:
        gas += SIGNER_GAS
    if channel.payer_authorizer == ZERO_ADDRESS:
        gas += CODE_GAS
    return gas


def _judge(
    claim: VoucherClaim, channel: Channel, before: int, is_contract: Callable[[str], bool]
) -> tuple[Reason, int]:
    """The contract's checks of a row, without its signature: reason and new total."""
    config = claim.channel
    if config.payer_authorizer == ZERO_ADDRESS and is_contract(config.payer):
        return Reason.CONTRACT_PAYER, 0
    if claim.total_claimed <= before:
        return Reason.STALE, 0
    total = min(claim.total_claimed, channel.balance)
    if total <= before:
        return Reason.EMPTY, 0
    return Reason.REDEEMED, total


def _is_signed(claim: VoucherClaim, channel_id: bytes, domain: Domain) -> bool:
    digest = Voucher(channel_id, claim.max_claimable_amount).digest(domain)
    # Here a payer without an authorizer has no code: the row would have been skipped before.
    return is_payer_signature(
        claim.channel, digest, claim.signature, is_contract=lambda address: False
    )
