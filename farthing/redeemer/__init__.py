"""From vouchers to money: what a receiver holds, redeemed in batches."""

from farthing.redeemer.batches import Redemption, Skipped, redeem
from farthing.redeemer.gas import Prediction, predict
from farthing.redeemer.packer import Batch, Packed, pack

__all__ = ["Batch", "Packed", "Prediction", "Redemption", "Skipped", "pack", "predict", "redeem"]
