"""The settings of watcher, redeemer, fees, alerts and thresholds: what is right, and faults."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from farthing.opening import fee_policy, key_addresses
from farthing.operations.mail import Mail
from farthing.operations.parts import policy_coin_price, read_policy
from farthing.operations.problems import Bounds
from farthing.operations.start import open_sinks
from farthing.operations.webhook import Webhook
from farthing.settings import Settings, SettingsInvalid
from tests.escrow_world import AUTHORIZER, RECEIVER, STRANGER

LEAST = """\
[chain]
rpc = "http://x"
id = 5
token = "0x1111111111111111111111111111111111111111"

[terms]
receiver = "{receiver}"
min_deposit = "1"
exposure_cap = "5"

[prices]
"/a" = "1"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "farthing.toml"


def load(path: Path, more: str = "") -> Settings:
    path.write_text(LEAST.format(receiver=RECEIVER.address) + more)
    return Settings.load(path)


def refused(path: Path, more: str) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        settings = load(path, more)
        read_policy(settings, 6)
        Bounds.of(settings, 6, "TUSD")
        open_sinks(settings)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said.removeprefix(f"{path}: ")


def test_policy__that_only_knows_the_price_of_a_coin(path: Path) -> None:
    policy = read_policy(load(path, '[redeemer]\ncoin_price = "3000.5"\n'), 6)
    assert (policy.coin_price, policy.interval, policy.batch_value) == (3_000_500_000, 86_400, None)
    assert (policy.max_age, policy.min_value, policy.margin) == (None, 0, None)
    assert policy.max_cost_percent == Decimal("5.0")


def test_policy__of_all_fields(path: Path) -> None:
    text = (
        '[redeemer]\ncoin_price = "1"\ninterval = 0\nbatch_value = "100"\nmax_age = 9\n'
        'min_value = "0.01"\nmax_cost_percent = 2.5\nmargin = 600\n'
    )
    policy = read_policy(load(path, text), 6)
    assert (policy.interval, policy.batch_value, policy.max_age) == (None, 100_000_000, 9)
    assert (policy.min_value, policy.margin) == (10_000, 600)
    assert policy.max_cost_percent == Decimal("2.5")


@pytest.mark.parametrize("text", ["0", "0.0", "00"])
def test_policy__where_gas_costs_nothing(path: Path, text: str) -> None:
    settings = load(path, f'[redeemer]\ncoin_price = "{text}"\n')
    assert read_policy(settings, 6).coin_price == 0
    assert policy_coin_price(load(path), 6) == 0


def test_fees__of_the_settings(path: Path) -> None:
    fees = fee_policy(load(path, '[fees]\ncap = "1.5"\nreplace_after = 30\n'))
    assert (fees.cap, fees.replace_after) == (1_500_000_000, 30)


def test_bounds__of_the_settings(path: Path) -> None:
    text = '[thresholds]\nmin_coins = "0.5"\nexposure = "100"\n[redeemer]\nmargin = 7\n'
    bounds = Bounds.of(load(path, text), 6, "TUSD")
    assert (bounds.min_coins, bounds.exposure, bounds.margin) == (5 * 10**17, 100_000_000, 7)
    assert bounds.show(2_000) == "0.002 TUSD"
    default = Bounds.of(load(path), 6, "TUSD")
    assert (default.min_coins, default.exposure, default.margin) == (10**16, None, 43_200)


def test_sinks__none_without_settings(path: Path) -> None:
    assert open_sinks(load(path)) == {}


def test_sinks__webhook_and_mail(path: Path) -> None:
    (path.parent / "hook.secret").write_text("0123456789abcdef\n")
    (path.parent / "mail.secret").write_text("open sesame\n")
    text = (
        '[alerts]\nwebhook = "https://x/y"\nwebhook_secret_file = "hook.secret"\n'
        'smtp_host = "mail"\nsmtp_user = "me"\nsmtp_password_file = "mail.secret"\n'
        'mail_from = "a@b.c"\nmail_to = ["d@e.f"]\n'
    )
    sinks = open_sinks(load(path, text))
    assert {name: type(sink) for name, sink in sinks.items()} == {"webhook": Webhook, "mail": Mail}


MAIL = 'smtp_host = "mail"\nmail_from = "a@b.c"\nmail_to = ["d@e.f"]\n'


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "redeemer.coin_price: it is missing: give what a coin of the chain costs in units"),
        ('[redeemer]\ncoin_price = "x"', "redeemer.coin_price: 'x' is not an amount; write it"),
        (
            '[redeemer]\ncoin_price = "1"\ninterval = 0',
            "redeemer.interval: nothing would ever be redeemed: give one above 0, or batch_value",
        ),
        (
            '[redeemer]\ncoin_price = "1"\nmax_cost_percent = 0',
            "redeemer.max_cost_percent: give a float > 0",
        ),
        (
            '[redeemer]\ncoin_price = "1"\nmax_cost_percent = 101',
            "redeemer.max_cost_percent: give a float <= 100",
        ),
        (
            '[redeemer]\ncoin_price = "1"\nmin_value = "5.1"',
            "redeemer.min_value: '5.1' is more than terms.exposure_cap, which no channel ever owes",
        ),
        ('[redeemer]\ncoin_price = "1"\nmin_value = "0"', "redeemer.min_value: it is 0: give more"),
        (
            '[redeemer]\ncoin_price = "1"\nmargin = 86400',
            "redeemer.margin: it is not less than terms.withdraw_delay, 86400: give less",
        ),
        ("[redeemer]\nspeed = 1", "redeemer.speed: there is no such setting: remove it, or take"),
        ("[watcher]\nconfirmations = 0", "watcher.confirmations: give an integer >= 1"),
        ("[watcher]\nrange_blocks = 0", "watcher.range_blocks: give an integer >= 1"),
        ("[watcher]\nstart_block = -1", "watcher.start_block: give an integer >= 0"),
        ('[fees]\ncap = "0"', "fees.cap: it is 0: give more"),
        ('[fees]\ncap = "1.0000000001"', "fees.cap: '1.0000000001' has more than"),
        ('[thresholds]\nmin_coins = "few"', "thresholds.min_coins: 'few' is not an amount"),
        ("[thresholds]\nsilent_seconds = 29", "thresholds.silent_seconds: give an integer >= 30"),
        ('[alerts]\nwebhook = "x"', "alerts.webhook: a URL starts with http:// or https://"),
        ('[alerts]\nwebhook = "http://x"', "alerts.webhook_secret_file: it is missing: name a"),
        ('[alerts]\nsmtp_host = "x"', "alerts.mail_from: it is missing: a mail needs it"),
        (
            '[alerts]\nsmtp_host = "x"\nmail_from = "a@b.c"',
            "alerts.mail_to: it is missing: a mail needs it",
        ),
        (
            f'[alerts]\n{MAIL}smtp_user = "me"',
            "alerts.smtp_user: give both smtp_user and smtp_p",
        ),
        (
            f'[alerts]\n{MAIL}smtp_user = "me"\nsmtp_password_file = "x"\nsmtp_security = "none"',
            "alerts.smtp_security: the password would be sent for all to read",
        ),
        (f'[alerts]\n{MAIL}smtp_security = "ssl"', "alerts.smtp_security: "),
        (
            f"[alerts]\n{MAIL}".replace("d@e.f", "d@e.f\\nBcc: x@y.z"),
            "alerts.mail_to: 'd@e.f\\nBcc: x@y.z' is no address: write it like you@example.com",
        ),
        (
            '[redeemer]\ncoin_price = "1"\n[alerts]\nwebhook = "http://x"\n'
            'webhook_secret_file = "none"',
            "alerts.webhook_secret_file: none cannot be read (No such file or directory): correct",
        ),
    ],
)
def test_load__a_fault(path: Path, more: str, said: str) -> None:
    assert refused(path, more).startswith(said)


def test_sinks__a_secret_that_can_be_guessed(path: Path) -> None:
    (path.parent / "hook.secret").write_text("1234\n")
    more = (
        '[redeemer]\ncoin_price = "1"\n[alerts]\nwebhook = "http://x"\n'
        'webhook_secret_file = "hook.secret"'
    )
    said = refused(path, more)
    assert said.startswith("alerts.webhook_secret_file: the secret has fewer than 16 characters")
    assert "1234" not in said


def test_key_addresses__without_a_password(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FARTHING_KEY", raising=False)
    address = AUTHORIZER.address[2:].lower()
    (path.parent / "key.json").write_text(f'{{"address": "{address}"}}')
    (path.parent / "bad.json").write_text("[]")
    assert key_addresses(load(path)) == ("", "")
    one = load(path, '[keys]\nkeystore = "key.json"\n')
    assert key_addresses(one) == (AUTHORIZER.address, AUTHORIZER.address)
    two = load(path, '[keys]\nkeystore = "key.json"\nauthorizer_keystore = "bad.json"\n')
    assert key_addresses(two) == (AUTHORIZER.address, "")
    monkeypatch.setenv("FARTHING_KEY", "0x" + bytes(STRANGER.key).hex())
    assert key_addresses(load(path)) == (STRANGER.address, STRANGER.address)
