"""Prices with rules: each rule is one small class."""

from farthing.paywall.pricing.bases import PayWhatYouWant, PerUnit, Tiers
from farthing.paywall.pricing.caps import Cap, RateLimit
from farthing.paywall.pricing.cashback import Cashback
from farthing.paywall.pricing.discount import VolumeDiscount
from farthing.paywall.pricing.early import EarlyAccess
from farthing.paywall.pricing.own import Own
from farthing.paywall.pricing.passes import Pass
from farthing.paywall.pricing.quota import FreeQuota
from farthing.paywall.pricing.request import Request, RequestInvalid
from farthing.paywall.pricing.rules import PayerRule, Price, PricingInvalid, Quote, RuleRefused

__all__ = [
    "Cap",
    "Cashback",
    "EarlyAccess",
    "FreeQuota",
    "Own",
    "Pass",
    "PayWhatYouWant",
    "PayerRule",
    "PerUnit",
    "Price",
    "PricingInvalid",
    "Quote",
    "RateLimit",
    "Request",
    "RequestInvalid",
    "RuleRefused",
    "Tiers",
    "VolumeDiscount",
]
