"""How long one voucher takes to verify and to sign, next to the ``x402`` package.

Both are measured in the same run, round by round in turn, on the same vouchers; no voucher is used
twice in a round, so nothing is answered from a cache. Ours: from a ``Voucher`` object and signature
bytes to a yes (digest, recovery, comparison), and from a ``Voucher`` and a local key to 65 bytes.
Theirs: the functions its facilitator and its client call for the same, which take and give hex.

Run ``python -m bench.verify``. The last line is one JSON object, also saved under bench/results.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_hash.auto import keccak
from eth_hash.utils import auto_choose_backend
from x402.mechanisms.evm.batch_settlement.client.voucher import sign_voucher
from x402.mechanisms.evm.batch_settlement.facilitator.utils import (
    verify_batch_settlement_voucher_typed_data,
)
from x402.mechanisms.evm.signers import EthAccountSigner

from farthing.protocol import (
    X402_SETTLEMENT,
    ChannelConfig,
    Domain,
    Voucher,
    is_payer_signature,
    sign,
)

CHAIN_ID = 8453
ROUNDS = 15
VOUCHERS = 400
RESULT = Path(__file__).parent / "results" / "verify.json"
LIBRARIES = ("coincurve", "eth-account", "eth-hash", "eth-keys", "pycryptodome", "x402")


def main() -> None:
    payer = Account.from_key(keccak(b"bench payer"))
    receiver = Account.from_key(keccak(b"bench receiver"))
    domain = Domain(CHAIN_ID, X402_SETTLEMENT)
    config = ChannelConfig(
        payer=payer.address,
        payer_authorizer=payer.address,
        receiver=receiver.address,
        receiver_authorizer=receiver.address,
        token="0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
        withdraw_delay=3_600,
        salt=bytes(32),
    )
    channel_id = config.channel_id(domain)
    channel_hex = "0x" + channel_id.hex()
    network = f"eip155:{CHAIN_ID}"
    their_signer = EthAccountSigner(payer)

    amounts = [10_000 * (number + 1) for number in range(VOUCHERS)]
    vouchers = [Voucher(channel_id, amount) for amount in amounts]
    signatures = [sign(payer, voucher, domain) for voucher in vouchers]
    ours = list(zip(vouchers, signatures, strict=True))
    theirs = [
        (str(amount), "0x" + signature.hex())
        for amount, signature in zip(amounts, signatures, strict=True)
    ]

    def verify_one(voucher: Voucher, signature: bytes) -> bool:
        return is_payer_signature(config, voucher.digest(domain), signature)

    def x402_verify_one(amount: str, signature: str) -> bool:
        return verify_batch_settlement_voucher_typed_data(
            None,  # type: ignore[arg-type]  # only asked when there is no payer authorizer
            channel_id=channel_hex,
            max_claimable_amount=amount,
            payer_authorizer=payer.address,
            payer=payer.address,
            signature=signature,
            chain_id=CHAIN_ID,
        )

    def sign_one(voucher: Voucher, _: bytes) -> bool:
        return len(sign(payer, voucher, domain)) == 65

    def x402_sign_one(amount: str, signature: str) -> bool:
        return sign_voucher(their_signer, channel_hex, amount, network).signature == signature

    contestants: dict[str, tuple[Callable[..., bool], list[Any]]] = {
        "verify_us": (verify_one, ours),
        "x402_verify_us": (x402_verify_one, theirs),
        "sign_us": (sign_one, ours),
        "x402_sign_us": (x402_sign_one, theirs),
    }
    rounds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, (run, inputs) in contestants.items():
            rounds[name].append(microseconds_each(run, inputs))

    report(rounds)


def microseconds_each(run: Callable[..., bool], inputs: list[Any]) -> float:
    started = time.perf_counter_ns()
    results = [run(*arguments) for arguments in inputs]
    elapsed = time.perf_counter_ns() - started
    # A wrong answer may be a quick one, and would not count.
    if not all(results):
        raise AssertionError(f"{run.__name__} gave a wrong answer")
    return elapsed / 1_000 / len(inputs)


def report(rounds: dict[str, list[float]]) -> None:
    medians = {name: round(statistics.median(each), 2) for name, each in rounds.items()}
    for name, each in rounds.items():
        print(
            f"{name:16} median {medians[name]:8.2f}   min {min(each):8.2f}   max {max(each):8.2f}"
        )
    result = {
        **medians,
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "system": platform.system()},
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "conditions": {
            "vouchers_per_round": VOUCHERS,
            "rounds": ROUNDS,
            "figure": "median of rounds, microseconds per voucher, all distinct",
            "order": "alternating in one process, one thread",
            "coincurve": "installed, used by both",
            "keccak_backend": type(auto_choose_backend()).__name__,
            "signing_key": "one account for all, its curve key derived once by ours",
        },
    }
    line = json.dumps(result)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(line + "\n")
    print(line)


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
