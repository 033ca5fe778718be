"""Payers of a soak: they pay over HTTP, deposit, ask for refunds, and lose what they knew."""

from __future__ import annotations

import base64
import http.client
import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eth_account.signers.local import LocalAccount

from farthing.protocol import ChannelConfig, DepositAuthorization, Voucher, sign
from farthing.protocol.payments import Terms
from tests.escrow_world import World, party
from tests.soak.publisher import LEAST_CHARGE, PRICE

_CODE = "invalid_batch_settlement_evm_"
# A request waits for its deposit as long as 120 seconds, and for another of its channel.
TIMEOUT = 200.0
# What a payer does next, and how often of a hundred times.
LOSE_STATE, REFUND, TOP_UP = 2, 2, 2
# And how often it does not wait for the answer; it repeats the request then.
HANG_UP = 3
DEPOSITS = (2_000, 5_000, 20_000, 60_000)


class AnswerWrong(AssertionError):
    """A payer was told what may not be."""


@dataclass(frozen=True)
class Asked:
    """A request under way: it is repeated until it is answered."""

    path: str
    header: str
    kind: str
    amount: int


@dataclass
class Record:
    """What really came, whatever the payer has forgotten of it.

    Attributes:
        paid: For every 200 that was paid for, what it was said to cost, and the total then.
        abandoned: What requests would have cost that nobody waited for the answer of.
        servings: Texts of the 200s: no two are the same.
        refunds: How many refunds were given over HTTP.
        outcomes: How often which answer came.
    """

    paid: list[tuple[int, int]] = field(default_factory=list)
    abandoned: list[int] = field(default_factory=list)
    servings: set[bytes] = field(default_factory=set)
    refunds: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


class Payer:
    """A client with one channel. To be used by one thread at a time, but for `account` and
    `config`."""

    def __init__(self, number: int, seed: int, world: World, terms: Terms, port: int) -> None:
        self.record = Record()
        # It waits for its withdrawal, and asks for nothing new.
        self.is_away = False
        self._random = random.Random(f"{seed} payer {number}")
        self.account: LocalAccount = party(f"soak payer {number}")
        self._world = world
        self._terms = terms
        self._port = port
        self._connection: http.client.HTTPConnection | None = None
        # Every other one has a session key.
        self._signer = self.account if number % 2 else party(f"soak session {number}")
        self.config = ChannelConfig(
            payer=self.account.address,
            payer_authorizer=self._signer.address,
            receiver=terms.receiver,
            receiver_authorizer=terms.receiver_authorizer,
            token=terms.token,
            withdraw_delay=terms.withdraw_delay,
            salt=number.to_bytes(32, "big"),
        )
        self.channel_id = self.config.channel_id(world.settlement.domain)
        self._charged = 0
        self._is_short = True
        self._asked: Asked | None = None
        # Whether it was sent and not answered.
        self._is_silent = False

    def act(self) -> None:
        """Sends one request: the unanswered one again, or another."""
        dice = self._random.randrange(100)
        if dice < LOSE_STATE:
            self._forget()
        if self._asked is None:
            self._asked = self._next(self._random.randrange(100))
            self._is_silent = False
        self._send(self._asked)

    def settle(self) -> bool:
        """Repeats what is unanswered; whether nothing is any more."""
        if self._asked is not None:
            self._send(self._asked)
        return self._asked is None

    def close(self) -> None:
        self._hang_up()

    # ------------------------------------------------------------ asking

    def _forget(self) -> None:
        """The state is gone, and with it what was under way."""
        if self._asked is not None and self._asked.amount:
            self.record.abandoned.append(self._asked.amount)
        self.record.outcomes["forgot"] += 1
        self._asked, self._charged, self._is_short = None, 0, False

    def _next(self, dice: int) -> Asked:
        number = self._random.randrange(10**6)
        path = f"/pages/{number}"
        amount = LEAST_CHARGE + number % (PRICE - LEAST_CHARGE)
        if dice < REFUND:
            back = self._random.choice((None, 1, 500, 3_000))
            more: dict[str, Any] = {} if back is None else {"amount": str(back)}
            header = self._payment("refund", self._charged, more)
            return Asked(path, header, "refund", 0)
        ceiling = self._charged + PRICE
        if self._is_short or dice < REFUND + TOP_UP:
            self._is_short = False
            deposit = self._random.choice(DEPOSITS)
            header = self._payment("deposit", ceiling, {"deposit": self._deposit(deposit)})
            return Asked(path, header, "deposit", amount)
        return Asked(path, self._payment("voucher", ceiling, {}), "voucher", amount)

    def _payment(self, kind: str, ceiling: int, more: dict[str, Any]) -> str:
        voucher = Voucher(self.channel_id, ceiling)
        signature = sign(self._signer, voucher, self._world.settlement.domain)
        payload = {
            "type": kind,
            "channelConfig": self.config.to_json(),
            "voucher": {
                "channelId": "0x" + self.channel_id.hex(),
                "maxClaimableAmount": str(ceiling),
                "signature": "0x" + signature.hex(),
            },
            **more,
        }
        accepted = self._terms.requirements(PRICE)[0]
        message = {"x402Version": 2, "accepted": accepted, "payload": payload}
        return base64.b64encode(json.dumps(message).encode()).decode()

    def _deposit(self, amount: int) -> dict[str, Any]:
        salt = self._random.randrange(2**256)
        authorization = DepositAuthorization(
            payer=self.config.payer,
            collector=self._world.deployment.erc3009_collector,
            amount=amount,
            valid_after=0,
            valid_before=2**40,
            channel_id=self.channel_id,
            salt=salt,
        )
        signature = sign(self.account, authorization, self._world.token.domain)
        return {
            "amount": str(amount),
            "authorization": {
                "erc3009Authorization": {
                    "validAfter": "0",
                    "validBefore": str(2**40),
                    "salt": f"0x{salt:064x}",
                    "signature": "0x" + signature.hex(),
                }
            },
        }

    # ------------------------------------------------------------ being told

    def _send(self, asked: Asked) -> None:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        try:
            self._connection.request("GET", asked.path, headers={"PAYMENT-SIGNATURE": asked.header})
            if self._random.randrange(100) < HANG_UP:
                raise ConnectionAbortedError
            answer = self._connection.getresponse()
            body = answer.read()
        except (ConnectionError, http.client.HTTPException):
            self._hang_up()
            self._is_silent = True
            self.record.outcomes["no answer"] += 1
            return
        if answer.getheader("Connection") == "close":
            self._hang_up()
        if answer.status == 200:
            self.record.outcomes[f"200 {asked.kind}"] += 1
            self._served(asked, answer.headers["PAYMENT-RESPONSE"], body)
        else:
            told = json.loads(body) if body.startswith(b"{") else {"error": body.decode()}
            self.record.outcomes[f"{answer.status} {told['error'].removeprefix(_CODE)}"] += 1
            self._refused(asked, answer.status, told)

    def _served(self, asked: Asked, response: str, body: bytes) -> None:
        extra = json.loads(base64.b64decode(response))["extra"]
        total = int(extra["channelState"]["chargedCumulativeAmount"])
        self._asked = None
        if asked.kind == "refund":
            self.record.refunds += 1
            self._require(total == self._charged, asked, f"a refund charged: {extra}")
            return
        amount = int(extra["chargedAmount"])
        self._require(amount == asked.amount, asked, f"{amount} was charged")
        self._require(total == self._charged + amount, asked, f"the total is {total}")
        self._require(body.startswith(b"%d " % amount), asked, f"the text is {body!r}")
        self._require(body not in self.record.servings, asked, "this was served before")
        self.record.servings.add(body)
        self.record.paid.append((amount, total))
        self._charged = total

    def _refused(self, asked: Asked, status: int, told: dict[str, Any]) -> None:
        error = told["error"].removeprefix(_CODE)
        if error in _LATER:
            # It may still happen: asked again, as it is.
            return
        if self._is_silent and asked.amount:
            # It was sent before, and that one may yet arrive and be served.
            self.record.outcomes[f"refused after silence: {error}"] += 1
            self.record.abandoned.append(asked.amount)
        self._asked = None
        if error == "cumulative_amount_mismatch":
            state = told["accepts"][0]["extra"]["channelState"]
            total = int(state["chargedCumulativeAmount"])
            is_charged = self._is_silent and total == self._charged + asked.amount
            self._require(not is_charged, asked, "it is charged, and its answer is not repeated")
            self._charged = total
        elif error in ("cumulative_exceeds_balance", "channel_not_found"):
            self._is_short = asked.kind != "deposit"
        else:
            self._require(error in _ORDINARY, asked, f"{status} {told}")

    def _require(self, is_so: bool, asked: Asked, problem: str) -> None:
        if not is_so:
            what = f"{asked.kind} {asked.path} of {self.account.address} after {self._charged}"
            raise AnswerWrong(f"{what}: {problem}")

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


# What passes: a node that is down, a ledger that another process holds or that was away for long, a
# server that ended before the deposit was through.
_LATER = (
    "rpc_read_failed",
    "channel_busy",
    "ledger_unavailable",
    "ledger_restored",
    "Internal Server Error",
)
# What ends a request, and may happen.
_ORDINARY = (
    "exposure_cap_reached",
    "deposit_simulation_failed",
    "deposit_transaction_failed",
    "refund_no_balance",
    "refund_amount_invalid",
    "refund_transaction_failed",
)


class Crowd:
    """All payers, each on a thread of its own, a few requests a turn.

    Args:
        payers: Who they are.
        is_open: Whether there is somebody to ask.
    """

    def __init__(self, payers: list[Payer], is_open: Callable[[], bool], burst: int) -> None:
        self.payers = payers
        self.requests = 0
        self._is_open = is_open
        self._burst = burst
        self._turn = 0
        self._settled: set[Payer] = set()
        self._mode = "pay"
        self._changed = threading.Condition()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(payer,), daemon=True) for payer in payers
        ]
        for thread in self._threads:
            thread.start()

    def turn(self) -> None:
        """Lets every payer that waits for its turn have one.

        Raises:
            BaseException: What a payer has failed with.
        """
        with self._changed:
            self._turn += 1
            self._changed.notify_all()
        if self._failures:
            raise self._failures[0]

    def settle(self) -> None:
        """From now on nothing new is asked for."""
        self._mode = "settle"

    @property
    def is_settled(self) -> bool:
        """Whether every payer has all its answers."""
        return len(self._settled) == len(self.payers)

    def end(self) -> None:
        """Ends the threads, except such as wait for an answer."""
        self._mode = "end"
        self.turn()

    def _run(self, payer: Payer) -> None:
        seen = 0
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._turn > seen)  # noqa: B023
                    seen = self._turn
                if self._mode == "end":
                    payer.close()
                    return
                if self._is_open():
                    self._take_turn(payer)
        except BaseException as error:
            self._failures.append(error)

    def _take_turn(self, payer: Payer) -> None:
        if self._mode == "settle" or payer.is_away:
            if payer.settle() and self._mode == "settle":
                self._settled.add(payer)
            return
        for _ in range(self._burst):
            payer.act()
            with self._changed:
                self.requests += 1
