"""The paywall: a price on a URL, and every charge durable."""

from farthing.paywall.admission import Admission, ChargeInvalid
from farthing.paywall.asgi import PaywallMiddleware, payment_of
from farthing.paywall.limits import Limits, PayerLimits
from farthing.paywall.offer import Offers
from farthing.paywall.opening import open_paywall
from farthing.paywall.paywall import Paywall
from farthing.paywall.prices import PriceInvalid, Prices
from farthing.paywall.pricing import (
    Cap,
    Cashback,
    EarlyAccess,
    FreeQuota,
    Own,
    Pass,
    PayerRule,
    PayWhatYouWant,
    PerUnit,
    Price,
    PricingInvalid,
    Quote,
    RateLimit,
    Request,
    RequestInvalid,
    RuleRefused,
    Tiers,
    VolumeDiscount,
)
from farthing.paywall.wsgi import WsgiPaywall
from farthing.settings import Settings, SettingsInvalid

__all__ = [
    "Admission",
    "Cap",
    "Cashback",
    "ChargeInvalid",
    "EarlyAccess",
    "FreeQuota",
    "Limits",
    "Offers",
    "Own",
    "Pass",
    "PayWhatYouWant",
    "PayerLimits",
    "PayerRule",
    "Paywall",
    "PaywallMiddleware",
    "PerUnit",
    "Price",
    "PriceInvalid",
    "Prices",
    "PricingInvalid",
    "Quote",
    "RateLimit",
    "Request",
    "RequestInvalid",
    "RuleRefused",
    "Settings",
    "SettingsInvalid",
    "Tiers",
    "VolumeDiscount",
    "WsgiPaywall",
    "open_paywall",
    "payment_of",
]
