"""The protocol, pure: channels, vouchers, typed data and signatures. No I/O, no clock, no web3."""

from farthing.protocol.channel import ChannelConfig
from farthing.protocol.deposits import DepositAuthorization, Permit, Permit2Deposit
from farthing.protocol.domain import (
    PERMIT2,
    X402_ERC3009_COLLECTOR,
    X402_PERMIT2_COLLECTOR,
    X402_SETTLEMENT,
    Domain,
    Permit2Domain,
    TokenDomain,
)
from farthing.protocol.errors import (
    ChainReadNeeded,
    FarthingError,
    InvalidField,
    SigningFailed,
)
from farthing.protocol.messages import ClaimBatch, ClaimEntry, Refund, Voucher, VoucherClaim
from farthing.protocol.redemption import (
    MAX_EXTRAS,
    MAX_ROWS,
    Outcome,
    Reason,
    RedemptionCall,
    Terms,
    count_extras,
    decode_outcomes,
    extras_of,
    is_packable,
    redeem_call,
)
from farthing.protocol.signatures import (
    Signer,
    is_payer_signature,
    is_valid_signature,
    recover,
    sign,
)
from farthing.protocol.typed_data import SigningDomain, TypedMessage
from farthing.protocol.values import (
    MAX_SIGNATURE,
    MAX_VOUCHER_SIGNATURE,
    MAX_WITHDRAW_DELAY,
    MIN_WITHDRAW_DELAY,
    ZERO_ADDRESS,
)

__all__ = [
    "MAX_EXTRAS",
    "MAX_ROWS",
    "MAX_SIGNATURE",
    "MAX_VOUCHER_SIGNATURE",
    "MAX_WITHDRAW_DELAY",
    "MIN_WITHDRAW_DELAY",
    "PERMIT2",
    "X402_ERC3009_COLLECTOR",
    "X402_PERMIT2_COLLECTOR",
    "X402_SETTLEMENT",
    "ZERO_ADDRESS",
    "ChainReadNeeded",
    "ChannelConfig",
    "ClaimBatch",
    "ClaimEntry",
    "DepositAuthorization",
    "Domain",
    "FarthingError",
    "InvalidField",
    "Outcome",
    "Permit",
    "Permit2Deposit",
    "Permit2Domain",
    "Reason",
    "RedemptionCall",
    "Refund",
    "Signer",
    "SigningDomain",
    "SigningFailed",
    "Terms",
    "TokenDomain",
    "TypedMessage",
    "Voucher",
    "VoucherClaim",
    "count_extras",
    "decode_outcomes",
    "extras_of",
    "is_packable",
    "is_payer_signature",
    "is_valid_signature",
    "recover",
    "redeem_call",
    "sign",
]
