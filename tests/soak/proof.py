"""The books of a soak, when all is settled: ledger, chain and payers' records, each by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from farthing.chain.logs import event_topics
from farthing.ledger import Ledger, QueuedTransaction
from farthing.operations.compare import compare
from farthing.paywall.onchain import REFUND
from tests.crash.books import charges_of
from tests.escrow_world import RECEIVER, World
from tests.soak.payer import Payer

PAGE = 1_000
ENDED = ("final", "failed", "refused")


@dataclass
class Proof:
    """What was found.

    Attributes:
        problems: What may not be, one sentence each.
        charges, charged: How many there are that cost something, and what they add up to.
        lost: What was charged and can never be redeemed, in smallest units.
        left: What was charged and is still to be redeemed.
        received: What the publisher was paid.
        events: How many of each kind the chain has.
        transactions: How many of each kind the publisher sent that are in a block.
        gas: What they used.
    """

    problems: list[str] = field(default_factory=list)
    charges: int = 0
    charged: int = 0
    lost: int = 0
    left: int = 0
    received: int = 0
    events: Counter[str] = field(default_factory=Counter)
    transactions: Counter[str] = field(default_factory=Counter)
    gas: int = 0


def prove(ledger: Ledger, world: World, payers: Sequence[Payer], first_block: int) -> Proof:
    """Holds ledger, chain and payers' records against each other."""
    proof = Proof()
    _charges(proof, ledger, payers)
    _chain(proof, ledger, world, payers, first_block)
    _transactions(proof, ledger, world, first_block)
    return proof


def _charges(proof: Proof, ledger: Ledger, payers: Sequence[Payer]) -> None:
    """Every 200 has its charge, and every charge its 200 or a request nobody waited for."""
    made = charges_of(ledger)
    for payer in payers:
        its = [charge for charge in made.pop(payer.channel_id, []) if charge[0]]
        proof.charges += len(its)
        told = Counter(payer.record.paid)
        lost, more = told - Counter(its), Counter(its) - told
        if lost:
            proof.problems.append(f"{payer.account.address} has 200s without a charge: {lost}")
        unknown = Counter(amount for amount, _ in more.elements()) - Counter(payer.record.abandoned)
        if unknown:
            proof.problems.append(f"{payer.account.address} was charged for nothing: {unknown}")
    if made:
        proof.problems.append(f"{len(made)} channels of nobody were charged")


def _chain(
    proof: Proof, ledger: Ledger, world: World, payers: Sequence[Payer], first_block: int
) -> None:
    """The ledger agrees with itself and the chain, and no money came or went."""
    compared = compare(ledger, world.settlement)
    proof.problems += [
        f"channel 0x{each.channel_id.hex()}: {each.problem}" for each in compared.differences
    ]
    logs: Any = world.w3.eth.get_logs(
        {"address": world.settlement.address, "fromBlock": first_block}  # type: ignore[typeddict-item]
    )
    names = event_topics()
    proof.events = Counter(names[each["topics"][0].to_0x_hex()] for each in logs)
    held = owed = 0
    for payer in payers:
        channel = world.settlement.channel(payer.channel_id)
        known = ledger.channel(payer.channel_id)
        charged = known.state.charged if known is not None else 0
        proof.charged += charged
        proof.left += max(0, min(charged, channel.balance) - channel.total_claimed)
        proof.lost += max(0, charged - max(channel.balance, channel.total_claimed))
        held += channel.balance - channel.total_claimed
        owed += channel.total_claimed
    account = world.settlement.receiver_account(RECEIVER.address, world.token.address)
    held += account.total_claimed - account.total_settled
    proof.received = world.token.balance_of(RECEIVER.address)
    if world.escrowed() != held:
        proof.problems.append(f"the contract holds {world.escrowed()}, its channels {held}")
    if proof.received != owed - (account.total_claimed - account.total_settled):
        proof.problems.append(f"{proof.received} was paid of {owed} that was claimed")
    if proof.charged != proof.received + proof.left + proof.lost:
        proof.problems.append(
            f"{proof.charged} was charged; {proof.received} was paid, {proof.left} is left and "
            f"{proof.lost} is lost"
        )


def _transactions(proof: Proof, ledger: Ledger, world: World, first_block: int) -> None:
    """Nothing was done twice, and nothing that is not in the ledger."""
    on_chain: dict[bytes, int] = {}
    for number in range(first_block, world.w3.eth.block_number + 1):
        block: Any = world.w3.eth.get_block(number, full_transactions=True)
        for each in block["transactions"]:
            if each["from"] == RECEIVER.address:
                on_chain[bytes(each["hash"])] = each["nonce"]
    purposes: Counter[tuple[str, bytes]] = Counter()
    rows: Counter[tuple[bytes, int]] = Counter()
    for each in all_transactions(ledger):
        hashes = [attempt.hash for attempt in ledger.attempts(each.id)]
        sent = [on_chain.pop(one) for one in hashes if one in on_chain]
        if each.state not in ENDED:
            proof.problems.append(f"transaction {each.id} is {each.state}: {each.reason}")
        if len(sent) != (each.state in ("final", "failed")):
            proof.problems.append(
                f"transaction {each.id} is {each.state} and in {len(sent)} blocks"
            )
        if not sent:
            continue
        proof.transactions[each.kind] += 1
        proof.gas += each.gas_used
        if each.state == "final":
            if each.subject:
                purposes[each.kind, each.subject] += 1
            # A refund claims what is due whatever else is on its way, and the contract passes over
            # what is claimed by then.
            if each.kind != REFUND:
                rows.update((row.channel_id, row.total) for row in ledger.rows(each.id))
    if on_chain:
        proof.problems.append(f"the chain has {len(on_chain)} transactions the ledger has not")
    for found in (purposes, rows):
        twice = [name for name, times in found.items() if times > 1]
        if twice:
            proof.problems.append(f"{len(twice)} things were done twice, such as {twice[0]}")


def all_transactions(ledger: Ledger) -> list[QueuedTransaction]:
    """Every transaction of the ledger."""
    found: list[QueuedTransaction] = []
    while page := ledger.transactions(after=found[-1].id if found else 0, limit=PAGE):
        found += page
    return found
