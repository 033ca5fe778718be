"""Payers who keep their own record of what they asked for and what they were told."""

import base64
import http.client
import json
import random
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account

from farthing.ledger import Ledger, Mirror
from farthing.protocol import ChannelConfig, Voucher, sign
from tests.crash.kill_points import PATIENCE
from tests.crash.shop import DOMAIN, PRICES, TERMS

BALANCE = 10**12
BUSY = "invalid_batch_settlement_evm_channel_busy"


@dataclass(frozen=True)
class Request:
    """One request with its voucher."""

    path: str
    header: str
    amount: int


@dataclass(frozen=True)
class Answer:
    """What came back for a paid request, as far as it came."""

    response: str
    body: bytes


@dataclass
class Record:
    """What a payer knows.

    Attributes:
        paid: For every 200, what it was told it was charged, and its total from then on.
        lost: How many requests were sent and not answered.
        torn: How many answers ended in the middle.
        refused: How many answers were a 503, or said that the channel is busy.
        repeated: How many answers were asked for once more, and were the same.
    """

    paid: list[tuple[int, int]] = field(default_factory=list)
    lost: int = 0
    torn: int = 0
    refused: int = 0
    repeated: int = 0

    @property
    def total(self) -> int:
        return self.paid[-1][1] if self.paid else 0


class Payer:
    """A client with one channel, which pays at any of ``ports`` and repeats what was not answered.

    To be used by one thread at a time.
    """

    def __init__(self, number: int, ports: list[int]) -> None:
        # How many of its requests it does not wait for the answer of, of a hundred.
        self.hurry = 0
        self.record = Record()
        self.pending: Request | None = None
        self._random = random.Random(number)
        self._ports = ports
        self._connections: dict[int, http.client.HTTPConnection] = {}
        self._account = Account.from_key(number.to_bytes(32, "big"))
        self.config = ChannelConfig(
            payer=self._account.address,
            payer_authorizer=self._account.address,
            receiver=TERMS.receiver,
            receiver_authorizer=TERMS.receiver_authorizer,
            token=TERMS.token,
            withdraw_delay=TERMS.withdraw_delay,
            salt=number.to_bytes(32, "big"),
        )
        self.channel_id = self.config.channel_id(DOMAIN)
        self._torn: Answer | None = None
        self._latest: tuple[Request, Answer] | None = None

    def open_channel(self, ledger: Ledger) -> None:
        """Has the ledger know the channel, as if the payer had deposited."""
        ledger.mirror(self.channel_id, self.config, Mirror(BALANCE, 0, 0, 0, 0, 1))

    def pay(self) -> bool:
        """Sends the next request, or the unanswered one again; whether it was served.

        Raises:
            AssertionError: The answer is one that may not be.
        """
        if self.pending is None:
            self.pending = self.next_request()
        answer = self._send(self.pending)
        if answer is None:
            return False
        told = json.loads(base64.b64decode(answer.response))["extra"]
        amount, state = int(told["chargedAmount"]), told["channelState"]
        total = int(state["chargedCumulativeAmount"])
        assert state["channelId"] == "0x" + self.channel_id.hex()
        assert total == self.record.total + amount, f"{total} after {self.record}"
        assert amount == self.pending.amount
        if self._torn is not None:
            # What came of it the first time is the beginning of what came now.
            assert answer.response == self._torn.response
            assert answer.body.startswith(self._torn.body)
        self._torn = None
        self.record.paid.append((amount, total))
        self._latest = self.pending, answer
        self.pending = None
        return True

    def settle(self) -> None:
        """Repeats the unanswered request until it is answered, and the answered one once more."""
        while self.pending is not None:
            self.pay()
        while self._latest is not None and not self._repeat(*self._latest):
            pass

    def next_request(self, manner: str = "") -> Request:
        """A request for some page, with the voucher for it."""
        path = self._random.choice(sorted(PRICES))
        price = PRICES[path]
        number = self._random.randrange(10**6)
        voucher = Voucher(self.channel_id, self.record.total + price)
        payment = {
            "x402Version": 2,
            "accepted": TERMS.requirements(price)[0],
            "payload": {
                "type": "voucher",
                "channelConfig": self.config.to_json(),
                "voucher": {
                    "channelId": "0x" + self.channel_id.hex(),
                    "maxClaimableAmount": str(voucher.max_claimable_amount),
                    "signature": "0x" + sign(self._account, voucher, DOMAIN).hex(),
                },
            },
        }
        header = base64.b64encode(json.dumps(payment).encode()).decode()
        return Request(f"{path}{number}{manner}", header, 1 + number % price)

    def _repeat(self, request: Request, answer: Answer) -> bool:
        again = self._send(request)
        if again is None:
            return False
        assert again == answer, f"{again} is not {answer}"
        self.record.repeated += 1
        return True

    def _send(self, request: Request) -> Answer | None:
        port = self._random.choice(self._ports)
        if port not in self._connections:
            self._connections[port] = http.client.HTTPConnection(
                "127.0.0.1", port, timeout=PATIENCE
            )
        connection = self._connections[port]
        answer: http.client.HTTPResponse | None = None
        try:
            connection.request("GET", request.path, headers={"PAYMENT-SIGNATURE": request.header})
            if self._random.randrange(100) < self.hurry:
                raise ConnectionAbortedError
            answer = connection.getresponse()
            body = answer.read()
        except (ConnectionError, http.client.HTTPException) as error:
            self.record.lost += 1
            # The next request connects again.
            connection.close()
            if answer is not None and answer.status == 200:
                self.record.torn += 1
                part = error.partial if isinstance(error, http.client.IncompleteRead) else b""
                self._torn = Answer(answer.headers["PAYMENT-RESPONSE"], part)
            return None
        if answer.status == 200:
            return Answer(answer.headers["PAYMENT-RESPONSE"], body)
        told: Any = json.loads(body)
        is_clear = (answer.status, told["error"]) in ((503, "ledger_unavailable"), (402, BUSY))
        assert is_clear, f"{answer.status} {told}"
        self.record.refused += 1
        return None

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
