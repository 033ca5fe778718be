"""A batch as a transaction; and many, one after another, by a key that does nothing else."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from farthing.chain.sender import Sender, Transaction
from farthing.chain.settlement import MAX_CLAIMS, Settlement
from farthing.protocol import (
    MAX_ROWS,
    InvalidField,
    Reason,
    RedemptionCall,
    VoucherClaim,
    sign,
)
from farthing.protocol.signatures import Signer
from farthing.redeemer.gas import RELAY_GAS, calldata_gas, gas_limit
from farthing.redeemer.packer import Batch, pack


def redeem_transaction(
    settlement: Settlement, batch: Batch, sender: str, authorizer: Signer
) -> Transaction:
    """The redemption of a batch by that sender; the authorizer signs what the sender may not do."""
    call, gas = batch.call(), gas_limit(batch)
    if sender in (batch.terms.receiver, batch.terms.receiver_authorizer):
        return settlement.plan_redeem(call, gas)
    signature = sign(authorizer, RedemptionCall(call), settlement.domain)
    gas += RELAY_GAS + calldata_gas(signature)
    return settlement.plan_redeem_with_signature(call, signature, gas)


def claim_transaction(
    settlement: Settlement, claims: Sequence[VoucherClaim], authorizer: Signer
) -> Transaction:
    """The claim of up to 100 rows, by anybody, with the authorizer's signature."""
    signature = settlement.sign_claims(authorizer, claims)
    return settlement.plan_claim_with_signature(claims, signature)


@dataclass(frozen=True)
class Skipped:
    """A voucher that was not redeemed, and why."""

    claim: VoucherClaim
    reason: Reason


@dataclass
class Redemption:
    """What a redemption did.

    Attributes:
        batches: Batches sent.
        gas: Of all its transactions.
        paid: Smallest units paid out to receivers, by the contract's own events.
        credited: Smallest units a token refused to pay out; they wait for `settle`.
        skipped: Vouchers that brought nothing, with the reason.
    """

    batches: int = 0
    gas: int = 0
    paid: int = 0
    credited: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def redeem(
    settlement: Settlement,
    sender: Sender,
    authorizer: Signer,
    claims: Iterable[VoucherClaim],
    *,
    rows: int = MAX_ROWS,
    claimed: Mapping[bytes, int] | None = None,
    deadlines: Mapping[bytes, int] | None = None,
    on_batch: Callable[[int], None] = lambda rows: None,
) -> Redemption:
    """Redeems vouchers of one receiver authorizer, without a ledger or a policy.

    In packed rows where the contract has them, which the contract is asked. What does not fit in
    a packed row, and everything at the official contract, is claimed row by row and settled.

    Args:
        sender: Pays the gas; needs no rights of its own.
        authorizer: The receiver authorizer of all claims. It signs what ``sender`` may not do.
        claims: The latest voucher of each channel.
        rows: Rows of a packed batch at most, 1 to 128.
        claimed, deadlines: For the order of the rows, see `farthing.redeemer.packer.pack`.
        on_batch: Called with a batch's number of rows once it is mined.

    Raises: InvalidField for ``rows``, and as `Settlement.claim_with_signature`. Batches before the
        refused one stand.
    """
    if not 1 <= rows <= MAX_ROWS:
        raise InvalidField("rows", rows, f"must be 1 to {MAX_ROWS}")
    done = Redemption()
    if settlement.has_redeem:
        packed = pack(claims, settlement.domain, claimed=claimed, deadlines=deadlines, rows=rows)
        to_claim = packed.to_claim
        for batch in packed.batches:
            to_claim += _redeem(settlement, sender, authorizer, batch, done)
            on_batch(len(batch.claims))
    else:
        to_claim = list(claims)
    _claim_and_settle(settlement, sender, authorizer, to_claim, done, on_batch)
    return done


def _redeem(
    settlement: Settlement, sender: Sender, authorizer: Signer, batch: Batch, done: Redemption
) -> list[VoucherClaim]:
    """Sends one packed batch. Returns the rows that have to be claimed instead."""
    receipt = sender.transact(redeem_transaction(settlement, batch, sender.address, authorizer))
    redeemed = settlement.redeemed(receipt)
    done.batches += 1
    done.gas += receipt["gasUsed"]
    done.paid += redeemed.amount - redeemed.credited
    done.credited += redeemed.credited
    to_claim = []
    for outcome in redeemed.outcomes:
        claim = batch.claims[outcome.index]
        if outcome.reason is Reason.CONTRACT_PAYER:
            to_claim.append(claim)
        elif outcome.reason is not Reason.REDEEMED:
            done.skipped.append(Skipped(claim, outcome.reason))
    return to_claim


def _claim_and_settle(
    settlement: Settlement,
    sender: Sender,
    authorizer: Signer,
    claims: Sequence[VoucherClaim],
    done: Redemption,
    on_batch: Callable[[int], None],
) -> None:
    for start in range(0, len(claims), MAX_CLAIMS):
        batch = claims[start : start + MAX_CLAIMS]
        signature = settlement.sign_claims(authorizer, batch)
        receipt = settlement.claim_with_signature(sender, batch, signature)
        done.batches += 1
        done.gas += receipt["gasUsed"]
        on_batch(len(batch))
    accounts = dict.fromkeys((claim.channel.receiver, claim.channel.token) for claim in claims)
    for receiver, token in accounts:
        settled = settlement.settle(sender, receiver, token)
        done.gas += settled.gas
        done.paid += settled.amount
