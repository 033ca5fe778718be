"""Redeems a receiver's latest vouchers, one batch after another, and pays them out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from farthing.chain.sender import Sender
from farthing.chain.settlement import MAX_CLAIMS, Settlement
from farthing.protocol import InvalidField, VoucherClaim
from farthing.protocol.signatures import Signer


@dataclass(frozen=True)
class Redemption:
    """What a redemption did: batches sent, gas of all its transactions, smallest units paid out."""

    batches: int
    gas: int
    paid: int


def redeem(
    settlement: Settlement,
    sender: Sender,
    authorizer: Signer,
    claims: Iterable[VoucherClaim],
    *,
    rows: int = MAX_CLAIMS,
    on_batch: Callable[[int], None] = lambda rows: None,
) -> Redemption:
    """Claims vouchers of one receiver authorizer and settles every receiver and token in them.

    Args:
        sender: Pays the gas; needs no rights of its own.
        authorizer: The receiver authorizer of all claims; signs every batch.
        claims: The latest voucher of each channel.
        rows: Rows of a batch, 1 to 100.
        on_batch: Called with a batch's number of rows once it is mined.

    Raises: InvalidField for ``rows``, and as `Settlement.claim_with_signature`. Batches before
        the refused one stand, and are paid out by the next redemption.
    """
    if not 1 <= rows <= MAX_CLAIMS:
        raise InvalidField("rows", rows, f"must be 1 to {MAX_CLAIMS}")
    batches = gas = paid = 0
    accounts: dict[tuple[str, str], None] = {}
    for batch in _chunks(claims, rows):
        signature = settlement.sign_claims(authorizer, batch)
        receipt = settlement.claim_with_signature(sender, batch, signature)
        batches += 1
        gas += receipt["gasUsed"]
        accounts.update({(row.channel.receiver, row.channel.token): None for row in batch})
        on_batch(len(batch))
    for receiver, token in accounts:
        settled = settlement.settle(sender, receiver, token)
        gas += settled.gas
        paid += settled.amount
    return Redemption(batches, gas, paid)


def _chunks(claims: Iterable[VoucherClaim], size: int) -> Iterator[Sequence[VoucherClaim]]:
    remaining = iter(claims)
    while chunk := list(islice(remaining, size)):
        yield chunk
