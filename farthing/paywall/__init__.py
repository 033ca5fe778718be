"""The paywall: a price on a URL, and every charge durable."""

from farthing.paywall.admission import Admission, ChargeInvalid
from farthing.paywall.asgi import PaywallMiddleware, payment_of
from farthing.paywall.limits import Limits
from farthing.paywall.offer import Offers
from farthing.paywall.opening import open_paywall
from farthing.paywall.paywall import Paywall
from farthing.paywall.prices import PriceInvalid, Prices, Request
from farthing.paywall.wsgi import WsgiPaywall
from farthing.settings import Settings, SettingsInvalid

__all__ = [
    "Admission",
    "ChargeInvalid",
    "Limits",
    "Offers",
    "Paywall",
    "PaywallMiddleware",
    "PriceInvalid",
    "Prices",
    "Request",
    "Settings",
    "SettingsInvalid",
    "WsgiPaywall",
    "open_paywall",
    "payment_of",
]
