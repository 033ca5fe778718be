"""What the `farthing wallet` command does, as functions: it only reads options and prints."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from farthing.chain.sender import Sender
from farthing.protocol import PERMIT2, Signer
from farthing.protocol.payments import REQUIRED_HEADER
from farthing.wallet.consents import collection
from farthing.wallet.errors import NotAnswered, OfferRefused
from farthing.wallet.flow import refund as refund_flow
from farthing.wallet.httpx_client import PayingTransport
from farthing.wallet.offers import Offer, read_demand
from farthing.wallet.onchain import Position, positions
from farthing.wallet.records import Lane
from farthing.wallet.request import Request
from farthing.wallet.wallet import Wallet

# What tokens take for "as much as there is", and do not count down.
MAX_ALLOWANCE = 2**256 - 1


@dataclass(frozen=True)
class Balance:
    """All the payer has, in smallest units.

    Attributes:
        free: In its account.
        channels: In escrow, by channel.
    """

    free: int
    channels: list[Position]

    @property
    def unspent(self) -> int:
        """What is in escrow and its own still."""
        return sum(each.unspent for each in self.channels)


def balance(wallet: Wallet) -> Balance:
    """What there is, over all publishers.

    Raises:
        NotAnswered: The chain cannot be asked.
    """
    return Balance(wallet.token().balance_of(wallet.store.home.payer), positions(wallet))


def get(
    wallet: Wallet, url: str, *, transport: httpx.BaseTransport | None = None
) -> httpx.Response:
    """What is at ``url``, paid for if it has a price.

    Raises:
        WalletError: It was not paid, and why.
        NotAnswered: The server did not answer.
    """
    with httpx.Client(
        transport=PayingTransport(wallet, transport), follow_redirects=True
    ) as client:
        try:
            return client.get(url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotAnswered(f"{url} did not answer ({type(error).__name__})") from error


def fund(wallet: Wallet, main: Signer, sender: Sender, url: str, amount: int) -> Lane:
    """Deposits ``amount`` for the publisher of ``url``, whatever the budgets say.

    Args:
        main: The main key; its money is deposited.
        sender: Sends the transaction and pays for gas; any account.
        url: A page that has a price.

    Raises:
        OfferRefused: The page has none, or not for this wallet.
        NoFunds: It wants deposits through Permit2, which may not take the token.
        ContractReverted: The deposit is refused: mostly there is less money than that.
        NotAnswered: The server, or the chain, did not answer.
    """
    request, offer = Request.of("GET", url), _offer(wallet, url)
    wallet.check_permit2(request, offer)
    lane = wallet.take_lane(request, offer)
    if lane is None:
        raise NotAnswered(f"all channels of {request.origin} are in use")
    try:
        now = int(wallet.settlement.w3.eth.get_block("latest")["timestamp"])
        deposit = wallet.new_deposit(offer, lane, amount, now)
        collector, data = collection(main, wallet.place, lane, deposit)
        wallet.settlement.deposit(sender, lane.config, amount, collector, data)
        return wallet.refresh(lane)
    finally:
        wallet.give_lane(lane)


def allow_permit2(wallet: Wallet, sender: Sender) -> None:
    """Lets Permit2 take the payer's tokens, which publishers with such deposits need once.

    It takes nothing without a signature for each deposit.

    Args:
        sender: Sends with the main key, and pays for gas.

    Raises:
        TransactionRefused: The key has no coin for gas.
    """
    wallet.token().approve(sender, PERMIT2, MAX_ALLOWANCE)


def refund(wallet: Wallet, url: str, amount: int | None = None) -> int:
    """Asks the publisher of ``url`` for ``amount`` back, or all that is left; gives what came.

    A publisher may refuse; `farthing.wallet.onchain.withdraw` needs no one's leave.

    Raises:
        RefusedByServer: It gives nothing back.
        NotAnswered: It, or the chain, did not answer.
    """
    request = Request.of("GET", url)
    came = 0
    with PayingTransport(wallet) as transport:
        for lane in wallet.store.lanes(request.origin):
            before = wallet.snapshot(lane.channel_id)
            if lane.is_closed or before.balance == before.total_claimed:
                continue
            flow = refund_flow(wallet, lane, "GET", url, amount)
            try:
                transport.run(httpx.Request("GET", url), flow).close()
            except httpx.HTTPError as error:
                raise NotAnswered(f"{url} did not answer ({type(error).__name__})") from error
            came += before.balance - wallet.snapshot(lane.channel_id).balance
            if amount is not None:
                break
    return came


def _offer(wallet: Wallet, url: str) -> Offer:
    try:
        answer = httpx.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotAnswered(f"{url} did not answer ({type(error).__name__})") from error
    header = answer.headers.get(REQUIRED_HEADER)
    if answer.status_code != 402 or header is None:
        raise OfferRefused(f"{url} has no price")
    return read_demand(header, wallet.place).offer
