"""From vouchers to money: what a receiver holds, redeemed in batches."""

from farthing.redeemer.batches import Redemption, redeem

__all__ = ["Redemption", "redeem"]
