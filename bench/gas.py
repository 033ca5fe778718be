"""Whole-transaction gas of every step on anvil (prague), beside the official contract's figures.

The conditions are those the official figures were measured under: real ERC-3009 signatures, one
payer key per channel that is its own payer authorizer, salt zero, a receiver that the contract and
the token know. `make bench-gas` prints the object and saves it; `tests/gas` runs the same steps
and fails when a figure grew.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3 import Web3
from web3.types import TxReceipt

from bench.result import save
from farthing.chain.anvil import ANVIL_KEYS, HARDFORK, anvil
from farthing.chain.connection import connect
from farthing.chain.deployment import as_deployment, place_all
from farthing.chain.sender import Sender
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.protocol import (
    ChannelConfig,
    DepositAuthorization,
    RedemptionCall,
    Voucher,
    VoucherClaim,
    sign,
)
from farthing.redeemer.gas import RELAY_GAS, calldata_gas, gas_limit
from farthing.redeemer.packer import pack

# The official Solidity contract under the same conditions; gas per row where the key says rows.
OFFICIAL = {
    "claim_100": 21_629,
    "claim_10": 24_049,
    "claim_with_signature_100": 24_060,
    "settle": 46_258,
    "deposit_erc3009_new": 115_196,
    "deposit_erc3009_topup": 94_228,
    "initiate_withdraw": 52_677,
    "finalize_withdraw": 50_564,
    "refund_partial": 74_252,
}

CHANNELS = 128
DEPOSIT = 10_000_000
PRICE = 20_000
DELAY = 3_600
FOREVER = 2**48


@dataclass
class Scene:
    """One settlement contract with a publisher and its readers, every reader's channel funded."""

    w3: Web3
    settlement: Settlement
    token: Token
    collector: str
    operator: Sender
    receiver: Sender
    authorizer: LocalAccount
    readers: list[LocalAccount]
    salt: int = 0

    def config(self, reader: LocalAccount) -> ChannelConfig:
        return ChannelConfig(
            payer=reader.address,
            payer_authorizer=reader.address,
            receiver=self.receiver.address,
            receiver_authorizer=self.authorizer.address,
            token=self.token.address,
            withdraw_delay=DELAY,
            salt=bytes(32),
        )

    def deposit(self, reader: LocalAccount) -> TxReceipt:
        config = self.config(reader)
        self.salt += 1
        authorization = DepositAuthorization(
            payer=reader.address,
            collector=self.collector,
            amount=DEPOSIT,
            valid_after=0,
            valid_before=FOREVER,
            channel_id=config.channel_id(self.settlement.domain),
            salt=self.salt,
        )
        data = authorization.collector_data(sign(reader, authorization, self.token.domain))
        return self.settlement.deposit(self.operator, config, DEPOSIT, self.collector, data)

    def claims(self, readers: Sequence[LocalAccount], total: int) -> list[VoucherClaim]:
        domain = self.settlement.domain
        rows = []
        for reader in readers:
            config = self.config(reader)
            voucher = Voucher(config.channel_id(domain), total)
            rows.append(VoucherClaim(config, total, sign(reader, voucher, domain), total))
        return rows

    def fund(self, account: str) -> None:
        balance = hex(10**20)
        self.w3.provider.make_request("anvil_setBalance", [account, balance])  # type: ignore[arg-type]

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What is sent within is undone after."""
        request = self.w3.provider.make_request
        snapshot = request("evm_snapshot", [])["result"]  # type: ignore[arg-type]
        yield
        request("evm_revert", [snapshot])  # type: ignore[arg-type]
        self.receiver.forget_nonce()

    def wait(self, seconds: int) -> None:
        self.w3.provider.make_request("evm_increaseTime", [seconds])  # type: ignore[arg-type]
        self.w3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]


def scene(w3: Web3, channels: int = CHANNELS) -> Scene:
    """Deploys the contracts and funds ``channels`` readers' channels."""
    operator = Sender(w3, Account.from_key(ANVIL_KEYS[0]))
    deployment = as_deployment(w3.eth.chain_id, place_all(operator, test_token=True))
    built = Scene(
        w3=w3,
        settlement=Settlement(w3, deployment.settlement),
        token=Token(w3, str(deployment.token)),
        collector=deployment.erc3009_collector,
        operator=operator,
        receiver=Sender(w3, Account.from_key(ANVIL_KEYS[1])),
        authorizer=Account.from_key(ANVIL_KEYS[2]),
        readers=[Account.from_key(keccak(text=f"reader {i}")) for i in range(channels)],
    )
    holders = [*(reader.address for reader in built.readers), built.receiver.address]
    operator.transact(built.token.plan_mint(holders, 100 * DEPOSIT))
    return built


@contextmanager
def gas_node() -> Iterator[Web3]:
    """An anvil node on which gas repeats to the unit.

    Without the CREATE2 deployer contracts stand where the deployer's nonce puts them. Their
    addresses, and with them the zero bytes in signatures, do not change with a comment's wording.
    """
    with anvil("--gas-limit", "30000000", "--disable-default-create2-deployer") as url:
        yield connect(url)


def measure(w3: Web3) -> dict[str, int]:
    """Runs every step once and returns its gas, per row where there are rows (rounded up)."""
    s = scene(w3)
    gas: dict[str, int] = {}
    first = s.readers[0]
    hundred = s.readers[:100]
    # The first deposit pays for the contract's own token balance too; it is nobody's figure.
    s.deposit(s.readers[-1])
    gas["deposit_erc3009_new"] = s.deposit(first)["gasUsed"]
    gas["deposit_erc3009_topup"] = s.deposit(first)["gasUsed"]
    for reader in s.readers[1:-1]:
        s.deposit(reader)

    claim, operator = s.settlement.claim, s.operator
    # Totals of three bytes that are none of them zero, so that calldata always costs the same.
    totals = (n for n in range(PRICE, DEPOSIT, PRICE) if 0 not in n.to_bytes(3, "big"))
    gas["claim_1_first"] = claim(s.receiver, s.claims([first], next(totals)))["gasUsed"]
    s.settlement.settle(operator, s.receiver.address, s.token.address)
    claim(s.receiver, s.claims(hundred, next(totals)))
    for rows in (100, 10, 1):
        receipt = claim(s.receiver, s.claims(s.readers[:rows], next(totals)))
        gas[f"claim_{rows}"] = per_row(receipt, rows)
    signed = s.claims(hundred, next(totals))
    signature = s.settlement.sign_claims(s.authorizer, signed)
    receipt = s.settlement.claim_with_signature(operator, signed, signature)
    gas["claim_with_signature_100"] = per_row(receipt, 100)
    gas["settle"] = s.settlement.settle(operator, s.receiver.address, s.token.address).gas

    gas |= measure_redeem(s, totals)
    gas |= measure_authorization(s)

    s.fund(first.address)
    payer = Sender(w3, first)
    config = s.config(first)
    receipt = s.settlement.initiate_withdraw(payer, config, DEPOSIT // 2)
    gas["initiate_withdraw"] = receipt["gasUsed"]
    s.wait(DELAY)
    gas["finalize_withdraw"] = s.settlement.finalize_withdraw(payer, config)["gasUsed"]
    receipt = s.settlement.refund(s.receiver, config, DEPOSIT // 4)
    gas["refund_partial"] = receipt["gasUsed"]
    return gas


def measure_redeem(s: Scene, totals: Iterator[int]) -> dict[str, int]:
    """The packed redemption, payout included; receiver and token know each other."""
    settlement, gas = s.settlement, {}

    def send(claims: Sequence[VoucherClaim]) -> TxReceipt:
        (batch,) = pack(claims, settlement.domain).batches
        return s.receiver.transact(settlement.plan_redeem(batch.call(), gas_limit(batch)))

    for rows in (100, 10, 1):
        receipt = send(s.claims(s.readers[:rows], next(totals)))
        gas[f"redeem_{rows}"] = per_row(receipt, rows)
    (batch,) = pack(s.claims(s.readers[:100], next(totals)), settlement.domain).batches
    call = batch.call()
    gas["redeem_calldata_row"] = -(-calldata_gas(call) // 100)
    signature = sign(s.authorizer, RedemptionCall(call), settlement.domain)
    limit = gas_limit(batch) + RELAY_GAS
    relayed = settlement.plan_redeem_with_signature(call, signature, limit)
    gas["redeem_relayed_100"] = per_row(s.operator.transact(relayed), 100)

    # The same 127 good rows from the same state with and without a bad one, of the kind that costs
    # the contract most: a signature that has to be recovered to be found wrong.
    send(s.claims(s.readers, next(totals)))
    total = next(totals)
    good = s.claims(s.readers[:127], total)
    (last,) = s.claims(s.readers[127:], total)
    forged = replace(last, signature=good[0].signature)
    with s.undone():
        without = send(good)["gasUsed"]
    gas["redeem_bad_row"] = send([*good, forged])["gasUsed"] - without
    return gas


def measure_authorization(s: Scene) -> dict[str, int]:
    """ERC-3009 straight into escrow."""
    gas = {}
    reader = Account.from_key(keccak(text="late reader"))
    s.operator.transact(s.token.plan_mint([reader.address], 100 * DEPOSIT))
    for name in ("new", "topup"):
        config = s.config(reader)
        s.salt += 1
        authorization = DepositAuthorization(
            payer=reader.address,
            collector=s.settlement.address,
            amount=DEPOSIT,
            valid_after=0,
            valid_before=FOREVER,
            channel_id=config.channel_id(s.settlement.domain),
            salt=s.salt,
        )
        signature = sign(reader, authorization, s.token.domain)
        plan = s.settlement.plan_deposit_with_authorization(config, authorization, signature)
        gas[f"deposit_authorization_{name}"] = s.operator.transact(plan)["gasUsed"]
    return gas


def per_row(receipt: TxReceipt, rows: int) -> int:
    """A transaction's gas divided among its rows, rounded up."""
    return -(-receipt["gasUsed"] // rows)


def main() -> None:
    with gas_node() as w3:
        gas = measure(w3)
        node = w3.client_version
    conditions = {"node": node, "hardfork": HARDFORK, "channels": CHANNELS}
    save("gas", {**gas, "official": OFFICIAL, "conditions": conditions})


if __name__ == "__main__":
    main()
