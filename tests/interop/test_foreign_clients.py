"""Published x402 clients, unmodified, pay a Farthing paywall on a development chain.

Client, server and chain are processes of their own; what is said of money is read from the chain.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from eth_account.signers.local import LocalAccount

from farthing.chain.devnet import PAYER_FUNDS, Devnet, devnet
from farthing.chain.sender import Sender, Transaction
from farthing.chain.settlement import Channel, Settlement
from farthing.chain.token import Token
from farthing.ledger import Ledger, open_ledger
from farthing.paywall.channels import REFUND_ROUTE
from farthing.protocol import PERMIT2, VoucherClaim
from farthing.protocol.proofs import read_proof
from farthing.redeemer import redeem

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PRICE = 100
DEPOSIT = 10_000
"""The least the site takes, and so what a client deposits at a time."""
FOUND = 37
"""What a search costs in the end."""
START_SECONDS = 20

SERVER = [
    *(sys.executable, "-m", "uvicorn", "tests.interop.paid_site:site"),
    *("--log-level", "warning", "--no-access-log"),
]
CLIENTS = {
    "httpx": [sys.executable, str(HERE / "python_client.py"), "httpx"],
    "requests": [sys.executable, str(HERE / "python_client.py"), "requests"],
    "fetch": ["node", str(HERE / "fetch_client.mjs")],
}


@dataclass
class Reader:
    """A foreign client that runs; it does one thing at a time and answers."""

    account: LocalAccount
    process: subprocess.Popen[str]

    def do(self, command: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer


@dataclass
class Site:
    """A server with a paywall, the chain it is paid on, and the publisher's side of both."""

    url: str
    net: Devnet
    ledger: Ledger
    settlement: Settlement
    token: Token

    @contextmanager
    def reader(self, client: str, account: LocalAccount) -> Iterator[Reader]:
        arguments = [self.net.url, str(self.net.deployment.chain_id), self.net.token]
        process = subprocess.Popen(
            [*CLIENTS[client], *arguments],
            env={**os.environ, "PAYER_KEY": "0x" + bytes(account.key).hex()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            yield Reader(account, process)

    def pay(
        self, reader: Reader, times: int, path: str = "/article", status: str = "200"
    ) -> tuple[int, dict[str, int]]:
        """What the client says it was charged, and the answers the server sent it."""
        before = self._seen(path)
        done = reader.do("pay", url=self.url + path, times=times)
        assert done["statuses"] == {status: times}
        return done["charged"], dict(self._seen(path) - before)

    def refund(self, reader: Reader, amount: int | None = None) -> int:
        """Asks ``amount`` back, or all that is left; what came back, as the server says."""
        wish = {} if amount is None else {"amount": str(amount)}
        done = reader.do("refund", url=self.url + "/article", **wish)
        assert done["success"] is True
        return int(done["amount"])

    def collect(self) -> int:
        """The publisher redeems every voucher in the ledger and takes what refunds had claimed for
        it; what came in."""
        claims = []
        for channel_id in {charge.channel_id for charge in self.ledger.charges(limit=10_000)}:
            channel = self.ledger.channel(channel_id)
            assert channel is not None
            state = channel.state
            claims.append(
                VoucherClaim(channel.config, state.ceiling, state.signature, state.charged)
            )
        publisher = self.net.publisher
        sender = Sender(self.net.w3, publisher)
        done = redeem(self.settlement, sender, publisher, claims)
        settled = self.settlement.settle(sender, publisher.address, self.net.token)
        return done.paid + settled.amount

    def escrow(self, channel_id: bytes) -> Channel:
        return self.settlement.channel(channel_id)

    def channel_of(self, reader: Reader) -> bytes:
        """The channel its latest charge was made to."""
        for charge in reversed(self.ledger.charges(limit=10_000)):
            channel = self.ledger.channel(charge.channel_id)
            assert channel is not None
            if channel.config.payer == reader.account.address:
                return channel.channel_id
        raise AssertionError("it was never charged")

    def _seen(self, path: str) -> Counter[str]:
        """How often the server answered a request for ``path`` with which status."""
        found = requests.get(self.url + "/seen", timeout=10).json()
        return Counter(found.get(path, {}))


@contextmanager
def serve(net: Devnet, method: str, folder: Path) -> Iterator[Site]:
    """The site in a server process; ``method`` is how it wants deposits authorised."""
    ledger = folder / "ledger.db"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "SITE_DEVNET": json.dumps(net.as_json()),
        "SITE_LEDGER": str(ledger),
        "SITE_METHOD": method,
    }
    server = subprocess.Popen(
        [*SERVER, "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, **settings},
    )
    try:
        _await(port, server)
        with closing(open_ledger(str(ledger))) as books:
            settlement = Settlement(net.w3, net.deployment.settlement)
            url = f"http://127.0.0.1:{port}"
            yield Site(url, net, books, settlement, Token(net.w3, net.token))
    finally:
        server.terminate()
        server.wait()


def _await(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, "the server did not start"
        time.sleep(0.02)
    raise AssertionError("the server does not listen")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with devnet() as net, serve(net, "eip3009", tmp_path_factory.mktemp("eip3009")) as started:
        yield started


@pytest.fixture(scope="module")
def permit2_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with devnet() as net, serve(net, "permit2", tmp_path_factory.mktemp("permit2")) as started:
        for payer in net.payers:
            # Permit2 asks for this once of every token, and stock clients leave it to their owner.
            approval = net.w3.eth.contract(abi=APPROVE).encode_abi("approve", [PERMIT2, 2**256 - 1])
            transaction = Transaction(net.token, bytes.fromhex(approval[2:]))
            Sender(net.w3, payer).transact(transaction)
        yield started


APPROVE: Any = [
    {
        "type": "function",
        "name": "approve",
        "stateMutability": "nonpayable",
        "inputs": [{"name": "spender", "type": "address"}, {"name": "amount", "type": "uint256"}],
        "outputs": [{"name": "", "type": "bool"}],
    }
]


# ---------------------------------------------------------------- the tests


@pytest.mark.parametrize(("client", "number"), [(name, i) for i, name in enumerate(CLIENTS)])
def test_client__from_first_deposit_to_books_that_agree(
    site: Site, client: str, number: int
) -> None:
    account = site.net.payers[number]
    publisher = site.net.publisher.address
    earned_before = site.token.balance_of(publisher)
    charges_before = site.ledger.totals().charges

    with site.reader(client, account) as reader:
        # It knows nothing: it asks, deposits what the site announces, and pays.
        assert site.pay(reader, 1) == (PRICE, {"402": 1, "200": 1})
        channel_id = site.channel_of(reader)
        assert site.escrow(channel_id) == Channel(DEPOSIT, 0)

        # Hundreds of requests; twice the balance is exhausted, and it tops up.
        assert site.pay(reader, 200) == (200 * PRICE, {"402": 200, "200": 200})
        assert site.escrow(channel_id) == Channel(3 * DEPOSIT, 0)

        # It loses its state: the chain knows of no charge yet, so its first voucher is too low and
        # the server tells it where it stands.
        reader.do("forget")
        assert site.pay(reader, 1) == (PRICE, {"402": 2, "200": 1})

        # The publisher redeems. It loses its state again: now the chain tells it all.
        assert site.collect() == 202 * PRICE
        assert site.escrow(channel_id) == Channel(3 * DEPOSIT, 202 * PRICE)
        reader.do("forget")
        assert site.pay(reader, 1) == (PRICE, {"402": 1, "200": 1})

        # Some answers cost less than their price.
        assert site.pay(reader, 5, "/search") == (5 * FOUND, {"402": 5, "200": 5})
        charged = 203 * PRICE + 5 * FOUND

        # It asks its money back, and gets all but what was charged.
        assert site.refund(reader) == 3 * DEPOSIT - charged
        assert site.escrow(channel_id) == Channel(charged, charged)
        assert site.token.balance_of(account.address) == PAYER_FUNDS - charged

        # It comes back to a page that fails: its deposit counts, and nothing is charged.
        assert site.pay(reader, 1, "/broken", "500") == (0, {"402": 1, "500": 1})
        assert site.escrow(channel_id) == Channel(charged + DEPOSIT, charged)

        # It pays from that, and asks for a part of it.
        assert site.pay(reader, 2) == (2 * PRICE, {"402": 2, "200": 2})
        assert site.channel_of(reader) == channel_id
        assert site.refund(reader, 4_000) == 4_000
        assert site.escrow(channel_id).balance == charged + DEPOSIT - 4_000
        assert site.pay(reader, 3) == (3 * PRICE, {"402": 3, "200": 3})
        charged += 5 * PRICE

        # The publisher redeems what is left to redeem, the reader takes back what is left over.
        assert site.collect() == charged - 202 * PRICE
        assert site.refund(reader) == DEPOSIT - 4_000 - 5 * PRICE

    # The books of the chain, of the ledger and of the client agree to the unit.
    assert site.escrow(channel_id) == Channel(charged, charged)
    assert site.token.balance_of(account.address) == PAYER_FUNDS - charged
    assert site.token.balance_of(publisher) - earned_before == charged
    assert site.token.balance_of(site.settlement.address) == 0
    made = site.ledger.charges(channel_id=channel_id)
    assert sum(charge.amount for charge in made) == charged
    # A refund is written down as a charge of nothing, in the way of older requests.
    refunds = [charge for charge in made if charge.route == REFUND_ROUTE]
    assert [charge.amount for charge in refunds] == [0, 0, 0]
    assert len(made) == site.ledger.totals().charges - charges_before == 213 + len(refunds)
    assert site.ledger.prove() == []


@pytest.mark.parametrize(("client", "number"), [(name, i) for i, name in enumerate(CLIENTS)])
def test_client__at_prices_with_rules__pays_what_they_leave(
    site: Site, client: str, number: int
) -> None:
    """A client signs for the whole price and needs to know nothing of rules."""
    account = site.net.payers[number]
    before = site.token.balance_of(account.address)
    with site.reader(client, account) as reader:
        # Bought once, and another one.
        assert site.pay(reader, 3, "/episode/1") == (PRICE, {"402": 3, "200": 3})
        assert site.pay(reader, 2, "/episode/2") == (PRICE, {"402": 2, "200": 2})
        # Two are free, the next is not, and from then on it is half.
        assert site.pay(reader, 5, "/archive")[0] == 2 * PRICE
        # Without its state it owns what it owns.
        reader.do("forget")
        assert site.pay(reader, 1, "/episode/1")[0] == 0
        site.refund(reader)
    assert site.collect() == 4 * PRICE
    assert before - site.token.balance_of(account.address) == 4 * PRICE
    found = site.ledger.entitlements(account.address)
    assert [each.entitlement.item for each in found] == ["1", "2"]
    assert site.ledger.prove() == []


@pytest.mark.parametrize(("client", "number"), [(name, i) for i, name in enumerate(CLIENTS)])
def test_client__deposits_through_permit2(permit2_site: Site, client: str, number: int) -> None:
    site, account = permit2_site, permit2_site.net.payers[number]
    earned_before = site.token.balance_of(site.net.publisher.address)
    with site.reader(client, account) as reader:
        assert site.pay(reader, 120) == (120 * PRICE, {"402": 120, "200": 120})
        channel_id = site.channel_of(reader)
        assert site.escrow(channel_id) == Channel(2 * DEPOSIT, 0)
        assert site.refund(reader) == 2 * DEPOSIT - 120 * PRICE
    assert site.collect() == 120 * PRICE
    assert site.token.balance_of(account.address) == PAYER_FUNDS - 120 * PRICE
    assert site.token.balance_of(site.net.publisher.address) - earned_before == 120 * PRICE
    assert site.token.balance_of(site.settlement.address) == 0


# ---------------------------------------------------------------- receipts


def receipts(command: str, text: str, key: str = "") -> Any:
    """What x402's own package for receipts says."""
    done = subprocess.run(
        ["node", str(HERE / "receipts.mjs"), command],
        env={**os.environ, "SIGNER_KEY": key},
        input=text,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("client", "number"), [(name, i) for i, name in enumerate(CLIENTS)])
def test_client__unmodified__asks_for_a_receipt_and_gets_one(
    site: Site, client: str, number: int
) -> None:
    account, publisher = site.net.payers[number], site.net.publisher.address
    url = site.url + "/search"
    with site.reader(client, account) as reader:
        response = reader.do("pay", url=url, times=2)["response"]
        made = site.ledger.charges(channel_id=site.channel_of(reader))[-1]
    # Their package knows the receipt for what it is.
    theirs = receipts("verify", response)
    assert theirs["signer"] == publisher
    assert theirs["payload"]["resourceUrl"] == url
    assert theirs["payload"]["payer"] == account.address
    # And ours says what it cost.
    proof = read_proof(response.encode(), publisher)
    assert proof.given.charge is not None
    said = proof.given.charge.said
    assert (said.amount, said.url, said.request_id) == (FOUND, url, made.request_id)
    assert said.channel_id == made.channel_id


def test_receipt__made_by_their_package__can_be_checked(site: Site) -> None:
    publisher, payer = site.net.publisher, site.net.payers[0].address
    wish = {"url": site.url + "/é?a=1", "payer": payer, "network": "eip155:8453"}
    receipt = receipts("make", json.dumps(wish), "0x" + bytes(publisher.key).hex())
    found = read_proof(json.dumps({"receipt": receipt}).encode(), publisher.address)
    assert found.given.receipt is not None
    said = found.given.receipt.said
    assert (said.url, said.payer, said.network) == tuple(wish.values())
