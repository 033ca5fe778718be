"""Whether a payment is one this publisher can take, as far as that can be told from it alone.

The rules are those x402 has for who verifies, in their order; each has its code.
"""

from __future__ import annotations

from collections.abc import Sequence

from farthing.ledger import ChannelState, Mirror
from farthing.protocol import Domain, FarthingError
from farthing.protocol.messages import voucher_digest
from farthing.protocol.payments import ErrorCode, Payment, PaymentRefused, Terms
from farthing.protocol.signatures import (
    IsContract,
    IsValidErc1271,
    are_authorizer_signatures,
    is_payer_signature,
)

# Codes of ours, where x402 has none.
TERMS_CHANGED = "accepted_terms_mismatch"
EXPOSURE_CAP = "exposure_cap_reached"


class LedgerBehind(FarthingError):
    """The chain has claimed more of a channel than the ledger says was charged.

    The ledger was restored from an old copy, or somebody else redeems with this publisher's keys.
    """

    def __init__(self, channel_id: bytes, charged: int, claimed: int) -> None:
        super().__init__(
            f"channel 0x{channel_id.hex()} has {claimed} claimed on chain and {charged} charged in "
            "the ledger: is it an old copy? The channel is refused until the two agree."
        )


def check_books(channel_id: bytes, charged: int, mirror: Mirror) -> None:
    """What was claimed on chain was charged before.

    Raises:
        LedgerBehind: It was not, so it is not known what else was charged.
    """
    if mirror.total_claimed > charged:
        raise LedgerBehind(channel_id, charged, mirror.total_claimed)


def check_terms(payment: Payment, terms: Terms, price: int) -> None:
    """The client accepted these terms, and its channel is made for them.

    Raises:
        PaymentRefused: It did not, or it is not.
    """
    config = payment.config
    if payment.network != terms.network:
        raise PaymentRefused(ErrorCode.NETWORK_MISMATCH, f"pay on {terms.network}")
    if not _is_same(payment.asset, terms.token) or config.token != terms.token:
        raise PaymentRefused(ErrorCode.TOKEN_MISMATCH, f"pay with token {terms.token}")
    if not _is_same(payment.pay_to, terms.receiver) or config.receiver != terms.receiver:
        raise PaymentRefused(ErrorCode.RECEIVER_MISMATCH, f"pay to {terms.receiver}")
    if config.receiver_authorizer != terms.receiver_authorizer:
        raise PaymentRefused(
            ErrorCode.RECEIVER_AUTHORIZER_MISMATCH,
            f"the channel's receiverAuthorizer must be {terms.receiver_authorizer}",
        )
    if config.withdraw_delay != terms.withdraw_delay:
        raise PaymentRefused(
            ErrorCode.WITHDRAW_DELAY_MISMATCH,
            f"the channel's withdrawDelay must be {terms.withdraw_delay}",
        )
    # A refund costs nothing, so it does not matter what its client thinks the price is.
    if payment.amount != price and not payment.is_refund:
        raise PaymentRefused(
            TERMS_CHANGED, f"the price is {price}, the payment accepted {payment.amount}"
        )


def _is_same(sent: str, address: str) -> bool:
    # A client sends back what it was told, nearly always as it was told.
    return sent == address or sent.lower() == address.lower()


def check_channel_id(payment: Payment, domain: Domain) -> None:
    """The channel has the id it is said to have.

    Raises:
        PaymentRefused: It has another.
    """
    if payment.config.channel_id(domain) != payment.channel_id:
        raise PaymentRefused(
            ErrorCode.CHANNEL_ID_MISMATCH, "channelId is not the id of channelConfig"
        )


def check_signature(
    payment: Payment,
    domain: Domain,
    *,
    is_contract: IsContract,
    is_valid_erc1271: IsValidErc1271,
) -> None:
    """The voucher is its payer's, who may be a contract; see `is_payer_signature`.

    Raises:
        PaymentRefused: It is not.
    """
    if not is_payer_signature(
        payment.config,
        _digest(payment, domain),
        payment.signature,
        is_contract=is_contract,
        is_valid_erc1271=is_valid_erc1271,
    ):
        raise _not_signed()


def check_signatures(payments: Sequence[Payment], domain: Domain) -> list[PaymentRefused | None]:
    """`check_signature` for channels that have a payer authorizer, of which the chain need not be
    asked: for each, why it is refused."""
    asked = [(each.config, _digest(each, domain), each.signature) for each in payments]
    return [None if is_right else _not_signed() for is_right in are_authorizer_signatures(asked)]


def _digest(payment: Payment, domain: Domain) -> bytes:
    return voucher_digest(payment.channel_id, payment.ceiling, domain)


def _not_signed() -> PaymentRefused:
    return PaymentRefused(
        ErrorCode.VOUCHER_SIGNATURE, "the voucher is not signed by the channel's payer"
    )


def check_room(payment: Payment, state: ChannelState, price: int, cap: int | None) -> None:
    """The channel has the money, and the publisher the trust, for one more charge of ``price``.

    What the payer has asked back counts as gone. ``cap`` is how much may be charged and not yet
    claimed on chain; None is no limit.

    Raises:
        PaymentRefused: It has not.
    """
    mirror = state.mirror
    room = mirror.balance - mirror.withdraw_amount
    if payment.ceiling > room:
        raise PaymentRefused(
            ErrorCode.CUMULATIVE_EXCEEDS_BALANCE,
            f"the voucher is for {payment.ceiling}, the channel holds {room}: deposit more",
        )
    if cap is not None and state.charged + price - mirror.total_claimed > cap:
        raise PaymentRefused(
            EXPOSURE_CAP, "this channel owes as much as the publisher allows before it redeems"
        )
