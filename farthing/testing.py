"""A market to try things in: a chain, publishers and payers, in one block and gone after it.

    with playground() as play:
        site = play.publish(app, {"GET /articles/{slug}": "0.002"})
        reader = play.payer()
        print(reader.http.get(f"{site.url}/articles/first").text)
        print(play.prove())

Only the money is not real: the chain is that of `farthing devnet`, requests go over sockets of this
machine, ledgers and wallets are files. For tests of an app that is paid, and for the examples. It
needs ``farthing[serve]``, and anvil.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import uvicorn
from eth_account import Account
from eth_account.signers.local import LocalAccount

from farthing.chain.connection import connect
from farthing.chain.devnet import Devnet, devnet
from farthing.chain.sender import Sender
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.ledger import Ledger
from farthing.opening import Keys, open_books, open_contracts
from farthing.operations.compare import compare
from farthing.operations.parts import WatcherPart, open_redeemer
from farthing.paywall import Paywall, PaywallMiddleware, open_paywall
from farthing.paywall.asgi import App
from farthing.protocol import FarthingError
from farthing.protocol.amounts import from_units, to_units
from farthing.settings import Settings
from farthing.wallet import (
    Approval,
    Budget,
    Home,
    Period,
    Place,
    Rules,
    Store,
    Wallet,
    session_of,
)
from farthing.wallet.httpx_client import AsyncPayingTransport, PayingTransport

# What everyone has of the chain's coin, in wei, and payers of the test dollar.
COINS = 10**20
DOLLARS = "1000"
# Blocks after which the watcher takes what came before them for final.
FINAL_BLOCKS = 2
# Seconds in which a transaction is in a block, an answer has come, and a server has ended.
WAIT_SECONDS = 60
GRACE_SECONDS = 1

_SETTINGS = """\
ledger = "books.db"

[chain]
rpc = "{rpc}"
id = {chain_id}
token = "{token}"

[terms]
receiver = "{receiver}"
min_deposit = "0.01"
withdraw_delay = 900

[redeemer]
coin_price = "0"

[watcher]
confirmations = 1

{more}

[prices]
"/" = "free"
"""


class BooksDoNotBalance(FarthingError):
    """Money is not where the books say; the sentence says where they differ."""


class SiteFailed(FarthingError):
    """An app could not be served, or what it earned could not be redeemed."""


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

    def publish(self, app: App, prices: Mapping[str, Any], *, settings: str = "") -> Publisher:
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
        path = folder / "farthing.toml"
        path.write_text(
            _SETTINGS.format(
                rpc=self.chain.url,
                chain_id=self.chain.deployment.chain_id,
                token=self.chain.token,
                receiver=receiver.address,
                more=settings,
            )
        )
        read, keys = Settings.load(path), Keys(sender, sender)
        paywall = open_paywall(read, prices=prices, keys=keys)
        url = self._stack.enter_context(_served(PaywallMiddleware(app, paywall), paywall))
        ledger = self._stack.enter_context(closing(open_books(read)))
        self.publishers.append(Publisher(self, url, read, keys, receiver, ledger))
        return self.publishers[-1]

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
        account = self._account()
        settlement = Settlement(connect(self.chain.url), self.chain.deployment.settlement)
        self._mint.transact(self.token.plan_mint([account.address], self.units(DOLLARS)))
        place = Place(settlement.domain, self.token.domain, self.chain.deployment.erc3009_collector)
        session = session_of(account, place.domain)
        home = Home(
            account.address,
            session.address,
            self.chain.url,
            place.domain,
            self.token.address,
            place.collector,
        )
        store = Store.create(self._folder / f"payer-{len(self.payers)}.db", account, home, rules)
        wallet = Wallet(store, session, settlement, place, main=account, approve=approve)
        self._stack.callback(wallet.close)
        self.payers.append(Payer(account, wallet, self._stack))
        return self.payers[-1]

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
        lost = sum(self._lost(payer) for payer in self.payers)
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

    def _lost(self, payer: Payer) -> int:
        """What a payer has not any more, by the chain, with what its wallet knows of it."""
        has = self.token.balance_of(payer.address)
        for lane in payer.wallet.store.lanes():
            found = payer.wallet.snapshot(lane.channel_id)
            # Of an answer that failed or was lost a wallet does not know whether it was charged.
            if not lane.charged <= found.total_claimed <= lane.upper:
                raise BooksDoNotBalance(
                    f"{found.total_claimed} are claimed of a payer whose wallet knows of "
                    f"{lane.charged} to {lane.upper}."
                )
            has += found.balance - found.total_claimed
        return self.units(DOLLARS) - has

    def _account(self) -> LocalAccount:
        account: LocalAccount = Account.create()
        self.chain.give_coins(account.address, COINS)
        return account


class Publisher:
    """A site that is served and paid.

    Attributes:
        url: Where it is, without a slash at its end.
        settings, keys: Its own.
        receiver: The account that gets the money.
        ledger: Its books, for the thread that made it.
        paid_back: What `pay_back` gave, in smallest units.
    """

    def __init__(
        self,
        play: Playground,
        url: str,
        settings: Settings,
        keys: Keys,
        receiver: LocalAccount,
        ledger: Ledger,
    ) -> None:
        self.url = url
        self.settings = settings
        self.keys = keys
        self.receiver = receiver
        self.ledger = ledger
        self.paid_back = 0
        self._play = play

    def redeem(self) -> None:
        """Turns all that was charged into money, as `farthing redeem --now` does.

        Raises:
            SiteFailed: It could not be.
        """
        contracts = open_contracts(self.settings)
        with closing(open_redeemer(self.settings, self.keys, contracts)) as opened:
            is_over = False
            while not is_over:
                step = opened.redeemer.step(now=True)
                for number in step.submitted:
                    opened.queue.wait(number, WAIT_SECONDS)
                if step.problems or step.plan is None:
                    raise SiteFailed(" ".join(step.problems) or step.why)
                is_over = not step.submitted

    def pay_back(self, payer: str, amount: int) -> None:
        """Sends a payer ``amount`` smallest units of what was earned and redeemed.

        Raises:
            ContractReverted: So much is not there.
        """
        self._play.token.transfer(Sender(self._play.chain.w3, self.receiver), payer, amount)
        self.paid_back += amount

    def settle(self) -> int:
        """Redeems all, and proves the ledger against itself and the chain; what was charged in all.

        Raises:
            SiteFailed: Something could not be redeemed.
            BooksDoNotBalance: They differ.
        """
        self.redeem()
        self._play.chain.mine(FINAL_BLOCKS)
        with closing(WatcherPart(self.settings, self.keys)) as watcher:
            while watcher.step() == 0:
                pass
        found = compare(self.ledger, open_contracts(self.settings).settlement)
        for each in found.differences:
            raise BooksDoNotBalance(f"channel 0x{each.channel_id.hex()}: {each.problem}.")
        if found.claimed != found.charged:
            raise BooksDoNotBalance(f"{found.charged} were charged, {found.claimed} are claimed.")
        return found.charged


class Payer:
    """Somebody with a wallet.

    Attributes:
        account: Its main key.
        wallet: What pays.
        http: An `httpx.Client` that pays by itself.
    """

    def __init__(self, account: LocalAccount, wallet: Wallet, stack: ExitStack) -> None:
        self.account = account
        self.wallet = wallet
        self.http = stack.enter_context(
            httpx.Client(transport=PayingTransport(wallet), timeout=WAIT_SECONDS)
        )

    @property
    def address(self) -> str:
        return self.account.address

    def http_async(self) -> httpx.AsyncClient:
        """The same for coroutines; whoever makes it closes it."""
        return httpx.AsyncClient(transport=AsyncPayingTransport(self.wallet), timeout=WAIT_SECONDS)

    def spent(self) -> int:
        """What it was charged so far, in smallest units."""
        return sum(payment.charged or 0 for payment in self.wallet.store.history())


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


@contextmanager
def _served(app: App, paywall: Paywall) -> Iterator[str]:
    """Serves an app on a thread while the block lasts; its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = _Server(app, paywall)
    thread = threading.Thread(target=server.run_on, args=(listening,), daemon=True)
    thread.start()
    try:
        server.settled.wait()
        if not server.started:
            raise SiteFailed("the app did not start: see what it logged.")
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(WAIT_SECONDS)


class _Server(uvicorn.Server):
    """Says when it has started, or will not; closes its paywall."""

    def __init__(self, app: App, paywall: Paywall) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                log_config=None,
                log_level="error",
                access_log=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self.settled = threading.Event()
        self._paywall = paywall

    def run_on(self, listening: socket.socket) -> None:
        # With an exit it says that an app did not start.
        with suppress(SystemExit):
            self.run([listening])
        self.settled.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Pages that still listen for news are cut off, which is no news itself.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
        # An app without a lifespan has not closed it.
        await self._paywall.close()
