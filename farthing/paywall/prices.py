"""Which requests cost what.

A rule is a method, a path and a price: ``"GET /articles/{slug}": "0.002"``. Without a method it is
for all of them. ``{name}`` stands for one segment of the path, ``{name:path}`` for any number. A
price is a decimal string in units of the token, ``"free"``, a function of the request that gives
one of these, or a `Price` with rules. The first rule that matches holds. A rule that could never
hold, for its path is written as elsewhere or another one takes all of its own, is refused at start.

What lies beneath a priced path is never free by accident: a path that comes to another rule once
it is decoded again, folded to lower case or rid of ``..`` and double slashes, is refused, and so is
one under the same prefix that no rule matches. What should be free there is said to be free.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeAlias
from urllib.parse import unquote

from farthing.paywall.pricing.bases import Computed, Fixed
from farthing.paywall.pricing.request import Request
from farthing.paywall.pricing.rules import (
    Base,
    PayerRule,
    Price,
    PriceFunction,
    PricingInvalid,
    RequestRule,
)
from farthing.protocol import FarthingError
from farthing.protocol.amounts import MAX_AMOUNT, AmountInvalid

MAX_PRICE = MAX_AMOUNT
AnyPrice: TypeAlias = str | PriceFunction | Price

_RULE = re.compile(r"(?:([A-Z]+) +)?(/\S*)")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")
# What stands for a parameter elsewhere. As it is written it would match nothing, and what it was to
# price would be free.
_FOREIGN = re.compile(r"[*<>{}\[\]]|(?<=/):")
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
class Rule:
    """One rule. ``price`` is smallest units of the token, None when ``function`` computes it.

    ``folded`` is the pattern for canonical paths; ``prefix`` what is beneath starts with, without a
    slash at its end if the path has no parameter. ``base`` is what it costs before ``payer_rules``
    lower what is charged of it.
    """

    text: str
    method: str | None
    path: str
    pattern: re.Pattern[str]
    folded: re.Pattern[str]
    prefix: str
    base: Base
    price: int | None
    function: Callable[[Request], int] | None
    payer_rules: tuple[PayerRule, ...]

    @property
    def is_free(self) -> bool:
        return self.price == 0


@dataclass(frozen=True)
class Refused:
    """A path beneath a priced one that no rule names."""

    beneath: str


class Prices:
    """All rules of a publisher."""

    def __init__(self, rules: Mapping[str, AnyPrice], decimals: int) -> None:
        """Reads the rules, in their order, for a token with ``decimals`` decimals.

        Raises:
            PriceInvalid: One of them cannot be.
        """
        self.decimals = decimals
        self.rules = [self._rule(text, price) for text, price in rules.items()]
        _refuse_hidden(self.rules)
        self._priced = [rule for rule in self.rules if not rule.is_free]
        self._cached = lru_cache(_CACHED_PATHS)(self._find)

    def find(self, method: str, path: str) -> Rule | Refused | None:
        """The rule for a request; None for one that nothing is asked for."""
        # Apps fold it, and WSGI servers pass on what came.
        method = method.upper()
        if len(method) + len(path) > _CACHED_CHARACTERS:
            return self._find(method, path)
        return self._cached(method, path)

    def price(self, rule: Rule, request: Request) -> int:
        """What a request costs by its rule, in smallest units; 0 is free.

        Raises:
            PriceInvalid: The rule's function gave no price.
            RequestInvalid: The request has none as it is.
        """
        if rule.function is None:
            assert rule.price is not None
            return rule.price
        try:
            return rule.function(request)
        except (PricingInvalid, AmountInvalid) as error:
            raise PriceInvalid(rule.text, str(error)) from None

    def _rule(self, text: str, price: AnyPrice) -> Rule:
        written = _RULE.fullmatch(text)
        if written is None:
            raise PriceInvalid(text, "write a path such as /articles/{slug}, or GET and a path")
        method, path = written.groups()
        fault = _fault(path)
        if fault is not None:
            raise PriceInvalid(text, fault)
        literal, *parameters = _PARAMETER.split(path)
        prefix = _canonical(literal)
        if not parameters and prefix != "/":
            prefix = prefix.removesuffix("/")
        pattern, folded = _compile(text, path)
        try:
            base, function, payer_rules = _bind(text, price, self.decimals)
        except (PricingInvalid, AmountInvalid) as error:
            raise PriceInvalid(text, str(error)) from None
        units = base.units if isinstance(base, Fixed) and function is None else None
        return Rule(text, method, path, pattern, folded, prefix, base, units, function, payer_rules)

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


def _bind(
    route: str, price: AnyPrice, decimals: int
) -> tuple[Base, Callable[[Request], int] | None, tuple[PayerRule, ...]]:
    """A price's base, what computes it where it is not always the same, and the rules that lower
    what is charged of it."""
    written = price if isinstance(price, Price) else Price(price)
    base = _base(written.base).bind(decimals)
    rules = [rule.bind(route, decimals) for rule in written.rules]
    request_rules = [rule for rule in rules if isinstance(rule, RequestRule)]
    payer_rules = tuple(rule for rule in rules if isinstance(rule, PayerRule))
    if isinstance(base, Fixed) and not request_rules:
        return base, None, payer_rules
    return base, partial(_compute, base, request_rules), payer_rules


def _base(price: str | PriceFunction | Base) -> Base:
    if isinstance(price, str):
        return Fixed(price)
    if isinstance(price, Base):
        return price
    if callable(price):
        return Computed(price)
    raise PricingInvalid(f"{price!r} is not a price; write it in quotes, like '0.002'")


def _compute(base: Base, rules: list[RequestRule], request: Request) -> int:
    price, now = base.announced(request), int(time.time())
    for rule in rules:
        price = rule.price(request, price, now)
    return price


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
    return _cleaned(path).casefold()


def _cleaned(path: str) -> str:
    path = _decoded(path)
    segments: list[str] = []
    for segment in path.split("/"):
        bare = _bare(segment)
        if bare == "..":
            del segments[-1:]
        elif bare not in ("", "."):
            segments.append(bare)
    return "/" + "/".join(segments) + ("/" if segments and path.endswith("/") else "")


def _fault(path: str) -> str | None:
    """Why no request could come to a rule's path as its author means it; None if it could."""
    query = re.search(r"[?#]", path)
    if query is not None:
        return f"what begins with {query[0]!r} is no part of a path: leave it out"
    if _FOREIGN.search(_PARAMETER.sub("x", path)):
        return "a parameter is written {name} for one segment, or {name:path} for any number"
    cleaned = _cleaned(path)
    if cleaned == path:
        return None
    is_rule = _RULE.fullmatch(cleaned) is not None and _fault(cleaned) is None
    fix = f"write {cleaned}" if is_rule else "write {name} in the place of that segment"
    return f"a path is compared once it is decoded and cleaned up: {fix}"


def _refuse_hidden(rules: list[Rule]) -> None:
    """Looks that no rule comes after one that matches all that it does."""
    # No path of a rule has white space. Here it stands for what a parameter takes: a space for
    # something without a slash, a line's end for anything. Where an earlier path matches that, it
    # matches whatever may be in its place.
    paths = [
        re.compile(rule.folded.pattern.replace("[^/]+", "[^/\n]+"), re.DOTALL) for rule in rules
    ]
    for place, rule in enumerate(rules):
        taken = _PARAMETER.sub(lambda found: "\n" if found[2] else " ", rule.path).casefold()
        for earlier, path in zip(rules[:place], paths, strict=False):
            if earlier.method in (None, rule.method) and path.fullmatch(taken):
                if not (rule.is_free and earlier.is_free):
                    raise PriceInvalid(
                        rule.text,
                        f"{earlier.text!r} before it matches all that it does, so it never holds: "
                        "put it before that one, or remove it",
                    )
                break


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
    exact.append(re.escape(path[end:]))
    folded.append(re.escape(path[end:].casefold()))
    return re.compile("".join(exact), re.DOTALL), re.compile("".join(folded), re.DOTALL)
