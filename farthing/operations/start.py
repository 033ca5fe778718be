"""All that a process runs beside its readers: its parts, supervised, and the overseer of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeAlias

from farthing.opening import Contracts, Keys, open_books, open_contracts, told
from farthing.operations.alerts import Alerts, Sink
from farthing.operations.mail import Mail, MailServer
from farthing.operations.overseer import Overseer, process_name
from farthing.operations.parts import part_openers, read_policy
from farthing.operations.problems import Bounds
from farthing.operations.standing import Look, Standing
from farthing.operations.supervisor import Part, PartState, Supervisor
from farthing.operations.webhook import Webhook
from farthing.settings import Settings, SettingsInvalid

PARTS = ("paywall", "watcher", "redeemer")

Sinks: TypeAlias = Mapping[str, Sink]


class Operations:
    """The parts of a process beside its paywall.

    Attributes:
        standing: How things stood at the last look; None where another process looks.

    Args:
        settings: The publisher's.
        keys: Opened.
        contracts: Looked at; each part opens its own.
        names: Which of `PARTS` this process has.

    Raises:
        SettingsInvalid: A policy, a threshold or a secret cannot be.
    """

    def __init__(
        self, settings: Settings, keys: Keys, contracts: Contracts, names: frozenset[str]
    ) -> None:
        self.standing: Standing | None = None
        self._settings = settings
        self._has_paywall = "paywall" in names
        self._keys = keys
        token = contracts.token
        self._bounds = Bounds.of(settings, token.decimals, token.symbol)
        self._sinks = open_sinks(settings)
        self._coin_price = 0
        if "redeemer" in names:
            self._coin_price = read_policy(settings, token.decimals).coin_price
        openers = part_openers(settings, keys, names)
        self._supervisor = Supervisor({**openers, "overseer": self._open_overseer})

    def states(self) -> dict[str, PartState]:
        """How each part does."""
        states = self._supervisor.states()
        if self._has_paywall:
            # It is there as long as the process is.
            states["paywall"] = PartState(good_at=int(time.time()))
        return states

    def start(self) -> None:
        """Starts all parts."""
        self._supervisor.start()

    def join(self, seconds: float) -> list[str]:
        """Tells all parts to end after the step they are at, and waits for them; the names of those
        that have not ended after so long."""
        return self._supervisor.join(seconds)

    def _open_overseer(self) -> Part:
        settings, keys = self._settings, self._keys
        ledger = open_books(settings)
        try:
            look = Look(
                settings,
                ledger,
                lambda: open_contracts(settings),
                sender=keys.sender.address,
                authorizer=keys.authorizer.address,
                coin_price=self._coin_price,
            )
            return Overseer(
                ledger,
                look,
                self._bounds,
                Alerts(ledger, self._sinks),
                self.states,
                process=process_name(),
                told=self._tell,
            )
        except BaseException:
            ledger.close()
            raise

    def _tell(self, standing: Standing | None) -> None:
        self.standing = standing


def open_sinks(settings: Settings) -> Sinks:
    """Where alerts go besides the log.

    Raises:
        SettingsInvalid: A secret cannot be read, or is too short.
    """
    wanted = settings.alerts
    site = f"receiver {settings.terms.receiver}, chain {settings.chain.id}"
    sinks: dict[str, Sink] = {}
    if wanted.webhook is not None:
        assert wanted.webhook_secret_file is not None
        secret = _secret(settings, "webhook_secret_file", wanted.webhook_secret_file)
        with told(settings, "alerts.webhook_secret_file"):
            sinks["webhook"] = Webhook(wanted.webhook, secret.encode(), site)
    if wanted.smtp_host is not None:
        assert wanted.mail_from is not None
        user = None
        if wanted.smtp_user is not None and wanted.smtp_password_file is not None:
            password = _secret(settings, "smtp_password_file", wanted.smtp_password_file)
            user = (wanted.smtp_user, password)
        server = MailServer(wanted.smtp_host, wanted.smtp_port, wanted.smtp_security, user)
        sinks["mail"] = Mail(server, wanted.mail_from, wanted.mail_to, site)
    return sinks


def _secret(settings: Settings, field: str, name: str) -> str:
    try:
        return settings.beside(name).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingsInvalid(
            settings.path, f"alerts.{field}", f"{name} cannot be read ({reason}): correct it"
        ) from error
