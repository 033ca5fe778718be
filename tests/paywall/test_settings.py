"""Settings: what is right opens, and every fault is one sentence that names field and fix."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from eth_account import Account

from farthing.chain.accounts import KeyUnusable
from farthing.ledger import open_ledger
from farthing.paywall import (
    Cap,
    FreeQuota,
    Paywall,
    Price,
    RateLimit,
    Request,
    Settings,
    SettingsInvalid,
    open_paywall,
)
from tests.escrow_world import AUTHORIZER, RECEIVER, STRANGER, World
from tests.faulty_node import Fault, faulty_node
from tests.paywall.site import PASSWORD, edit, refusal, write_keystore

Edit: TypeAlias = Callable[[str], str]
RECEIVER_LINE = f'receiver = "{RECEIVER.address}"'


# ---------------------------------------------------------------- what is right


def test_open_paywall__with_everything_right(
    folder: Path, node_world: World, opened: list[Paywall]
) -> None:
    opened.append(open_paywall(folder / "farthing.toml"))
    (paywall,) = opened
    terms = paywall.offers.terms
    assert terms.network == "eip155:31337"
    assert terms.token == node_world.token.address
    assert (terms.token_name, terms.token_version) == (
        node_world.token.domain.name,
        node_world.token.domain.version,
    )
    assert terms.receiver == terms.receiver_authorizer == RECEIVER.address
    assert (terms.withdraw_delay, terms.min_deposit) == (3_600, 10_000)
    assert terms.transfer_methods == ("eip3009",)
    assert paywall.domain == node_world.settlement.domain
    assert paywall.offers.receipts is not None and not paywall.offers.receipts.is_announced
    assert paywall.limits.exposure_cap == 5_000_000
    assert paywall.limits.hold_seconds == 30.0
    assert [rule.price for rule in paywall.prices.rules] == [2_000, 0]
    assert (folder / "books.db").exists()


def test_open_paywall__receipts_announced(folder: Path, opened: list[Paywall]) -> None:
    announced = "announce_receipts = true\nwithdraw_delay"
    opened.append(open_paywall(edit(folder, r"^withdraw_delay", announced)))
    assert opened[0].offers.receipts is not None and opened[0].offers.receipts.is_announced


def test_open_paywall__without_receipts(folder: Path, opened: list[Paywall]) -> None:
    opened.append(
        open_paywall(edit(folder, r"^withdraw_delay", "receipts = false\nwithdraw_delay"))
    )
    assert opened[0].offers.receipts is None


def test_open_paywall__takes_the_authorizers_own_key(folder: Path, opened: list[Paywall]) -> None:
    write_keystore(folder / "authorizer.json", AUTHORIZER)
    keys = 'keystore = "sender.json"\nauthorizer_keystore = "authorizer.json"'
    opened.append(open_paywall(edit(folder, r'^keystore = "sender.json"', keys)))
    assert opened[0].offers.terms.receiver_authorizer == AUTHORIZER.address


def test_open_paywall__takes_the_key_of_the_environment(
    folder: Path, opened: list[Paywall], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARTHING_KEY", "0x" + bytes(STRANGER.key).hex())
    opened.append(open_paywall(edit(folder, r'^keystore = "sender.json"', "")))
    assert opened[0].offers.terms.receiver_authorizer == STRANGER.address


def test_open_paywall__asks_for_a_password(
    folder: Path, opened: list[Paywall], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FARTHING_PASSWORD")
    asked: list[Path] = []

    def ask(path: Path) -> str:
        asked.append(path)
        return PASSWORD

    opened.append(open_paywall(folder / "farthing.toml", ask=ask))
    assert asked == [folder / "sender.json"]


def test_open_paywall__with_a_function_for_a_price(folder: Path, opened: list[Paywall]) -> None:
    def price(request: Any) -> str:
        return "0.5"

    opened.append(open_paywall(folder / "farthing.toml", prices={"GET /articles/dear": price}))
    found: Any = opened[0].prices.find("GET", "/articles/dear")
    assert opened[0].prices.price(found, Request("GET", "/", b"", {}, {})) == 500_000


def test_open_paywall__with_prices_in_python_alone(folder: Path, opened: list[Paywall]) -> None:
    path = edit(folder, r'^"GET /art[^"]*" = "0.002"\n.*', "")
    price = Price("0.5", FreeQuota(3, "P1M"))
    opened.append(open_paywall(path, prices={"GET /a": price}))
    (rule,) = opened[0].prices.rules
    assert (rule.price, rule.payer_rules) == (500_000, (FreeQuota(3, "P1M", "GET /a"),))


def test_open_paywall__with_limits_of_payers(folder: Path, opened: list[Paywall]) -> None:
    limits = (
        f'[payers]\ndeny = ["{STRANGER.address.lower()}"]\nday_cap = "5"\nmonth_cap = "50"\n'
        "requests_per_minute = 60\n[limits]"
    )
    opened.append(open_paywall(edit(folder, r"^\[limits\]", limits)))
    payers = opened[0].limits.payers
    assert payers.denied == {STRANGER.address}
    day, month, rate = payers.rules
    assert isinstance(day, Cap) and isinstance(month, Cap) and isinstance(rate, RateLimit)
    assert [(cap.units, cap.period) for cap in (day, month)] == [
        (5_000_000, "P1D"),
        (50_000_000, "P1M"),
    ]
    assert (rate.count, rate.period) == (60, "PT1M")
    # They are not counted with those of a price.
    assert not {*Cap("5", "P1D").tallies()} & {*day.tallies()}


def test_open_paywall__again_with_the_same_settings(folder: Path, opened: list[Paywall]) -> None:
    open_paywall(folder / "farthing.toml").ledger.close()
    opened.append(open_paywall(folder / "farthing.toml"))
    assert opened[0].ledger.totals().channels == 0


def test_open_paywall__with_a_ledger_in_postgresql(folder: Path, postgres_url: str) -> None:
    path = edit(folder, r"^ledger = .*", f'ledger = "{postgres_url}"')
    open_paywall(path).ledger.close()
    edit(folder, r"^receiver = .*", f'receiver = "{STRANGER.address}"')
    said = refusal(path)
    assert said.startswith(f"{path}: ledger: it is that of receiver {RECEIVER.address}, ")
    assert postgres_url not in said


def test_open_paywall__warns_of_a_key_without_coins(
    folder: Path, opened: list[Paywall], caplog: pytest.LogCaptureFixture
) -> None:
    poor = Account.create()
    write_keystore(folder / "sender.json", poor)
    opened.append(open_paywall(folder / "farthing.toml"))
    assert caplog.messages == [f"the key {poor.address} has no coins for gas: send it some"]


def test_load__fills_in_what_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    path.write_text(
        f'[chain]\nrpc="http://x"\nid=1\ntoken="0x{"11" * 20}"\n[terms]\n{RECEIVER_LINE}\n'
        'min_deposit="1"\n[prices]\n"/a"="1"\n'
    )
    settings = Settings.load(path)
    assert settings.chain.settlement == "0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003"
    assert settings.chain.erc3009_collector == "0x4020806089470a89826cB9fB1f4059150b550004"
    assert settings.terms.withdraw_delay == 86_400
    assert settings.keys.keystore is None
    assert settings.ledger == "farthing.db"


# ---------------------------------------------------------------- what the file alone tells

OF_THE_FILE = [
    (r"^id = 31337", "id = ", "it is not TOML: Invalid value (at line 5, column 6): correct it"),
    (r"^id = 31337", "", "chain.id: it is missing: add it"),
    (r"^id = 31337", 'id = "1"', "chain.id: give an integer, not a string"),
    (r"^id = 31337", "id = true", "chain.id: give an integer, not a boolean"),
    (r"^id = 31337", "id = -1", "chain.id: a chain id is above 0: give the one of your chain"),
    (
        r"^id = 31337",
        "id = 31337\nport = 1",
        "chain.port: there is no such setting: remove it, or take of erc3009_collector, id, "
        "permit2_collector, rpc, settlement, token",
    ),
    (
        r"^ledger = .*",
        'leger = "x"',
        "leger: there is no such setting: remove it, or take of alerts, chain, cors, fees, keys, "
        "ledger, limits, payers, prices, redeemer, terms, thresholds, watcher",
    ),
    (r"^ledger = .*", "ledger = 3", "ledger: give a string, not an integer"),
    (
        r"^ledger = .*",
        'ledger = ""',
        "ledger: it is empty: give a file's path, or postgresql://user@host/database",
    ),
    (
        r"^ledger = .*",
        r'ledger = "a\u0000b"',
        r"ledger: no file's path has a zero byte: remove \u0000.",
    ),
    (
        r"^keystore = .*",
        r'authorizer_keystore = "a\u0000b"',
        r"keys.authorizer_keystore: no file's path has a zero byte: remove \u0000.",
    ),
    (
        r"^ledger = .*",
        'ledger = "postgresql:/me:secret@host/db"',
        "ledger: slashes are missing: write postgresql://user@host/database.",
    ),
    (
        r"^ledger = .*",
        'ledger = "postgres:db"',
        "ledger: slashes are missing: write postgresql://user@host/database.",
    ),
    (
        r"^\[terms\]",
        "[other]",
        "other: there is no such setting: remove it, or take of alerts, chain, cors, fees, keys, "
        "ledger, limits, payers, prices, redeemer, terms, thresholds, watcher",
    ),
    (
        r"^receiver = .*",
        'receiver = "bob"',
        "terms.receiver: must be an address, 0x and 40 hex digits, got 'bob'",
    ),
    (
        r"^receiver = .*",
        f'receiver = "0x{"0" * 40}"',
        f"terms.receiver: must not be the zero address, got '0x{'0' * 40}'",
    ),
    (
        r"^receiver = .*",
        f'receiver = "{RECEIVER.address.swapcase().replace("X", "x", 1)}"',
        "terms.receiver: has a wrong checksum",
    ),
    (r"^token = .*", 'token = "USDC"', "chain.token: must be an address"),
    (r"^settlement = .*", 'settlement = "0x12"', "chain.settlement: must be an address"),
    (r"^erc3009_.*", 'erc3009_collector = "x"', "chain.erc3009_collector: must be an address"),
    (r"^permit2_.*", 'permit2_collector = "x"', "chain.permit2_collector: must be an address"),
    (
        r"^withdraw_delay = .*",
        "withdraw_delay = 899",
        "terms.withdraw_delay: must be 900 to 2592000 seconds, got 899",
    ),
    (
        r"^withdraw_delay = .*",
        "withdraw_delay = 2592001",
        "terms.withdraw_delay: must be 900 to 2592000 seconds, got 2592001",
    ),
    (
        r"^withdraw_delay = .*",
        'withdraw_delay = "1h"',
        "terms.withdraw_delay: give an integer, not a string",
    ),
    (r"^min_deposit = .*", "min_deposit = 1", "terms.min_deposit: give a string, not an integer"),
    (r"^min_deposit = .*", "", "terms.min_deposit: it is missing: add it"),
    (
        r"^exposure_cap = .*",
        'transfer_methods = ["card"]',
        "terms.transfer_methods: name one or both of 'eip3009', 'permit2', each once",
    ),
    (r"^exposure_cap = .*", "transfer_methods = []", "terms.transfer_methods: name one or both"),
    (
        r"^exposure_cap = .*",
        'transfer_methods = "eip3009"',
        "terms.transfer_methods: give an array, not a string",
    ),
    (r"^hold_seconds = .*", "hold_seconds = 0", "limits.hold_seconds: give a float > 0"),
    (r"^hold_seconds = .*", "hold_seconds = inf", "limits.hold_seconds: give a float <= 3600"),
    (r"^hold_seconds = .*", "hold_seconds = nan", "limits.hold_seconds: give a float"),
    (r"^hold_seconds = .*", "sync_seconds = 601", "limits.sync_seconds: give an integer <= 600"),
    (r"^hold_seconds = .*", "holds = 1", "limits.holds: there is no such setting: remove it"),
    (
        r"^\[limits\]",
        '[payers]\ndeny = ["bob"]\n[limits]',
        "payers.deny: must be an address, 0x and 40 hex digits, got 'bob'",
    ),
    (
        r"^\[limits\]",
        "[payers]\nrequests_per_minute = 0\n[limits]",
        "payers.requests_per_minute: give an integer >= 1",
    ),
    (
        r"^\[limits\]",
        '[payers]\nweek_cap = "1"\n[limits]',
        "payers.week_cap: there is no such setting: remove it, or take of day_cap, deny, "
        "month_cap, requests_per_minute",
    ),
    (
        r"^\[limits\]",
        '[cors]\nallow_origins = ["reader.example"]\n[limits]',
        "cors.allow_origins: 'reader.example' is no origin: write it like",
    ),
    (
        r"^\[limits\]",
        '[cors]\nallow_origins = ["https://reader.example/"]\n[limits]',
        "cors.allow_origins: 'https://reader.example/' is no origin: write it like",
    ),
    (r'^"GET /art[^"]*" = "0.002"\n.*', "", 'prices: it is empty: price a path, like "GET /a"'),
]


@pytest.mark.parametrize(("pattern", "replacement", "said"), OF_THE_FILE)
def test_load__a_fault_of_the_file(folder: Path, pattern: str, replacement: str, said: str) -> None:
    path = edit(folder, pattern, replacement)
    found = refusal(path)
    assert found.startswith(f"{path}: {said}")
    assert not (folder / "books.db").exists()


@pytest.mark.parametrize("field", ["token", "settlement"])
def test_load__receiver_that_would_lose_the_money(
    folder: Path, node_world: World, field: str
) -> None:
    place = {"token": node_world.token.address, "settlement": node_world.settlement.address}[field]
    path = edit(folder, r"^receiver = .*", f'receiver = "{place.lower()}"')
    assert refusal(path).startswith(f"{path}: terms.receiver: it is the {field}")


def test_load__no_file(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    with pytest.raises(SettingsInvalid) as caught:
        Settings.load(path)
    assert str(caught.value) == (
        f"{path}: it cannot be read (No such file or directory): make one with `farthing init`."
    )


def test_load__no_text(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsInvalid, match="it is not TOML"):
        Settings.load(path)


# ---------------------------------------------------------------- what the chain tells

OF_THE_CHAIN = [
    (
        r'^"GET /art[^"]*" = "0.002"',
        '"GET /articles/{slug}" = 0.002',
        "prices: price of 'GET /articles/{slug}': 0.002 is not a price; write it in quotes",
    ),
    (
        r'^"GET /art[^"]*" = "0.002"',
        '"GET /articles/{slug}" = "0.0000001"',
        "prices: price of 'GET /articles/{slug}': '0.0000001' has more than the token's 6 "
        "decimals; write fewer, or 'free'",
    ),
    (
        r'^"GET /art[^"]*" = "0.002"',
        '"GET /articles/{slug}" = "two cents"',
        "prices: price of 'GET /articles/{slug}': 'two cents' is not an amount",
    ),
    (
        r'^"GET /art[^"]*" = "0.002"',
        '"articles" = "0.002"',
        "prices: price of 'articles': write a path such as /articles/{slug}",
    ),
    *(
        (
            r'^"GET /art[^"]*" = "0.002"',
            f'"{rule}" = "0.002"',
            f"prices: price of {rule!r}: a parameter is written {{name}} for one segment, or "
            "{name:path} for any number",
        )
        for rule in (
            "GET /articles/*",
            "/articles/**",
            "/articles/:slug",
            "/articles/<slug>",
            "/articles/<str:slug>",
            "/articles/[slug]",
        )
    ),
    (
        r'^"GET /art[^"]*" = "0.002"',
        '"GET /search?q={q}" = "0.002"',
        "prices: price of 'GET /search?q={q}': what begins with '?' is no part of a path: leave it",
    ),
    (
        r'^"GET /art[^"]*" = "0.002"',
        '"/articles/one#top" = "0.002"',
        "prices: price of '/articles/one#top': what begins with '#' is no part of a path: leave it",
    ),
    (
        r'^"GET /art[^"]*" = "0.002"',
        '"/{p:path}" = "free"\n"GET /articles/{slug}" = "0.002"',
        "prices: price of 'GET /articles/{slug}': '/{p:path}' before it matches all that it does, "
        "so it never holds: put it before that one, or remove it",
    ),
    (
        r"^min_deposit = .*",
        'min_deposit = "-1"',
        "terms.min_deposit: '-1' is not an amount; write it like '0.002'",
    ),
    (r"^min_deposit = .*", 'min_deposit = "0.0"', "terms.min_deposit: it is 0: give more"),
    (
        r"^\[limits\]",
        '[payers]\nday_cap = "0"\n[limits]',
        "payers.day_cap: it is 0: give more",
    ),
    (
        r"^exposure_cap = .*",
        'exposure_cap = "0.001"',
        "terms.exposure_cap: '0.001' is less than the price of 'GET /articles/{slug}': give more",
    ),
    (r"^exposure_cap = .*", 'exposure_cap = "1e3"', "terms.exposure_cap: '1e3' is not an amount"),
    (r"^id = 31337", "id = 1", "chain.id: the node is on chain 31337, not on 1"),
    (r"^rpc = .*", 'rpc = "localhost:8545"', "chain.rpc: no node answers at localhost:8545"),
    (
        r"^token = .*",
        f'token = "{STRANGER.address}"',
        f"chain.token: no token at {STRANGER.address}: check the address and the chain",
    ),
    (
        r"^settlement = .*",
        f'settlement = "{STRANGER.address}"',
        f"chain.settlement: no settlement contract of chain 31337 at {STRANGER.address}",
    ),
    (
        r"^erc3009_collector = .*",
        f'erc3009_collector = "{STRANGER.address}"',
        f"chain.erc3009_collector: there is no contract at {STRANGER.address} on chain 31337",
    ),
    (
        r"^keystore = .*",
        'keystore = "none.json"',
        "keys.keystore: keystore ",
    ),
    (r"^keystore = .*", "", "keys.keystore: there is no key: name a keystore file, or set"),
    (r"^ledger = .*", 'ledger = "no/such/books.db"', "ledger: the ledger "),
    (
        r"^ledger = .*",
        'ledger = "mysql://me:secret@host/db"',
        "ledger: the ledger mysql://... cannot be used: give a file's path, or postgresql://",
    ),
    (r"^ledger = .*", 'ledger = "farthing.toml"', "ledger: the ledger "),
]


@pytest.mark.parametrize(("pattern", "replacement", "said"), OF_THE_CHAIN)
def test_open_paywall__a_fault_that_shows_at_start(
    folder: Path, pattern: str, replacement: str, said: str
) -> None:
    path = edit(folder, pattern, replacement)
    assert refusal(path).startswith(f"{path}: {said}")
    assert not (folder / "books.db").exists()


def test_open_paywall__permit2_without_its_collector(folder: Path) -> None:
    path = edit(folder, r"^permit2_.*", f'permit2_collector = "{STRANGER.address}"')
    edit(folder, r"^exposure_cap", 'transfer_methods = ["permit2"]\nexposure_cap')
    assert refusal(path).startswith(f"{path}: chain.permit2_collector: there is no contract at")


def test_open_paywall__no_node(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    path = edit(folder, r"^rpc = .*", f'rpc = "{url}"')
    assert refusal(path) == (
        f"{path}: chain.rpc: no node answers at {url} (ConnectionError): check the URL and that "
        "it runs."
    )


@pytest.mark.parametrize("method", ["eth_getCode", "eth_call", "eth_getBalance"])
def test_open_paywall__a_node_that_is_busy(folder: Path, node_url: str, method: str) -> None:
    with faulty_node(node_url) as node:
        path = edit(folder, r"^rpc = .*", f'rpc = "{node.url}"')
        node.always(method, Fault.REFUSE)
        assert "limit exceeded" in refusal(path)


def test_open_paywall__a_folder_for_a_ledger(folder: Path) -> None:
    path = edit(folder, r"^ledger = .*", 'ledger = "."')
    assert refusal(path) == (
        f"{path}: ledger: the ledger {folder} cannot be used: it is a folder: give the path of a "
        "file in it."
    )


def test_open_paywall__no_database(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    path = edit(folder, r"^ledger = .*", f'ledger = "postgresql://me:secret@127.0.0.1:{port}/x"')
    said = refusal(path)
    assert said.startswith(f"{path}: ledger: the ledger postgresql://")
    assert "secret" not in said


def test_open_paywall__wrong_password(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARTHING_PASSWORD", "another password")
    said = refusal(folder / "farthing.toml")
    assert "keys.keystore: keystore " in said
    assert "another password" not in said


@pytest.mark.parametrize("text", ['{"version": 9}', '{"crypto": [], "version": 3}', "[]", ""])
def test_open_paywall__keystore_that_is_none(folder: Path, text: str) -> None:
    (folder / "sender.json").write_text(text)
    path = folder / "farthing.toml"
    assert refusal(path) == (
        f"{path}: keys.keystore: keystore {folder / 'sender.json'} does not open: check the "
        "password and that it is a keystore file."
    )


def test_open_paywall__no_password(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FARTHING_PASSWORD")
    with pytest.raises(KeyUnusable, match="set FARTHING_PASSWORD to its password"):
        open_paywall(folder / "farthing.toml")


def test_open_paywall__key_that_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARTHING_KEY", "0xnonsense")
    said = refusal(edit(folder, r"^keystore = .*", ""))
    assert said.startswith("FARTHING_KEY is not a private key")
    assert "nonsense" not in said


def test_open_paywall__two_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARTHING_KEY", "0x" + bytes(STRANGER.key).hex())
    said = refusal(folder / "farthing.toml")
    assert "unset the one or remove the other" in said


def test_open_paywall__the_same_key_twice(
    folder: Path, opened: list[Paywall], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARTHING_KEY", "0x" + bytes(RECEIVER.key).hex())
    opened.append(open_paywall(folder / "farthing.toml"))


def test_open_paywall__a_price_twice(folder: Path) -> None:
    with pytest.raises(SettingsInvalid, match="is priced in Python too"):
        open_paywall(folder / "farthing.toml", prices={"GET /articles/{slug}": lambda _: "1"})


def test_open_paywall__with_an_async_function_for_a_price(folder: Path) -> None:
    async def price(request: Any) -> str:
        return "0.5"

    path = folder / "farthing.toml"
    with pytest.raises(SettingsInvalid) as caught:
        open_paywall(path, prices={"GET /dear": price})  # type: ignore[dict-item]
    assert str(caught.value) == (
        f"{path}: prices: price of 'GET /dear': its function is async: write it with def, not "
        "async def."
    )


def test_open_paywall__ledger_of_another_receiver(folder: Path) -> None:
    open_paywall(folder / "farthing.toml").ledger.close()
    path = edit(folder, r"^receiver = .*", f'receiver = "{STRANGER.address}"')
    said = refusal(path)
    assert said.startswith(f"{path}: ledger: it is that of receiver {RECEIVER.address}, ")
    # What it is stays what it was.
    ledger = open_ledger(str(folder / "books.db"))
    assert RECEIVER.address in str(ledger.recall("owner"))
    ledger.close()
