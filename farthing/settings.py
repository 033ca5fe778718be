"""The publisher's settings: one TOML file, read strictly.

What can be told from the file alone is told here; what only the chain, the key or the database can
tell, `farthing.opening` tells. Every fault is one sentence with the field and what to do. The
reference in docs/operations.md is made from the docstrings here.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from farthing.protocol import (
    X402_ERC3009_COLLECTOR,
    X402_PERMIT2_COLLECTOR,
    X402_SETTLEMENT,
    FarthingError,
    InvalidField,
    values,
)
from farthing.protocol.amounts import AmountInvalid, to_units

# Decimals of the chain's coin, and of a gwei of it.
COIN_DECIMALS, GWEI_DECIMALS = 18, 9
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
        settlement: The escrow contract. x402's own, if left out, as are the collectors.
        erc3009_collector: The contract that pulls ERC-3009 deposits.
        permit2_collector: The contract that pulls Permit2 deposits.
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
        authorizer_keystore: The key that signs claims, refunds and receipts. Without it the same.
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
        contract_payers: Whether channels without a payer authorizer are taken, as contract wallets
            open them. Their payers, plain keys too (EIP-7702), can make what they signed worthless
            at any time before it is redeemed; set an exposure cap, and redeem often.
        receipts: Whether clients that ask get a signed statement of each charge.
        announce_receipts: Whether the 402 offers them, so that x402's own clients all ask. Then a
            server takes about half as many payments a second.
    """

    receiver: str
    min_deposit: str
    withdraw_delay: int = 86_400
    exposure_cap: str | None = None
    transfer_methods: tuple[str, ...] = (ERC3009,)
    contract_payers: bool = False
    receipts: bool = True
    announce_receipts: bool = False


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[limits]``: how long and how large, in the paywall.

    Attributes:
        wait_seconds: A request waits so long for another one of the same channel.
        hold_seconds: So long a handler may take before others of its channel go on.
        answer_bytes: Answers up to this length are kept for a client that lost them, and charged as
            a whole; longer ones are charged when they reach it, then passed on as they come.
        answer_seconds: So long an answer is kept.
        sync_seconds: After so long the chain is asked again about a channel that pays.
    """

    wait_seconds: Seconds = 5.0
    hold_seconds: Seconds = 60.0
    answer_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**26)] = 262_144
    answer_seconds: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 600
    sync_seconds: Annotated[int, msgspec.Meta(ge=1, le=_MAX_SYNC_SECONDS)] = 300


class PayerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[payers]``: what bounds each payer, on all routes together. Days and months are UTC's.

    With a cap or a rate limit each payer's requests run one after the other.

    Attributes:
        deny: Addresses that nothing is sold to. They get their money back all the same.
        day_cap: What one payer may be charged in a day, in units of the token.
        month_cap: What it may be charged in a month.
        requests_per_minute: How many requests of one payer are served in a minute.
        transactions_per_hour: How many deposits and refunds of one payer the publisher's key sends
            in an hour, and pays the gas for; of each worker process.
    """

    deny: tuple[str, ...] = ()
    day_cap: str | None = None
    month_cap: str | None = None
    requests_per_minute: Annotated[int, msgspec.Meta(ge=1)] | None = None
    transactions_per_hour: Annotated[int, msgspec.Meta(ge=1)] = 30


class CorsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[cors]``: whose scripts may pay here from within a browser.

    Attributes:
        allow_origins: Origins of pages, such as ``"https://reader.example"``, or ``"*"`` for all.
            Without any, a browser lets only this site's own pages see what a path costs and pay.
    """

    allow_origins: tuple[str, ...] = ()


class RedeemerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[redeemer]``: when what was charged is turned into money on chain.

    A channel whose payer withdraws is redeemed before the payer can take the money, whatever the
    other fields say, as long as it brings more than it costs. All others are redeemed in runs,
    which `interval`, `batch_value` and `max_age` begin, whichever is first.

    Attributes:
        coin_price: What one coin of the chain costs, in units of the token, such as ``"3000"``. The
            redeemer compares by it what a redemption costs and brings, and does not run without;
            ``"0"`` where gas costs nothing.
        interval: Seconds between two runs; 0 begins none.
        batch_value: When all that waits is worth so much, a run begins.
        max_age: When a charge has waited so many seconds, a run begins.
        min_value: A channel that would bring less is left alone; its cost decides alone, if left
            out.
        max_cost_percent: What a redemption may cost, in percent of what it brings.
        margin: Seconds before a withdrawal's deadline at which its channel should be redeemed; half
            of the delay, if left out.
    """

    coin_price: str | None = None
    interval: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 86_400
    batch_value: str | None = None
    max_age: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None
    min_value: str | None = None
    max_cost_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 5.0
    margin: Annotated[int, msgspec.Meta(ge=1, le=values.MAX_WITHDRAW_DELAY)] | None = None


class WatcherSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[watcher]``: how the chain is followed.

    Attributes:
        confirmations: A block this many blocks deep is final; a deeper reorganisation is an alert.
        poll_seconds: Seconds between two looks.
        range_blocks: Blocks that the node is asked about at a time.
        start_block: Where a ledger that has never seen the chain begins to read it: the block of
            the first channel that pays this receiver, or any before. The chain's end, if left out.
    """

    confirmations: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 12
    poll_seconds: Seconds = 4.0
    range_blocks: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2_000
    start_block: Annotated[int, msgspec.Meta(ge=0)] | None = None


class FeeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[fees]``: what a transaction may cost.

    Attributes:
        cap: Gwei per gas that no transaction offers more than. One that needs more waits.
        replace_after: Seconds after which a transaction that nobody takes is sent again with the
            same nonce and a higher fee.
    """

    cap: str = "100"
    replace_after: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60


class AlertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[alerts]``: where alerts go besides the log.

    Attributes:
        webhook: An ``http://`` or ``https://`` address that gets each alert as JSON.
        webhook_secret_file: File with the secret that signs what the webhook gets.
        smtp_host: The mail server; without it no mail is sent.
        smtp_port: Its port.
        smtp_security: ``"starttls"``, ``"tls"`` from the first byte, or ``"none"``.
        smtp_user: Name to log in with; without it nobody logs in.
        smtp_password_file: File with the password.
        mail_from: Sender of the mails.
        mail_to: Who gets them.
    """

    webhook: str | None = None
    webhook_secret_file: str | None = None
    smtp_host: str | None = None
    smtp_port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 587
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str | None = None
    smtp_password_file: str | None = None
    mail_from: str | None = None
    mail_to: tuple[str, ...] = ()


class ThresholdSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[thresholds]``: from when on something is an alert.

    Attributes:
        min_coins: Coins below which the sending key runs out of gas money. From then on it sends no
            deposits and refunds of payers: what it has is for redemptions.
        lag_seconds: Age of what the watcher has seen last.
        unredeemed_seconds: Age of the oldest charge that is not redeemed.
        exposure: What may be charged and not redeemed, in units of the token; no alert without it.
        stalled_seconds: How long a transaction may wait to be final.
        silent_seconds: How long a part may say nothing before it counts as stopped.
    """

    min_coins: str = "0.01"
    lag_seconds: Annotated[int, msgspec.Meta(ge=1)] = 300
    unredeemed_seconds: Annotated[int, msgspec.Meta(ge=1)] = 172_800
    exposure: str | None = None
    stalled_seconds: Annotated[int, msgspec.Meta(ge=1)] = 1_800
    silent_seconds: Annotated[int, msgspec.Meta(ge=30)] = 120


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chain: ChainSettings
    terms: TermsSettings
    # A price is looked at when the token's decimals are known.
    prices: dict[str, Any] = {}
    keys: KeySettings = KeySettings()
    limits: LimitSettings = LimitSettings()
    payers: PayerSettings = PayerSettings()
    cors: CorsSettings = CorsSettings()
    redeemer: RedeemerSettings = RedeemerSettings()
    watcher: WatcherSettings = WatcherSettings()
    fees: FeeSettings = FeeSettings()
    alerts: AlertSettings = AlertSettings()
    thresholds: ThresholdSettings = ThresholdSettings()
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
    payers: PayerSettings
    cors: CorsSettings
    redeemer: RedeemerSettings
    watcher: WatcherSettings
    fees: FeeSettings
    alerts: AlertSettings
    thresholds: ThresholdSettings
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
        for each in self.payers.deny:
            self._check_value("payers", "deny", values.non_zero_address, each)
        for origin in self.cors.allow_origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                problem = f'{origin!r} is no origin: write it like "https://reader.example", or "*"'
                raise self.invalid("cors.allow_origins", problem)
        if not self.ledger:
            problem = "it is empty: give a file's path, or postgresql://user@host/database"
            raise self.invalid("ledger", problem)
        if _ALMOST_URL.match(self.ledger):
            # Not shown: there may be a password in it.
            problem = "slashes are missing: write postgresql://user@host/database"
            raise self.invalid("ledger", problem)
        self._check_paths()
        self._check_redeemer()
        self._check_alerts()

    def _check_paths(self) -> None:
        paths = {
            "ledger": self.ledger,
            "keys.keystore": self.keys.keystore,
            "keys.authorizer_keystore": self.keys.authorizer_keystore,
            "alerts.webhook_secret_file": self.alerts.webhook_secret_file,
            "alerts.smtp_password_file": self.alerts.smtp_password_file,
        }
        for field, name in paths.items():
            if name is not None and "\0" in name:
                raise self.invalid(field, "no file's path has a zero byte: remove \\u0000")

    def _check_redeemer(self) -> None:
        margin, delay = self.redeemer.margin, self.terms.withdraw_delay
        if margin is not None and margin >= delay:
            problem = f"it is not less than terms.withdraw_delay, {delay}: give less"
            raise self.invalid("redeemer.margin", problem)
        redeemer = self.redeemer
        if not redeemer.interval and redeemer.batch_value is None and redeemer.max_age is None:
            problem = "nothing would ever be redeemed: give one above 0, or batch_value or max_age"
            raise self.invalid("redeemer.interval", problem)
        self.units("fees.cap", self.fees.cap, GWEI_DECIMALS)
        self.units("thresholds.min_coins", self.thresholds.min_coins, COIN_DECIMALS)

    def _check_alerts(self) -> None:
        alerts = self.alerts
        if alerts.webhook is not None:
            if not alerts.webhook.startswith(("https://", "http://")):
                raise self.invalid("alerts.webhook", "a URL starts with http:// or https://")
            if alerts.webhook_secret_file is None:
                problem = "it is missing: name a file with a secret, for alerts are signed with it"
                raise self.invalid("alerts.webhook_secret_file", problem)
        if alerts.smtp_host is not None:
            for name in ("mail_from", "mail_to"):
                if not getattr(alerts, name):
                    raise self.invalid(f"alerts.{name}", "it is missing: a mail needs it")
            for address in (str(alerts.mail_from), *alerts.mail_to):
                if not _MAIL.fullmatch(address):
                    name = "mail_from" if address == alerts.mail_from else "mail_to"
                    problem = f"{address!r} is no address: write it like you@example.com"
                    raise self.invalid(f"alerts.{name}", problem)
        if (alerts.smtp_user is None) != (alerts.smtp_password_file is None):
            problem = "give both smtp_user and smtp_password_file, or none of them"
            raise self.invalid("alerts.smtp_user", problem)
        if alerts.smtp_user is not None and alerts.smtp_security == "none":
            problem = 'the password would be sent for all to read: give "starttls" or "tls"'
            raise self.invalid("alerts.smtp_security", problem)

    def units(self, field: str, text: str, decimals: int) -> int:
        """The smallest units of an amount in the file, which has to be above 0.

        Raises:
            SettingsInvalid: It is not, or no amount.
        """
        try:
            units = to_units(text, decimals)
        except AmountInvalid as error:
            raise self.invalid(field, str(error)) from error
        if units == 0:
            raise self.invalid(field, "it is 0: give more")
        return units

    def _check_value(self, table: str, name: str, check: Any, value: object) -> None:
        try:
            check(name, value)
        except InvalidField as error:
            raise self.invalid(f"{table}.{name}", str(error).removeprefix(f"{name} ")) from error


# As a browser sends it, or it is never the same.
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_ALMOST_URL = re.compile(r"postgres(ql)?:(?!//)", re.IGNORECASE)
_MAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")
_WHERE = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<at>.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_WRONG = re.compile(r"Expected `(.*?)(?: \| null)?`(.*?)(?:, got `(.*)`)?")
TABLES: dict[str, type[msgspec.Struct]] = {
    "": _File,
    "chain": ChainSettings,
    "keys": KeySettings,
    "terms": TermsSettings,
    "limits": LimitSettings,
    "payers": PayerSettings,
    "cors": CorsSettings,
    "redeemer": RedeemerSettings,
    "watcher": WatcherSettings,
    "fees": FeeSettings,
    "alerts": AlertSettings,
    "thresholds": ThresholdSettings,
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
        names = ", ".join(sorted(TABLES[at].__struct_fields__))
        return _dotted(at, unknown[1]), f"there is no such setting: remove it, or take of {names}"
    if missing is not None:
        name = missing[1]
        is_table = name in TABLES or name == "prices"
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
