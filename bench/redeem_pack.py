"""From a hundred thousand redeemable channels in a SQLite ledger to packed and signed batches.

`bench.redeem` runs it in a process of its own, so that its memory is nobody else's:
``python -m bench.redeem_pack make|measure LEDGER CHANNELS``. Every part is timed apart. The
vouchers' signatures were verified when they came in, by the contract's own rules, and the ledger
keeps no other: so none is recovered again, neither here nor by the redeemer.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from eth_account import Account

from bench.redeem_market import BLOCK_GAS, CHARGED, DEPOSIT, Payer, charge_all, config_of
from farthing.chain.anvil import ANVIL_KEYS
from farthing.chain.settlement import Channel as Books
from farthing.ledger import Mirror, open_ledger
from farthing.protocol import Domain
from farthing.redeemer.gas import gas_limit, predict
from farthing.redeemer.money import GasPrice
from farthing.redeemer.plan import Way, make_plan
from farthing.redeemer.policy import Moment, Policy, choose
from farthing.redeemer.redeemer import BLOCK_PART, without_collection

CHANNELS = 100_000
DOMAIN = Domain(31_337, "0x" + "11" * 20)
TOKEN = "0x" + "22" * 20
PUBLISHER = Account.from_key(ANVIL_KEYS[1])
TOGETHER = 1_000
NOW = 1_800_000_000


def make(path: str, channels: int) -> None:
    """Fills a ledger with channels that each owe something."""
    ledger = open_ledger(path)
    for start in range(0, channels, TOGETHER):
        payers = [Payer.number(number) for number in range(start, start + TOGETHER)]
        configs = [config_of(payer, PUBLISHER.address, TOKEN) for payer in payers]
        mirror = Mirror(DEPOSIT, 0, 0, 0, 0, 1)
        ledger.mirror_many([(each.channel_id(DOMAIN), each, mirror) for each in configs])
        charge_all(ledger, DOMAIN, payers, configs)
    ledger.close()


def measure(path: str, channels: int) -> dict[str, Any]:
    """Microseconds for each channel by part, and the most memory the process ever had."""
    ledger = open_ledger(path)
    policy = Policy(coin_price=3_000 * 10**6, interval=1)
    gas = GasPrice(10**5, policy.coin_price)
    way = Way(has_redeem=True, relayed=False, gas_target=BLOCK_GAS // BLOCK_PART)
    times: dict[str, float] = {}
    started = time.perf_counter()

    def done(part: str) -> None:
        times[part] = time.perf_counter() - started - sum(times.values())

    with without_collection():
        records = list(ledger.redeemable())
        done("read")
        choice = choose(
            records,
            policy,
            Moment(NOW, gas),
            in_flight=ledger.in_flight(),
            unfit=lambda channel: None,
            row_gas=way.row_gas,
        )
        done("choose")
        plan = make_plan(choice, policy, gas, way)
        done("pack")
    batches = [each.batch for each in plan.batches]
    calls = [batch.call() for batch in batches]
    done("encode")
    for batch in batches:
        books = {channel_id: Books(DEPOSIT, 0) for channel_id in batch.channel_ids}
        prediction = predict(batch, DOMAIN, books, verified=True)
        assert prediction.amount == CHARGED * len(batch.claims)
    done("simulate")
    signed = [
        PUBLISHER.sign_transaction(
            {
                "chainId": DOMAIN.chain_id,
                "nonce": nonce,
                "maxPriorityFeePerGas": 10**9,
                "maxFeePerGas": 3 * 10**9,
                "gas": gas_limit(batch),
                "to": DOMAIN.contract,
                "value": 0,
                "data": call,
            }
        )
        for nonce, (batch, call) in enumerate(zip(batches, calls, strict=True))
    ]
    done("sign")
    assert plan.channels == channels
    assert len(signed) == -(-channels // 128)
    return {
        "pack_sign_per_s": round(channels / sum(times.values())),
        "microseconds": {part: round(each / channels * 1e6, 2) for part, each in times.items()},
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    command, ledger_path, count = sys.argv[1:]
    if command == "make":
        make(ledger_path, int(count))
    else:
        print(json.dumps(measure(ledger_path, int(count))))
