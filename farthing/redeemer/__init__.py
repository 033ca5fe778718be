"""From vouchers to money: what a receiver holds, redeemed in batches."""

from farthing.redeemer.batches import Redemption, Skipped, redeem
from farthing.redeemer.booking import Booked
from farthing.redeemer.gas import Prediction, predict
from farthing.redeemer.money import GasPrice
from farthing.redeemer.packer import Batch, Packed, pack
from farthing.redeemer.plan import Plan, Planned
from farthing.redeemer.policy import Left, Policy, PolicyInvalid, Reason
from farthing.redeemer.redeemer import Redeemer, Step

__all__ = [
    "Batch",
    "Booked",
    "GasPrice",
    "Left",
    "Packed",
    "Plan",
    "Planned",
    "Policy",
    "PolicyInvalid",
    "Prediction",
    "Reason",
    "Redeemer",
    "Redemption",
    "Skipped",
    "Step",
    "pack",
    "predict",
    "redeem",
]
