"""A site that is served and paid."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from eth_account.signers.local import LocalAccount

from farthing.chain.devnet import Devnet
from farthing.chain.sender import Sender
from farthing.chain.token import Token
from farthing.opening import Keys, open_books, open_contracts
from farthing.operations.compare import compare
from farthing.operations.parts import WatcherPart, open_redeemer
from farthing.paywall import open_paywall
from farthing.paywall.asgi import App
from farthing.paywall.prices import AnyPrice
from farthing.settings import Settings
from farthing.testing.errors import BooksDoNotBalance, SiteFailed
from farthing.testing.serving import served

# Blocks after which the watcher takes what came before them for final.
FINAL_BLOCKS = 2
# Seconds in which a transaction is in a block.
WAIT_SECONDS = 60

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
"""


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
        chain: Devnet,
        folder: Path,
        keys: Keys,
        receiver: LocalAccount,
        app: App,
        prices: Mapping[str, AnyPrice],
        settings: str,
        stack: ExitStack,
    ) -> None:
        path = folder / "farthing.toml"
        path.write_text(
            _SETTINGS.format(
                rpc=chain.url,
                chain_id=chain.deployment.chain_id,
                token=chain.token,
                receiver=receiver.address,
                more=settings,
            )
        )
        self.settings = Settings.load(path)
        self.keys = keys
        self.receiver = receiver
        self.paid_back = 0
        self._chain = chain
        self._token = Token(chain.w3, chain.token)
        self._app, self._prices = app, prices
        self._running = stack.enter_context(ExitStack())
        self._port = self._start(0)
        self.url = f"http://127.0.0.1:{self._port}"
        self.ledger = stack.enter_context(closing(open_books(self.settings)))

    def _start(self, port: int) -> int:
        paywall = open_paywall(self.settings, prices=self._prices, keys=self.keys)
        return self._running.enter_context(served(self._app, paywall, port))

    def restart(self) -> None:
        """Stops the site, and starts it anew at the same place: what it knows is what it kept.

        Raises:
            SiteFailed: It did not start.
        """
        self._running.close()
        self._start(self._port)

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
        self._token.transfer(Sender(self._chain.w3, self.receiver), payer, amount)
        self.paid_back += amount

    def settle(self) -> int:
        """Redeems all, and proves the ledger against itself and the chain; what was charged in all.

        Raises:
            SiteFailed: Something could not be redeemed.
            BooksDoNotBalance: They differ.
        """
        self.redeem()
        self._chain.mine(FINAL_BLOCKS)
        with closing(WatcherPart(self.settings, self.keys)) as watcher:
            while watcher.step() == 0:
                pass
        found = compare(self.ledger, open_contracts(self.settings).settlement)
        for each in found.differences:
            raise BooksDoNotBalance(f"channel 0x{each.channel_id.hex()}: {each.problem}.")
        if found.claimed != found.charged:
            raise BooksDoNotBalance(f"{found.charged} were charged, {found.claimed} are claimed.")
        return found.charged
