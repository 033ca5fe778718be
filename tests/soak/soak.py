"""A publisher, its payers and its chain for a while, with faults; then the books."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from farthing.chain.anvil import ANVIL_KEYS, anvil
from farthing.chain.connection import connect
from farthing.chain.settlement import Snapshot
from farthing.ledger import Ledger, Mirror, open_ledger
from farthing.protocol.payments import Terms
from tests.escrow_world import AUTHORIZER, RECEIVER, World
from tests.faulty_node import FaultyNode, faulty_node
from tests.paywall.site import PASSWORD
from tests.soak.blocks import BLOCK_SECONDS, SLOW_SECONDS, Blocks
from tests.soak.payer import Crowd, Payer
from tests.soak.proof import Proof, all_transactions, prove
from tests.soak.publisher import (
    DELAY,
    PATIENCE,
    Publisher,
    make_site,
)
from tests.soak.weather import Weather

PAYERS = 10
FUNDS = 10**12
# Requests of a payer in a block at most.
BURST = 2
# Seconds from one block to the next, for servers and payers to do something in.
PAUSE = 0.2
# And when time waits: PATIENCE is over before what is spared for it has passed.
HELD_PAUSE = 0.8


class Stuck(AssertionError):
    """Something that has to happen does not."""


@dataclass
class Soak:
    """What a soak is made of."""

    folder: Path
    world: World
    node: FaultyNode
    publisher: Publisher
    payers: list[Payer]
    crowd: Crowd
    blocks: Blocks
    weather: Weather
    ledger: Ledger
    seed: int
    # For how many blocks time had to wait for a redemption, and since when it does.
    held: int = 0
    _held_since: float = 0.0
    _redeemed: str = ""

    def run(self, blocks: int, seconds: float = 0.0) -> None:
        """Payments, withdrawals, refunds and faults for at least so many blocks and seconds.

        Raises:
            AssertionError: Something happened that may not, or did not that should.
        """
        self._until(lambda: self.publisher.is_up, "the servers do not come up")
        until = time.monotonic() + seconds
        while blocks > 0 or time.monotonic() < until:
            blocks -= 1
            if self._step():
                self.weather.tick()

    def settle(self) -> Proof:
        """Lets everything come to its end, and proves the books.

        Raises:
            AssertionError: It does not.
        """
        self.weather.clear()
        self.publisher.rival.is_wanted = False
        self.publisher.stop(self.publisher.rival)
        self.blocks.may_withdraw = False
        self.blocks.base_fee(1)
        self.crowd.settle()
        self._until(lambda: self.crowd.is_settled, "payers wait for answers")
        self._until(lambda: not self.blocks.withdrawing, "withdrawals do not end")
        self._redeem()
        self._until(self._is_quiet, "transactions do not end")
        self._until(lambda: not any(self._unlike()), "the ledger does not follow the chain")
        self.publisher.end()
        self._until(lambda: not self.publisher.is_running, "servers do not end")
        self.crowd.end()
        proof = prove(self.ledger, self.world, self.payers, self.blocks.first)
        for server in self.publisher.all:
            proof.problems += server.unexpected
        return proof

    def last_words(self) -> list[str]:
        """What may tell why it went wrong."""
        waiting = [
            f"transaction {each.id} of kind {each.kind} is {each.state}: {each.reason}"
            for each in all_transactions(self.ledger)
            if each.state in ("queued", "signed", "mined")
        ]
        weather = self.weather.history[-10:]
        here = f"block {self.blocks.head.number}"
        other = [f"{known} in the ledger, {found} on the chain" for known, found in self._unlike()]
        return [*self.publisher.last_words(), *waiting, *other, *weather, here, self._redeemed]

    # ------------------------------------------------------------ internal

    def _step(self) -> bool:
        """One more block; whether time goes on, and does not wait for somebody."""
        self.publisher.tend()
        is_well = self.publisher.is_up and self.weather.is_clear
        at_risk = self.blocks.at_risk(self.ledger)
        if at_risk:
            self._hold(len(at_risk), is_well)
        else:
            self._held_since = 0.0
        goes_on = not at_risk
        self.blocks.tick(BLOCK_SECONDS if goes_on and self.publisher.is_up else SLOW_SECONDS)
        self.crowd.turn()
        threading.Event().wait(PAUSE if goes_on else HELD_PAUSE)
        return goes_on

    def _hold(self, at_risk: int, is_well: bool) -> None:
        """Time waits for the redeemer, in fair weather: it runs some forty times as fast as ours,
        and nobody has promised anything for a server that is down for so long."""
        self.held += 1
        self.weather.clear()
        now = time.monotonic()
        if not is_well or not self._held_since:
            self._held_since = now
        if now > self._held_since + PATIENCE:
            raise Stuck(f"{at_risk} channels are not redeemed before their payers withdraw")

    def _until(self, is_so: Callable[[], bool], problem: str) -> None:
        """Goes on until something is so, in fair weather."""
        end = time.monotonic() + PATIENCE
        while not is_so():
            if time.monotonic() > end:
                raise Stuck(problem)
            self._step()

    def _redeem(self) -> None:
        """`farthing redeem --now`, while all goes on."""
        command = [sys.executable, "-m", "farthing.commands", "redeem", "--now", "--json"]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "FARTHING_PASSWORD": PASSWORD},
            text=True,
        ) as process:
            try:
                self._until(lambda: process.poll() is not None, "`farthing redeem` does not end")
            finally:
                process.kill()
                assert process.stdout is not None
                self._redeemed = process.stdout.read()

    def _is_quiet(self) -> bool:
        """Whether everything that brings something is redeemed, and nothing is on its way."""
        if any(
            each.state in ("queued", "signed", "mined") for each in all_transactions(self.ledger)
        ):
            return False
        # What is lost is never redeemed; the proof tells of it.
        states = (each.channel.state for each in self.ledger.redeemable())
        return all(
            min(each.charged, each.mirror.balance) <= each.mirror.total_claimed for each in states
        )

    def _unlike(self) -> Iterator[tuple[Mirror, Snapshot]]:
        """Channels that the ledger has otherwise than the chain."""
        for payer, found in zip(self.payers, self.blocks.channels, strict=True):
            known = self.ledger.channel(payer.channel_id)
            if known is None:
                continue
            mirror = known.state.mirror
            if (mirror.balance, mirror.total_claimed, mirror.withdraw_amount) != (
                found.balance,
                found.total_claimed,
                found.withdraw_amount,
            ):
                yield mirror, found


@contextmanager
def soaking(seed: int) -> Iterator[Soak]:
    """All that a soak needs, for as long as the block lasts."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="farthing-soak-")))
        url = stack.enter_context(anvil())
        world = World.build(connect(url), ANVIL_KEYS[0])
        node = stack.enter_context(faulty_node(url))
        make_site(folder, world, node.url)
        publisher = Publisher(folder)
        stack.callback(publisher.close)
        token = world.token
        terms = Terms(
            network=f"eip155:{world.w3.eth.chain_id}",
            token=token.address,
            token_name=token.domain.name,
            token_version=token.domain.version,
            receiver=RECEIVER.address,
            receiver_authorizer=AUTHORIZER.address,
            withdraw_delay=DELAY,
            min_deposit=1_000,
        )
        payers = [Payer(each, seed, world, terms, publisher.port) for each in range(PAYERS)]
        world.operator.transact(token.plan_mint([each.account.address for each in payers], FUNDS))
        blocks = Blocks(world, payers, seed)
        ledger = stack.enter_context(closing(open_ledger(str(folder / "books.db"))))
        crowd = Crowd(payers, lambda: publisher.is_open, BURST)
        stack.callback(crowd.end)
        weather = Weather(node, blocks, publisher, seed)
        yield Soak(folder, world, node, publisher, payers, crowd, blocks, weather, ledger, seed)


def soak(seed: int, blocks: int, seconds: float = 0.0) -> tuple[dict[str, Any], list[str]]:
    """Runs one; its report, and what may not be."""
    started = time.monotonic()
    with soaking(seed) as run:
        try:
            run.run(blocks, seconds)
            ran = time.monotonic() - started
            proof = run.settle()
        except AssertionError as error:
            for said in run.last_words():
                error.add_note(said)
            raise
        outcomes = sum((payer.record.outcomes for payer in run.payers), Counter())
        report = {
            "seed": seed,
            "seconds": round(ran),
            "settled_after": round(time.monotonic() - started),
            "blocks": run.blocks.head.number - run.blocks.first,
            "requests": run.crowd.requests,
            "served": sum(len(payer.record.paid) for payer in run.payers),
            "charges": proof.charges,
            "abandoned": sum(len(payer.record.abandoned) for payer in run.payers),
            "charged": proof.charged,
            "received": proof.received,
            "left": proof.left,
            "deposits": proof.events["Deposited"],
            "withdrawals": proof.events["WithdrawInitiated"],
            "withdrawn": proof.events["WithdrawFinalized"],
            "refunds": proof.events["Refunded"],
            "redemptions": proof.events["Redeemed"],
            "reorgs": len(run.blocks.reorganisations),
            "deepest_reorg": max(run.blocks.reorganisations, default=0),
            "dropped": run.blocks.drops,
            "kills": run.publisher.kills,
            "stops": run.publisher.stops,
            "starts": sum(each.starts for each in run.publisher.all),
            "starts_refused": sum(each.refused for each in run.publisher.all),
            "node_faults": {each.value: n for each, n in run.node.faults.items()},
            "faults": dict(sorted(run.weather.faults.items())),
            "held": run.held,
            "transactions": dict(sorted(proof.transactions.items())),
            "gas": proof.gas,
            "outcomes": dict(outcomes.most_common()),
            "lost": proof.lost,
        }
        return report, proof.problems
