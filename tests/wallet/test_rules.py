"""What a wallet's rules say, how they are kept, and who may set them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.protocol import Domain, InvalidField
from farthing.wallet import Budget, HostRefused, Period, PriceTooHigh, Rules, RulesForged
from farthing.wallet.rules import matches, verified_rules
from tests.escrow_world import PAYER, STRANGER

DAILY = Period.parse("R/2026-01-01T00:00Z/P1D")
MONTHLY = Period.parse("R/2026-01-01T00:00+09:00/P1M")
DOMAIN = Domain(31_337, "0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003")


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*", "news.example", True),
        ("news.example", "news.example", True),
        ("news.example", "www.news.example", False),
        ("*.news.example", "www.news.example", True),
        ("*.news.example", "a.b.news.example", True),
        ("*.news.example", "news.example", False),
        ("*.news.example", "fakenews.example", False),
        ("news.example", "news.example.evil", False),
    ],
)
def test_matches__a_pattern_and_a_host(pattern: str, host: str, expected: bool) -> None:
    assert matches(pattern, host) is expected


def test_check__deny_beats_allow() -> None:
    rules = Rules((Budget(9, DAILY),), allow=("*.example",), deny=("bad.example",))
    assert rules.check("good.example", 1) == rules.budgets
    with pytest.raises(HostRefused, match="deny list"):
        rules.check("bad.example", 1)
    with pytest.raises(HostRefused, match="not on the allow list"):
        rules.check("example.org", 1)


def test_check__a_host_without_a_budget__refused() -> None:
    rules = Rules((Budget(9, DAILY, "news.example"),))
    with pytest.raises(HostRefused, match="no budget"):
        rules.check("blog.example", 1)


def test_check__every_budget_of_a_host_counts() -> None:
    all_day, news = Budget(9, DAILY), Budget(5, MONTHLY, "news.example")
    rules = Rules((all_day, news, Budget(1, DAILY, "blog.example")))
    assert rules.check("news.example", 1) == (all_day, news)


def test_check__the_price_of_one_request__at_its_edge() -> None:
    rules = Rules((Budget(9, DAILY),), per_request=5)
    assert rules.check("news.example", 5)
    with pytest.raises(PriceTooHigh) as refused:
        rules.check("news.example", 6)
    assert (refused.value.amount, refused.value.limit) == (6, 5)
    assert "--per-request" in str(refused.value)


def test_needs_approval__above_the_threshold_only() -> None:
    assert not Rules(approve_above=5).needs_approval(5)
    assert Rules(approve_above=5).needs_approval(6)
    assert Rules(approve_above=0).needs_approval(1)
    assert not Rules().needs_approval(2**128 - 1)


amounts = st.integers(0, 2**128 - 1)
hosts = st.from_regex(r"(\*\.)?[a-z]{1,8}\.[a-z]{2,4}", fullmatch=True) | st.just("*")


@given(
    budgets=st.lists(
        st.builds(Budget, amounts, st.sampled_from([DAILY, MONTHLY]), hosts),
        max_size=4,
        unique_by=lambda each: each.name,
    ),
    per_request=st.none() | amounts,
    approve_above=st.none() | amounts,
    allow=st.lists(hosts, max_size=3),
    top_up=amounts,
    lanes=st.integers(1, 1_000),
)
def test_text__of_any_rules__reads_as_the_same(
    budgets: list[Budget],
    per_request: int | None,
    approve_above: int | None,
    allow: list[str],
    top_up: int,
    lanes: int,
) -> None:
    rules = Rules(
        tuple(budgets), per_request, approve_above, tuple(allow), ("bad.example",), top_up, lanes
    )
    assert Rules.from_text(rules.to_text()) == rules


@pytest.mark.parametrize("text", ["", "{}", "[]", "{" * 9_999, '{"budgets":[]}'])
def test_from_text__of_something_else__refused(text: str) -> None:
    with pytest.raises(InvalidField):
        Rules.from_text(text)


@pytest.mark.parametrize(
    "wrong",
    [{"per_request": -1}, {"top_up": 2**128}, {"lanes": 0}, {"lanes": True}, {"allow": ("A.b",)},
     {"deny": ("a/b",)}, {"allow": ("*.",)}, {"budgets": (Budget(1, DAILY), Budget(2, DAILY))}],
)  # fmt: skip
def test_rules__that_cannot_be__refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidField):
        Rules(**wrong)  # type: ignore[arg-type]


def test_verified_rules__only_what_the_main_key_signed() -> None:
    rules = Rules((Budget(9, DAILY),))
    signature = rules.signed(PAYER, 3, DOMAIN)
    assert verified_rules(rules.to_text(), 3, signature, PAYER.address, DOMAIN) == rules
    richer = Rules((Budget(10, DAILY),)).to_text()
    for text, version, signer in [
        (richer, 3, PAYER.address),
        (rules.to_text(), 4, PAYER.address),
        (rules.to_text(), 3, STRANGER.address),
    ]:
        with pytest.raises(RulesForged):
            verified_rules(text, version, signature, signer, DOMAIN)
