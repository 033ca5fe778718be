"""The publisher's settings: one TOML file, read strictly.

What can be told from the file alone is told here; what only the chain, the key or the database can
tell, `farthing.paywall.opening` tells. Every fault is one sentence with the field and what to do.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from farthing.paywall.limits import Limits
from farthing.protocol import (
    X402_ERC3009_COLLECTOR,
    X402_PERMIT2_COLLECTOR,
    X402_SETTLEMENT,
    FarthingError,
    InvalidField,
    values,
)

ERC3009, PERMIT2 = "eip3009", "permit2"
_METHODS = (ERC3009, PERMIT2)
# What a withdrawal takes at least; a channel has to be looked up well before that.
_MAX_SYNC_SECONDS = values.MIN_WITHDRAW_DELAY * 2 // 3

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]


class SettingsInvalid(FarthingError):
    """A setting cannot be, or there are no settings.

    Attributes:
        path: The file.
        field: The setting, as ``table.name``; empty when it is the file itself.
    """

    def __init__(self, path: Path, field: str, problem: str) -> None:
        self.path = path
        self.field = field
        said = problem.rstrip(".")
        super().__init__(f"{path}: {field}: {said}." if field else f"{path}: {said}.")


class ChainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[chain]``: where the money is.

    Attributes:
        rpc: ``http://`` or ``https://`` address of a node.
        id: The chain it must be on.
        token: The token's address.
        settlement: The escrow contract; x402's, where nothing else is said, as are the collectors.
    """

    rpc: str
    id: int
    token: str
    settlement: str = X402_SETTLEMENT
    erc3009_collector: str = X402_ERC3009_COLLECTOR
    permit2_collector: str = X402_PERMIT2_COLLECTOR


class KeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[keys]``: files of encrypted keys, relative to the settings' own folder.

    Attributes:
        keystore: The key that sends deposits and refunds, and pays for their gas. Without it the
            key is in the variable ``FARTHING_KEY``.
        authorizer_keystore: The key that signs claims and refunds. Without it the same.
    """

    keystore: str | None = None
    authorizer_keystore: str | None = None


class TermsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[terms]``: on what terms is paid. Amounts are decimal strings in units of the token.

    Attributes:
        receiver: The address that is paid.
        withdraw_delay: Seconds a payer waits for what it takes back, 900 to 2,592,000.
        min_deposit: The least a deposit may be.
        exposure_cap: How much a channel may owe that is not claimed on chain; without it, as much
            as it holds.
        transfer_methods: How a deposit may be authorised, in the order it is offered.
    """

    receiver: str
    min_deposit: str
    withdraw_delay: int = 86_400
    exposure_cap: str | None = None
    transfer_methods: tuple[str, ...] = (ERC3009,)


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[limits]``; see `Limits`."""

    wait_seconds: Seconds = Limits.wait_seconds
    hold_seconds: Seconds = Limits.hold_seconds
    answer_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**26)] = Limits.answer_bytes
    answer_seconds: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = Limits.answer_seconds
    sync_seconds: Annotated[int, msgspec.Meta(ge=1, le=_MAX_SYNC_SECONDS)] = Limits.sync_seconds


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chain: ChainSettings
    terms: TermsSettings
    # A price is looked at when the token's decimals are known.
    prices: dict[str, Any]
    keys: KeySettings = KeySettings()
    limits: LimitSettings = LimitSettings()
    ledger: str = "farthing.db"


@dataclass(frozen=True)
class Settings:
    """The whole file.

    Attributes:
        path: The file; paths in it are relative to its folder.
        prices: A rule, such as ``GET /articles/{slug}``, to its price, such as ``"0.002"``.
        ledger: A SQLite file's path, or ``postgresql://...``.
    """

    path: Path
    chain: ChainSettings
    terms: TermsSettings
    prices: dict[str, Any]
    keys: KeySettings
    limits: LimitSettings
    ledger: str

    @classmethod
    def load(cls, path: str | Path) -> Settings:
        """Reads a file.

        Raises:
            SettingsInvalid: There is none, it is not TOML, or a field cannot be.
        """
        path = Path(path)
        try:
            table = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            reason = f"it cannot be read ({error.strerror}): make one with `farthing init`"
            raise SettingsInvalid(path, "", reason) from error
        except ValueError as error:
            raise SettingsInvalid(path, "", f"it is not TOML: {error}: correct it") from error
        try:
            found = msgspec.convert(table, _File)
        except msgspec.ValidationError as error:
            raise SettingsInvalid(path, *_explain(str(error))) from error
        settings = cls(path, **msgspec.structs.asdict(found))
        settings._check()
        return settings

    def invalid(self, field: str, problem: str) -> SettingsInvalid:
        """The error that says so of ``field``."""
        return SettingsInvalid(self.path, field, problem)

    def beside(self, name: str) -> Path:
        """A path of the file, from here."""
        return self.path.parent / name

    def _check(self) -> None:
        chain, terms = self.chain, self.terms
        if chain.id < 1:
            raise self.invalid("chain.id", "a chain id is above 0: give the one of your chain")
        for name in ("token", "settlement", "erc3009_collector", "permit2_collector"):
            self._check_value("chain", name, values.non_zero_address, getattr(chain, name))
        self._check_value("terms", "receiver", values.non_zero_address, terms.receiver)
        self._check_value("terms", "withdraw_delay", values.withdraw_delay, terms.withdraw_delay)
        places = {chain.token: "token", chain.settlement: "settlement contract"}
        for place, what in places.items():
            if terms.receiver.lower() == place.lower():
                problem = f"it is the {what}, what is paid there is lost: give your own address"
                raise self.invalid("terms.receiver", problem)
        methods = terms.transfer_methods
        if not methods or len(set(methods)) < len(methods) or not set(methods) <= set(_METHODS):
            problem = f"name one or both of {', '.join(map(repr, _METHODS))}, each once"
            raise self.invalid("terms.transfer_methods", problem)
        if not self.prices:
            raise self.invalid("prices", 'it is empty: price a path, like "GET /a" = "0.002"')
        if not self.ledger:
            problem = "it is empty: give a file's path, or postgresql://user@host/database"
            raise self.invalid("ledger", problem)

    def _check_value(self, table: str, name: str, check: Any, value: object) -> None:
        try:
            check(name, value)
        except InvalidField as error:
            raise self.invalid(f"{table}.{name}", str(error).removeprefix(f"{name} ")) from error


_WHERE = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<at>.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_WRONG = re.compile(r"Expected `(.*?)(?: \| null)?`(.*?)(?:, got `(.*)`)?")
_TABLES: dict[str, type[msgspec.Struct]] = {
    "": _File,
    "chain": ChainSettings,
    "keys": KeySettings,
    "limits": LimitSettings,
    "terms": TermsSettings,
}
# TOML's words for what msgspec calls otherwise.
_KINDS = {"int": "integer", "str": "string", "object": "table", "bool": "boolean"}


def _explain(message: str) -> tuple[str, str]:
    """Field and problem, from what msgspec says."""
    where = _WHERE.fullmatch(message)
    assert where is not None
    problem, at = where["problem"], where["at"] or ""
    unknown, missing = _UNKNOWN.fullmatch(problem), _MISSING.fullmatch(problem)
    if unknown is not None:
        names = ", ".join(sorted(_TABLES[at].__struct_fields__))
        return _dotted(at, unknown[1]), f"there is no such setting: remove it, or take of {names}"
    if missing is not None:
        name = missing[1]
        is_table = name in _TABLES or name == "prices"
        what = f"the table [{name}] is missing: add it" if is_table else "it is missing: add it"
        return _dotted(at, name), what
    wrong = _WRONG.fullmatch(problem)
    if wrong is None:
        return at, problem
    kind, bound, got = wrong[1], wrong[2], wrong[3]
    wanted = f"give {_article(kind)}{bound.replace('.0', '')}"
    return at, f"{wanted}, not {_article(got)}" if got else wanted


def _dotted(table: str, name: str) -> str:
    return f"{table}.{name}" if table else name


def _article(kind: str) -> str:
    word = _KINDS.get(kind, kind)
    return f"{'an' if word[0] in 'aio' else 'a'} {word}"
