"""Somebody with a wallet."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
from eth_account.signers.local import LocalAccount

from farthing.chain.connection import connect
from farthing.chain.devnet import Devnet
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.testing.errors import BooksDoNotBalance
from farthing.wallet import Approval, Home, Place, Rules, Store, Wallet, session_of
from farthing.wallet.httpx_client import AsyncPayingTransport, PayingTransport

# Seconds in which an answer has come. The first one comes after a deposit.
WAIT_SECONDS = 60


class Payer:
    """Somebody with a wallet.

    Attributes:
        account: Its main key.
        wallet: What pays.
        http: An `httpx.Client` that pays by itself.
    """

    def __init__(
        self,
        chain: Devnet,
        account: LocalAccount,
        path: Path,
        rules: Rules,
        approve: Callable[[Approval], bool] | None,
        stack: ExitStack,
    ) -> None:
        w3 = connect(chain.url)
        settlement, self._token = (
            Settlement(w3, chain.deployment.settlement),
            Token(w3, chain.token),
        )
        place = Place(settlement.domain, self._token.domain, chain.deployment.erc3009_collector)
        session = session_of(account, place.domain)
        home = Home(
            account.address,
            session.address,
            chain.url,
            place.domain,
            self._token.address,
            place.collector,
        )
        store = Store.create(path, account, home, rules)
        self.account = account
        self.wallet = Wallet(store, session, settlement, place, main=account, approve=approve)
        stack.callback(self.wallet.close)
        self.http = stack.enter_context(
            httpx.Client(transport=PayingTransport(self.wallet), timeout=WAIT_SECONDS)
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

    def has(self) -> int:
        """What it has by the chain, free and in escrow and not claimed, in smallest units.

        Raises:
            BooksDoNotBalance: The chain has more or less claimed than its wallet knows of.
        """
        has = self._token.balance_of(self.address)
        for lane in self.wallet.store.lanes():
            found = self.wallet.snapshot(lane.channel_id)
            # Of an answer that failed or was lost a wallet does not know whether it was charged.
            if not lane.charged <= found.total_claimed <= lane.upper:
                raise BooksDoNotBalance(
                    f"{found.total_claimed} are claimed of a payer whose wallet knows of "
                    f"{lane.charged} to {lane.upper}."
                )
            has += found.balance - found.total_claimed
        return has
