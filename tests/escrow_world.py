"""One chain with everything deployed, and the parties of a payment, for tests of what uses it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3 import Web3
from web3.types import TxReceipt

from farthing.chain.deployment import Deployment, as_deployment, place_all
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import Sender, TransactionRefused, as_farthing_error
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.protocol import ChannelConfig, DepositAuthorization, Voucher, VoucherClaim, sign

DELAY = 3_600
FUNDS = 1_000_000
"""Token units each payer holds at the start."""
COINS = 10**17


def party(name: str) -> LocalAccount:
    """The account of that name, always the same."""
    account: LocalAccount = Account.from_key(keccak(text=f"farthing test party {name}"))
    return account


PAYER, SECOND_PAYER = party("payer"), party("second payer")
RECEIVER, AUTHORIZER, STRANGER = party("receiver"), party("authorizer"), party("stranger")


@dataclass(frozen=True)
class World:
    """A settlement contract with collectors and test dollar, seen by a funded operator."""

    w3: Web3
    operator: Sender
    deployment: Deployment
    settlement: Settlement
    token: Token

    @classmethod
    def build(cls, w3: Web3, key: str) -> World:
        operator = Sender(w3, Account.from_key(key))
        deployment = as_deployment(w3.eth.chain_id, place_all(operator, test_token=True))
        token = Token(w3, str(deployment.token))
        operator.transact(token.plan_mint([PAYER.address, SECOND_PAYER.address], FUNDS))
        for account in (PAYER, RECEIVER, AUTHORIZER, STRANGER):
            fund(w3, operator, account.address)
        return cls(w3, operator, deployment, Settlement(w3, deployment.settlement), token)

    @classmethod
    def at(cls, w3: Web3, key: str, deployment: Deployment) -> World:
        """What was built before, on a chain that was given its state."""
        operator, token = Sender(w3, Account.from_key(key)), Token(w3, str(deployment.token))
        return cls(w3, operator, deployment, Settlement(w3, deployment.settlement), token)

    def fresh(self) -> World:
        """The same world with an operator that has counted no nonce yet."""
        return replace(self, operator=Sender(self.w3, self.operator.account))

    def sender(self, account: LocalAccount) -> Sender:
        return Sender(self.w3, account)

    def config(self, **changes: Any) -> ChannelConfig:
        """The payer's channel with the receiver; it is its own payer authorizer."""
        config = ChannelConfig(
            payer=PAYER.address,
            payer_authorizer=PAYER.address,
            receiver=RECEIVER.address,
            receiver_authorizer=AUTHORIZER.address,
            token=self.token.address,
            withdraw_delay=DELAY,
            salt=bytes(32),
        )
        return replace(config, **changes)

    def second_config(self) -> ChannelConfig:
        address = SECOND_PAYER.address
        return self.config(payer=address, payer_authorizer=address)

    def channel_id(self, config: ChannelConfig) -> bytes:
        return config.channel_id(self.settlement.domain)

    def consent(
        self, payer: LocalAccount, config: ChannelConfig, amount: int, salt: int = 0
    ) -> bytes:
        """The payer's ERC-3009 authorization, as collector data."""
        authorization = DepositAuthorization(
            payer=config.payer,
            collector=self.deployment.erc3009_collector,
            amount=amount,
            valid_after=0,
            valid_before=2**40,
            channel_id=self.channel_id(config),
            salt=salt,
        )
        return authorization.collector_data(sign(payer, authorization, self.token.domain))

    def deposit(self, payer: LocalAccount, amount: int, salt: int = 0) -> ChannelConfig:
        """Puts ``amount`` into the payer's channel and returns its config."""
        config = self.config(payer=payer.address, payer_authorizer=payer.address)
        data = self.consent(payer, config, amount, salt)
        collector = self.deployment.erc3009_collector
        self.settlement.deposit(self.operator, config, amount, collector, data)
        return config

    def row(
        self, payer: LocalAccount, config: ChannelConfig, ceiling: int, total: int | None = None
    ) -> VoucherClaim:
        """A voucher for ``ceiling``, with all of it claimed unless ``total`` says less."""
        domain = self.settlement.domain
        signature = sign(payer, Voucher(self.channel_id(config), ceiling), domain)
        return VoucherClaim(config, ceiling, signature, ceiling if total is None else total)

    def is_claimable(self, claim: VoucherClaim) -> bool:
        """Whether the contract would take the claim; nothing is sent."""
        call = self.settlement._contract.functions.claim([claim.as_tuple()])
        try:
            call.call({"from": RECEIVER.address})
        except Exception as error:
            found = as_farthing_error(error, RECEIVER.address)
            assert isinstance(found, ContractReverted | TransactionRefused), found
            return False
        return True

    def escrowed(self) -> int:
        return self.token.balance_of(self.settlement.address)

    def events(self, receipt: TxReceipt) -> list[tuple[str, dict[str, Any]]]:
        return [(event.name, dict(event.args)) for event in self.settlement.events(receipt)]

    def now(self) -> int:
        return int(self.w3.eth.get_block("latest")["timestamp"])

    def travel(self, seconds: int) -> None:
        """The next block of the in-process chain comes so much later."""
        tester: Any = self.w3.provider
        tester.ethereum_tester.time_travel(self.now() + seconds)


def fund(w3: Web3, operator: Sender, address: str) -> None:
    """Gives an account coins for gas."""
    send = {
        "to": address,
        "value": COINS,
        "gas": 21_000,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 10**9,
        "nonce": w3.eth.get_transaction_count(Web3.to_checksum_address(operator.address)),
        "chainId": w3.eth.chain_id,
    }
    signed = operator.account.sign_transaction(send)
    w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(signed.raw_transaction))
    operator._nonce = None
