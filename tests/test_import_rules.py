"""Who may import whom in `farthing/`, held over the syntax tree of every module.

The rules are the architecture: protocol stands alone; chain and ledger stand on protocol and never
on each other; paywall, redeemer and wallet stand on those three and never on each other, and
paywall on the opened settings too; operations keeps the redeemer going; replay, serve and the
commands sit on top.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "farthing").rglob("*.py"))

BASE = frozenset({"protocol", "chain", "ledger"})
# The publisher's settings, and what they name opened.
OPENING = frozenset({"settings", "opening"})
TOP = BASE | OPENING
TOP |= {"paywall", "redeemer", "wallet", "dashboard", "operations", "replay", "serve"}
# Part of `farthing` to the other parts it may import.
OURS: dict[str, frozenset[str]] = {
    "__init__": frozenset({"protocol"}),
    "protocol": frozenset(),
    "chain": frozenset({"protocol"}),
    "ledger": frozenset({"protocol"}),
    "settings": frozenset({"protocol"}),
    "opening": BASE | {"settings"},
    "paywall": BASE | OPENING,
    "redeemer": BASE,
    "wallet": BASE,
    "dashboard": frozenset({"ledger"}),
    # What keeps watcher, redeemer and queue going and says how things stand.
    "operations": BASE | OPENING | {"redeemer"},
    # The server around a paywall. A sample app in it is what a publisher begins with.
    "serve": BASE | OPENING | {"paywall", "operations"},
    "replay": TOP - {"replay", "serve", "operations"},
    "commands": TOP,
    # A chain, publishers and payers at once, for tests and examples.
    "testing": TOP - {"serve", "replay"},
}
# A library to the parts that may import it; the others in the group come with it.
THEIRS: dict[frozenset[str], frozenset[str]] = {
    frozenset({"ape", "vyper", "boa"}): frozenset(),
    frozenset({"web3"}): frozenset({"chain", "replay", "commands"}),
    frozenset({"eth_tester"}): frozenset({"chain"}),
    frozenset({"requests"}): frozenset({"chain", "wallet"}),
    frozenset({"httpx", "anyio"}): frozenset({"wallet", "testing"}),
    # The payer's memory is a file of its own, beside no ledger.
    frozenset({"apsw"}): frozenset({"ledger", "wallet"}),
    frozenset({"sqlite3", "psycopg"}): frozenset({"ledger"}),
    frozenset({"uvloop", "httptools", "prometheus_client"}): frozenset({"serve"}),
    frozenset({"uvicorn"}): frozenset({"serve", "testing"}),
}
# What would give the protocol a clock, a disk, a network or chance.
IMPURE = frozenset(
    {"asyncio", "datetime", "http", "io", "logging", "os", "pathlib", "random", "secrets"}
    | {"socket", "subprocess", "tempfile", "threading", "time", "urllib"}
)


def violations(module: str, source: str) -> list[str]:
    """The imports in ``source`` that ``module`` (dotted, of `farthing`) may not have."""
    part = module.split(".")[1]
    if part not in OURS:
        return [f"{module}: no rule says what {part} may import"]
    return [f"{module} imports {name}" for name in _imports(module, source) if _wrong(part, name)]


def _wrong(part: str, name: str) -> bool:
    library, _, rest = name.partition(".")
    if library == "farthing":
        other = rest.partition(".")[0]
        return other != part and other not in OURS[part]
    if part == "protocol" and library in IMPURE:
        return True
    return any(library in group and part not in users for group, users in THEIRS.items())


def _imports(module: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Relative to the folder of the module, one more up for every further dot.
            base = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*base, node.module] if node.module else base)
            # `from farthing import chain` names a part behind the word import.
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            named = node.args[0] if node.args else None
            is_text = isinstance(named, ast.Constant) and isinstance(named.value, str)
            yield named.value if is_text else "farthing.a_name_nobody_can_check"


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _module(path: Path) -> str:
    # A package's own file keeps its name, so that its relative imports resolve.
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=_module)
def test_imports__of_every_module(path: Path) -> None:
    assert violations(_module(path), path.read_text()) == []


def test_modules__are_found() -> None:
    found = {path.relative_to(ROOT / "farthing").parts[0] for path in MODULES}
    assert {"protocol", "chain", "redeemer", "replay", "commands"} <= found


@pytest.mark.parametrize(
    ("module", "source", "name"),
    [
        ("farthing.protocol.x", "from farthing.chain.sender import Sender", "chain.sender.Sender"),
        ("farthing.protocol.x", "import farthing.ledger", "ledger"),
        ("farthing.protocol.x", "from ..chain import sender", "chain.sender"),
        ("farthing.chain.x", "from farthing import ledger", "ledger"),
        ("farthing.chain.x", "def f():\n    import farthing.redeemer.batches", "redeemer.batches"),
        ("farthing.ledger.x", "import farthing.chain.events as e", "chain.events"),
        ("farthing.redeemer.x", "from farthing.paywall.gate import Gate", "paywall.gate.Gate"),
        ("farthing.paywall.x", "from farthing.wallet import Wallet", "wallet.Wallet"),
        ("farthing.wallet.x", "from ..redeemer import redeem", "redeemer.redeem"),
        ("farthing.dashboard.x", "import farthing.chain.sender", "chain.sender"),
        ("farthing.replay.x", "from farthing.commands import main", "commands.main"),
        ("farthing.paywall.x", "from farthing.serve.logs import log", "serve.logs.log"),
        ("farthing.serve.x", "import farthing.redeemer", "redeemer"),
        ("farthing.chain.x", "import_module('farthing.ledger')", "ledger"),
        ("farthing.chain.x", "importlib.import_module(name)", "a_name_nobody_can_check"),
    ],
)
def test_violations__parts_that_may_not_meet(module: str, source: str, name: str) -> None:
    assert violations(module, source) == [f"{module} imports farthing.{name}"]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("farthing.commands.x", "import ape"),
        ("farthing.chain.x", "import vyper.compiler"),
        ("farthing.replay.x", "from boa import env"),
        ("farthing.chain.x", "if TYPE_CHECKING:\n    from ape.api import AccountAPI"),
        ("farthing.chain.x", "try:\n    import boa\nexcept ImportError:\n    boa = None"),
        ("farthing.protocol.x", "from web3 import Web3"),
        ("farthing.redeemer.x", "from web3.types import TxReceipt"),
        ("farthing.ledger.x", "import web3"),
        ("farthing.commands.x", "import eth_tester"),
        ("farthing.redeemer.x", "import sqlite3"),
        ("farthing.paywall.x", "import uvicorn"),
        ("farthing.commands.x", "from prometheus_client import Counter"),
        ("farthing.protocol.x", "import time"),
        ("farthing.protocol.x", "from pathlib import Path"),
        ("farthing.protocol.x", "__import__('os')"),
    ],
)
def test_violations__libraries_out_of_place(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("farthing.protocol.x", "from farthing.protocol.values import address"),
        ("farthing.chain.x", "from web3 import Web3\nfrom farthing.protocol import Domain"),
        ("farthing.chain.x", "from .sender import Sender\nfrom ..protocol import sign"),
        ("farthing.redeemer.x", "import farthing.chain.sender\nimport farthing.ledger"),
        ("farthing.replay.x", "from farthing.redeemer import redeem\nimport web3"),
        ("farthing.commands.x", "from farthing.replay.run import replay\nimport farthing.wallet"),
        ("farthing.chain.x", "import apeish, vyperlike, boats"),
    ],
)
def test_violations__none_where_the_rules_allow(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_violations__a_part_without_a_rule() -> None:
    found = violations("farthing.shop.x", "import json")
    assert found == ["farthing.shop.x: no rule says what shop may import"]
