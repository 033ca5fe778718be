"""The payer's wallet: it decides, remembers and signs. It sends no request itself.

`farthing.wallet.httpx_client` and `farthing.wallet.requests_client` bring it the 402s.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from farthing.chain.connection import NodeUnreachable
from farthing.chain.settlement import Settlement, Snapshot
from farthing.chain.token import Token
from farthing.protocol import (
    PERMIT2,
    ChannelConfig,
    FarthingError,
    Signer,
    Voucher,
    recover,
    sign,
)
from farthing.protocol.payments import VERSION, identifier_of, write_header
from farthing.protocol.receipts import EXTENSION
from farthing.wallet.consents import deposit_payload
from farthing.wallet.errors import (
    ClaimNotProven,
    NoFunds,
    NotAnswered,
    NotApproved,
    WalletUnusable,
)
from farthing.wallet.lanes import LaneLocks
from farthing.wallet.offers import PERMIT2_METHOD, Claim, Offer, Place
from farthing.wallet.records import Lane, PendingDeposit, Signing
from farthing.wallet.request import Approval, Remembered, Request
from farthing.wallet.rules import Rules
from farthing.wallet.store import Store

Read = TypeVar("Read")
# For how long a server may use a deposit's consent, in seconds.
CONSENT_SECONDS = 900


class Wallet:
    """One payer's wallet, for any number of threads; other processes may have the same file open.

    Args:
        store: Its memory.
        session: The key that signs vouchers.
        settlement: The contract, on the wallet's chain.
        place: Where it pays.
        main: The key whose money it is. Without it no deposits are made by themselves.
        approve: Asks the owner about a payment above the threshold; without it that is a no.
        receipts: Whether it asks publishers for signed statements of what they charge.

    Raises:
        WalletUnusable: A key or the contract is not the one the wallet was made for.
    """

    def __init__(
        self,
        store: Store,
        session: Signer,
        settlement: Settlement,
        place: Place,
        *,
        main: Signer | None = None,
        approve: Callable[[Approval], bool] | None = None,
        receipts: bool = True,
    ) -> None:
        path = str(store.path)
        home = store.home
        if session.address != home.session:
            reason = f"its session key is {home.session}, not {session.address}"
            raise WalletUnusable(path, reason)
        if main is not None and main.address != home.payer:
            raise WalletUnusable(path, f"its main key is {home.payer}, not {main.address}")
        collectors = (home.collector, home.permit2_collector)
        asked = (place.domain, place.token.contract, settlement.domain)
        if asked != (home.domain, home.token, home.domain) or collectors != (
            place.collector,
            place.permit2_collector,
        ):
            reason = f"it pays {home.token} through {home.domain.contract}, and nothing else"
            raise WalletUnusable(path, reason)
        self.store = store
        self.settlement = settlement
        self.place = place
        self.locks = LaneLocks(Path(f"{path}-lanes"))
        self.remembered = Remembered()
        self._session = session
        self._run = secrets.token_hex(8)
        self._main = main
        self._approve = approve
        self._receipts = receipts

    def close(self) -> None:
        """Closes its files. May be called again."""
        self.locks.close()
        self.store.close()

    # ------------------------------------------------------------ rules and lanes

    def allow(self, request: Request, price: int) -> bool:
        """Looks at the rules before anything else is done; whether the owner approved.

        The budgets are looked at later, by `Store.authorize`.

        Raises:
            RefusedByRules: They are against it, or the owner is.
        """
        rules = self.store.rules()
        rules.check(request.host, price, self.store.home.show)
        if not rules.needs_approval(price):
            return False
        if self._approve is None or not self._approve(Approval(request, price)):
            raise self._not_approved(rules, request, price)
        return True

    def take_lane(self, request: Request, offer: Offer, *, is_funded: bool = False) -> Lane | None:
        """A channel for one request, held until `give_lane`; None while all are held.

        Args:
            is_funded: Only one that has the money already; otherwise one may be opened.

        Raises:
            ClaimNotProven: This origin has told what it could not prove.
        """
        lanes = self._lanes(request, offer)
        # Those first that need not be funded.
        lanes.sort(key=lambda lane: not _has_room(lane, offer))
        for lane in lanes:
            if is_funded and not _has_room(lane, offer):
                break
            if self.locks.take(lane.channel_id):
                # It may have been paid from, or given away, since the list was read.
                lane = self.store.adopt(lane.channel_id, request.origin)
                if lane.origin == request.origin and not lane.is_closed:
                    return lane
                self.give_lane(lane)
        if is_funded:
            return None
        lane = self._new_lane(request, offer)
        self.locks.take(lane.channel_id)
        if self.store.add_lane(lane, self.store.rules().lanes):
            return lane
        self.give_lane(lane)
        return None

    def has_funded_lane(self, request: Request, offer: Offer) -> bool:
        """Whether a channel, held or not, has the money for a request."""
        return any(_has_room(lane, offer) for lane in self._lanes(request, offer))

    def _lanes(self, request: Request, offer: Offer) -> list[Lane]:
        return _open_lanes(self.store.usable_lanes(request.origin), offer)

    def give_lane(self, lane: Lane) -> None:
        """Lets others have a channel."""
        self.locks.give(lane.channel_id)

    def _new_lane(self, request: Request, offer: Offer) -> Lane:
        config = ChannelConfig(
            payer=self.store.home.payer,
            payer_authorizer=self._session.address,
            receiver=offer.receiver,
            receiver_authorizer=offer.receiver_authorizer,
            token=self.place.token.contract,
            withdraw_delay=offer.withdraw_delay,
            salt=secrets.token_bytes(32),
        )
        return Lane(config.channel_id(self.place.domain), request.origin, config)

    # ------------------------------------------------------------ signing

    def authorize_ready(self, request: Request, offer: Offer) -> Signing | None:
        """What `allow`, `take_lane` and `authorize` do, where a channel that is free has the money
        and the owner need not be asked; its channel is held until `give_lane`. None: not this one.

        Raises:
            RefusedByRules: A rule is against it.
            ClaimNotProven: This origin has told what it could not prove.
        """
        held: list[Lane] = []

        def choose(lanes: list[Lane]) -> Lane | None:
            for lane in _open_lanes(lanes, offer):
                # One whose deposit may be under way is asked about first.
                is_ready = lane.deposit is None and _has_room(lane, offer)
                if is_ready and self.locks.take(lane.channel_id):
                    held.append(lane)
                    return lane
            return None

        try:
            return self.store.authorize_ready(
                choose, request.origin, request.host, request.method, request.url, offer.price
            )
        except BaseException:
            for lane in held:
                self.give_lane(lane)
            raise

    def authorize(
        self, request: Request, offer: Offer, lane: Lane, *, is_approved: bool
    ) -> Signing:
        """Has a payment written down and taken from the budgets; after this it may be signed.

        Raises:
            RefusedByRules: A rule is against it, or a deposit is needed and cannot be made.
            NotAnswered: The chain would have to be asked for that.
        """
        if not _has_room(lane, offer):
            self._check_deposit(request, offer, lane)
        signing = self.store.authorize(
            lane.channel_id,
            request.host,
            request.method,
            request.url,
            offer.price,
            is_approved=is_approved,
            deposit=lambda *known: self._plan_deposit(request, offer, *known),
        )
        if signing is None:
            raise self._not_approved(self.store.rules(), request, offer.price)
        return signing

    def header(self, offer: Offer, signing: Signing) -> str:
        """The PAYMENT-SIGNATURE header of a payment that was authorized: signed here and now."""
        # A payment that costs nothing leaves its voucher as it is: by its name a server tells the
        # next one from this one sent again.
        name = f"{self._run}-{signing.payment_id}"
        return self._header(offer, signing.lane, signing.ceiling, "voucher", name=name)

    def refund_header(self, offer: Offer, lane: Lane, amount: int | None) -> str:
        """The header that asks a server for ``amount`` back, or for all that is not charged.

        Its voucher is for what was charged already, so it risks nothing.
        """
        return self._header(offer, lane, lane.charged, "refund", amount)

    def _header(
        self,
        offer: Offer,
        lane: Lane,
        ceiling: int,
        kind: str,
        refund: int | None = None,
        name: str = "",
    ) -> str:
        voucher = Voucher(lane.channel_id, ceiling)
        signature = sign(self._session, voucher, self.place.domain)
        payload: dict[str, Any] = {
            "type": kind,
            "channelConfig": lane.config.written,
            "voucher": {
                "channelId": "0x" + lane.channel_id.hex(),
                "maxClaimableAmount": str(ceiling),
                "signature": "0x" + signature.hex(),
            },
        }
        if kind == "refund" and refund is not None:
            payload["amount"] = str(refund)
        elif kind == "voucher" and lane.deposit is not None and ceiling > lane.balance:
            assert self._main is not None
            deposit = deposit_payload(self._main, self.place, lane, lane.deposit)
            payload |= {"type": "deposit", "deposit": deposit}
        message = {"x402Version": VERSION, "accepted": offer.written, "payload": payload}
        extensions: dict[str, Any] = identifier_of(name) if name else {}
        if self._receipts and offer.asks_for_receipts:
            extensions[EXTENSION] = {"info": {}}
        if extensions:
            message["extensions"] = extensions
        return write_header(message).decode()

    def _plan_deposit(
        self, request: Request, offer: Offer, lane: Lane, rules: Rules, lacking: int, now: int
    ) -> PendingDeposit:
        self._need_main(request, offer)
        if rules.top_up == 0:
            reason = "top-ups are off: set them with `farthing wallet budget --top-up`"
            raise NoFunds(request.host, offer.price, reason, self.store.home.show)
        amount = max(rules.top_up, offer.min_deposit, lacking)
        return self.new_deposit(offer, lane, amount, now)

    def new_deposit(self, offer: Offer, lane: Lane, amount: int, now: int) -> PendingDeposit:
        """A deposit of ``amount`` smallest units, in the way that is offered."""
        salt = secrets.randbits(256)
        until = now + CONSENT_SECONDS
        return PendingDeposit(amount, lane.balance, salt, until, offer.method)

    def check_permit2(self, request: Request, offer: Offer) -> None:
        """That a deposit the offer may need can be taken, where that is not by its signature alone.

        Raises:
            NoFunds: Permit2 was not allowed to take the token.
            NotAnswered: The chain cannot be asked.
        """
        if offer.method != PERMIT2_METHOD:
            return
        if self._asked(lambda: self.token().allowance(self.store.home.payer, PERMIT2)) == 0:
            reason = "Permit2 may not take the token: allow that with `farthing wallet permit2`"
            raise NoFunds(request.host, offer.price, reason, self.store.home.show)

    def _check_deposit(self, request: Request, offer: Offer, lane: Lane) -> None:
        self._need_main(request, offer)
        if lane.deposit is None:
            self.check_permit2(request, offer)

    def _need_main(self, request: Request, offer: Offer) -> None:
        if self._main is None:
            reason = "the main key is not here: deposit with `farthing wallet fund`"
            raise NoFunds(request.host, offer.price, reason, self.store.home.show)

    def _not_approved(self, rules: Rules, request: Request, price: int) -> NotApproved:
        threshold, show = rules.approve_above or 0, self.store.home.show
        return NotApproved(request.host, price, threshold, self._approve is not None, show)

    # ------------------------------------------------------------ what servers and the chain say

    def refresh(self, lane: Lane) -> Lane:
        """Asks the chain about a channel and writes down what it says.

        Raises:
            NotAnswered: It cannot be asked.
        """
        found = self.snapshot(lane.channel_id)
        # What was asked back counts as gone.
        balance = found.balance - found.withdraw_amount
        return self.store.set_escrow(lane.channel_id, balance, found.total_claimed)

    def token(self) -> Token:
        """The token it pays with."""
        return Token(self.settlement.w3, self.place.token.contract)

    def snapshot(self, channel_id: bytes) -> Snapshot:
        """All the chain says of a channel now.

        Raises:
            NotAnswered: It cannot be asked.
        """
        return self._asked(lambda: self.settlement.snapshot(channel_id))

    def _asked(self, read: Callable[[], Read]) -> Read:
        try:
            return read()
        except NodeUnreachable as error:
            raise NotAnswered(str(error).rstrip(".")) from error
        except FarthingError as error:
            raise NotAnswered(f"the chain cannot be asked ({error})") from error

    def believe(self, signing: Signing, claim: Claim) -> int:
        """Continues from where a server says a channel stands, if that is proven.

        Proven is what this wallet's own signature stands under and the chain does not contradict,
        as far as the wallet does not know better. Gives what turns out to have been charged.

        Raises:
            ClaimNotProven: It is not.
            NotAnswered: The chain cannot be asked.
        """
        lane = self.refresh(signing.lane)
        reason = self._disproof(lane, claim)
        if reason is not None:
            self.store.set_problem(lane.channel_id, reason)
            raise ClaimNotProven(lane.channel_id, reason)
        return self.store.corrected(signing, claim.charged, claim.ceiling)

    def _disproof(self, lane: Lane, claim: Claim) -> str | None:
        show = self.store.home.show
        if lane.problem is not None:
            return lane.problem
        if claim.channel_id != lane.channel_id:
            return "it speaks of another channel"
        digest = Voucher(lane.channel_id, claim.ceiling).digest(self.place.domain)
        if recover(digest, claim.signature) != self._session.address:
            return "it shows a voucher that this wallet did not sign"
        if claim.charged < lane.charged:
            before = show(lane.charged)
            return f"it says {show(claim.charged)} were charged, it was {before} before"
        # A voucher above all that is remembered proves that the memory is an old one: lost, and
        # recovered from the chain, or copied back.
        most = claim.ceiling if claim.ceiling > lane.signed else min(claim.ceiling, lane.upper)
        if claim.charged > most:
            told = show(claim.charged)
            return f"it says {told} were charged, {show(most)} is what was agreed to"
        return None


def _open_lanes(lanes: list[Lane], offer: Offer) -> list[Lane]:
    """Those channels that pay for an offer's publisher."""
    for lane in lanes:
        if lane.problem is not None and lane.origin:
            raise ClaimNotProven(lane.channel_id, lane.problem)
    return [lane for lane in lanes if not lane.is_closed and _fits(lane.config, offer)]


def _fits(config: ChannelConfig, offer: Offer) -> bool:
    return (config.receiver, config.receiver_authorizer, config.withdraw_delay) == (
        offer.receiver,
        offer.receiver_authorizer,
        offer.withdraw_delay,
    )


def _has_room(lane: Lane, offer: Offer) -> bool:
    return lane.balance >= lane.charged + offer.price
