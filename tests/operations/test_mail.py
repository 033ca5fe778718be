"""Mail: what arrives at a real server, over each kind of connection."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from farthing.operations.alerts import DeliveryFailed, Message
from farthing.operations.mail import Mail, MailServer

MESSAGE = Message("gas_low-1-raised", "raised", "gas_low", "send it coins.", 1_700_000_000)
TO = ("ops@example.com", "boss@example.com")


class Post:
    """What a mail server got.

    Attributes:
        refuses: What it answers instead of taking a mail.
    """

    def __init__(self, refuses: str = "") -> None:
        self.envelopes: list[Envelope] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.refuses = refuses

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        if self.refuses:
            return self.refuses
        self.envelopes.append(envelope)
        return "250 taken"

    def authenticate(self, *details: Any) -> AuthResult:
        login: LoginPassword = details[-1]
        self.logins.append((login.login, login.password))
        return AuthResult(success=login.password == b"open sesame", handled=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def mail_server(security: str, post: Post, authority: trustme.CA) -> Iterator[int]:
    """A server on 127.0.0.1, and its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    options: dict[str, Any] = {"authenticator": post.authenticate}
    if security == "tls":
        options |= {"ssl_context": context, "auth_require_tls": False}
    elif security == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    # Port 0 would be for ever "not started" to it: it connects to the port it was given.
    controller = Controller(post, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_send__arrives(security: str, authority: trustme.CA) -> None:
    post = Post()
    user = None if security == "none" else ("farthing", "open sesame")
    with mail_server(security, post, authority) as port:
        server = MailServer("127.0.0.1", port, security, user)
        Mail(server, "shop@example.com", TO, "chain 5", trusting(authority)).send(MESSAGE)
    (envelope,) = post.envelopes
    assert (envelope.mail_from, tuple(envelope.rcpt_tos)) == ("shop@example.com", TO)
    mail = message_from_bytes(bytes(envelope.content or b""))
    assert mail["Subject"] == "[farthing] raised: gas_low"
    assert mail["Message-ID"] == "<gas_low-1-raised@farthing.invalid>"
    assert mail.get_payload().splitlines() == ["send it coins.", "", "raised for chain 5"]
    assert post.logins == ([] if user is None else [(b"farthing", b"open sesame")])


def refused(server: MailServer, context: ssl.SSLContext | None = None) -> str:
    with pytest.raises(DeliveryFailed) as caught:
        Mail(server, "shop@example.com", TO, "chain 5", context).send(MESSAGE)
    return str(caught.value)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_send__to_a_server_nobody_trusts(security: str, authority: trustme.CA) -> None:
    post = Post()
    with mail_server(security, post, authority) as port:
        user = ("farthing", "open sesame")
        said = refused(MailServer("127.0.0.1", port, security, user))
    assert said == (
        "the mail server 127.0.0.1 did not take a mail (SSLCertVerificationError): check "
        "alerts.smtp_*."
    )
    # The password did not go there.
    assert post.logins == []


def test_send__to_a_server_without_tls(authority: trustme.CA) -> None:
    post = Post()
    with mail_server("none", post, authority) as port:
        assert "SMTPNotSupportedError" in refused(MailServer("127.0.0.1", port, "starttls"))
    assert post.envelopes == []


def test_send__wrong_password(authority: trustme.CA) -> None:
    post = Post()
    with mail_server("starttls", post, authority) as port:
        server = MailServer("127.0.0.1", port, "starttls", ("farthing", "guess"))
        said = refused(server, trusting(authority))
    assert "SMTPAuthenticationError" in said
    assert "guess" not in said


def test_send__not_taken(authority: trustme.CA) -> None:
    with mail_server("none", Post("554 no"), authority) as port:
        assert "SMTPDataError" in refused(MailServer("127.0.0.1", port, "none"))


def test_send__nobody_there() -> None:
    assert "ConnectionRefusedError" in refused(MailServer("127.0.0.1", free_port(), "none"))
