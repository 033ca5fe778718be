"""What every Vyper file here keeps to, and the compiler faults of 0.4.3 it stays clear of.

Each rule is a function from a file's text to the lines that break it; each is proved on a bad file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
FILES = sorted([*CONTRACTS.rglob("*.vy"), *CONTRACTS.rglob("*.vyi")])

VERSION = "# pragma version ==0.4.3"
EVM_VERSION = "# pragma evm-version cancun"


def _matching(text: str, pattern: str) -> list[int]:
    return [n for n, line in enumerate(text.splitlines(), 1) if re.search(pattern, line)]


def _code(text: str) -> str:
    """The text with strings, docstrings and comments blanked, and every line where it was."""

    def blank(match: re.Match[str]) -> str:
        return "\n" * match.group().count("\n")

    return re.sub(r'"""[\s\S]*?"""|"[^"\n]*"|\'[^\'\n]*\'|#[^\n]*', blank, text)


def not_ascii(text: str) -> list[int]:
    """The compiler counts positions in bytes and in characters, and mixes them up."""
    return [n for n, line in enumerate(text.splitlines(), 1) if not line.isascii()]


def no_version(text: str) -> list[int]:
    """The bytecode is packaged and compared: one compiler makes it."""
    return [] if text.splitlines()[:1] == [VERSION] else [1]


def no_evm_version(text: str) -> list[int]:
    return [] if text.splitlines()[1:2] == [EVM_VERSION] else [2]


def conditional_expression(text: str) -> list[int]:
    """Wrong code for nested arrays, `msg.value`, `len(msg.data)`: none at all is easier to hold.

    A statement's `if` is the first word of its line and inside no bracket.
    """
    found = []
    code = _code(text)
    for match in re.finditer(r"\bif\b", code):
        before = code[: match.start()]
        brackets = len(re.findall(r"[(\[{]", before)) - len(re.findall(r"[)\]}]", before))
        if brackets or before.rpartition("\n")[2].strip():
            found.append(before.count("\n") + 1)
    return found


def blueprint(text: str) -> list[int]:
    return _matching(_code(text), r"\bcreate_from_blueprint\b")


def experimental_code_generator(text: str) -> list[int]:
    """It crashed on a sketch of ours, and deployed code is not where to try it."""
    return _matching(text, r"^\s*#\s*pragma\b.*(experimental|venom)")


def foreign_library(text: str) -> list[int]:
    """Bytecode we package under MIT is made from our own sources."""
    return _matching(_code(text), r"^\s*(from|import)\s+snekmate\b")


RULES_OF_ALL: list[Callable[[str], list[int]]] = [
    not_ascii,
    no_version,
    conditional_expression,
    blueprint,
    experimental_code_generator,
    foreign_library,
]


def test_files__are_found() -> None:
    names = {path.name for path in FILES}
    assert {"BatchSettlement.vy", "IBatchSettlement.vyi", "TestUSD.vy", "signatures.vy"} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONTRACTS)))
def test_file__keeps_every_rule(path: Path) -> None:
    text = path.read_text("utf-8")
    rules = RULES_OF_ALL if path.suffix == ".vyi" else [*RULES_OF_ALL, no_evm_version]
    assert {rule.__name__: lines for rule in rules if (lines := rule(text))} == {}


HEAD = f"{VERSION}\n{EVM_VERSION}\n"
GOOD = HEAD + (
    '"""\n@notice Ask if it is so.\n"""\n'
    'REASON: constant(String[9]) = "if not so"\n'
    "@external\ndef f(a: uint256) -> uint256:\n"
    "    # if it is one\n"
    "    if (\n        a == 1\n    ):\n        return 2\n"
    "    elif a == 3:\n        return 4\n"
    "    return 5\n"
)

BAD = [
    (not_ascii, HEAD + "# caf\u00e9\n", [3]),
    (no_version, EVM_VERSION + "\n", [1]),
    (no_version, "# pragma version ^0.4.0\n", [1]),
    (no_version, "\n" + HEAD, [1]),
    (no_evm_version, VERSION + "\n", [2]),
    (no_evm_version, VERSION + "\n# pragma evm-version prague\n", [2]),
    (conditional_expression, HEAD + "    a: uint256 = 1 if b else 2\n", [3]),
    (conditional_expression, HEAD + "    return msg.value if b else 0\n", [3]),
    (
        conditional_expression,
        HEAD + "    a: uint256 = (\n        1\n        if b else 2\n    )\n",
        [5],
    ),
    (conditional_expression, HEAD + "    if (1 if b else 2) == 1:\n", [3]),
    (conditional_expression, HEAD + '    log A("x", 1 if b else 2)\n', [3]),
    (blueprint, HEAD + "    a: address = create_from_blueprint(b)\n", [3]),
    (experimental_code_generator, HEAD + "# pragma experimental-codegen\n", [3]),
    (experimental_code_generator, HEAD + "#pragma venom\n", [3]),
    (experimental_code_generator, HEAD + "# pragma enable-venom-experimental\n", [3]),
    (foreign_library, HEAD + "from snekmate.utils import ecdsa\n", [3]),
    (foreign_library, HEAD + "import snekmate.utils.ecdsa as ecdsa\n", [3]),
]


@pytest.mark.parametrize("rule", [*RULES_OF_ALL, no_evm_version], ids=lambda rule: rule.__name__)
def test_rule__lets_a_good_file_pass_and_is_proved_on_a_bad_one(
    rule: Callable[[str], list[int]],
) -> None:
    assert rule(GOOD) == []
    proofs = [(text, lines) for proved, text, lines in BAD if proved is rule]
    assert proofs
    for text, lines in proofs:
        assert rule(text) == lines, text
