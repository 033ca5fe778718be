"""Alerts by mail, through a mail server of the user's."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate

from farthing.operations.alerts import DeliveryFailed, Message

TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class MailServer:
    """How a mail server is reached.

    Attributes:
        security: ``"starttls"``, ``"tls"`` from the first byte, or ``"none"``.
        user: Name to log in with, and password; None logs nobody in.
    """

    host: str
    port: int
    security: str = "starttls"
    user: tuple[str, str] | None = None


class Mail:
    """Sends each message as one mail.

    Args:
        server: Where.
        sender: Who it is from.
        recipients: Who gets it.
        site: Whose the alert is: receiver and chain.
        context: What certificates are trusted; those the system trusts without it.
    """

    def __init__(
        self,
        server: MailServer,
        sender: str,
        recipients: tuple[str, ...],
        site: str,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._server = server
        self._sender = sender
        self._recipients = recipients
        self._site = site
        self._context = context

    def send(self, message: Message) -> None:
        mail = EmailMessage()
        mail["Subject"] = f"[farthing] {message.event}: {message.alert}"
        mail["From"] = self._sender
        mail["To"] = ", ".join(self._recipients)
        mail["Date"] = formatdate(message.time)
        # The same for a mail that is sent twice, so that it can be known for one.
        mail["Message-ID"] = f"<{message.id}@farthing.invalid>"
        mail.set_content(f"{message.sentence}\n\n{message.event} for {self._site}\n")
        try:
            with self._connected() as smtp:
                smtp.send_message(mail, self._sender, self._recipients)
        except (OSError, smtplib.SMTPException) as error:
            reason = type(error).__name__
            raise DeliveryFailed(
                f"the mail server {self._server.host} did not take a mail ({reason}): check "
                "alerts.smtp_*."
            ) from error

    def _connected(self) -> smtplib.SMTP:
        server = self._server
        if server.security == "tls":
            context = self._context or ssl.create_default_context()
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_SECONDS)
        try:
            if server.security == "starttls":
                smtp.starttls(context=self._context or ssl.create_default_context())
            if server.user is not None:
                smtp.login(*server.user)
        except BaseException:
            smtp.close()
            raise
        return smtp
