"""One batch of 128 vouchers, nine of them bad, each in its own way.

`python -m examples.bad_batch` runs on a chain inside its process. The good rows are paid in one
transaction, every bad one is skipped and says why, and at the end the books are proven from what
is on the chain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from farthing.chain.deployment import place_all
from farthing.chain.in_process import in_process_chain
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import Sender, Transaction
from farthing.chain.settlement import MAX_CLAIMS, Redeemed, Settlement
from farthing.chain.token import TEST_USD_DECIMALS, Token
from farthing.protocol import (
    MAX_ROWS,
    ZERO_ADDRESS,
    ChannelConfig,
    DepositAuthorization,
    FarthingError,
    Reason,
    Voucher,
    VoucherClaim,
    sign,
)
from farthing.protocol.signatures import SECP256K1_ORDER
from farthing.redeemer import Batch
from farthing.redeemer.gas import gas_limit

DEPOSIT = 1_000_000
CHARGED = 250_000
LEFT = 100_000
"""What a withdrawal leaves of a deposit: less than what was charged."""
DELAY = 3_600
FOREVER = 2**40 - 1
# Creation code that leaves a contract of one byte.
TINY_CONTRACT = bytes.fromhex("60015ff3")

# Where the rows of a call start, and the words of one; see docs/protocol.md.
ROWS_OFFSET = 4 + 7 * 32
ROW_WORDS = 3
HEAD, VS = 0, 2

# The bad rows that are named more than once.
FORGED = "signed by somebody else"
OVER_CEILING = "above its voucher's ceiling"
HIGH_S = "with the signature's high-s twin"


class BooksDoNotBalance(FarthingError):
    """The chain does not hold what the batch says."""


@dataclass(frozen=True)
class Row:
    """A row of the batch, what is the matter with it, and what should become of it."""

    claim: VoucherClaim
    what: str = "good"
    reason: Reason = Reason.REDEEMED
    paid: int = CHARGED


@dataclass(frozen=True)
class Demonstration:
    """What the batch did, and how the official `claim` answered to one bad row among good ones."""

    shop: Shop
    rows: list[Row]
    redeemed: Redeemed
    received: int
    gas: int
    refusal: ContractReverted


class Shop:
    """A publisher and its readers on a chain of their own, every reader's channel funded."""

    def __init__(self) -> None:
        w3, key = in_process_chain()
        self.w3 = w3
        self.publisher = Sender(w3, Account.from_key(key))
        placed = place_all(self.publisher, test_token=True)
        address = {contract.name: contract.address for contract in placed}
        self.settlement = Settlement(w3, address["BatchSettlement"])
        self.token = Token(w3, address["TestUSD"])
        self.readers = [Account.from_key(keccak(text=f"reader {n}")) for n in range(MAX_ROWS)]
        holders = [reader.address for reader in self.readers]
        self.publisher.transact(self.token.plan_mint(holders, DEPOSIT))
        for _ in self.publisher.transact_all(self._deposits()):
            pass

    def _deposits(self) -> Iterator[Transaction]:
        for reader in self.readers:
            config = self.config(reader.address)
            authorization = DepositAuthorization(
                payer=reader.address,
                collector=self.settlement.address,
                amount=DEPOSIT,
                valid_after=0,
                valid_before=FOREVER,
                channel_id=config.channel_id(self.settlement.domain),
                salt=0,
            )
            signature = sign(reader, authorization, self.token.domain)
            yield self.settlement.plan_deposit_with_authorization(config, authorization, signature)

    def config(self, payer: str) -> ChannelConfig:
        return ChannelConfig(
            payer=payer,
            payer_authorizer=payer,
            receiver=self.publisher.address,
            receiver_authorizer=self.publisher.address,
            token=self.token.address,
            withdraw_delay=DELAY,
            salt=bytes(32),
        )

    def voucher(
        self, reader: LocalAccount, total: int = CHARGED, config: ChannelConfig | None = None
    ) -> VoucherClaim:
        """A voucher signed by the reader, for its own channel if not for another one."""
        config = config or self.config(reader.address)
        voucher = Voucher(config.channel_id(self.settlement.domain), total)
        signature = sign(reader, voucher, self.settlement.domain)
        return VoucherClaim(config, total, signature, total)

    def redeem(self, batch: Batch, call: bytes) -> tuple[Redeemed, int]:
        transaction = self.settlement.plan_redeem(call, gas_limit(batch))
        receipt = self.publisher.transact(transaction)
        return self.settlement.redeemed(receipt), receipt["gasUsed"]

    def withdraw(self, reader: LocalAccount, amount: int) -> None:
        """The reader asks for its money and gets it; the clock is moved."""
        self.w3.eth.send_transaction(
            {
                "from": self.publisher.address,
                "to": reader.address,
                "value": self.w3.to_wei(1, "ether"),
            }
        )
        self.publisher.forget_nonce()
        sender, config = Sender(self.w3, reader), self.config(reader.address)
        self.settlement.initiate_withdraw(sender, config, amount)
        tester: Any = self.w3.provider
        now = int(self.w3.eth.get_block("latest")["timestamp"])
        tester.ethereum_tester.time_travel(now + DELAY)
        self.settlement.finalize_withdraw(sender, config)

    def contract_address(self) -> str:
        """A new contract's."""
        address = self.publisher.transact(Transaction(None, TINY_CONTRACT, 100_000))[
            "contractAddress"
        ]
        return str(address)


def batch_of(shop: Shop, rows: Sequence[Row]) -> Batch:
    return Batch.of([row.claim for row in rows], shop.settlement.domain)


def rows_of(shop: Shop) -> list[Row]:
    """The batch: good rows, and one of each kind of bad ones spread among them."""
    stale, emptied, withdrawn, ceiling, forged, twin, owner, *others = shop.readers
    before = batch_of(shop, [Row(shop.voucher(stale)), Row(shop.voucher(emptied, DEPOSIT))])
    shop.redeem(before, before.call())
    shop.withdraw(withdrawn, DEPOSIT - LEFT)
    contract = replace(shop.config(shop.contract_address()), payer_authorizer=ZERO_ADDRESS)
    nobody = Account.from_key(keccak(text="a reader who never paid in"))

    rows = [Row(shop.voucher(reader)) for reader in others][: MAX_ROWS - 9]
    bad = [
        Row(shop.voucher(stale), "redeemed before", Reason.STALE, 0),
        # One unit below its ceiling here; `spoiled` lifts it above.
        Row(
            replace(shop.voucher(ceiling), total_claimed=CHARGED - 1),
            OVER_CEILING,
            Reason.OVER_CEILING,
            0,
        ),
        Row(
            shop.voucher(nobody, config=shop.config(forged.address)),
            FORGED,
            Reason.BAD_SIGNATURE,
            0,
        ),
        Row(shop.voucher(twin), HIGH_S, Reason.BAD_SIGNATURE, 0),
        Row(shop.voucher(nobody), "of a channel nobody opened", Reason.EMPTY, 0),
        Row(shop.voucher(emptied, DEPOSIT + 1), "of an emptied channel", Reason.EMPTY, 0),
        Row(rows[0].claim, "the first row once more", Reason.STALE, 0),
        Row(
            shop.voucher(owner, config=contract),
            "a contract's, with no key to sign",
            Reason.CONTRACT_PAYER,
            0,
        ),
        Row(shop.voucher(withdrawn), "above what a withdrawal left", Reason.REDEEMED, LEFT),
    ]
    for place, row in enumerate(bad, start=1):
        rows.insert(place * 14, row)
    return rows


def spoiled(call: bytes, rows: Sequence[Row]) -> bytes:
    """The call with two rows edited into what this package refuses to build."""
    place = {row.what: index for index, row in enumerate(rows)}
    # The head ends with the total.
    over, head = place[OVER_CEILING], word(call, place[OVER_CEILING], HEAD)
    call = with_word(call, over, HEAD, head + 2)
    # With the order minus s, and the other parity, a signature is valid once more to anybody who
    # does not look. A high s already fills the bit that the parity should stand in.
    twin, vs = place[HIGH_S], word(call, place[HIGH_S], VS)
    high_s, parity = SECP256K1_ORDER - vs % 2**255, 1 - (vs >> 255)
    return with_word(call, twin, VS, high_s | parity << 255)


def word(call: bytes, row: int, number: int) -> int:
    start = ROWS_OFFSET + 32 * (ROW_WORDS * row + number)
    return int.from_bytes(call[start : start + 32], "big")


def with_word(call: bytes, row: int, number: int, value: int) -> bytes:
    start = ROWS_OFFSET + 32 * (ROW_WORDS * row + number)
    return call[:start] + value.to_bytes(32, "big") + call[start + 32 :]


def demonstrate() -> Demonstration:
    """Redeems the batch and proves the books.

    Raises:
        BooksDoNotBalance: A row came out otherwise than announced, or money is not where it should.
    """
    shop = Shop()
    rows = rows_of(shop)
    refusal = refused_claim(shop, rows)
    before = shop.token.balance_of(shop.publisher.address)
    batch = batch_of(shop, rows)
    redeemed, gas = shop.redeem(batch, spoiled(batch.call(), rows))
    received = shop.token.balance_of(shop.publisher.address) - before
    shown = Demonstration(shop, rows, redeemed, received, gas, refusal)
    prove(shown)
    return shown


def refused_claim(shop: Shop, rows: Sequence[Row]) -> ContractReverted:
    """What the official `claim` answers to one forged row before 99 good ones."""
    good = [row.claim for row in rows if row.what == "good"]
    (forged,) = (row.claim for row in rows if row.what == FORGED)
    try:
        shop.settlement.claim(shop.publisher, [forged, *good][:MAX_CLAIMS])
    except ContractReverted as refusal:
        return refusal
    raise BooksDoNotBalance("the contract claimed a forged row.")


def prove(shown: Demonstration) -> None:
    """Compares what was announced, what the event says, and what accounts and channels hold.

    Raises: as `demonstrate`.
    """
    shop, redeemed = shown.shop, shown.redeemed
    if [outcome.reason for outcome in redeemed.outcomes] != [row.reason for row in shown.rows]:
        raise BooksDoNotBalance("a row came out otherwise than announced.")
    due = sum(row.paid for row in shown.rows)
    if not due == redeemed.amount == shown.received:
        raise BooksDoNotBalance(
            f"{due} was due, the event says {redeemed.amount}, and {shown.received} was received."
        )
    ids = (
        shop.config(reader.address).channel_id(shop.settlement.domain) for reader in shop.readers
    )
    channels = [shop.settlement.channel(channel_id) for channel_id in ids]
    owed = sum(channel.available for channel in channels)
    held = shop.token.balance_of(shop.settlement.address)
    if owed != held:
        raise BooksDoNotBalance(f"channels are owed {owed}, and the contract holds {held}.")
    claimed = sum(channel.total_claimed for channel in channels)
    total = shop.token.balance_of(shop.publisher.address)
    if claimed != total:
        raise BooksDoNotBalance(f"{claimed} was claimed in all, and the publisher holds {total}.")


def report(shown: Demonstration) -> Iterator[str]:
    """The demonstration as lines of text; amounts in test dollars."""
    yield f"{'row':>4}  {'what it is':<35}{'paid':>9}  outcome"
    good = [row for row in shown.rows if row.what == "good"]
    yield f"{len(good):>3}x  {'good':<35}{dollars(sum(row.paid for row in good)):>9}  redeemed"
    for row, outcome in zip(shown.rows, shown.redeemed.outcomes, strict=True):
        if row.what != "good":
            said = outcome.reason.sentence()
            yield f"{outcome.index:>4}  {row.what:<35}{dollars(row.paid):>9}  {said}"
    yield ""
    paid = sum(outcome.reason is Reason.REDEEMED for outcome in shown.redeemed.outcomes)
    each = shown.gas // paid
    yield f"Paid out     {dollars(shown.redeemed.amount)} for {paid} of {len(shown.rows)} rows"
    yield f"Gas          {shown.gas:,} in one transaction, {each:,} for each row paid"
    refused = type(shown.refusal).__name__
    yield f"With claim   one forged row before 99 good ones, and all are refused: {refused}"
    yield "Books        publisher, channels and contract agree to the unit"


def dollars(units: int) -> str:
    return f"{Decimal(units).scaleb(-TEST_USD_DECIMALS):,f}"


def main() -> None:
    try:
        for line in report(demonstrate()):
            print(line)
    except FarthingError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
