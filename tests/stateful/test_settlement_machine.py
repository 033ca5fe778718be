"""Any order of calls by several payers and receivers leaves books that add up.

After each step the contract and the books of `settlement_books` must agree on everything, and the
invariants hold. At the end everybody leaves, and the money is where it should be, to the unit.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import boa
from eth_abi import decode
from eth_account import Account
from eth_utils import function_signature_to_4byte_selector, keccak
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from settlement_books import (
    AUTHORIZER,
    PAYER,
    RECEIVER,
    REDEEMED,
    STRANGER,
    Books,
    Channel,
    Row,
)

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
ZERO_ADDRESS = "0x" + "00" * 20


def account(name: str) -> Any:
    return Account.from_key(keccak(text=f"farthing state machine: {name}"))


PAYERS = [account("payer 0"), account("payer 1")]
RECEIVERS = [account("receiver 0"), account("receiver 1")]
SESSION_KEY, AUTHORIZER_KEY, NOBODY = map(account, ("session key", "authorizer", "nobody"))

# payer, receiver, whether a session key signs, delay in seconds. Few, so that calls meet.
CHANNELS = [
    (0, 0, True, 900),
    (1, 0, False, 5_000),
    (0, 1, True, 2_592_000),
]

deposits = st.integers(0, 30) | st.sampled_from([1_000, 2**100])
# An amount that has to do with the channel's books, or nothing.
parts = st.tuples(
    st.sampled_from(["available", "pending", "pending", ""]), st.sampled_from([0, 0, 0, 1, -1])
)
numbers = st.integers(0, len(CHANNELS) - 1)
# channel, claimed beyond what is recorded, ceiling beyond that, whether the right key signs
claims = st.lists(
    st.tuples(numbers, st.integers(-2, 40), st.integers(-1, 20), st.integers(0, 9).map(bool)),
    min_size=1,
    max_size=4,
)
signers = st.sampled_from([AUTHORIZER_KEY] * 7 + [NOBODY])
payer_side = st.sampled_from([PAYER] * 7 + [RECEIVER, STRANGER])
receiver_side = st.sampled_from([RECEIVER, AUTHORIZER] * 4 + [PAYER, STRANGER])
claimers = st.sampled_from([AUTHORIZER] * 7 + [PAYER, STRANGER])


@cache
def deployer(path: str) -> Any:
    return boa.load_partial(str(CONTRACTS / path))


class SettlementMachine(RuleBasedStateMachine):
    @initialize()
    def open_books(self) -> None:
        self.anchor = boa.env.anchor()
        self.anchor.__enter__()
        self.token = deployer("mocks/TestUSD.vy").deploy()
        self.collector = deployer("mocks/TestCollector.vy").deploy()
        self.settlement = deployer("BatchSettlement.vy").deploy()
        self.books = Books()
        for payer, receiver, has_session_key, delay in CHANNELS:
            config = (
                PAYERS[payer].address,
                SESSION_KEY.address if has_session_key else ZERO_ADDRESS,
                RECEIVERS[receiver].address,
                AUTHORIZER_KEY.address,
                self.token.address,
                delay,
                b"\0" * 32,
            )
            signer = SESSION_KEY if has_session_key else PAYERS[payer]
            channel_id = bytes(self.settlement.getChannelId(config))
            self.books.channels.append(Channel(config, channel_id, signer))
        for payer in PAYERS:
            self.token.approve(self.collector.address, 2**256 - 1, sender=payer.address)
        self.last_claimed = [0] * len(CHANNELS)
        for number in range(len(CHANNELS)):
            self.deposit(number, 20)

    def teardown(self) -> None:
        if hasattr(self, "books"):
            try:
                self.everybody_leaves()
            finally:
                self.anchor.__exit__(None, None, None)

    # ------------------------------------------------------------ helpers

    @property
    def now(self) -> int:
        return int(boa.env.evm.patch.timestamp)

    def call(self, error: str | None, function: str, *args: Any, sender: str) -> None:
        """A call that must succeed, or end with exactly this error."""
        try:
            getattr(self.settlement, function)(*args, sender=sender)
        except boa.BoaError as reverted:
            selector = function_signature_to_4byte_selector(error) if error else None
            assert reverted.call_trace.output == selector, function
        else:
            assert error is None, f"{function} did not end with {error}"

    def address(self, channel: Channel, role: str) -> str:
        return {
            PAYER: channel.payer,
            RECEIVER: channel.receiver,
            AUTHORIZER: AUTHORIZER_KEY.address,
            STRANGER: NOBODY.address,
        }[role]

    def amount(self, channel: Channel, part: tuple[str, int]) -> int:
        base, more = part
        return max(getattr(channel, base) + more if base else more, 0)

    def sign(self, signer: Any, digest: bytes) -> bytes:
        return bytes(signer.unsafe_sign_hash(digest).signature)

    def encode(self, row: Row) -> tuple[Any, ...]:
        signer = row.channel.signer if row.good_signature else NOBODY
        if row.good_signature:
            row.channel.highest_ceiling = max(row.channel.highest_ceiling, row.ceiling)
        digest = self.settlement.getVoucherDigest(row.channel.id, row.ceiling)
        return (row.channel.config, row.ceiling), self.sign(signer, digest), row.total

    def rows(self, batch: list[tuple[int, int, int, bool]]) -> list[Row]:
        rows = []
        for number, beyond, headroom, good_signature in batch:
            channel = self.books.channels[number]
            total = max(channel.claimed + beyond, 0)
            rows.append(Row(channel, max(total + headroom, 0), total, good_signature))
        return rows

    def pack(self, rows: list[Row]) -> tuple[Any, ...]:
        """The arguments of `redeem`, on the terms of the first row. No channel here is its payer's
        own authorizer, so every row names its authorizer; every row names its ceiling too."""
        packed, extras = [], []
        for row in rows:
            signer = row.channel.signer if row.good_signature else NOBODY
            if row.good_signature:
                row.channel.highest_ceiling = max(row.channel.highest_ceiling, row.ceiling)
            digest = self.settlement.getVoucherDigest(row.channel.id, row.ceiling)
            signature = self.sign(signer, digest)
            r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64])
            head = int(row.channel.payer, 16) << 96 | (1 | 4) << 88 | row.total
            packed.append((head, r, s | (signature[64] - 27) << 255))
            extras += [int(row.channel.config[1], 16), row.ceiling]
        return rows[0].channel.terms, packed, extras

    def reasons_were(self, expected: list[int]) -> None:
        """The event of the last redemption says of each row what the books say."""
        (event,) = [log for log in self.settlement.get_logs() if type(log).__name__ == "Redeemed"]
        reasons = event.skipped[0] | event.skipped[1] << 256
        found = [reasons >> 4 * index & 15 for index in range(len(expected))]
        assert found == expected, (found, expected)
        assert len(event.redeemed) == expected.count(REDEEMED)

    # ------------------------------------------------------------ steps

    @rule(number=numbers, amount=deposits)
    def deposit(self, number: int, amount: int) -> None:
        channel = self.books.channels[number]
        self.token.mint(channel.payer, amount)
        error = self.books.deposit(channel, amount)
        collector = self.collector.address
        sender = NOBODY.address
        self.call(error, "deposit", channel.config, amount, collector, b"", sender=sender)

    @rule(batch=claims, role=claimers)
    def claim(self, batch: list[tuple[int, int, int, bool]], role: str) -> None:
        rows = self.rows(batch)
        encoded = [self.encode(row) for row in rows]
        sender = self.address(rows[0].channel, role)
        self.call(self.books.claim(rows, role), "claim", encoded, sender=sender)

    @rule(batch=claims)
    def claim_as_one_receiver(self, batch: list[tuple[int, int, int, bool]]) -> None:
        rows = self.rows(batch)
        receiver = rows[0].channel.receiver
        rows = [row for row in rows if row.channel.receiver == receiver]
        encoded = [self.encode(row) for row in rows]
        self.call(self.books.claim(rows, RECEIVER), "claim", encoded, sender=receiver)

    @rule(batch=claims, signer=signers)
    def claim_with_signature(self, batch: list[tuple[int, int, int, bool]], signer: Any) -> None:
        rows = self.rows(batch)
        encoded = [self.encode(row) for row in rows]
        signature = self.sign(signer, self.settlement.getClaimBatchDigest(encoded))
        honest = signer is AUTHORIZER_KEY
        error = self.books.claim(rows, AUTHORIZER) if honest else "InvalidSignature()"
        self.call(error, "claimWithSignature", encoded, signature, sender=NOBODY.address)

    @rule(batch=claims, role=claimers)
    def redeem(self, batch: list[tuple[int, int, int, bool]], role: str) -> None:
        rows = self.rows(batch)
        packed = self.pack(rows)
        sender = self.address(rows[0].channel, role)
        if role != AUTHORIZER:
            self.call("NotAuthorizedToClaim()", "redeem", *packed, sender=sender)
            return
        reasons = self.books.redeem(rows)
        self.call(None, "redeem", *packed, sender=sender)
        self.reasons_were(reasons)

    @rule(batch=claims, signer=signers)
    def redeem_with_signature(self, batch: list[tuple[int, int, int, bool]], signer: Any) -> None:
        rows = self.rows(batch)
        call = self.settlement.redeem.prepare_calldata(*self.pack(rows))
        signature = self.sign(signer, self.settlement.getRedemptionDigest(call))
        error = None if signer is AUTHORIZER_KEY else "InvalidSignature()"
        reasons = [] if error else self.books.redeem(rows)
        self.call(error, "redeemWithSignature", call, signature, sender=NOBODY.address)
        if not error:
            self.reasons_were(reasons)

    @rule(receiver=st.sampled_from(RECEIVERS))
    def settle(self, receiver: Any) -> None:
        self.books.settle(receiver.address)
        token = self.token.address
        self.call(None, "settle", receiver.address, token, sender=NOBODY.address)

    @rule(number=numbers, part=parts, role=payer_side)
    def initiate_withdraw(self, number: int, part: tuple[str, int], role: str) -> None:
        channel = self.books.channels[number]
        amount = self.amount(channel, part)
        error = self.books.initiate(channel, amount, role, self.now)
        sender = self.address(channel, role)
        self.call(error, "initiateWithdraw", channel.config, amount, sender=sender)

    @rule(number=numbers, role=payer_side)
    def finalize_withdraw(self, number: int, role: str) -> None:
        channel = self.books.channels[number]
        error = self.books.finalize(channel, role, self.now)
        sender = self.address(channel, role)
        self.call(error, "finalizeWithdraw", channel.config, sender=sender)

    @rule(number=numbers, part=parts, role=receiver_side)
    def refund(self, number: int, part: tuple[str, int], role: str) -> None:
        channel = self.books.channels[number]
        amount = self.amount(channel, part)
        error = self.books.refund(channel, amount, role)
        sender = self.address(channel, role)
        self.call(error, "refund", channel.config, amount, sender=sender)

    @rule(number=numbers, part=parts, ahead=st.sampled_from([0] * 7 + [1]))
    def refund_with_signature(self, number: int, part: tuple[str, int], ahead: int) -> None:
        channel = self.books.channels[number]
        amount = self.amount(channel, part)
        nonce = channel.refund_nonce + ahead
        digest = self.settlement.getRefundDigest(channel.id, nonce, amount)
        signature = self.sign(AUTHORIZER_KEY, digest)
        error = "InvalidRefundNonce()" if ahead else self.books.refund(channel, amount, AUTHORIZER)
        args = (channel.config, amount, nonce, signature)
        self.call(error, "refundWithSignature", *args, sender=NOBODY.address)

    @rule(seconds=st.sampled_from([1, 899, 900, 4_100, 2_592_000]))
    def wait(self, seconds: int) -> None:
        boa.env.time_travel(seconds=seconds)

    # ------------------------------------------------------------ what must hold

    @invariant()
    def contract_and_books_agree(self) -> None:
        views, expected = [], []
        for channel in self.books.channels:
            views += [
                self.settlement.channels.prepare_calldata(channel.id),
                self.settlement.pendingWithdrawals.prepare_calldata(channel.id),
                self.settlement.refundNonce.prepare_calldata(channel.id),
            ]
            expected += [
                (channel.balance, channel.claimed),
                (channel.pending, channel.initiated_at),
                (channel.refund_nonce,),
            ]
        for receiver in RECEIVERS:
            address = receiver.address
            views.append(self.settlement.receivers.prepare_calldata(address, self.token.address))
            expected.append((self.books.claimed[address], self.books.settled[address]))
            paid = self.books.settled[address] + self.books.redeemed[address]
            assert self.token.balanceOf(address) == paid
        # All in one call, which takes a third of the time.
        answers = self.settlement.multicall(views)
        assert [decode(["uint256"] * (len(answer) // 32), answer) for answer in answers] == expected

    @invariant()
    def contract_holds_what_it_owes(self) -> None:
        assert self.token.balanceOf(self.settlement.address) == self.books.held

    @invariant()
    def payer_pays_no_more_than_it_signed_and_deposited(self) -> None:
        # The books are the contract's, see above.
        for number, channel in enumerate(self.books.channels):
            assert self.last_claimed[number] <= channel.claimed <= channel.highest_ceiling
            assert channel.claimed + channel.returned <= channel.deposited
            self.last_claimed[number] = channel.claimed

    def everybody_leaves(self) -> None:
        """Payer and receiver need nobody's consent to get out, and nothing stays behind."""
        boa.env.time_travel(seconds=2_592_000)
        for number, channel in enumerate(self.books.channels):
            if channel.initiated_at:
                self.finalize_withdraw(number, PAYER)
            if channel.available:
                self.initiate_withdraw(number, ("available", 0), PAYER)
        boa.env.time_travel(seconds=2_592_000)
        for number, channel in enumerate(self.books.channels):
            if channel.initiated_at:
                self.finalize_withdraw(number, PAYER)
            assert channel.available == 0
        for receiver in RECEIVERS:
            self.settle(receiver)
        self.contract_and_books_agree()
        assert self.token.balanceOf(self.settlement.address) == 0
        earned = sum(self.token.balanceOf(receiver.address) for receiver in RECEIVERS)
        returned = sum(self.token.balanceOf(payer.address) for payer in PAYERS)
        deposited = sum(channel.deposited for channel in self.books.channels)
        assert earned == sum(channel.claimed for channel in self.books.channels)
        assert earned + returned == deposited


TestSettlement = SettlementMachine.TestCase
TestSettlement.settings = settings(max_examples=45, stateful_step_count=40, deadline=None)
