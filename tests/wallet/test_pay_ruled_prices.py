"""A wallet at prices with rules: it signs for the whole price, and is charged what they leave."""

from __future__ import annotations

import pytest

from farthing.paywall import Cap, FreeQuota, Limits, Own, PayerLimits, Price
from tests.escrow_world import World
from tests.paywall.conftest import OpenShop
from tests.paywall.paywall_kit import CHEAP, DECIMALS, Shop, on_chain, terms_of
from tests.wallet.conftest import OpenWallet
from tests.wallet.test_pay_paywall import RULES, Site, charged

PRICES = {
    "/quota": Price("0.0001", FreeQuota(2, "P1Y")),
    "/own": Price("0.0001", Own("it")),
}
LIMITS = Limits(payers=PayerLimits(rules=(Cap("0.0002", "P1Y").bind("", DECIMALS),)))


@pytest.fixture
def shop(open_shop: OpenShop, world: World) -> Shop:
    domain = world.settlement.domain
    return open_shop(
        chain=on_chain(world), terms=terms_of(world), domain=domain, prices=PRICES, limits=LIMITS
    )


@pytest.fixture
def site(shop: Shop) -> Site:
    return Site(shop)


def test_pay__what_is_free_then_not(site: Site, open_wallet: OpenWallet) -> None:
    wallet = open_wallet(RULES)
    for path in ("/quota", "/quota", "/quota", "/own", "/own"):
        assert site.pay(wallet, path).status == 200
    assert charged(wallet) == [0, 0, CHEAP, CHEAP, 0]
    # All that is paid for is what the cap allows.
    assert site.pay(wallet, "/own").status == 200
    assert site.pay(wallet, "/quota").status == 429
    (lane,) = wallet.store.lanes()
    assert (lane.charged, lane.problem) == (2 * CHEAP, None)


def test_pay__a_free_answer_is_lost__it_is_used_up_once(
    site: Site, open_wallet: OpenWallet
) -> None:
    wallet = open_wallet(RULES)
    site.lose = lambda count: count in (1, 2, 4)
    for _ in range(3):
        assert site.pay(wallet, "/quota").status == 200
    # Six payments were sent for three requests.
    assert len(site.seen) == 6
    assert charged(wallet) == [0, 0, CHEAP]
    assert site.shop.served == 3
