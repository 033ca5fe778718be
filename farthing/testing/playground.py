"""The market: a chain, and whoever is on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from eth_account import Account
from eth_account.signers.local import LocalAccount

from farthing.chain.devnet import Devnet, devnet
from farthing.chain.sender import Sender
from farthing.chain.token import Token
from farthing.opening import Keys
from farthing.paywall.asgi import App
from farthing.paywall.prices import AnyPrice
from farthing.protocol.amounts import from_units, to_units
from farthing.testing.errors import BooksDoNotBalance
from farthing.testing.payer import Payer
from farthing.testing.publisher import Publisher
from farthing.wallet import Approval, Budget, Period, Rules

# What everyone has of the chain's coin, in wei, and payers of the test dollar.
COINS = 10**20
DOLLARS = "1000"


class Playground:
    """A development chain with any number of publishers and payers; made by `playground`.

    Attributes:
        chain: The chain.
        token: The test dollar.
        publishers, payers: All there are so far.
    """

    def __init__(self, chain: Devnet, folder: Path, stack: ExitStack) -> None:
        self.chain = chain
        self.token = Token(chain.w3, chain.token)
        self.publishers: list[Publisher] = []
        self.payers: list[Payer] = []
        self._mint = Sender(chain.w3, chain.publisher)
        self._folder = folder
        self._stack = stack

    def publish(self, app: App, prices: Mapping[str, AnyPrice], *, settings: str = "") -> Publisher:
        """Serves an ASGI app behind a paywall of its own, on a free port, to the block's end.

        Args:
            app: Without a paywall.
            prices: As `farthing.paywall.open_paywall` takes them.
            settings: More tables of a ``farthing.toml``, such as ``[limits]``.

        Raises:
            SettingsInvalid: They cannot be.
            SiteFailed: The app did not start.
        """
        folder = self._folder / f"publisher-{len(self.publishers)}"
        folder.mkdir()
        sender, receiver = self._account(), self._account()
        keys = Keys(sender, sender)
        site = Publisher(self.chain, folder, keys, receiver, app, prices, settings, self._stack)
        self.publishers.append(site)
        return site

    def payer(
        self,
        *,
        budget: str = "10",
        period: str = "P1M",
        per_request: str | None = None,
        approve_above: str | None = None,
        approve: Callable[[Approval], bool] | None = None,
        top_up: str = "1",
        lanes: int = 4,
    ) -> Payer:
        """A payer with a wallet of its own and 1,000 test dollars. Amounts are in dollars.

        Args:
            budget: What it may spend in each ``period``, an ISO 8601 duration.
            per_request: The most one request may cost; None leaves that to the budget.
            approve_above: From where on ``approve`` is asked; None never asks.
            approve: Decides about a payment in its owner's place; without it that is a no.
            top_up: What it deposits at a time.
            lanes: How many channels it has with a publisher at most.
        """
        rules = Rules(
            budgets=(Budget(self.units(budget), Period.parse(f"R/2026-01-01T00:00Z/{period}")),),
            per_request=None if per_request is None else self.units(per_request),
            approve_above=None if approve_above is None else self.units(approve_above),
            top_up=self.units(top_up),
            lanes=lanes,
        )
        account, path = self._account(), self._folder / f"payer-{len(self.payers)}.db"
        self._mint.transact(self.token.plan_mint([account.address], self.units(DOLLARS)))
        payer = Payer(self.chain, account, path, rules, approve, self._stack)
        self.payers.append(payer)
        return payer

    def units(self, amount: str) -> int:
        """An amount in dollars in smallest units.

        Raises:
            AmountInvalid: It is none.
        """
        return to_units(amount, self.token.decimals)

    def show(self, units: int) -> str:
        """Smallest units for people, such as ``0.002 TUSD``."""
        return f"{from_units(units, self.token.decimals)} {self.token.symbol}"

    def prove(self) -> str:
        """Redeems all that was charged, and proves that ledgers, wallets and chain agree.

        Returns:
            The sentence that says so.

        Raises:
            BooksDoNotBalance: They do not.
            SiteFailed: Something could not be redeemed.
        """
        charged = sum(each.settle() for each in self.publishers)
        gained = sum(self.token.balance_of(each.receiver.address) for each in self.publishers)
        lost = sum(self.units(DOLLARS) - payer.has() for payer in self.payers)
        returned = sum(each.paid_back for each in self.publishers)
        if not gained == lost == charged - returned:
            raise BooksDoNotBalance(
                f"{self.show(charged)} were charged and {self.show(returned)} paid back, payers "
                f"lost {self.show(lost)} and publishers gained {self.show(gained)}."
            )
        return (
            f"The books balance: payers paid {self.show(lost)} and publishers received the same, "
            f"to the unit."
        )

    def _account(self) -> LocalAccount:
        account: LocalAccount = Account.create()
        self.chain.give_coins(account.address, COINS)
        return account


@contextmanager
def playground() -> Iterator[Playground]:
    """Runs a development chain while the block lasts, with all that is published on it.

    Raises:
        AnvilMissing: The program was not found.
        AnvilFailed: It ended before it was ready.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="farthing-play-")))
        yield Playground(stack.enter_context(devnet()), folder, stack)
