"""The redeemer's figures; `make bench-redeem` prints them as one object and saves it.

Parts: a hundred thousand channels in a ledger to signed batches; ten thousand from the ledger to
final and booked on anvil; a thousand withdrawals in one block with the shortest delay; and a
watcher that catches up with a hundred thousand events. The chain ones run a `Redeemer`, a
`TransactionQueue` and a `Follower` as a server does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.catch_up import catch_up
from bench.redeem_market import BLOCK_GAS, CONFIRMATIONS, DELAY, DEPOSIT, Market, market
from bench.redeem_pack import CHANNELS
from bench.result import save
from farthing.protocol.keccak import keccak
from farthing.protocol.typed_data import encode_words

REDEEMED = 10_000
WITHDRAWALS = 1_000
# Seconds from one block to the next where it is the chain's time that counts.
BLOCK_SECONDS = 12
_INITIATE = "initiateWithdraw((address,address,address,address,address,uint40,bytes32),uint128)"
_FINALIZE = "finalizeWithdraw((address,address,address,address,address,uint40,bytes32))"


def pack_and_sign(folder: Path) -> dict[str, Any]:
    """See `bench.redeem_pack`."""
    path = str(folder / "packed.db")
    command = [sys.executable, "-m", "bench.redeem_pack"]
    subprocess.run([*command, "make", path, str(CHANNELS)], check=True)
    measured = subprocess.run(
        [*command, "measure", path, str(CHANNELS)], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(measured.stdout)
    return found


def end_to_end(folder: Path, channels: int = REDEEMED) -> dict[str, Any]:
    """From the ledger to booked: planned, read again on the chain, signed, saved, sent, mined,
    final, and the ledger's mirrors as the chain is."""
    with market(channels, folder) as made:
        queue = made.queue()
        redeemer = made.redeemer(queue)
        before = made.received()
        booked = []
        started = time.perf_counter()
        while not (step := redeemer.step()).why.startswith("Nothing to redeem: nothing"):
            assert not step.problems, step.problems
            booked += step.booked
            queue.step()
            assert not queue.problem, queue.problem
            # The chain goes on by itself elsewhere.
            made.rpc("anvil_mine", hex(CONFIRMATIONS))
            queue.step()
        seconds = time.perf_counter() - started
        booked += step.booked
        sent = made.ledger.transactions()
        assert {each.state for each in sent} == {"final"}
        assert made.received() - before == made.charged
        assert sum(each.paid for each in booked) == made.charged
        assert sum(each.channels for each in booked) == channels
        assert not list(made.ledger.redeemable())
        gas = sum(each.gas_used for each in sent)
    return {
        "end_to_end_s": round(seconds, 2),
        "gas_per_row": -(-gas // channels),
        "transactions": len(sent),
    }


def mass_withdrawal(folder: Path, channels: int = WITHDRAWALS) -> dict[str, Any]:
    """All payers ask everything back in one block, and take it as soon as they can."""
    with market(channels, folder) as made:
        queue, follower = made.queue(), made.follower()
        redeemer = made.redeemer(queue)
        while not follower.step().caught_up:
            pass
        before = made.received()
        made.rpc("evm_setAutomine", False)
        asked_in = _initiate_all(made)
        deadline = made.w3.eth.get_block(asked_in)["timestamp"] + DELAY
        while True:
            seen = follower.step()
            assert not seen.differences, seen.differences
            step = redeemer.step()
            assert not step.problems, step.problems
            queue.step()
            if step.why.startswith("Nothing to redeem: nothing"):
                break
            made.rpc("evm_increaseTime", BLOCK_SECONDS)
            made.rpc("evm_mine")
            queue.step()
        blocks = {each.block for each in made.ledger.transactions()}
        last_at = max(made.w3.eth.get_block(each)["timestamp"] for each in blocks)
        now = made.w3.eth.get_block("latest")["timestamp"]
        made.rpc("evm_increaseTime", max(0, deadline - now))
        _finalize_all(made)
        lost = made.charged - (made.received() - before)
    return {
        "mass_withdrawal_lost": lost,
        "mass_withdrawal_margin": round((deadline - last_at) / DELAY, 3),
    }


def _initiate_all(made: Market) -> int:
    """Every payer asks everything back; the block they all do it in."""
    # A block of a thousand of these takes more gas than the others may have.
    made.rpc("evm_setBlockGasLimit", hex(10 * BLOCK_GAS))
    asked = keccak(_INITIATE.encode())[:4]
    hashes = _send_all(made, asked, DEPOSIT.to_bytes(32, "big"))
    made.rpc("evm_setBlockGasLimit", hex(BLOCK_GAS))
    blocks = {made.w3.eth.get_transaction_receipt(each)["blockNumber"] for each in hashes}
    assert len(blocks) == 1, blocks
    return blocks.pop()


def _finalize_all(made: Market) -> None:
    made.rpc("evm_setBlockGasLimit", hex(10 * BLOCK_GAS))
    hashes = _send_all(made, keccak(_FINALIZE.encode())[:4], b"")
    receipts = [made.w3.eth.get_transaction_receipt(each) for each in hashes]
    assert all(each["status"] == 1 for each in receipts)


def _send_all(made: Market, selector: bytes, more: bytes) -> list[Any]:
    """The same call by every payer about its channel, in one block."""
    hashes = []
    for payer, config in zip(made.payers, made.configs, strict=True):
        made.rpc("anvil_setBalance", payer.address, hex(10**18))
        data = selector + encode_words(*config.as_tuple()) + more
        call = {"from": payer.address, "to": made.settlement.address, "gas": hex(120_000)}
        hashes.append(made.rpc("eth_sendTransaction", {**call, "data": "0x" + data.hex()}))
    made.rpc("evm_mine")
    return hashes


def main() -> None:
    with TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        packed = pack_and_sign(folder)
        (folder / "all").mkdir()
        redeemed = end_to_end(folder / "all")
        (folder / "mass").mkdir()
        mass = mass_withdrawal(folder / "mass")
    caught = catch_up()
    save(
        "redeem",
        {
            **packed,
            **redeemed,
            **mass,
            "catch_up_s": round(caught.seconds, 2),
            "catch_up": asdict(caught),
            "conditions": {
                "packed_channels": CHANNELS,
                "redeemed_channels": REDEEMED,
                "withdrawals": WITHDRAWALS,
                "withdraw_delay": DELAY,
                "block_gas": BLOCK_GAS,
                "block_seconds": BLOCK_SECONDS,
                "confirmations": CONFIRMATIONS,
            },
        },
    )


if __name__ == "__main__":
    main()
