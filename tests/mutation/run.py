"""Change the contract line by line and see whether the tests notice: ``make mutate``.

A mutant is one changed line. One that does not compile, or compiles to the code of another or of
the original, does not count. Of each function as many as asked for are tried, in an order fixed by
the seed. The mutant takes the contract's place in a process of its own; the sources and the mocks
are never touched. Exits with 1 when the tests fail on the original already, else with 0: whether a
survivor is harmless is for a reader to say, and said in docs/security.md.

    python tests/mutation/run.py
    python tests/mutation/run.py --contract Other.vy --mutate Other.vy --tests tests/other
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import boa
import pytest
from mutants import Mutant, all_mutants, by_function

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
HELPERS = ("mocks", "collectors")

SOURCES = ["BatchSettlement.vy", "modules/eip712_domain.vy", "modules/signatures.vy"]
TESTS = [
    f"tests/contracts/test_{name}.py"
    for name in (
        "claim",
        "refund",
        "withdraw",
        "deposit",
        "deposit_with_authorization",
        "settle",
        "claim_with_signature",
        "redeem",
        "redeem_payout",
        "redeem_skips",
        "redeem_with_signature",
        "views_and_domain",
        "contract_signatures",
        "multicall",
        "awkward_tokens",
        "reentrancy",
    )
]

# The last of them would collect all the garbage of the compiler at the end of every run.
PYTEST = [
    *("-q", "--no-header", "--disable-warnings"),
    *("-p", "no:cacheprovider", "-p", "no:unraisableexception"),
]

load_partial = boa.load_partial


@dataclass(frozen=True)
class Plan:
    contract: str
    """The contract that the tests load, below the contracts folder."""
    tests: Sequence[str]
    per_function: int
    helpers: dict[str, Any]
    """What else the tests load, compiled once: path to deployer."""
    log: Path


def nearest_first(tests: Sequence[str], function: str) -> list[str]:
    """The tests in their order, but those named like the function in front: they kill sooner."""
    name = function.strip("_").lower()

    def is_far(test: str) -> bool:
        subject = Path(test).stem.removeprefix("test_").replace("_", "")
        return subject not in name and name not in subject

    return sorted(tests, key=is_far)


def passes(plan: Plan, deployer: Any, tests: Sequence[str], *, quiet: bool = True) -> bool:
    """Run the tests on the contract as it is in ``deployer``, in a process of their own."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    try:
        if quiet:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
        gc.disable()
        ready = {**plan.helpers, str(CONTRACTS / plan.contract): deployer}
        boa.load_partial = lambda path: ready[path]
        os._exit(int(pytest.main(["-x", "--tb=no", *PYTEST, *tests])))
    finally:
        os._exit(99)


def compile_in(contracts: Path, contract: str) -> tuple[str, Any] | None:
    """A hash of the code and what deploys it; None where the compiler says no."""
    try:
        deployer = load_partial(str(contracts / contract))
        code = deployer.compiler_data.bytecode
        # What the compiler appends holds a hash of the source, and its own length at the end.
        code = code[: -int.from_bytes(code[-2:])]
    except Exception:  # The compiler has many ways to say it, some of them its own failures.
        return None
    return sha256(code).hexdigest(), deployer


def try_function(plan: Plan, mutants: Sequence[Mutant]) -> list[tuple[Mutant, bool]]:
    """Each mutant that counts, up to the number asked for, and whether it was killed."""
    results: list[tuple[Mutant, bool]] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "contracts"
        shutil.copytree(CONTRACTS, copy)
        original = compile_in(copy, plan.contract)
        assert original
        seen = {original[0]}
        tests = nearest_first(plan.tests, mutants[0].function)
        for mutant in mutants:
            if len(results) == plan.per_function:
                break
            mutant.write(copy)
            compiled = compile_in(copy, plan.contract)
            shutil.copy(CONTRACTS / mutant.source, copy / mutant.source)
            if compiled is None or compiled[0] in seen:
                continue
            seen.add(compiled[0])
            killed = not passes(plan, compiled[1], tests)
            results.append((mutant, killed))
            with plan.log.open("a") as log:
                log.write(json.dumps({**vars(mutant), "killed": killed}) + "\n")
    return results


def report(results: Sequence[tuple[Mutant, bool]]) -> Iterator[str]:
    tried = Counter((mutant.source, mutant.function) for mutant, _ in results)
    killed = Counter((mutant.source, mutant.function) for mutant, dead in results if dead)
    yield "| source | function | mutants | killed | survived |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for key, count in sorted(tried.items()):
        yield f"| {key[0]} | `{key[1]}` | {count} | {killed[key]} | {count - killed[key]} |"
    total, dead = len(results), sum(killed.values())
    yield f"| **all** | {len(tried)} | {total} | {dead} | {total - dead} |"
    for mutant, dead in results:
        if not dead:
            yield f"\nsurvived: {mutant}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/mutation/run.py")
    parser.add_argument("--contract", default="BatchSettlement.vy", help="what the tests load")
    parser.add_argument("--mutate", nargs="+", default=SOURCES, help="files that are changed")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="tests that must notice")
    parser.add_argument("--functions", nargs="+", help="only these functions")
    parser.add_argument("--per-function", type=int, default=12, help="mutants of each at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--log", type=Path, default=ROOT / ".build" / "mutants.jsonl")
    options = parser.parse_args()

    os.chdir(ROOT)
    # Mutants have no business in the cache of this machine's user.
    cache = tempfile.TemporaryDirectory()
    boa.interpret.set_cache_dir(cache.name)
    options.log.parent.mkdir(parents=True, exist_ok=True)
    options.log.write_text("")
    helpers = {
        str(path): load_partial(str(path))
        for folder in HELPERS
        for path in sorted((CONTRACTS / folder).rglob("*.vy"))
    }
    plan = Plan(options.contract, options.tests, options.per_function, helpers, options.log)

    # Whatever the tests import is there when the processes are forked.
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["--collect-only", *PYTEST, *plan.tests])
    gc.freeze()

    original = compile_in(CONTRACTS, plan.contract)
    if original is None or not passes(plan, original[1], plan.tests, quiet=False):
        print("The tests must pass on the original before mutants mean anything.", file=sys.stderr)
        return 1

    mutants = [mutant for source in options.mutate for mutant in all_mutants(CONTRACTS, source)]
    groups = [
        group
        for group in by_function(mutants, options.seed)
        if not options.functions or group[0].function in options.functions
    ]
    results: list[tuple[Mutant, bool]] = []
    with get_context("fork").Pool(options.workers) as pool:
        for done in pool.imap(partial(try_function, plan), groups):
            results += done
            if done:
                dead = sum(killed for _, killed in done)
                print(f"{done[0][0].function}: {dead} of {len(done)} killed", flush=True)
    print("\n".join(report(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
