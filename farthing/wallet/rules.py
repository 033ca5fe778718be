"""What a wallet may spend: the rules its main key sets, and nothing else may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import msgspec

from farthing.protocol import Domain, InvalidField, Signer, TypedMessage, recover, sign, values
from farthing.protocol.keccak import keccak
from farthing.protocol.typed_data import StructType
from farthing.wallet.errors import HostRefused, PriceTooHigh, RulesForged
from farthing.wallet.periods import Period

ANY = "*"
WALLET_RULES = StructType("WalletRules(string rules,uint256 version)")


@dataclass(frozen=True)
class Budget:
    """At most ``limit`` smallest units in each ``period``, at the hosts that ``host`` names.

    ``host`` is a name, ``*.name`` for what is below it, or ``*`` for all. Counted is what could be
    claimed with the vouchers that were signed, whatever a server says it charged.
    """

    limit: int
    period: Period
    host: str = ANY

    def __post_init__(self) -> None:
        values.uint128("limit", self.limit)
        _check_host(self.host)

    @cached_property
    def name(self) -> str:
        """The budget in words; also what its use is kept under."""
        return f"{self.host} {self.period.text}"


@dataclass(frozen=True)
class Rules:
    """All that bounds a wallet. Amounts are smallest units of the token.

    Attributes:
        budgets: A payment must fit every one that is for its host, and one must be.
        per_request: The most one request may cost; None leaves that to the budgets.
        approve_above: The most that is paid without asking; None never asks.
        allow, deny: Hosts, in the forms of `Budget.host`; deny is the stronger.
        top_up: What is deposited at a time, or more where a publisher wants more. 0 deposits
            nothing by itself. In a period no more is deposited than its budgets allow to spend.
        lanes: Channels per publisher, at most: as many requests run there at a time.
    """

    budgets: tuple[Budget, ...] = ()
    per_request: int | None = None
    approve_above: int | None = None
    allow: tuple[str, ...] = (ANY,)
    deny: tuple[str, ...] = ()
    top_up: int = 0
    lanes: int = 4

    def __post_init__(self) -> None:
        for name in ("per_request", "approve_above"):
            if getattr(self, name) is not None:
                values.uint128(name, getattr(self, name))
        values.uint128("top_up", self.top_up)
        if type(self.lanes) is not int or not 1 <= self.lanes <= 1_000:
            raise InvalidField("lanes", self.lanes, "must be 1 to 1000")
        for host in (*self.allow, *self.deny):
            _check_host(host)
        names = [budget.name for budget in self.budgets]
        if len(set(names)) != len(names):
            raise InvalidField("budgets", max(names, key=names.count), "must not be there twice")

    def check(self, host: str, price: int, show: Callable[[int], str] = str) -> tuple[Budget, ...]:
        """The budgets for a payment to ``host``.

        Args:
            show: How a refusal writes amounts.

        Raises:
            HostRefused: The host may not be paid.
            PriceTooHigh: Not so much at once.
        """
        if any(matches(pattern, host) for pattern in self.deny):
            raise HostRefused(host, price, "it is on the deny list", show)
        if not any(matches(pattern, host) for pattern in self.allow):
            raise HostRefused(host, price, "it is not on the allow list", show)
        if self.per_request is not None and price > self.per_request:
            raise PriceTooHigh(host, price, self.per_request, show)
        budgets = tuple(each for each in self.budgets if matches(each.host, host))
        if not budgets:
            raise HostRefused(host, price, "no budget is for it", show)
        return budgets

    def needs_approval(self, price: int) -> bool:
        """Whether the owner has to be asked."""
        return self.approve_above is not None and price > self.approve_above

    # ------------------------------------------------------------ as text, signed

    def to_text(self) -> str:
        """The rules as JSON, the same text for the same rules."""
        plain = {name: getattr(self, name) for name in self.__match_args__}
        # Amounts may have 128 bits, which JSON readers do not all take as numbers.
        for name in ("per_request", "approve_above", "top_up"):
            plain[name] = None if plain[name] is None else str(plain[name])
        plain["budgets"] = [
            {"limit": str(each.limit), "period": each.period.text, "host": each.host}
            for each in self.budgets
        ]
        return msgspec.json.encode(plain).decode()

    @classmethod
    def from_text(cls, text: str) -> Rules:
        """Reads what `to_text` wrote.

        Raises:
            InvalidField: It is something else.
        """
        try:
            read = msgspec.json.decode(text, type=_Written)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidField("rules", text, f"cannot be read ({error})") from None
        amount = values.uint128_from_decimal
        return cls(
            budgets=tuple(
                Budget(amount("limit", each.limit), Period.parse(each.period), each.host)
                for each in read.budgets
            ),
            per_request=_optional("per_request", read.per_request),
            approve_above=_optional("approve_above", read.approve_above),
            allow=read.allow,
            deny=read.deny,
            top_up=amount("top_up", read.top_up),
            lanes=read.lanes,
        )

    def signed(self, main: Signer, version: int, domain: Domain) -> bytes:
        """The main key's signature; ``version`` grows by 1 with every change."""
        return sign(main, _Statement(self.to_text(), version), domain)


def verified_rules(text: str, version: int, signature: bytes, payer: str, domain: Domain) -> Rules:
    """Rules that ``payer`` signed.

    Raises:
        RulesForged: Somebody else did, or nobody.
        InvalidField: They cannot be read.
    """
    if recover(_Statement(text, version).digest(domain), signature) != payer:
        raise RulesForged(payer)
    return Rules.from_text(text)


def matches(pattern: str, host: str) -> bool:
    """Whether a host is one that ``pattern`` names."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return pattern in (ANY, host)


def _check_host(pattern: str) -> None:
    name = pattern.removeprefix("*.") if isinstance(pattern, str) else ""
    if pattern != ANY and (not name or name != name.lower() or set(name) & set("*/@ ")):
        raise InvalidField("host", pattern, "must be a host in lower case, *.host, or *")


def _optional(name: str, text: str | None) -> int | None:
    return None if text is None else values.uint128_from_decimal(name, text)


@dataclass(frozen=True)
class _Statement(TypedMessage):
    text: str
    version: int

    def struct_hash(self) -> bytes:
        return WALLET_RULES.hash(keccak(self.text.encode()), self.version)


class _WrittenBudget(msgspec.Struct, forbid_unknown_fields=True):
    limit: str
    period: str
    host: str


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    budgets: tuple[_WrittenBudget, ...]
    per_request: str | None
    approve_above: str | None
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    top_up: str
    lanes: int
