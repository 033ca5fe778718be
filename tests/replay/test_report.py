import io
import json
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from farthing.protocol.errors import FarthingError
from farthing.replay.access_log import Unreadable
from farthing.replay.report import (
    PAYPAL_MICROPAYMENTS,
    UNREADABLE_SHOWN,
    CardFee,
    Market,
    MarketError,
    ReplayReport,
    render,
)

# 1,000 reads at 2 cents, redeemed in one batch; a million gas cost two dollars.
REPORT = ReplayReport(
    chain="in-process",
    market=Market.of("1", "2000"),
    token_symbol="TUSD",
    token_decimals=6,
    lines=1_403,
    skipped_lines=3,
    paid_reads=1_000,
    free_reads=300,
    unpaid=100,
    readers=8,
    revenue=20_000_000,
    payers_paid=20_000_000,
    receiver_got=20_000_000,
    deposits=8,
    batches=1,
    gas_deposits=921_568,
    gas_redemption=144_001,
    milliseconds=12_345,
    unreadable=(Unreadable(7, "empty line", ""), Unreadable(9, "contains a NUL byte", "a\\x00b")),
)


def shown(report: ReplayReport, width: int = 80) -> list[str]:
    out = io.StringIO()
    render(report, Console(file=out, width=width, force_terminal=False))
    return out.getvalue().splitlines()


def row(report: ReplayReport, name: str) -> list[str]:
    (line,) = [line for line in shown(report) if line.strip().startswith(name)]
    return line.strip().removeprefix(name).split()


def test_as_json__all_figures() -> None:
    assert REPORT.as_json() == {
        "chain": "in-process",
        "lines": 1_403,
        "skipped_lines": 3,
        "paid_reads": 1_000,
        "free_reads": 300,
        "unpaid": 100,
        "readers": 8,
        "revenue": 20_000_000,
        "payers_paid": 20_000_000,
        "receiver_got": 20_000_000,
        "books_balance": True,
        "token_symbol": "TUSD",
        "token_decimals": 6,
        "deposits": 8,
        "batches": 1,
        "gas_total": 1_065_569,
        "gas_deposits": 921_568,
        "gas_redemption": 144_001,
        "gas_per_read": 1065.6,
        "redeemed_gas_per_read": 144.0,
        "transfer_gas_per_read": 34_453,
        "gas_price_wei": 10**9,
        "coin_price": "2000",
        # 1,065,569 gas are 2.131138 dollars of 20.
        "cost_percent": 10.6557,
        "redeemed_cost_percent": 1.44,
        # 34,453,000 gas are 68.906 dollars of 20.
        "transfers_cost_percent": 344.53,
        # 4.99 % and 1,000 times 9 cents, 2.9 % and 1,000 times 30 cents, of 20 dollars.
        "card_cost_percent": 454.99,
        "card_standard_cost_percent": 1502.9,
        "seconds": 12.345,
        "unreadable": [
            {"line": 7, "reason": "empty line", "text": ""},
            {"line": 9, "reason": "contains a NUL byte", "text": "a\\x00b"},
        ],
    }


def test_as_json__goes_through_json() -> None:
    assert json.loads(json.dumps(REPORT.as_json(), allow_nan=False)) == REPORT.as_json()


def test_as_json__nothing_paid() -> None:
    nothing = replace(
        REPORT, paid_reads=0, revenue=0, payers_paid=0, receiver_got=0, gas_redemption=0
    )
    figures = nothing.as_json()
    rates = ("gas_per_read", "redeemed_gas_per_read", "cost_percent", "redeemed_cost_percent")
    rates += ("transfers_cost_percent", "card_cost_percent", "card_standard_cost_percent")
    assert {key: figures[key] for key in rates} == dict.fromkeys(rates)
    assert figures["books_balance"] is True
    assert row(nothing, "Farthing, deposits included") == ["-", "1.84", "-"]


def test_as_json__first_unreadable_lines_only() -> None:
    many = tuple(Unreadable(n, "empty line", "") for n in range(1, 30))
    listed = replace(REPORT, unreadable=many).as_json()["unreadable"]
    assert isinstance(listed, list)
    assert [entry["line"] for entry in listed] == list(range(1, UNREADABLE_SHOWN + 1))


@pytest.mark.parametrize("field", ["revenue", "payers_paid", "receiver_got"])
@pytest.mark.parametrize("by", [-1, 1])
def test_books_balance__one_unit_off(field: str, by: int) -> None:
    assert REPORT.books_balance
    off = replace(REPORT, **{field: 20_000_000 + by})  # type: ignore[arg-type]
    assert not off.books_balance
    assert off.as_json()["books_balance"] is False
    assert "The books do NOT balance." in shown(off)
    assert not any("The books balance" in line for line in shown(off))


def test_books_balance__amounts_beyond_decimal_precision() -> None:
    huge = 2**128 - 1
    report = replace(REPORT, revenue=huge, payers_paid=huge, receiver_got=huge)
    assert report.books_balance
    assert not replace(report, receiver_got=huge - 1).books_balance
    assert report.money(huge) == "340,282,366,920,938,463,463,374,607,431,768.211455 TUSD"


@pytest.fixture
def plain_decimals() -> Iterator[None]:
    """Python's own precision: compilers loaded into the same process raise it."""
    with localcontext(Context(prec=28)):
        yield


@pytest.mark.usefixtures("plain_decimals")
def test_costs__exact_beyond_decimal_precision() -> None:
    huge = replace(REPORT, revenue=2**128 - 1, market=Market(1, Decimal("1.000000000000000001")))
    assert huge.gas_cost(10**30 + 1) == Decimal(
        "1000000000000.000001000000000001000000000000000001"
    )
    expected = Decimal("16980090109354829326822392910845.2337516045")
    assert huge.card_cost(CardFee("none", Decimal("4.99"), 0)) == expected
    assert (
        str(huge.card_cost(PAYPAL_MICROPAYMENTS)) == "16980090109354829326822392910935.2337516045"
    )


def test_report__is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        REPORT.lines = 1  # type: ignore[misc]


# For people


def test_render__fits_80_columns() -> None:
    long = Unreadable(10**7, "the compressed log is damaged here: " + "x" * 90, "y" * 140)
    wide = replace(
        REPORT,
        chain="a-chain-with-a-very-long-name." * 4,
        revenue=2**128 - 1,
        paid_reads=10**12,
        gas_redemption=10**18,
        unreadable=(long,),
    )
    for report in (REPORT, wide):
        assert max(len(line) for line in shown(report)) <= 80


def test_render__rows() -> None:
    assert row(REPORT, "Lines in the log") == ["1,403"]
    assert row(REPORT, "unreadable, skipped") == ["3"]
    assert row(REPORT, "free reads") == ["300"]
    assert row(REPORT, "paid reads") == ["1,000"]
    assert row(REPORT, "Readers who paid") == ["8"]
    assert row(REPORT, "Revenue") == ["20.00", "TUSD"]
    assert row(REPORT, "Deposits") == ["8"]
    assert row(REPORT, "Batches redeemed") == ["1"]
    assert row(REPORT, "Time") == ["12.3", "s"]
    assert row(REPORT, "Farthing, deposits included") == ["1,065.6", "2.13", "10.66", "%"]
    assert row(REPORT, "Farthing, redemption only") == ["144.0", "0.29", "1.44", "%"]
    assert row(REPORT, "One transfer per read") == ["34,453.0", "68.91", "344.53", "%"]
    assert row(REPORT, "Card: PayPal micropayments") == ["-", "91.00", "454.99", "%"]
    assert row(REPORT, "Card: Stripe") == ["-", "300.58", "1,502.90", "%"]


def test_render__says_where_the_figures_come_from() -> None:
    text = " ".join(shown(REPORT))
    assert "Gas at 1 gwei and 2,000 US dollars a coin." in text
    assert "published list prices" in text
    assert "PayPal micropayments 4.99 % + 9 cents" in text
    assert "Stripe 2.9 % + 30 cents" in text


def test_render__small_costs_keep_two_digits() -> None:
    cheap = replace(REPORT, market=Market.of("0.000001", "2000"))
    assert row(cheap, "Farthing, redemption only") == ["144.0", "0.00000029", "0.0000014", "%"]


def test_render__balanced_books() -> None:
    text = " ".join(shown(REPORT))
    assert "The books balance: payers lost 20.00 TUSD and the receiver gained the same" in text


def test_render__unbalanced_books_name_the_difference() -> None:
    lines = shown(replace(REPORT, receiver_got=19_999_999))
    assert lines[-6:] == [
        "The books do NOT balance.",
        "  revenue charged: 20.00 TUSD (20,000,000 units)",
        "  payers lost: 20.00 TUSD (20,000,000 units)",
        "  receiver gained: 19.999999 TUSD (19,999,999 units)",
        "  payers lost minus receiver gained: 0.000001 TUSD (1 units)",
        "  revenue minus receiver gained: 0.000001 TUSD (1 units)",
    ]


def test_render__unreadable_lines() -> None:
    lines = shown(REPORT)
    at = lines.index("Skipped lines: 3")
    assert lines[at + 1 : at + 5] == [
        "  line 7: empty line",
        "  line 9: contains a NUL byte",
        "    a\\x00b",
        "  and 1 more",
    ]
    clean = replace(REPORT, skipped_lines=0, unreadable=())
    assert not any("Skipped" in line for line in shown(clean))


def test_render__long_log_text_is_cut_to_one_line() -> None:
    lines = shown(replace(REPORT, unreadable=(Unreadable(1, "empty line", "a b " * 40),)))
    at = lines.index("  line 1: empty line")
    assert lines[at + 1].endswith("\u2026")
    assert lines[at + 2] == "  and 2 more"


def test_render__log_text_is_not_markup() -> None:
    hostile = replace(REPORT, unreadable=(Unreadable(1, "[bold]r", "[red]x[/nope]"),))
    assert "  line 1: [bold]r" in shown(hostile)
    assert "    [red]x[/nope]" in shown(hostile)


@pytest.mark.parametrize(
    ("decimals", "amount", "text"),
    [
        (6, 1, "0.000001"),
        (6, 0, "0.00"),
        (6, -1_500_000, "-1.50"),
        (0, 1234, "1,234"),
        (1, 5, "0.5"),
    ],
)
def test_money__exact(decimals: int, amount: int, text: str) -> None:
    assert replace(REPORT, token_decimals=decimals).money(amount) == f"{text} TUSD"


# The market


def test_market__exact() -> None:
    assert Market.of("0.000000001", "0.000000000000000001") == Market(1, Decimal("1e-18"))
    assert Market.of(Decimal("2.5"), Decimal("3000")) == Market(2_500_000_000, Decimal(3000))
    assert Market.of("0", "0") == Market(0, Decimal(0))
    coin = "999999999999.999999999999999999"
    assert str(Market.of("1", coin).coin_price) == coin


@pytest.mark.parametrize(
    ("gwei", "coin", "field", "problem"),
    [
        ("x", "1", "gas price in gwei", "is not a plain number; write it as 0.05"),
        ("1e3", "1", "gas price in gwei", "is not a plain number; write it as 0.05"),
        ("1_0", "1", "gas price in gwei", "is not a plain number; write it as 0.05"),
        ("", "1", "gas price in gwei", "is not a plain number; write it as 0.05"),
        (Decimal("nan"), "1", "gas price in gwei", "is not a plain number; write it as 0.05"),
        (Decimal("sNaN"), "1", "gas price in gwei", "is not a plain number; write it as 0.05"),
        (
            "1",
            Decimal("inf"),
            "coin price in US dollars",
            "is not a plain number; write it as 0.05",
        ),
        ("-1", "1", "gas price in gwei", "is negative; give 0 or more"),
        ("1", "-0.1", "coin price in US dollars", "is negative; give 0 or more"),
        (
            "0.0000000001",
            "1",
            "gas price in gwei",
            "is finer than one wei; give at most 9 decimals",
        ),
        (
            "1",
            "9" * 13,
            "coin price in US dollars",
            "is too large or too fine; give at most 1,000,000,000,000 and 18 decimals",
        ),
        (
            "1",
            Decimal("1e-19"),
            "coin price in US dollars",
            "is too large or too fine; give at most 1,000,000,000,000 and 18 decimals",
        ),
    ],
)
def test_market__refused(
    gwei: str | Decimal, coin: str | Decimal, field: str, problem: str
) -> None:
    with pytest.raises(MarketError) as caught:
        Market.of(gwei, coin)
    value = gwei if field.startswith("gas") else coin
    assert isinstance(caught.value, FarthingError)
    assert (caught.value.field, caught.value.value) == (field, value)
    assert str(caught.value) == f"The {field} {str(value)!r} {problem}."


amounts = st.integers(0, 2**128 - 1)


@settings(deadline=None)
@given(amounts, amounts, st.integers(0, 2**64), st.integers(0, 10**21), st.integers(0, 18))
def test_report__any_figures(
    revenue: int, got: int, gas: int, gas_price: int, decimals: int
) -> None:
    report = replace(
        REPORT,
        market=Market(gas_price, Decimal("1234.5")),
        revenue=revenue,
        payers_paid=revenue,
        receiver_got=got,
        gas_redemption=gas,
        paid_reads=gas // 1000,
        token_decimals=decimals,
    )
    json.dumps(report.as_json(), allow_nan=False)
    assert max(len(line) for line in shown(report)) <= 80
    assert report.books_balance is (revenue == got)
