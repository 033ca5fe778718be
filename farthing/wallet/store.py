"""The wallet's memory, in one SQLite file: its rules, its channels, and every voucher it signed.

What is written here is on the disk before a voucher leaves the machine. Budgets are looked at and
taken from in the one transaction that writes the voucher down, so that any number of processes with
one wallet never sign above them together.

Of each channel it knows three totals, in smallest units over the channel's life:

- ``charged``: what the server is known to have charged;
- ``upper``: what it may have charged, where answers were lost or said nothing of it;
- ``signed``: the highest ceiling ever signed, which is all that could ever be claimed.

``charged <= upper <= signed``. A budget is taken from only by what raises ``signed``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec.structs import replace

from farthing.ledger.sqlite_file import connect, transaction
from farthing.protocol import Domain, Signer
from farthing.wallet.budgets import Budgets
from farthing.wallet.database import Database
from farthing.wallet.errors import (
    ClaimNotProven,
    NotAnswered,
    WalletUnusable,
)
from farthing.wallet.records import (
    LANES,
    MAGIC,
    PAYMENTS,
    SCHEMA,
    VERSION,
    Home,
    Lane,
    Payment,
    PendingDeposit,
    Signing,
    deposit_text,
    lane_of,
    payment_of,
)
from farthing.wallet.rules import Budget, Rules, verified_rules


class Store:
    """A wallet's file. Its methods may be called on any thread.

    Args:
        path: The file, made by `create`.
        clock: Unix seconds. Budgets never see it go backwards.

    Raises:
        WalletUnusable: There is no wallet there, and from every method: the file failed.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        if not path.is_file():
            raise WalletUnusable(str(path), "there is none: make one with `farthing wallet create`")
        self._db = Database(path)
        with self._db.reading:
            found = [self._pragma("application_id"), self._pragma("user_version")]
            if found != [MAGIC, VERSION]:
                self._db.connection.close()
                raise WalletUnusable(str(path), "it is not a wallet of this program's version")
            ((payer, session, rpc, chain_id, contract, *token),) = self._db.execute(
                "SELECT payer, session, rpc, chain_id, settlement, token, collector,"
                " permit2_collector, symbol, decimals FROM wallet"
            )
        self.home = Home(payer, session, rpc, Domain(int(chain_id), contract), *token)
        self._budgets = Budgets(self._db, self.home.show)

    @classmethod
    def create(
        cls,
        path: Path,
        main: Signer,
        home: Home,
        rules: Rules,
        clock: Callable[[], float] = time.time,
    ) -> Store:
        """Makes the file, for its owner's eyes only, with rules that the main key signs.

        Raises:
            WalletUnusable: Something is there already, or it cannot be written.
        """
        try:
            path.touch(mode=0o600, exist_ok=False)
        except OSError as error:
            raise WalletUnusable(str(path), f"it cannot be made ({error.strerror})") from error
        text, signed = rules.to_text(), rules.signed(main, 1, home.domain)
        try:
            database = connect(path)
            database.execute("PRAGMA journal_mode = WAL")
            with transaction(database):
                database.execute(SCHEMA)
                place = (home.rpc, str(home.domain.chain_id), home.domain.contract)
                collectors = (home.collector, home.permit2_collector)
                token = (home.token, *collectors, home.symbol, home.decimals)
                database.execute(
                    "INSERT INTO wallet VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 1, ?)",
                    (home.payer, home.session, *place, *token, text, signed),
                )
                database.execute(f"PRAGMA application_id = {MAGIC}")
                database.execute(f"PRAGMA user_version = {VERSION}")
            database.close()
        except apsw.Error as error:
            raise WalletUnusable(str(path), str(error)) from error
        return cls(path, clock)

    def close(self) -> None:
        """Closes the file. May be called again."""
        self._db.close()

    # ------------------------------------------------------------ rules

    def rules(self) -> Rules:
        """The rules as they are now.

        Raises:
            RulesForged: The main key did not sign them.
        """
        with self._db.reading:
            return self._rules()

    def set_rules(self, main: Signer, rules: Rules) -> None:
        """Puts other rules in force, in every process from its next payment on.

        Raises:
            WalletUnusable: ``main`` is not the wallet's main key.
        """
        self._check_main(main)
        with self._db.writing:
            ((version,),) = self._db.execute("SELECT rules_version FROM wallet")
            self._db.execute(
                "UPDATE wallet SET rules = ?, rules_version = ?, rules_signature = ?",
                (rules.to_text(), version + 1, rules.signed(main, version + 1, self.home.domain)),
            )
            # What is used of each budget is counted again, from the history.
            self._db.execute("DELETE FROM used")

    def used(self) -> list[tuple[Budget, int, int, int]]:
        """Every budget with what is spent and what deposited of it now, and its period's end."""
        found = []
        with self._db.writing:
            rules, now = self._rules_and_now()
            for budget in rules.budgets:
                window = budget.period.window(now)
                if window is not None:
                    spent, deposited = self._budgets.used(budget, window)
                    found.append((budget, spent, deposited, window[1]))
        return found

    def reset_clock(self, main: Signer) -> None:
        """Believes the clock again after it was set ahead by mistake and then back.

        Until then budgets stay in the period they had reached.

        Raises:
            WalletUnusable: ``main`` is not the wallet's main key.
        """
        self._check_main(main)
        with self._db.writing:
            self._db.execute("UPDATE wallet SET clock = 0")

    # ------------------------------------------------------------ channels

    def lanes(self, origin: str | None = None) -> list[Lane]:
        """The channels of one origin, or all, in the order they were opened."""
        with self._db.reading:
            if origin is not None:
                return self._lanes_of(origin)
            return [lane_of(row) for row in self._db.execute(LANES + " ORDER BY rowid")]

    def usable_lanes(self, origin: str) -> list[Lane]:
        """The channels of one origin, and after them those that no origin has asked for yet."""
        with self._db.reading:
            order = " WHERE origin IN (?, '') ORDER BY origin = '', rowid"
            return [lane_of(row) for row in self._db.execute(LANES + order, (origin,))]

    def add_lane(self, lane: Lane, most: int | None = None) -> bool:
        """Writes a new channel down, unless its origin has ``most`` already; whether it did."""
        with self._db.writing:
            ((count,),) = self._db.execute(
                "SELECT count(*) FROM channels WHERE origin = ? AND NOT is_closed", (lane.origin,)
            )
            if most is not None and count >= most:
                return False
            self._put(lane, is_new=True)
            return True

    def lane(self, channel_id: bytes) -> Lane:
        """One channel that is known."""
        with self._db.reading:
            return self._lane(channel_id)

    def set_escrow(self, channel_id: bytes, balance: int, claimed: int) -> Lane:
        """Writes down what the chain says of a channel.

        A deposit that has arrived, or can no longer, is not waited for any more.
        """
        with self._db.writing:
            lane = self._lane(channel_id)
            deposit = lane.deposit
            if deposit is not None:
                is_there = balance >= deposit.before + deposit.amount
                if is_there or self._now() > deposit.valid_before:
                    deposit = None
            lane = replace(lane, balance=balance, deposit=deposit)
            if claimed > lane.signed:
                # The contract takes nothing without this wallet's signature: its memory is an old
                # copy.
                lane = replace(lane, charged=claimed, upper=claimed, signed=claimed)
            elif claimed <= lane.upper:
                # What was claimed was charged, said or not.
                lane = replace(lane, charged=max(lane.charged, claimed))
            elif lane.problem is None:
                show = self.home.show
                words = f"{show(claimed)} was claimed on chain, {show(lane.upper)} at most charged"
                lane = replace(lane, problem=words)
            self._put(lane)
            return lane

    def adopt(self, channel_id: bytes, origin: str) -> Lane:
        """Gives a channel that was found on the chain to the origin that asks for its terms."""
        lane = self.lane(channel_id)
        if lane.origin:
            return lane
        with self._db.writing:
            lane = self._lane(channel_id)
            if not lane.origin:
                lane = replace(lane, origin=origin)
                self._db.execute(
                    "UPDATE channels SET origin = ? WHERE channel_id = ?", (origin, channel_id)
                )
            return lane

    def set_closed(self, channel_id: bytes) -> None:
        """Pays nothing more from a channel, whose owner takes the money back."""
        with self._db.writing:
            self._db.execute(
                "UPDATE channels SET is_closed = 1 WHERE channel_id = ?", (channel_id,)
            )

    def set_problem(self, channel_id: bytes, problem: str) -> None:
        """Pays nothing more from a channel, for this reason."""
        with self._db.writing:
            self._put(replace(self._lane(channel_id), problem=problem))

    # ------------------------------------------------------------ paying

    def authorize(
        self,
        channel_id: bytes,
        host: str,
        method: str,
        url: str,
        price: int,
        *,
        is_approved: bool,
        deposit: Callable[[Lane, Rules, int, int], PendingDeposit],
    ) -> Signing | None:
        """Takes a payment from the budgets and writes it down, or refuses it: nothing between.

        When this returns, what it returns is on the disk and may be signed. None: the rules want
        the owner's approval, which ``is_approved`` says is not there.

        Args:
            deposit: Called when the channel holds too little, with the rules, what it lacks and the
                time; gives the deposit to make, or raises.

        Raises:
            RefusedByRules: A rule is against it; nothing was written.
            ClaimNotProven: The channel has a problem.
            NotAnswered: Its owner closes it.
        """
        with self._db.writing:
            rules, now = self._rules_and_now()
            budgets = rules.check(host, price, self.home.show)
            if rules.needs_approval(price) and not is_approved:
                return None
            lane = self._lane(channel_id)
            if lane.problem is not None:
                raise ClaimNotProven(channel_id, lane.problem)
            if lane.is_closed:
                raise NotAnswered(f"channel 0x{channel_id.hex()} was closed just now")
            lacking, deposited = lane.charged + price - lane.balance, 0
            if lacking > 0 and lane.deposit is None:
                made = deposit(lane, rules, lacking, now)
                lane, deposited = replace(lane, deposit=made), made.amount
            return self._write_down(lane, budgets, now, (host, method, url), price, deposited)

    def authorize_ready(
        self,
        choose: Callable[[list[Lane]], Lane | None],
        origin: str,
        host: str,
        method: str,
        url: str,
        price: int,
    ) -> Signing | None:
        """What `authorize` does, where nothing has to be asked, opened or deposited before.

        Nearly all payments go this way: it reads everything once. None: not this one.

        Args:
            choose: Called with the origin's channels, in the order they were opened; gives one that
                has room for the price, or None.

        Raises:
            RefusedByRules: A rule is against it; nothing was written.
        """
        with self._db.writing:
            rules, now = self._rules_and_now()
            budgets = rules.check(host, price, self.home.show)
            lane = None if rules.needs_approval(price) else choose(self._lanes_of(origin))
            if lane is None:
                return None
            return self._write_down(lane, budgets, now, (host, method, url), price, 0)

    def charged(self, signing: Signing, amount: int, receipt: str | None) -> None:
        """A server charged ``amount`` for a payment: from here on its channel's books are known.

        Not synced by itself: should the power fail, it is found out again as for a lost answer.
        """
        with self._db.noting:
            channel_id = signing.lane.channel_id
            ((known,),) = self._db.execute(
                "SELECT charged FROM channels WHERE channel_id = ?", (channel_id,)
            )
            # The chain may have told of it already.
            total = str(max(int(known), signing.lane.charged + amount))
            self._db.execute(
                "UPDATE channels SET charged = ?, upper = ? WHERE channel_id = ?",
                (total, total, channel_id),
            )
            self._close_open(channel_id, signing.payment_id, amount, receipt)

    def corrected(self, signing: Signing, charged: int, ceiling: int) -> int:
        """A server proved what it has charged in all: ``charged``, and ``ceiling`` with its last
        voucher. Gives what of it was not known, which ``signing`` was signed without knowing.
        """
        with self._db.writing:
            lane = self._lane(signing.lane.channel_id)
            more = charged - signing.lane.charged
            self._put(
                replace(lane, charged=charged, upper=charged, signed=max(lane.signed, ceiling))
            )
            # The payment whose answer was lost is another one with that voucher, if there is one.
            found = self._db.execute(
                "SELECT id FROM payments WHERE channel_id = ? AND charged IS NULL AND ceiling = ?"
                " ORDER BY id = ?, id DESC",
                (lane.channel_id, str(ceiling), signing.payment_id),
            ).fetchone()
            self._close_open(lane.channel_id, None if found is None else found[0], more, None)
            return more

    def history(self, after: int = 0, limit: int = 1_000) -> list[Payment]:
        """Payments in the order they were signed, from the one after id ``after`` on."""
        with self._db.reading:
            rows = self._db.execute(PAYMENTS + " WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
            return [payment_of(row) for row in rows]

    # ------------------------------------------------------------ inside a transaction

    def _check_main(self, main: Signer) -> None:
        if main.address != self.home.payer:
            reason = f"its main key is {self.home.payer}, not {main.address}"
            raise WalletUnusable(str(self.path), reason)

    def _rules(self) -> Rules:
        ((text, version, signature),) = self._db.execute(
            "SELECT rules, rules_version, rules_signature FROM wallet"
        )
        return self._verify((text, version, signature))

    def _rules_and_now(self) -> tuple[Rules, int]:
        """The rules and the time, which does not go backwards for any process with this wallet."""
        ((text, version, signature, reached),) = self._db.execute(
            "SELECT rules, rules_version, rules_signature, clock FROM wallet"
        )
        return self._verify((text, version, signature)), self._reach(reached)

    def _verify(self, written: tuple[str, int, bytes]) -> Rules:
        if written != self._checked:
            self._verified = verified_rules(*written, self.home.payer, self.home.domain)
            self._checked = written
        return self._verified

    _checked: tuple[str, int, bytes] | None = None
    _verified: Rules

    def _now(self) -> int:
        ((reached,),) = self._db.execute("SELECT clock FROM wallet")
        return self._reach(reached)

    def _reach(self, reached: int) -> int:
        now: int = max(int(self._clock()), reached)
        if now > reached:
            self._db.execute("UPDATE wallet SET clock = ?", (now,))
        return now

    def _write_down(
        self,
        lane: Lane,
        budgets: tuple[Budget, ...],
        now: int,
        what: tuple[str, str, str],
        price: int,
        deposited: int,
    ) -> Signing:
        """Takes a payment, and its deposit, from the budgets and the channel; ``what`` is its host,
        method and URL."""
        host, method, url = what
        channel_id, ceiling = lane.channel_id, lane.charged + price
        raised = max(0, ceiling - lane.signed)
        for budget in budgets:
            self._budgets.take(budget, now, host, raised, deposited)
        lane = replace(lane, signed=max(lane.signed, ceiling), upper=max(lane.upper, ceiling))
        self._db.execute(
            "UPDATE channels SET upper = ?, signed = ?, deposit = ? WHERE channel_id = ?",
            (str(lane.upper), str(lane.signed), deposit_text(lane.deposit), channel_id),
        )
        if not raised and not deposited:
            again = self._db.execute(
                "SELECT id FROM payments WHERE channel_id = ? AND charged IS NULL"
                " AND ceiling = ? AND method = ? AND url = ?",
                (channel_id, str(ceiling), method, url),
            ).fetchone()
            if again is not None:
                # The same voucher for the same thing once more: it counts as one.
                return Signing(again[0], lane, ceiling)
        amounts = map(str, (price, ceiling, raised, deposited))
        self._db.execute(
            "INSERT INTO payments VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
            (now, host, method, url, channel_id, *amounts),
        )
        return Signing(self._db.connection.last_insert_rowid(), lane, ceiling)

    def _lanes_of(self, origin: str) -> list[Lane]:
        rows = self._db.execute(LANES + " WHERE origin = ? ORDER BY rowid", (origin,))
        return [lane_of(row) for row in rows]

    def _lane(self, channel_id: bytes) -> Lane:
        row = self._db.execute(LANES + " WHERE channel_id = ?", (channel_id,)).fetchone()
        if row is None:
            raise WalletUnusable(str(self.path), f"it has no channel 0x{channel_id.hex()}")
        return lane_of(row)

    def _put(self, lane: Lane, *, is_new: bool = False) -> None:
        if is_new:
            config = msgspec.json.encode(lane.config.to_json()).decode()
            self._db.execute(
                "INSERT INTO channels VALUES (?, ?, ?, '', '', '', '', NULL, NULL, ?)",
                (lane.channel_id, lane.origin, config, lane.is_closed),
            )
        amounts = map(str, (lane.balance, lane.charged, lane.upper, lane.signed))
        self._db.execute(
            "UPDATE channels SET balance = ?, charged = ?, upper = ?, signed = ?, deposit = ?,"
            " problem = ? WHERE channel_id = ?",
            (*amounts, deposit_text(lane.deposit), lane.problem, lane.channel_id),
        )

    def _close_open(
        self, channel_id: bytes, payment_id: int | None, amount: int, receipt: str | None
    ) -> None:
        """All that was open on a channel is known now: one was charged, the others were not."""
        self._db.execute(
            "UPDATE payments SET charged = CASE id WHEN ?1 THEN ?2 ELSE '0' END,"
            " receipt = CASE id WHEN ?1 THEN ?3 END WHERE channel_id = ?4 AND charged IS NULL",
            (payment_id, str(amount), receipt, channel_id),
        )

    def _pragma(self, name: str) -> Any:
        ((value,),) = self._db.execute(f"PRAGMA {name}")
        return value
