"""A payer's leave to deposit, in the two ways x402 has: the token's own (ERC-3009), and Permit2's.

The same deposit makes the same leave whenever it is signed, so that it can be taken once only.
"""

from __future__ import annotations

from typing import Any

from farthing.protocol import DepositAuthorization, Permit2Deposit, Permit2Domain, Signer, sign
from farthing.wallet.offers import PERMIT2_METHOD, Place
from farthing.wallet.records import Lane, PendingDeposit


def deposit_payload(main: Signer, place: Place, lane: Lane, deposit: PendingDeposit) -> Any:
    """What a payment that deposits says of it, signed."""
    message, signature = _signed(main, place, lane, deposit)
    if isinstance(message, Permit2Deposit):
        name: str = "permit2Authorization"
        consent: dict[str, Any] = {
            "from": lane.config.payer,
            "permitted": {"token": message.token, "amount": str(message.amount)},
            "spender": message.collector,
            "nonce": str(message.nonce),
            "deadline": str(message.deadline),
            "witness": {"channelId": "0x" + lane.channel_id.hex()},
        }
    else:
        name = "erc3009Authorization"
        consent = {
            "validAfter": str(message.valid_after),
            "validBefore": str(message.valid_before),
            "salt": f"0x{message.salt:064x}",
        }
    consent["signature"] = "0x" + signature.hex()
    return {"amount": str(deposit.amount), "authorization": {name: consent}}


def collection(
    main: Signer, place: Place, lane: Lane, deposit: PendingDeposit
) -> tuple[str, bytes]:
    """The collector for a deposit that one sends oneself, and the data it wants."""
    message, signature = _signed(main, place, lane, deposit)
    return message.collector, message.collector_data(signature)


def _signed(
    main: Signer, place: Place, lane: Lane, deposit: PendingDeposit
) -> tuple[DepositAuthorization | Permit2Deposit, bytes]:
    if deposit.method == PERMIT2_METHOD:
        transfer = Permit2Deposit(
            token=lane.config.token,
            amount=deposit.amount,
            collector=place.permit2_collector,
            nonce=deposit.salt,
            deadline=deposit.valid_before,
            channel_id=lane.channel_id,
        )
        return transfer, sign(main, transfer, Permit2Domain(place.domain.chain_id))
    authorization = DepositAuthorization(
        payer=lane.config.payer,
        collector=place.collector,
        amount=deposit.amount,
        valid_after=0,
        valid_before=deposit.valid_before,
        channel_id=lane.channel_id,
        salt=deposit.salt,
    )
    return authorization, sign(main, authorization, place.token)
