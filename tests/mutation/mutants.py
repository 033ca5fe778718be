"""Which changes are tried: universalmutator's rules, line by line, by function."""

from __future__ import annotations

import contextlib
import io
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from universalmutator import mutator

# universalmutator's own choice for Vyper.
RULES = ["universal.rules", "vyper.rules", "python.rules", "solidity.rules"]

TOP_LEVEL = "(constants and state)"


@dataclass(frozen=True)
class Mutant:
    """One line of one source file, replaced."""

    source: str
    """Path below the contracts folder."""
    line: int
    """Counted from 1."""
    before: str
    after: str
    function: str

    def write(self, contracts: Path) -> None:
        """Put the changed line into the copy of the sources at ``contracts``."""
        path = contracts / self.source
        lines = path.read_text().splitlines(keepends=True)
        lines[self.line - 1] = self.after
        path.write_text("".join(lines))

    def __str__(self) -> str:
        return f"{self.source}:{self.line} {self.function}\n  - {self.before}  + {self.after}"


def all_mutants(contracts: Path, source: str) -> list[Mutant]:
    """Every change the rules know for one file, comments and docstrings left out."""
    lines = (contracts / source).read_text().splitlines(keepends=True)
    functions = _functions(lines)
    with contextlib.redirect_stdout(io.StringIO()):
        found = mutator.mutants_regexp(
            _without_docstrings(lines), ruleFiles=RULES, ignorePatterns=[], ignoreStringOnly=True
        )
    return [
        Mutant(source, line, lines[line - 1], after, functions[line - 1])
        for line, after, *_ in found
        if _code_of(after) != _code_of(lines[line - 1])
    ]


def by_function(mutants: Sequence[Mutant], seed: int) -> list[list[Mutant]]:
    """The mutants of each function, in an order that the seed fixes."""
    groups: dict[tuple[str, str], list[Mutant]] = {}
    for mutant in mutants:
        groups.setdefault((mutant.source, mutant.function), []).append(mutant)
    choice = random.Random(seed)
    for group in groups.values():
        choice.shuffle(group)
    return list(groups.values())


def _code_of(line: str) -> str:
    """A line without what the compiler does not see; nothing at all where that leaves no code."""
    code = line.partition("#")[0]
    return "" if code.strip() == "pass" else "".join(code.split())


def _functions(lines: Sequence[str]) -> list[str]:
    """For each line the function it stands in; a decorator belongs to the function below it."""
    names: list[str] = []
    current = TOP_LEVEL
    for number, line in enumerate(lines):
        if line.startswith("@"):
            following = (re.match(r"def (\w+)", later) for later in lines[number:])
            current = next((match[1] for match in following if match), TOP_LEVEL)
        elif re.match(r"[A-Za-z_#]", line) and not line.startswith("def "):
            current = TOP_LEVEL
        names.append(current)
    return names


def _without_docstrings(lines: Sequence[str]) -> list[str]:
    """The same lines with those of docstrings empty, so that line numbers stay."""
    kept = []
    inside = False
    for line in lines:
        quotes = line.count('"""')
        kept.append("\n" if inside or quotes else line)
        inside ^= quotes % 2 == 1
    return kept
