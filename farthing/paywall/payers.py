"""What rules of prices make of one payer, whose books are reserved, read, and charged with it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from farthing.ledger import LedgerUnavailable, NotReserved, Payer, PayerChange, Refusal, Standing
from farthing.paywall.books import Books
from farthing.paywall.pricing.request import Request
from farthing.paywall.pricing.rules import PayerRule, Quote, RuleRefused
from farthing.paywall.reservations import Reservation
from farthing.protocol.payments import ErrorCode, PaymentRefused

log = logging.getLogger("farthing.paywall")

DAY = 86_400
# Seconds between two writes of what was refused.
WRITE_SECONDS = 1


class Deal:
    """One request of one payer whose books are reserved. What it costs is worked out as often as
    asked; only `change` says what becomes of it."""

    def __init__(
        self,
        payer: Payer,
        rules: Iterable[PayerRule],
        request: Request,
        standing: Standing,
        reservation: Reservation[int],
    ) -> None:
        self.payer = payer
        self.reservation = reservation
        self._rules = tuple(rules)
        self._request = request
        self._standing = standing
        # One moment for all of it, also if its handler takes long.
        self._now = int(time.time())

    def quote(self, amount: int) -> Quote:
        """What is charged where it would be ``amount`` without rules.

        Raises:
            RuleRefused: A rule does not allow it.
        """
        quote = Quote(self._request, self._now, self._standing, amount)
        for rule in self._rules:
            rule.apply(quote)
        for rule in self._rules:
            rule.settle(quote)
        return quote

    def change(self, quote: Quote) -> PayerChange | None:
        """What a charge by that quote changes in the payer's books; None is nothing."""
        if not quote.tallies and not quote.entitlements:
            return None
        return PayerChange(
            self.payer,
            self.reservation.state,
            list(quote.tallies.values()),
            list(quote.entitlements.values()),
        )


class Payers:
    """Opens deals, and counts what was refused.

    Args:
        books: Where payers' books are.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._refused: Counter[tuple[Payer, str, str, int]] = Counter()
        self._is_writing = False
        self._closing = asyncio.Event()

    async def open(self, payer: Payer, rules: tuple[PayerRule, ...], request: Request) -> Deal:
        """Reserves a payer and reads what the rules look at.

        Raises:
            PaymentRefused: Another request of the payer is under way.
            LedgerUnavailable: The database could not be asked.
        """
        reservation = await self._books.payers.take(payer.id)
        if isinstance(reservation, NotReserved):
            raise PaymentRefused(
                ErrorCode.CHANNEL_BUSY, "another request of this payer is under way: retry"
            )
        try:
            standing = await self._books.read(
                self._books.ledger.standing,
                payer.id,
                list(dict.fromkeys(name for rule in rules for name in rule.tallies())),
                list(dict.fromkeys(key for rule in rules for key in rule.entitlements(request))),
            )
        except BaseException:
            self._books.payers.give(reservation)
            raise
        return Deal(payer, rules, request, standing, reservation)

    def give(self, deal: Deal) -> None:
        """Lets the payer's next request go on."""
        self._books.payers.give(deal.reservation)

    def refused(self, payer: Payer, route: str, refused: RuleRefused) -> None:
        """Counts a refusal, to be in the ledger soon.

        They are written together, at most once in `WRITE_SECONDS`, so that a client that asks
        without end costs no write for each. A crash loses those that are not written yet.
        """
        now = int(time.time())
        self._refused[payer, route, refused.code, now - now % DAY] += 1
        if not self._is_writing:
            self._is_writing = True
            self._books.spawn(self._write())

    async def _write(self) -> None:
        try:
            while self._refused:
                written = dict(self._refused)
                rows = [Refusal(*key, count) for key, count in written.items()]
                await self._books.write(self._books.ledger.count_refusals, rows)
                # Others may have come meanwhile.
                self._refused.subtract(written)
                self._refused = +self._refused
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), WRITE_SECONDS)
        except LedgerUnavailable as error:
            # They are written with the next one.
            log.warning("%s", error)
        finally:
            self._is_writing = False

    def close(self) -> None:
        """Has what is not written yet written at once, by a task of the books."""
        self._closing.set()
