"""A publisher with thousands of funded and charged channels on anvil, and all that redeems them.

Deposits are real, by ERC-3009 authorizations straight into escrow, many to a transaction. What
payers send themselves the node sends for them, which spares their keys a signature each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3

from farthing.chain.anvil import ANVIL_KEYS, anvil
from farthing.chain.connection import connect
from farthing.chain.deployment import as_deployment, place_all
from farthing.chain.fees import FeePolicy
from farthing.chain.queue import TransactionQueue
from farthing.chain.sender import Sender
from farthing.chain.settlement import DEPOSIT_GAS, Settlement
from farthing.chain.token import Token
from farthing.chain.watcher import Payee, Watcher
from farthing.ledger import Ledger, NewCharge, open_ledger
from farthing.protocol import ChannelConfig, DepositAuthorization, Voucher
from farthing.protocol.keccak import keccak
from farthing.protocol.typed_data import SigningDomain, TypedMessage
from farthing.redeemer import Policy, Redeemer
from farthing.redeemer.follower import Follower

DELAY = 900
DEPOSIT = 1_000_000
# What a channel owes: three bytes that are none of them zero, as in `bench.gas`.
CHARGED = 0x01_38_A1
BLOCK_GAS = 30_000_000
CONFIRMATIONS = 3
# Calls of one multicall, and accounts of one mint.
CALLS, MINTED = 16, 500
# Dollars and their coin at ordinary prices, with everything redeemed that pays.
POLICY = Policy(coin_price=3_000 * 10**6, interval=1, max_cost_percent=Decimal(60))


@dataclass(frozen=True)
class Payer:
    """A payer's key, without what eth-account puts around it."""

    key: PrivateKey
    address: str

    @classmethod
    def number(cls, number: int) -> Payer:
        key = PrivateKey(keccak(f"payer {number}".encode()))
        point = key.public_key.format(compressed=False)[1:]
        return cls(key, Web3.to_checksum_address(keccak(point)[12:]))

    def sign(self, message: TypedMessage, domain: SigningDomain) -> bytes:
        signature = self.key.sign_recoverable(message.digest(domain), hasher=None)
        return signature[:64] + bytes((27 + signature[64],))


@dataclass
class Market:
    """The chain, the publisher, and its ledger with a charge in every channel."""

    w3: Web3
    publisher: LocalAccount
    settlement: Settlement
    token: Token
    ledger_path: Path
    ledger: Ledger
    payers: list[Payer]
    configs: list[ChannelConfig]
    start_block: int

    @property
    def charged(self) -> int:
        return CHARGED * len(self.configs)

    def received(self) -> int:
        """What the publisher has of the token."""
        return self.token.balance_of(self.publisher.address)

    def queue(self) -> TransactionQueue:
        return TransactionQueue(
            self.w3,
            self.publisher,
            open_ledger(str(self.ledger_path)),
            confirmations=CONFIRMATIONS,
            fees=FeePolicy(),
            holder="bench",
        )

    def redeemer(self, queue: TransactionQueue) -> Redeemer:
        return Redeemer(
            self.ledger,
            self.settlement,
            queue,
            self.publisher,
            POLICY,
            receiver=self.publisher.address,
            token=self.token.address,
            fees=FeePolicy(),
            holder="bench",
            look_seconds=0,
        )

    def follower(self) -> Follower:
        address = self.publisher.address
        payee = Payee(address, address, self.token.address)
        watcher = Watcher(self.settlement, [payee], start_block=self.start_block)
        return Follower(open_ledger(str(self.ledger_path)), watcher, own=[address])

    def rpc(self, method: str, *arguments: Any) -> Any:
        answer = self.w3.provider.make_request(method, list(arguments))  # type: ignore[arg-type]
        return answer["result"]


@contextmanager
def market(channels: int, folder: Path) -> Iterator[Market]:
    """Runs a node with a publisher of so many channels, each with the same charge."""
    with anvil("--gas-limit", str(BLOCK_GAS), "--auto-impersonate") as url:
        w3 = connect(url)
        operator = Sender(w3, Account.from_key(ANVIL_KEYS[0]))
        deployment = as_deployment(w3.eth.chain_id, place_all(operator, test_token=True))
        token = Token(w3, str(deployment.token))
        publisher: LocalAccount = Account.from_key(ANVIL_KEYS[1])
        path = folder / "ledger.db"
        made = Market(
            w3=w3,
            publisher=publisher,
            settlement=Settlement(w3, deployment.settlement),
            token=token,
            ledger_path=path,
            ledger=open_ledger(str(path)),
            payers=[Payer.number(number) for number in range(channels)],
            configs=[],
            start_block=w3.eth.block_number,
        )
        made.configs = [config_of(payer, publisher.address, token.address) for payer in made.payers]
        # A receiver that holds some of the token, as every one does after the first redemption.
        _mint(operator, token, [publisher.address, *(payer.address for payer in made.payers)])
        _deposit(operator, made)
        follower = made.follower()
        while not follower.step().caught_up:
            pass
        charge_all(made.ledger, made.settlement.domain, made.payers, made.configs)
        yield made
        made.ledger.close()


def config_of(payer: Payer, receiver: str, token: str) -> ChannelConfig:
    """A channel whose payer signs for itself."""
    return ChannelConfig(
        payer=payer.address,
        payer_authorizer=payer.address,
        receiver=receiver,
        receiver_authorizer=receiver,
        token=token,
        withdraw_delay=DELAY,
        salt=bytes(32),
    )


def charge_all(
    ledger: Ledger, domain: Any, payers: Sequence[Payer], configs: Sequence[ChannelConfig]
) -> None:
    """Charges each channel once, by a voucher of its payer."""
    together = list(zip(payers, configs, strict=True))
    for start in range(0, len(together), MINTED):
        charges = []
        for payer, config in together[start : start + MINTED]:
            channel_id = config.channel_id(domain)
            signature = payer.sign(Voucher(channel_id, CHARGED), domain)
            charges.append(
                NewCharge(
                    channel_id=channel_id,
                    charges=0,
                    charged=0,
                    amount=CHARGED,
                    price=CHARGED,
                    ceiling=CHARGED,
                    signature=signature,
                    route="GET /",
                    request_id=channel_id.hex(),
                    time=1_700_000_000,
                    answer=None,
                )
            )
        assert all(ledger.commit(charges))


def _mint(operator: Sender, token: Token, holders: Sequence[str]) -> None:
    plans = (
        token.plan_mint(holders[start : start + MINTED], DEPOSIT)
        for start in range(0, len(holders), MINTED)
    )
    for _ in operator.transact_all(plans):
        pass


def _deposit(operator: Sender, made: Market) -> None:
    settlement, token = made.settlement, made.token
    calls = []
    for payer, config in zip(made.payers, made.configs, strict=True):
        authorization = DepositAuthorization(
            payer=payer.address,
            collector=settlement.address,
            amount=DEPOSIT,
            valid_after=0,
            valid_before=2**40,
            channel_id=config.channel_id(settlement.domain),
            salt=0,
        )
        signature = payer.sign(authorization, token.domain)
        plan = settlement.plan_deposit_with_authorization(config, authorization, signature)
        calls.append(plan.data)
    plans = (
        settlement.plan_multicall(calls[start : start + CALLS], CALLS * DEPOSIT_GAS)
        for start in range(0, len(calls), CALLS)
    )
    for _ in operator.transact_all(plans):
        pass
