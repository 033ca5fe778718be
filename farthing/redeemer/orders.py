"""From a planned batch to an ordered transaction: looked at on the chain once more, and tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from farthing.chain.checked_node import Call, Head, WouldFail
from farthing.chain.journal import FINAL
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import Transaction
from farthing.chain.settlement import Channel as Books
from farthing.chain.wallets import is_contract
from farthing.protocol import Reason, VoucherClaim
from farthing.protocol.keccak import keccak
from farthing.redeemer.batches import claim_transaction, redeem_transaction
from farthing.redeemer.desk import Desk
from farthing.redeemer.gas import SETTLE_GAS, predict
from farthing.redeemer.money import GasPrice, pays
from farthing.redeemer.packer import NO_DEADLINE
from farthing.redeemer.plan import CLAIM, REDEEM, SETTLE, Planned, Settle


class Orders:
    """The orders of one step.

    Attributes:
        submitted: Ids of the transactions that were ordered.
        problems: What a person should look at, one sentence each.

    Args:
        head: The block as of which channels are read again.
        gas: The price that decides what pays.
    """

    def __init__(self, desk: Desk, head: Head, gas: GasPrice) -> None:
        self.submitted: list[int] = []
        self.problems: list[str] = []
        self._desk = desk
        self._head = head
        self._gas = gas
        # Totals that transactions on their way carry.
        self._in_flight = desk.ledger.in_flight()

    def redeem(self, planned: Planned) -> None:
        """Looks at a batch's channels on the chain, and orders what still brings something.

        Raises:
            FarthingError: The ledger or the node cannot be asked.
        """
        ids = planned.batch.channel_ids
        found = self._desk.lens.read(ids, self._head.number, "0x" + self._head.hash.hex())
        books = {
            channel_id: Books(
                each.balance, max(each.total_claimed, self._in_flight.get(channel_id, 0))
            )
            for channel_id, each in zip(ids, found, strict=True)
        }
        if planned.kind == REDEEM:
            self._redeem(planned, books)
        else:
            self._claim(planned, books)

    def settle(self, settle: Settle) -> None:
        """Orders a payout. Raises: as `redeem`."""
        transaction = self._desk.settlement.plan_settle(settle.receiver, settle.token)
        named = (settle.receiver + settle.token).encode()
        subject = keccak(named + settle.total_claimed.to_bytes(16, "big"))
        limit = self._gas.most(settle.value, settle.gas, settle.share)
        self._submit(SETTLE, subject, replace(transaction, gas=settle.gas), [], limit)

    def _redeem(self, planned: Planned, books: Mapping[bytes, Books]) -> None:
        settlement, batch = self._desk.settlement, planned.batch
        codes: dict[str, bool] = {}

        def has_code(address: str) -> bool:
            if address not in codes:
                codes[address] = is_contract(settlement.w3, address)
            return codes[address]

        # The ledger took no voucher but by the contract's own rules: none is recovered again.
        domain = settlement.domain
        outcomes = predict(batch, domain, books, is_contract=has_code, verified=True).outcomes
        good = [each.index for each in outcomes if each.reason is Reason.REDEEMED]
        wallets = [each.index for each in outcomes if each.reason is Reason.CONTRACT_PAYER]
        if wallets:
            self._claim(replace(planned, batch=batch.only(wallets)), books)
        if not good:
            return
        batch = batch.only(good)
        prediction = predict(batch, domain, books, is_contract=has_code, verified=True)
        if not pays(prediction.amount, self._gas.cost(prediction.gas), planned.share):
            return
        transaction = redeem_transaction(
            settlement, batch, self._desk.queue.address, self._desk.authorizer
        )
        try:
            self._desk.node.simulate(self._call(transaction))
        except (ContractReverted, WouldFail) as error:
            self.problems.append(
                f"a redemption of {len(batch.claims)} channels would fail: {error}"
            )
            return
        totals = [outcome.total for outcome in prediction.outcomes]
        limit = self._limit(planned, prediction.amount, prediction.gas)
        self._enqueue(REDEEM, transaction, batch.channel_ids, totals, limit)

    def _claim(self, planned: Planned, books: Mapping[bytes, Books]) -> None:
        rows = []
        for channel_id, claim in zip(planned.batch.channel_ids, planned.batch.claims, strict=True):
            found = books[channel_id]
            # A claim above the balance is refused, with all that are beside it.
            total = min(claim.total_claimed, found.balance)
            if total > found.total_claimed:
                rows.append((channel_id, replace(claim, total_claimed=total)))
        rows = self._accepted(rows)
        if not rows:
            return
        value = sum(claim.total_claimed - books[each].total_claimed for each, claim in rows)
        claims = [claim for _, claim in rows]
        transaction = claim_transaction(self._desk.settlement, claims, self._desk.authorizer)
        used = self._desk.node.estimate(self._call(transaction))
        if pays(value, self._gas.cost(used + SETTLE_GAS), planned.share):
            ids, totals = [each for each, _ in rows], [claim.total_claimed for claim in claims]
            limit = self._limit(planned, value, used + SETTLE_GAS)
            self._enqueue(CLAIM, replace(transaction, gas=used), ids, totals, limit)

    def _accepted(
        self, rows: Sequence[tuple[bytes, VoucherClaim]]
    ) -> list[tuple[bytes, VoucherClaim]]:
        """Those rows that the contract would claim, found by halves: one bad row refuses all."""
        if not rows:
            return []
        claims = [claim for _, claim in rows]
        transaction = self._desk.settlement.plan_claim(claims)
        to = self._desk.settlement.address
        call = Call(self._desk.authorizer.address, to, transaction.data)
        try:
            self._desk.node.simulate(call)
            return list(rows)
        except (ContractReverted, WouldFail) as error:
            if len(rows) == 1:
                self.problems.append(
                    f"channel 0x{rows[0][0].hex()} cannot be claimed, and is left: {error}"
                )
                return []
        half = len(rows) // 2
        return self._accepted(rows[:half]) + self._accepted(rows[half:])

    def _limit(self, planned: Planned, value: int, gas: int) -> int | None:
        """The most a gas may cost a transaction, so that it pays whenever it is mined.

        None before a withdrawal: what is redeemed too late is lost.
        """
        if planned.deadline < NO_DEADLINE:
            return None
        return self._gas.most(value, gas, planned.share)

    def _enqueue(
        self,
        kind: str,
        transaction: Transaction,
        ids: Sequence[bytes],
        totals: Sequence[int],
        limit: int | None,
    ) -> None:
        rows = list(zip(ids, totals, strict=True))
        subject = keccak(b"".join(each + total.to_bytes(16, "big") for each, total in rows))
        self._submit(kind, subject, transaction, rows, limit)

    def _submit(
        self,
        kind: str,
        subject: bytes,
        transaction: Transaction,
        rows: Sequence[tuple[bytes, int]],
        limit: int | None,
    ) -> None:
        # One that is through does not stand in the way: the same rows can be due once more, for
        # example after a top-up.
        while (known := self._desk.ledger.find_transaction(kind, subject)) is not None:
            if known.state != FINAL:
                break
            subject = keccak(subject + known.id.to_bytes(8, "big"))
        self.submitted.append(self._desk.queue.submit(kind, subject, transaction, rows, limit))

    def _call(self, transaction: Transaction) -> Call:
        address = self._desk.settlement.address
        return Call(self._desk.queue.address, address, transaction.data, transaction.gas)
