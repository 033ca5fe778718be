"""Which requests cost what.

A rule is a method, a path and a price: ``"GET /articles/{slug}": "0.002"``. Without a method it is
for all of them. ``{name}`` stands for one segment of the path, ``{name:path}`` for any number. A
price is a decimal string in units of the token, ``"free"``, or a function of the request that gives
one of these. The first rule that matches holds.

What lies beneath a priced path is never free by accident: a path that comes to another rule once
it is decoded again, folded to lower case or rid of ``..`` and double slashes, is refused, and so is
one under the same prefix that no rule matches. What should be free there is said to be free.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import unquote

from farthing.protocol import FarthingError
from farthing.protocol.amounts import MAX_AMOUNT, AmountInvalid, to_units

MAX_PRICE = MAX_AMOUNT
FREE = "free"

_RULE = re.compile(r"(?:([A-Z]+) +)?(/\S*)")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")
_CACHED_PATHS = 16_384
# Longer ones are looked up each time, so that hostile ones cannot fill the memory.
_CACHED_CHARACTERS = 512


class PriceInvalid(FarthingError):
    """A rule's path or price is none.

    Attributes:
        rule: The rule as it was written.
    """

    def __init__(self, rule: str, problem: str) -> None:
        self.rule = rule
        super().__init__(f"price of {rule!r}: {problem}.")


@dataclass(frozen=True)
class Request:
    """What a price may depend on.

    Attributes:
        method: In upper case.
        path: Decoded, as the app sees it.
        query: Raw query string.
        headers: Names in lower case, and values; of repeated ones the last.
        parameters: What the rule's ``{name}`` stand for.
    """

    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]
    parameters: Mapping[str, str]


PriceFunction: TypeAlias = Callable[[Request], str | int]


@dataclass(frozen=True)
class Rule:
    """One rule. ``price`` is smallest units of the token, None when ``function`` computes it.

    ``folded`` is the pattern for canonical paths; ``prefix`` what is beneath starts with, without a
    slash at its end if the path has no parameter.
    """

    text: str
    method: str | None
    pattern: re.Pattern[str]
    folded: re.Pattern[str]
    prefix: str
    price: int | None
    function: PriceFunction | None = None

    @property
    def is_free(self) -> bool:
        return self.price == 0


@dataclass(frozen=True)
class Refused:
    """A path beneath a priced one that no rule names."""

    beneath: str


class Prices:
    """All rules of a publisher."""

    def __init__(self, rules: Mapping[str, str | PriceFunction], decimals: int) -> None:
        """Reads the rules, in their order, for a token with ``decimals`` decimals.

        Raises:
            PriceInvalid: One of them cannot be.
        """
        self.decimals = decimals
        self.rules = [self._rule(text, price) for text, price in rules.items()]
        self._priced = [rule for rule in self.rules if not rule.is_free]
        self._cached = lru_cache(_CACHED_PATHS)(self._find)

    def find(self, method: str, path: str) -> Rule | Refused | None:
        """The rule for a request; None for one that nothing is asked for."""
        if len(path) > _CACHED_CHARACTERS:
            return self._find(method, path)
        return self._cached(method, path)

    def price(self, rule: Rule, request: Request) -> int:
        """What a request costs by its rule, in smallest units; 0 is free.

        Raises:
            PriceInvalid: The rule's function gave no price.
        """
        if rule.function is None:
            assert rule.price is not None
            return rule.price
        computed = rule.function(request)
        if type(computed) is int and 0 <= computed <= MAX_PRICE:
            return computed
        if isinstance(computed, str):
            return self._units(rule.text, computed)
        raise PriceInvalid(
            rule.text, f"its function gave {computed!r}; give a decimal string or smallest units"
        )

    def _rule(self, text: str, price: str | PriceFunction) -> Rule:
        written = _RULE.fullmatch(text)
        if written is None:
            raise PriceInvalid(text, "write a path such as /articles/{slug}, or GET and a path")
        method, path = written.groups()
        literal, *parameters = _PARAMETER.split(path)
        prefix = _canonical(literal)
        if not parameters and prefix != "/":
            prefix = prefix.removesuffix("/")
        pattern, folded = _compile(text, path)
        if callable(price):
            return Rule(text, method, pattern, folded, prefix, None, price)
        if not isinstance(price, str):
            raise PriceInvalid(text, f"{price!r} is not a price; write it in quotes, like '0.002'")
        return Rule(text, method, pattern, folded, prefix, self._units(text, price))

    def _units(self, rule: str, text: str) -> int:
        if text == FREE:
            return 0
        try:
            return to_units(text, self.decimals)
        except AmountInvalid as error:
            raise PriceInvalid(rule, f"{error}, or 'free'") from None

    def _find(self, method: str, path: str) -> Rule | Refused | None:
        # An app answers HEAD with the handler of GET.
        asked = "GET" if method == "HEAD" else method
        rules = [rule for rule in self.rules if rule.method in (None, asked)]
        canonical, has_dots = _canonical(path), _has_dots(path)
        rule = next((rule for rule in rules if rule.pattern.fullmatch(path)), None)
        # What an app or a file system comes to that cleans the path up before it looks.
        again = next((rule for rule in rules if rule.folded.fullmatch(canonical)), None)
        if rule is again and rule is not None and not has_dots:
            return None if rule.is_free else rule
        if rule is not None and not rule.is_free:
            return Refused(rule.text)
        for priced in self._priced:
            if _is_beneath(canonical, priced) or _is_beneath(path.casefold(), priced):
                return Refused(priced.text)
        return None


def _is_beneath(path: str, rule: Rule) -> bool:
    prefix = rule.prefix
    # `/articles/` is what `/articles/{slug}` has beneath it; the list at `/articles` is not.
    if prefix.endswith("/") or rule.pattern.groups:
        return path.startswith(prefix)
    return path == prefix or path.startswith((prefix + "/", prefix + ";", prefix + "."))


def _decoded(path: str) -> str:
    for _ in range(4):
        decoded = unquote(path)
        if decoded == path:
            break
        path = decoded
    return path.replace("\\", "/")


def _has_dots(path: str) -> bool:
    return any(_bare(segment) in (".", "..") for segment in _decoded(path).split("/"))


def _bare(segment: str) -> str:
    return segment.split("\0")[0].strip()


def _canonical(path: str) -> str:
    """The path that somebody may take this one for."""
    path = _decoded(path).casefold()
    segments: list[str] = []
    for segment in path.split("/"):
        bare = _bare(segment)
        if bare == "..":
            del segments[-1:]
        elif bare not in ("", "."):
            segments.append(bare)
    return "/" + "/".join(segments) + ("/" if segments and path.endswith("/") else "")


def _compile(text: str, path: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The pattern of a path, and the one for canonical paths, which has no names."""
    exact, folded, end, names = [], [], 0, set()
    for found in _PARAMETER.finditer(path):
        name, deep = found.groups()
        if name in names:
            raise PriceInvalid(text, f"{{{name}}} stands there twice")
        names.add(name)
        literal, wild = path[end : found.start()], ".+" if deep else "[^/]+"
        exact += [re.escape(literal), f"(?P<{name}>{wild})"]
        folded += [re.escape(literal.casefold()), wild]
        end = found.end()
    outside = _PARAMETER.sub("", path)
    if "{" in outside or "}" in outside:
        raise PriceInvalid(text, "a parameter is written {name} or {name:path}")
    exact.append(re.escape(path[end:]))
    folded.append(re.escape(path[end:].casefold()))
    return re.compile("".join(exact), re.DOTALL), re.compile("".join(folded), re.DOTALL)
