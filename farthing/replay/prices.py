"""What a path costs: a TOML file of path patterns and prices, the first matching rule wins.

::

    default = "0.02"          # what no rule names; "0" when left out

    [[rule]]
    path = "/articles/*"
    price = "0.05"

A price is a decimal string in units of the token and becomes an ``int`` of smallest units
exactly, or is refused. Patterns are case sensitive and cover the whole path: ``**`` stands for any
characters or none, slashes included; ``*`` for any characters or none within one segment, and for
at least one where it is the whole segment, so ``/articles/*`` is not ``/articles/``.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from farthing.protocol.amounts import AmountInvalid, to_units
from farthing.protocol.errors import FarthingError
from farthing.replay.access_log import Read

MAX_FILE_BYTES = 1024 * 1024

_BUILT_IN = "default_prices.toml"
_TOKEN = re.compile(
    r"(?P<deep>\*\*)|(?P<segment>(?<=/)\*(?=/|\Z))|(?P<star>\*)|(?P<literal>.)", re.DOTALL
)
_TOML_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)\Z")
_CACHED_PATHS = 16384
# Longer paths are matched again each time, so that hostile ones cannot fill the memory.
_CACHED_CHARACTERS = 512


class PriceFileError(FarthingError):
    """The price file cannot be used.

    ``rule`` counts from 1 and is None outside a rule, ``field`` is the key at fault and ``line``
    the line where the TOML breaks off; each is None where it does not apply.
    """

    def __init__(
        self,
        source: str,
        problem: str,
        *,
        rule: int | None = None,
        field: str | None = None,
        line: int | None = None,
    ) -> None:
        self.source = source
        self.problem = problem
        self.rule = rule
        self.field = field
        self.line = line
        place = [
            f"line {line}" if line is not None else "",
            f"rule {rule}" if rule is not None else "",
            f"field {field!r}" if field is not None else "",
        ]
        where = "".join(f", {part}" for part in place if part)
        super().__init__(f"Price file {source!r}{where}: {problem}.")


@dataclass(frozen=True, slots=True)
class Rule:
    """Paths that match ``pattern`` cost ``price`` smallest units of the token."""

    pattern: str
    price: int


class PriceList:
    """Prices in smallest units of the token, looked up by path."""

    def __init__(self, rules: tuple[Rule, ...], default: int = 0) -> None:
        self.rules = rules
        self.default = default
        self._patterns = _Patterns([rule.pattern for rule in rules])
        self._cached = lru_cache(maxsize=_CACHED_PATHS)(self._matched)

    @classmethod
    def built_in(cls, decimals: int) -> "PriceList":
        """The prices that hold when the publisher gives none; see ``default_prices.toml``."""
        text = resources.files("farthing.replay").joinpath(_BUILT_IN).read_text("utf-8")
        return cls.parse(text, decimals, source=_BUILT_IN)

    @classmethod
    def load(cls, path: str, decimals: int) -> "PriceList":
        """Read the file at ``path`` for a token with ``decimals`` decimals.

        Raises:
            PriceFileError: the file cannot be read, is not TOML, or has a wrong rule.
        """
        try:
            with Path(path).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            raise PriceFileError(path, "there is no such file; check the path") from None
        except IsADirectoryError:
            raise PriceFileError(path, "it is a directory; give the file in it") from None
        except PermissionError:
            raise PriceFileError(path, "permission denied; make it readable") from None
        except (OSError, ValueError) as error:
            raise PriceFileError(path, f"it cannot be read ({error})") from None
        if len(data) > MAX_FILE_BYTES:
            raise PriceFileError(path, f"it is larger than {MAX_FILE_BYTES} bytes; shorten it")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise PriceFileError(path, "it is not UTF-8; save it as UTF-8", line=line) from None
        return cls.parse(text, decimals, source=path)

    @classmethod
    def parse(cls, text: str, decimals: int, source: str = "<text>") -> "PriceList":
        """Prices from TOML ``text``; ``source`` names it in errors.

        Raises:
            PriceFileError: it is not TOML, or has a wrong rule.
        """
        document = _document(text, source)
        _only_keys(document, ("default", "rule"), source)
        tables = document.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise PriceFileError(source, "start every rule with the line [[rule]]", field="rule")
        rules = tuple(_rule(table, decimals, source, n) for n, table in enumerate(tables, 1))
        default = _price(document.get("default", "0"), decimals, source, None, "default")
        return cls(rules, default)

    def price(self, path: str) -> int:
        """What reading ``path`` costs, in smallest units."""
        return self._cached(path) if len(path) <= _CACHED_CHARACTERS else self._matched(path)

    def charge(self, read: Read) -> int:
        """What ``read`` costs, in smallest units: nothing unless the page was delivered."""
        return self.price(read.path) if read.delivered else 0

    def _matched(self, path: str) -> int:
        first = self._patterns.first_match(path)
        return self.default if first is None else self.rules[first].price


def _document(text: str, source: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise PriceFileError(source, "it is nested too deeply; write plain rules") from None
    except ValueError as error:
        position = _TOML_POSITION.search(str(error))
        line = None
        if position is not None:
            line = int(position[1]) if position[1] else text.count("\n") + 1
        problem = _TOML_POSITION.sub("", str(error))
        raise PriceFileError(
            source, f"not valid TOML ({problem}); correct it there", line=line
        ) from None


def _only_keys(
    table: Mapping[str, object], known: tuple[str, ...], source: str, rule: int | None = None
) -> None:
    for key in table:
        if key not in known:
            problem = f"unknown; only {' and '.join(known)} are known here"
            raise PriceFileError(source, problem, rule=rule, field=key)


def _rule(table: Mapping[str, object], decimals: int, source: str, number: int) -> Rule:
    _only_keys(table, ("path", "price"), source, number)
    for key, example in (("path", "/articles/*"), ("price", "0.02")):
        if key not in table:
            problem = f'missing; add a line such as {key} = "{example}"'
            raise PriceFileError(source, problem, rule=number, field=key)
    pattern = table["path"]
    if not isinstance(pattern, str):
        problem = 'not a string; write the pattern in quotes, such as "/articles/*"'
        raise PriceFileError(source, problem, rule=number, field="path")
    wrong = _wrong_pattern(pattern)
    if wrong is not None:
        raise PriceFileError(source, wrong, rule=number, field="path")
    return Rule(pattern, _price(table["price"], decimals, source, number, "price"))


def _wrong_pattern(pattern: str) -> str | None:
    if not pattern.startswith(("/", "**")):
        return f"{pattern!r} can match no path; start it with / or **"
    if "***" in pattern:
        return f"{pattern!r} has three asterisks in a row; write * or **"
    if "?" in pattern or "#" in pattern:
        return f"{pattern!r} names a query or fragment, which have no price; end it before ? or #"
    return None


def _price(value: object, decimals: int, source: str, rule: int | None, field: str) -> int:
    def refused(problem: str) -> PriceFileError:
        return PriceFileError(source, problem, rule=rule, field=field)

    if not isinstance(value, str):
        raise refused('not a string; write the price in quotes, such as "0.02", to keep it exact')
    try:
        return to_units(value, decimals)
    except AmountInvalid as error:
        raise refused(str(error)) from None


class _Patterns:
    """All patterns as one automaton whose states are the bits of an integer.

    Every path costs one pass over its characters, whatever patterns and paths look like; regular
    expressions with several stars would take minutes for one hostile path.
    """

    def __init__(self, patterns: list[str]) -> None:
        self._start = self._stars = self._deep = self._one = self._accept = 0
        self._literal: dict[str, int] = {}
        self._owner: dict[int, int] = {}
        bit = 1
        for index, pattern in enumerate(patterns):
            self._start |= bit
            for token in _TOKEN.finditer(pattern):
                if token.lastgroup == "literal":
                    self._literal[token[0]] = self._literal.get(token[0], 0) | bit
                elif token.lastgroup == "segment":
                    self._one |= bit
                    bit <<= 1
                    self._stars |= bit
                else:
                    self._stars |= bit
                    self._deep |= bit if token.lastgroup == "deep" else 0
                bit <<= 1
            self._accept |= bit
            self._owner[bit] = index
            bit <<= 1

    def first_match(self, path: str) -> int | None:
        """The index of the first pattern that covers the whole path."""
        states = self._start | (self._start & self._stars) << 1
        for character in path:
            slash = character == "/"
            advancing = self._literal.get(character, 0) | (0 if slash else self._one)
            staying = self._deep if slash else self._stars
            states = (states & advancing) << 1 | (states & staying)
            # A star also stands for nothing, so whoever is before one is also behind it.
            states |= (states & self._stars) << 1
            if not states:
                return None
        accepted = states & self._accept
        return self._owner[accepted & -accepted] if accepted else None
