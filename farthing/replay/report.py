"""What a replay did and what it cost: numbers for machines, tables for a publisher.

Amounts are ``int`` in the token's smallest unit, gas prices ``int`` in wei. Percentages and rates
are computed in ``Decimal`` and rounded once, at the end; a token unit counts as one US dollar.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from farthing.protocol.errors import FarthingError
from farthing.replay.access_log import Unreadable

TRANSFER_GAS = 34_453
"""Gas of one ERC-20 transfer to a known holder, measured on anvil."""
UNREADABLE_SHOWN = 10

_WEI_PER_GWEI = 10**9
_WEI_PER_COIN = 10**18
# Far above any real market, and small enough that no result needs an exponent.
_MARKET_LIMIT = Decimal(10**12)
# Enough for every product of 128-bit amounts; the process's own context may be any other.
_CONTEXT = Context(prec=100)
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class MarketError(FarthingError):
    """A gas or coin price cannot be used; ``field`` and ``value`` say which."""

    def __init__(self, field: str, value: object, problem: str) -> None:
        self.field = field
        self.value = value
        super().__init__(f"The {field} {str(value)[:60]!r} {problem}.")


@dataclass(frozen=True, slots=True)
class Market:
    """What gas costs: ``gas_price_wei`` per gas, and US dollars per coin of the chain."""

    gas_price_wei: int
    coin_price: Decimal

    @classmethod
    def of(cls, gas_price_gwei: Decimal | str, coin_price: Decimal | str) -> "Market":
        """From decimal numbers as a user gives them: gwei per gas, US dollars per coin.

        Raises:
            MarketError: a value is no decimal number, negative, absurd, or finer than one wei.
        """
        gwei = _decimal("gas price in gwei", gas_price_gwei)
        coin = _decimal("coin price in US dollars", coin_price)
        with localcontext(_CONTEXT):
            wei = gwei * _WEI_PER_GWEI
            if wei != int(wei):
                raise MarketError(
                    "gas price in gwei",
                    gas_price_gwei,
                    "is finer than one wei; give at most 9 decimals",
                )
        return cls(int(wei), coin)


@dataclass(frozen=True, slots=True)
class CardFee:
    """A card processor's published list price: percent of the amount, and cents per payment."""

    name: str
    percent: Decimal
    cents: int


PAYPAL_MICROPAYMENTS = CardFee("PayPal micropayments", Decimal("4.99"), 9)
STRIPE = CardFee("Stripe", Decimal("2.9"), 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """The result of one replay.

    ``lines`` is ``skipped_lines`` (unreadable) and the readable ones: ``paid_reads``,
    ``free_reads`` (delivered, at no price) and ``unpaid`` (not a GET with status 200).
    ``revenue`` is what was charged off chain, ``payers_paid`` what all payers lost on chain and
    ``receiver_got`` what the receiver gained there. ``unreadable`` needs to hold only the first
    ``UNREADABLE_SHOWN`` entries. ``milliseconds`` is the duration.
    """

    chain: str
    market: Market
    token_symbol: str
    token_decimals: int
    lines: int
    skipped_lines: int
    paid_reads: int
    free_reads: int
    unpaid: int
    readers: int
    revenue: int
    payers_paid: int
    receiver_got: int
    deposits: int
    batches: int
    gas_deposits: int
    gas_redemption: int
    milliseconds: int
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def gas_total(self) -> int:
        """Gas of all deposits and redemptions."""
        return self.gas_deposits + self.gas_redemption

    @property
    def books_balance(self) -> bool:
        """Whether payers lost, the receiver gained and the reads cost the same, to the unit."""
        return self.payers_paid == self.receiver_got == self.revenue

    def gas_cost(self, gas: int) -> Decimal:
        """US dollars that ``gas`` costs in this report's market, exact."""
        with localcontext(_CONTEXT):
            return gas * self.market.gas_price_wei * self.market.coin_price / _WEI_PER_COIN

    def card_cost(self, fee: CardFee) -> Decimal:
        """US dollars ``fee`` takes when every paid read is a card payment of its own, exact."""
        with localcontext(_CONTEXT):
            variable = self._dollars(self.revenue) * fee.percent / 100
            return variable + Decimal(self.paid_reads * fee.cents) / 100

    def percent_of_revenue(self, dollars: Decimal) -> Decimal | None:
        """``dollars`` in percent of the revenue, unrounded; None without revenue."""
        share = _ratio(dollars, self._dollars(self.revenue))
        return None if share is None else share.scaleb(2, _CONTEXT)

    def as_json(self) -> dict[str, object]:
        """The report as JSON types.

        Amounts, counts and gas are integers. ``gas_per_read`` and ``redeemed_gas_per_read`` are
        numbers with 1 decimal, the percentages with 4, ``seconds`` with 3; a rate per read without
        paid reads, or a percentage without revenue, is null. ``coin_price`` is a decimal string.
        """
        percent_of_gas = {
            "cost_percent": self.gas_total,
            "redeemed_cost_percent": self.gas_redemption,
            "transfers_cost_percent": self.paid_reads * TRANSFER_GAS,
        }
        percent_of_card = {
            "card_cost_percent": PAYPAL_MICROPAYMENTS,
            "card_standard_cost_percent": STRIPE,
        }
        return {
            "chain": self.chain,
            "lines": self.lines,
            "skipped_lines": self.skipped_lines,
            "paid_reads": self.paid_reads,
            "free_reads": self.free_reads,
            "unpaid": self.unpaid,
            "readers": self.readers,
            "revenue": self.revenue,
            "payers_paid": self.payers_paid,
            "receiver_got": self.receiver_got,
            "books_balance": self.books_balance,
            "token_symbol": self.token_symbol,
            "token_decimals": self.token_decimals,
            "deposits": self.deposits,
            "batches": self.batches,
            "gas_total": self.gas_total,
            "gas_deposits": self.gas_deposits,
            "gas_redemption": self.gas_redemption,
            "gas_per_read": _number(_ratio(self.gas_total, self.paid_reads), 1),
            "redeemed_gas_per_read": _number(_ratio(self.gas_redemption, self.paid_reads), 1),
            "transfer_gas_per_read": TRANSFER_GAS,
            "gas_price_wei": self.market.gas_price_wei,
            "coin_price": format(self.market.coin_price, "f"),
            **{
                key: _number(self.percent_of_revenue(self.gas_cost(gas)), 4)
                for key, gas in percent_of_gas.items()
            },
            **{
                key: _number(self.percent_of_revenue(self.card_cost(fee)), 4)
                for key, fee in percent_of_card.items()
            },
            "seconds": _number(Decimal(self.milliseconds) / 1000, 3),
            "unreadable": [
                {"line": entry.line_number, "reason": entry.reason, "text": entry.text}
                for entry in self.unreadable[:UNREADABLE_SHOWN]
            ],
        }

    def money(self, amount: int) -> str:
        """``amount`` smallest units, exact, as ``1.25 USD``."""
        whole, fraction = divmod(abs(amount), 10**self.token_decimals)
        digits = str(fraction).zfill(self.token_decimals) if self.token_decimals else ""
        digits = digits.rstrip("0").ljust(min(2, self.token_decimals), "0")
        sign = "-" if amount < 0 else ""
        return f"{sign}{whole:,}{'.' if digits else ''}{digits} {self.token_symbol}"

    def _dollars(self, amount: int) -> Decimal:
        with localcontext(_CONTEXT):
            return Decimal(amount).scaleb(-self.token_decimals)


def render(report: ReplayReport, console: Console) -> None:
    """Print ``report`` for people; fits 80 columns."""
    console.print(_what_happened(report))
    console.print()
    console.print(_what_it_costs(report))
    console.print(
        Text(
            f"Gas at {_plain(_gwei(report.market))} gwei and {_plain(report.market.coin_price)} US "
            f"dollars a coin. One transfer per read: {TRANSFER_GAS:,} gas each. Cards: published "
            f"list prices, {_fee(PAYPAL_MICROPAYMENTS)} and {_fee(STRIPE)} a payment, every read "
            f"paid on its own. One {report.token_symbol} counts as one US dollar.",
            style="dim",
        )
    )
    if report.skipped_lines:
        console.print()
        _print_unreadable(report, console)
    console.print()
    _print_books(report, console)


def _what_happened(report: ReplayReport) -> Table:
    table = Table(title="Replay", title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", overflow="fold")
    rows: Mapping[str, str] = {
        "Chain": report.chain,
        "Lines in the log": f"{report.lines:,}",
        "  unreadable, skipped": f"{report.skipped_lines:,}",
        "  not a delivered page (not GET or not 200)": f"{report.unpaid:,}",
        "  free reads": f"{report.free_reads:,}",
        "  paid reads": f"{report.paid_reads:,}",
        "Readers who paid": f"{report.readers:,}",
        "Revenue": report.money(report.revenue),
        "Deposits": f"{report.deposits:,}",
        "Batches redeemed": f"{report.batches:,}",
        "Gas in total": f"{report.gas_total:,}",
        "  deposits (paid by whoever sends them)": f"{report.gas_deposits:,}",
        "  redemption (paid by the publisher)": f"{report.gas_redemption:,}",
        "Time": f"{Decimal(report.milliseconds) / 1000:,.1f} s",
    }
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    return table


def _what_it_costs(report: ReplayReport) -> Table:
    table = Table(title="What it costs", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("Way to be paid", overflow="fold")
    for heading in ("Gas per read", "US dollars", "% of revenue"):
        table.add_column(heading, justify="right", overflow="fold")
    by_gas = (
        ("Farthing, deposits included", report.gas_total),
        ("Farthing, redemption only", report.gas_redemption),
        ("One transfer per read", report.paid_reads * TRANSFER_GAS),
    )
    for name, gas in by_gas:
        per_read = _ratio(gas, report.paid_reads)
        shown = "-" if per_read is None else f"{_rounded(per_read, 1):,f}"
        _add_cost(table, report, name, shown, report.gas_cost(gas))
    for fee in (PAYPAL_MICROPAYMENTS, STRIPE):
        _add_cost(table, report, f"Card: {fee.name}", "-", report.card_cost(fee))
    return table


def _add_cost(table: Table, report: ReplayReport, name: str, gas: str, dollars: Decimal) -> None:
    percent = report.percent_of_revenue(dollars)
    shown = "-" if percent is None else f"{_legible(percent)} %"
    table.add_row(Text(name), gas, _legible(dollars), shown)


def _print_unreadable(report: ReplayReport, console: Console) -> None:
    # Text, not markup: the log is someone else's input.
    console.print(Text(f"Skipped lines: {report.skipped_lines:,}", style="yellow"))
    shown = report.unreadable[:UNREADABLE_SHOWN]
    for entry in shown:
        console.print(Text(f"  line {entry.line_number:,}: {entry.reason}"))
        if entry.text:
            console.print(Text(f"    {entry.text}", style="dim"), no_wrap=True, overflow="ellipsis")
    if report.skipped_lines > len(shown):
        console.print(Text(f"  and {report.skipped_lines - len(shown):,} more"))


def _print_books(report: ReplayReport, console: Console) -> None:
    if report.books_balance:
        verdict = (
            f"The books balance: payers lost {report.money(report.payers_paid)} and the receiver "
            "gained the same, to the unit, which is the revenue."
        )
        console.print(Text(verdict, style="bold green"))
        return
    console.print(Text("The books do NOT balance.", style="bold red"))
    for name, amount in (
        ("revenue charged", report.revenue),
        ("payers lost", report.payers_paid),
        ("receiver gained", report.receiver_got),
        ("payers lost minus receiver gained", report.payers_paid - report.receiver_got),
        ("revenue minus receiver gained", report.revenue - report.receiver_got),
    ):
        console.print(Text(f"  {name}: {report.money(amount)} ({amount:,} units)"))


def _decimal(field: str, value: Decimal | str) -> Decimal:
    if isinstance(value, str) and not _PLAIN_NUMBER.fullmatch(value):
        raise MarketError(field, value, "is not a plain number; write it as 0.05")
    number = Decimal(value)
    if not number.is_finite():
        raise MarketError(field, value, "is not a plain number; write it as 0.05")
    if number.is_signed() and number:
        raise MarketError(field, value, "is negative; give 0 or more")
    exponent = number.as_tuple().exponent
    if number > _MARKET_LIMIT or (isinstance(exponent, int) and exponent < -18):
        raise MarketError(
            field,
            value,
            f"is too large or too fine; give at most {_MARKET_LIMIT:,} and 18 decimals",
        )
    return number.copy_abs()


def _ratio(part: Decimal | int, whole: Decimal | int) -> Decimal | None:
    with localcontext(_CONTEXT):
        return Decimal(part) / Decimal(whole) if whole else None


def _rounded(value: Decimal, decimals: int) -> Decimal:
    with localcontext(_CONTEXT):
        return value.quantize(Decimal(1).scaleb(-decimals))


def _number(value: Decimal | None, decimals: int) -> int | float | None:
    """A JSON number whose shortest form is the rounded decimal; no arithmetic happens on it."""
    return None if value is None else float(_rounded(value, decimals))


def _legible(value: Decimal) -> str:
    """Two decimals, or for small values as many as show two significant digits."""
    if not value:
        return "0.00"
    decimals = max(2, 1 - value.adjusted())
    return f"{_rounded(value, min(decimals, 12)):,f}"


def _plain(value: Decimal) -> str:
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _gwei(market: Market) -> Decimal:
    return Decimal(market.gas_price_wei).scaleb(-9, _CONTEXT)


def _fee(fee: CardFee) -> str:
    return f"{fee.name} {fee.percent} % + {fee.cents} cents"
