"""What rules of prices make of payers, whose books are reserved, read, and charged with it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import suppress

from farthing.ledger import LedgerUnavailable, NotReserved, Payer, Refusal
from farthing.paywall.admission import Admission
from farthing.paywall.books import Books
from farthing.paywall.deal import Deal
from farthing.paywall.limits import PayerLimits
from farthing.paywall.prices import Rule
from farthing.paywall.pricing.request import Request
from farthing.paywall.pricing.rules import PayerRule, RuleRefused
from farthing.protocol.payments import ErrorCode, Payment, PaymentRefused

log = logging.getLogger("farthing.paywall")

# The code for who is on the deny list.
DENIED = "payer_denied"
DAY = 86_400
# Seconds between two writes of what was refused.
WRITE_SECONDS = 1


class Payers:
    """Has rules lower what payers are charged, and counts what is refused.

    Args:
        books: Where payers' books are.
        limits: What bounds each payer on all routes.
    """

    def __init__(self, books: Books, limits: PayerLimits) -> None:
        self._books = books
        self._limits = limits
        self._refused: Counter[tuple[Payer, str, str, int]] = Counter()
        self._is_writing = False
        self._closing = asyncio.Event()

    def check_denied(self, payment: Payment, route: str) -> None:
        """Nothing is sold to those on the deny list; what is theirs they get back.

        Raises:
            RuleRefused: The payer is on it, or who signs for it.
        """
        if not self._limits.denied or payment.is_refund:
            return
        payer = Payer.of(payment.config)
        for address in (payer.address, payer.signer):
            if address in self._limits.denied:
                # Counted for the address alone: the other one may be any, and a new one each time.
                refused = RuleRefused(DENIED, "this payer is not served here")
                raise self._count(Payer(address, address), route, refused)

    def rules(self, rule: Rule) -> tuple[PayerRule, ...]:
        """Those of a route, and those of all."""
        return rule.payer_rules + self._limits.rules

    async def open(self, admission: Admission, request: Request) -> None:
        """Has the rules lower what an admission charges; its payer is reserved until `give`.

        Raises:
            RuleRefused: One of them does not allow it.
            PaymentRefused: Another request of the payer is under way.
            LedgerUnavailable: The database could not be asked.
        """
        rule = admission._rule
        rules, said = self.rules(rule), rule.base.reason(request)
        if not rules:
            admission._open(None, said)
            return
        payer = Payer.of(admission._payment.config)
        reservation = await self._books.payers.take(payer.id)
        if isinstance(reservation, NotReserved):
            raise PaymentRefused(
                ErrorCode.CHANNEL_BUSY, "another request of this payer is under way: retry"
            )
        try:
            standing = await self._books.read(
                self._books.ledger.standing,
                payer.id,
                list(dict.fromkeys(name for each in rules for name in each.tallies())),
                list(dict.fromkeys(key for each in rules for key in each.entitlements(request))),
            )
            admission._open(Deal(payer, rules, request, standing, reservation), said)
        except BaseException as error:
            self._books.payers.give(reservation)
            if isinstance(error, RuleRefused):
                self._count(payer, rule.text, error)
            raise

    def give(self, admission: Admission) -> None:
        """Lets the payer's next request go on."""
        if admission._deal is not None:
            self._books.payers.give(admission._deal.reservation)

    def _count(self, payer: Payer, route: str, refused: RuleRefused) -> RuleRefused:
        """Counts a refusal, to be in the ledger soon.

        They are written together, at most once in `WRITE_SECONDS`, so that a client that asks
        without end costs no write for each. A crash loses those that are not written yet.
        """
        now = int(time.time())
        self._refused[payer, route, refused.code, now - now % DAY] += 1
        if not self._is_writing:
            self._is_writing = True
            self._books.spawn(self._write())
        return refused

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
