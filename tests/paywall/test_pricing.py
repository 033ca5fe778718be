"""Rules of prices by themselves: periods and their edges, and what cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.ledger import Entitlement, Standing, Tally
from farthing.paywall import (
    Cap,
    Cashback,
    EarlyAccess,
    FreeQuota,
    Own,
    Pass,
    PayWhatYouWant,
    PerUnit,
    Price,
    PriceInvalid,
    Prices,
    PricingInvalid,
    RateLimit,
    Request,
    Tiers,
    VolumeDiscount,
)
from farthing.paywall.pricing.periods import Period
from farthing.paywall.pricing.rules import PayerRule, Quote, RuleRefused

NOTHING = Standing({}, {})
ASYNC = "its function is async: write it with def, not async def"
ASKED = Request("GET", "/a/b", b"", {}, {"name": "b"})


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def quoted(
    rules: list[PayerRule], now: int, amount: int = 100, standing: Standing = NOTHING
) -> Quote:
    """What becomes of an amount, by rules of the route ``/a/{name}``."""
    bound = [rule.bind("/a/{name}", 6) for rule in rules]
    quote = Quote(ASKED, now, standing, amount)
    for rule in bound:
        rule.apply(quote)
    for rule in bound:
        rule.settle(quote)
    return quote


def after(quote: Quote, before: Standing = NOTHING) -> Standing:
    """What stands once a quote is charged."""
    return Standing(before.tallies | quote.tallies, before.entitlements | quote.entitlements)


# ---------------------------------------------------------------- periods


@pytest.mark.parametrize(
    ("period", "now", "begin", "end"),
    [
        ("PT1M", "2026-03-05T10:59:59", "2026-03-05T10:59:00", "2026-03-05T11:00:00"),
        ("PT1H", "2026-03-05T10:00:00", "2026-03-05T10:00:00", "2026-03-05T11:00:00"),
        ("PT30S", "2026-03-05T10:00:31", "2026-03-05T10:00:30", "2026-03-05T10:01:00"),
        ("P1D", "2026-03-05T23:59:59", "2026-03-05T00:00:00", "2026-03-06T00:00:00"),
        ("P1W", "2026-03-05T12:00:00", "2026-03-02T00:00:00", "2026-03-09T00:00:00"),
        ("P1M", "2026-02-28T23:59:59", "2026-02-01T00:00:00", "2026-03-01T00:00:00"),
        ("P1M", "2024-02-29T00:00:00", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
        ("P3M", "2026-05-31T00:00:00", "2026-04-01T00:00:00", "2026-07-01T00:00:00"),
        ("P1Y", "2026-12-31T23:59:59", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("P1D", "1999-12-31T12:00:00", "1999-12-31T00:00:00", "2000-01-01T00:00:00"),
        ("P5M", "2000-12-31T12:00:00", "2000-08-01T00:00:00", "2001-01-01T00:00:00"),
    ],
)
def test_period__begins_where_the_calendars_does(
    period: str, now: str, begin: str, end: str
) -> None:
    found = Period.parse(period)
    assert found.begin(at(now)) == at(begin)
    assert found.end(at(begin)) == at(end)


@given(
    st.sampled_from(["PT1M", "PT7H", "P1D", "P30D", "P1W", "P1M", "P5M", "P1Y"]),
    st.integers(0, 2**33),
)
def test_period__every_moment_is_in_one(text: str, now: int) -> None:
    period = Period.parse(text)
    begin = period.begin(now)
    end = period.end(begin)
    assert begin <= now < end
    assert period.begin(begin) == period.begin(end - 1) == begin
    assert period.begin(end) == end


def test_period__from_the_31st__ends_with_a_short_month() -> None:
    bought = at("2026-01-31T10:20:30")
    assert Period.parse("P1M").end(bought) == at("2026-02-28T10:20:30")
    assert Period.parse("P30D").end(bought) == at("2026-03-02T10:20:30")


@pytest.mark.parametrize("text", ["", "P", "PT", "P0D", "1D", "P1DT1H", "P1M1D", "PT1D", "P-1D", 7])
def test_period__none(text: Any) -> None:
    with pytest.raises(PricingInvalid, match="is no period: write one like 'PT1H'"):
        Period.parse(text)


# ---------------------------------------------------------------- over time


def test_free_quota__the_next_period__begins_anew() -> None:
    rules: list[PayerRule] = [FreeQuota(1, "P1M")]
    standing = after(quoted(rules, at("2026-01-01T00:00:00")))
    assert quoted(rules, at("2026-01-31T23:59:59"), standing=standing).amount == 100
    assert quoted(rules, at("2026-02-01T00:00:00"), standing=standing).amount == 0


def test_free_quota__a_clock_that_is_behind__gives_nothing_twice() -> None:
    rules: list[PayerRule] = [FreeQuota(1, "P1D")]
    standing = after(quoted(rules, at("2026-01-02T00:00:00")))
    behind = quoted(rules, at("2026-01-01T23:59:59"), standing=standing)
    assert (behind.amount, behind.tallies) == (100, {})


def test_free_quota__a_clock_that_is_behind__uses_up_the_later_period() -> None:
    rules: list[PayerRule] = [FreeQuota(2, "P1D")]
    later = at("2026-01-02T00:00:00")
    standing = after(quoted(rules, later))
    behind = quoted(rules, later - 1, standing=standing)
    assert behind.amount == 0
    assert quoted(rules, later, standing=after(behind, standing)).amount == 100


def test_cap__the_next_period__begins_anew() -> None:
    rules: list[PayerRule] = [Cap("0.0001", "P1D")]
    standing = after(quoted(rules, at("2026-01-01T10:00:00")))
    with pytest.raises(RuleRefused, match=r"0 is left and this may cost 0\.000001") as caught:
        quoted(rules, at("2026-01-01T23:00:00"), 1, standing)
    assert caught.value.retry_after == 3_600
    assert quoted(rules, at("2026-01-02T00:00:00"), standing=standing).amount == 100


def test_pass__to_the_second() -> None:
    monthly = Pass("monthly", "P30D")
    bought = at("2026-01-01T10:00:00")
    standing = after(quoted([monthly.sold()], bought))
    (owned,) = standing.entitlements.values()
    assert owned == Entitlement("pass", "monthly", bought, bought + 30 * 86_400, 1, 0)
    covers: list[PayerRule] = [monthly.covers()]
    assert quoted(covers, owned.until - 1, standing=standing).amount == 0
    assert quoted(covers, owned.until, standing=standing).amount == 100


def test_pass__bought_after_it_ended__begins_anew() -> None:
    monthly = Pass("monthly", "P30D")
    ended = Entitlement("pass", "monthly", 0, 100, 3, 7)
    standing = Standing({}, {("pass", "monthly"): ended})
    (owned,) = quoted([monthly.sold()], 100, standing=standing).entitlements.values()
    assert owned == Entitlement("pass", "monthly", 100, 100 + 30 * 86_400, 1, 0)


def test_early_access__to_the_second() -> None:
    rule = EarlyAccess(lambda request: 1_000, then="0.0001").bind("/a", 6)
    assert rule.price(ASKED, 300, 999) == 300
    assert rule.price(ASKED, 300, 1_000) == 100


# ---------------------------------------------------------------- together


@pytest.mark.parametrize("order", [1, -1])
def test_own_and_quota__what_was_free__is_not_owned(order: int) -> None:
    rules: list[PayerRule] = [Own("{name}"), FreeQuota(1, "P1Y")][::order]
    free = quoted(rules, 0)
    assert (free.amount, free.entitlements) == (0, {})
    bought = quoted(rules, 0, standing=after(free))
    assert (bought.amount, list(bought.entitlements)) == (100, [("own", "b")])


def test_quota_and_discount__what_is_owned__does_not_count() -> None:
    owned = Standing({}, {("own", "b"): Entitlement("own", "b", 0, 0, 1, 0)})
    rules = [Own("{name}"), FreeQuota(1, "P1Y"), VolumeDiscount({1: 10}, "P1Y")]
    quote = quoted(rules, 0, standing=owned)
    assert (quote.amount, quote.reasons, quote.tallies) == (0, ["owned"], {})


def test_own__paid_with_cashback_alone__is_bought() -> None:
    standing = Standing({"cashback": Tally("cashback", 0, 15_000)}, {})
    quote = quoted([Cashback(5), Own("{name}")], 0, standing=standing)
    assert (quote.amount, quote.credited) == (0, 100)
    assert list(quote.entitlements) == [("own", "b")]
    assert quote.tallies["cashback"].value == 5_000


def test_cashback__counts_hundredths_of_a_unit() -> None:
    standing = NOTHING
    charged = []
    for _ in range(41):
        quote = quoted([Cashback(5)], 0, 1, standing)
        standing = after(quote, standing)
        charged.append(quote.amount)
    # Each unit that is charged brings a twentieth of one.
    assert charged == [1] * 20 + [0] + [1] * 20


def test_discount_then_cashback__in_their_order() -> None:
    standing = Standing(
        {
            "volume P1Y /a/{name}": Tally("volume P1Y /a/{name}", 0, 10),
            "cashback": Tally("cashback", 0, 1_000),
        },
        {},
    )
    rules: list[PayerRule] = [VolumeDiscount({10: 50}, "P1Y"), Cashback(5)]
    assert quoted(rules, 0, standing=standing).amount == 40
    assert quoted(rules[::-1], 0, standing=standing).amount == 45


def test_quota__of_several_routes_with_one_name__is_shared() -> None:
    one, two = FreeQuota(1, "P1Y", "both").bind("/1", 6), FreeQuota(1, "P1Y", "both").bind("/2", 6)
    assert one.tallies() == two.tallies()
    assert (
        FreeQuota(1, "P1Y").bind("/1", 6).tallies() != FreeQuota(1, "P1Y").bind("/2", 6).tallies()
    )


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**6), st.integers(1, 100))
def test_rules__of_less__charge_no_more(amount: int, less: int, balance: int, percent: int) -> None:
    """What a handler lowers never becomes dearer by a rule, so what was allowed stays allowed."""
    standing = Standing(
        {
            "volume P1Y /a/{name}": Tally("volume P1Y /a/{name}", 0, 10),
            "cashback": Tally("cashback", 0, balance),
        },
        {},
    )
    rules: list[PayerRule] = [VolumeDiscount({10: percent}, "P1Y"), Cashback(percent)]
    whole = quoted(rules, 0, amount, standing).amount
    assert 0 <= quoted(rules, 0, min(amount, less), standing).amount <= whole <= amount


@pytest.mark.parametrize("name", ["x" * 201, "a\nb", "\x00", "\udc80"])
def test_own__a_hostile_name__is_kept_as_a_hash(name: str) -> None:
    request = Request("GET", "/a/" + name, b"", {}, {"name": name})
    ((kind, item),) = Own("{name}").bind("/a/{name}", 6).entitlements(request)
    assert (kind, len(item)) == ("own", 64) and item.isprintable()


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda: FreeQuota(0, "P1M"), "a quota is 0: give a whole number, 1 or more"),
        (lambda: FreeQuota(3, "monthly"), "'monthly' is no period"),
        (lambda: VolumeDiscount({}, "P1M"), "there is no step"),
        (lambda: VolumeDiscount({10: 101}, "P1M"), "a discount's percent is 101: .* 1 to 100"),
        (lambda: Cashback(0), "a cashback's percent is 0"),
        (lambda: RateLimit(True, "PT1M"), "a rate limit is True"),
        (lambda: Pass("", "P30D"), "a pass cannot be called ''"),
        (lambda: Pass("monthly").covers(uses=0), "uses is 0"),
        (lambda: PerUnit("0", most=1), "'0' is no price of a unit"),
        (lambda: PerUnit("NaN", most=1), "'NaN' is no price of a unit"),
        (lambda: PerUnit("0.1", most=0), "the most units is 0"),
        (lambda: Tiers("tier", {}), "there is no tier"),
        (lambda: Price("1", "free"), "'free' is no rule: give one"),  # type: ignore[arg-type]
    ],
)
def test_rule__cannot_be(write: Callable[[], object], said: str) -> None:
    with pytest.raises(PricingInvalid, match=said):
        write()


async def slow_price(request: Request, more: int = 0) -> str:
    return "1"


class SlowPrice:
    async def __call__(self, request: Request) -> str:
        return "1"


@pytest.mark.parametrize(
    ("price", "said"),
    [
        (slow_price, ASYNC),
        (partial(slow_price, more=1), ASYNC),
        (SlowPrice(), ASYNC),
        (Price(slow_price, FreeQuota(1, "P1D")), ASYNC),  # type: ignore[arg-type]
        (Price("1", EarlyAccess(slow_price, then="1")), ASYNC),  # type: ignore[arg-type]
        (Price("two"), "'two' is not an amount"),
        (Price("1", Own("{other}")), r"'\{other\}' names \{other\}, which is not in the path"),
        (Price("1", EarlyAccess(0, then="x")), "'x' is not an amount"),
        (Price("1", Cap("0.0000001", "P1D")), "has more than the token's 6 decimals"),
        (Price(Tiers("t", {"a": "x"})), "'x' is not an amount"),
        (Price(PayWhatYouWant("1", most="0.5")), "1 to 0.5: give a least above 0"),
        (Price(PayWhatYouWant("0", most="1")), "0 to 1: give a least above 0"),
        (Price(PerUnit("1e33", most=10)), "are more than a channel can hold"),
        (Price(3), "3 is not a price; write it in quotes"),  # type: ignore[arg-type]
        (3, "3 is not a price; write it in quotes"),
    ],
)
def test_prices__cannot_be__names_the_route(price: Any, said: str) -> None:
    with pytest.raises(PriceInvalid, match=r"price of 'GET /a/\{name\}': .*" + said):
        Prices({"GET /a/{name}": price}, 6)
