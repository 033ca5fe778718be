"""`farthing replay` as a user meets it: what is printed where, exit codes, and bad input."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from make_sample_log import SAMPLE_PATH, make_sample

from farthing.chain.accounts import KEY_VARIABLE, PASSWORD_VARIABLE
from farthing.chain.anvil import ANVIL_KEYS
from farthing.commands import command_line
from farthing.commands import replay as replay_module
from farthing.replay import run as run_module
from tests.escrow_world import World, party
from tests.stub_node import forward, method, result, stub_node

ROOT = Path(__file__).parents[2]
LINE = '{} - - [02/Mar/2024:06:00:38 +0000] "GET {} HTTP/1.1" 200 512\n'
LOG = LINE.format("192.0.2.1", "/a") + LINE.format("192.0.2.2", "/b") + "not a line\n"

# What the issue asks for, and what is said besides.
KEYS: dict[str, type | tuple[type, ...]] = {
    "lines": int,
    "skipped_lines": int,
    "paid_reads": int,
    "readers": int,
    "revenue": int,
    "payers_paid": int,
    "receiver_got": int,
    "deposits": int,
    "batches": int,
    "gas_total": int,
    "gas_per_read": float,
    "cost_percent": float,
    "seconds": float,
}
EXTRAS: dict[str, type | tuple[type, ...]] = {
    "chain": str,
    "free_reads": int,
    "unpaid": int,
    "books_balance": bool,
    "token_symbol": str,
    "token_decimals": int,
    "gas_deposits": int,
    "gas_redemption": int,
    "redeemed_gas_per_read": float,
    "transfer_gas_per_read": int,
    "gas_price_wei": int,
    "coin_price": str,
    "redeemed_cost_percent": float,
    "transfers_cost_percent": float,
    "card_cost_percent": float,
    "card_standard_cost_percent": float,
    "unreadable": list,
}


# The full-width nine, the rounded and the overflowing are numbers to Python's Decimal.
NO_AMOUNTS = (
    *("0", "-1", "0.0000001", "five", "", "nan", "inf", "1e3", "1_000", "\uff19", " 5", ".", "5."),
    *("9e999999", "5.0000000000000000000000000000001", "9" * 29, "9" * 31),
)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


Farthing = Callable[..., Done]


@pytest.fixture
def farthing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Farthing:
    """Runs the command in this process: `farthing("replay", ..., stdin=b"...")`."""
    for variable in (KEY_VARIABLE, PASSWORD_VARIABLE, command_line.DEBUG_VARIABLE):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["farthing", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        code = 0
        try:
            command_line.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "access.log"
    path.write_text(LOG)
    return str(path)


@contextmanager
def recording_node(chain_id: int = 4242) -> Iterator[tuple[str, list[str]]]:
    """A node of a chain nobody knows, and the methods it was asked."""
    asked: list[str] = []

    def answer(body: bytes) -> bytes:
        asked.append(method(body))
        return result(hex(chain_id))

    with stub_node(answer) as url:
        yield url, asked


def refused(done: Done, *words: str, code: int = 1) -> None:
    """One sentence on stderr, nothing on stdout, no traceback."""
    assert done.code == code
    assert done.out == ""
    (sentence,) = done.err.splitlines()
    assert sentence.startswith("farthing: ")
    assert sentence.endswith(".")
    for word in words:
        assert word in sentence


# ---------------------------------------------------------------- good input


def test_replay__json_of_the_sample(farthing: Farthing) -> None:
    done = farthing("replay", str(SAMPLE_PATH), "--json")
    assert (done.code, done.err) == (0, "")
    report, sample = done.report, make_sample()
    types = {**KEYS, **EXTRAS}
    assert report.keys() == types.keys()
    for key, kind in types.items():
        # `type`, for True is an int to `isinstance`.
        assert type(report[key]) is kind, key
    revenue = sum(sample.owed.values())
    assert [report[k] for k in ("revenue", "payers_paid", "receiver_got")] == [revenue] * 3
    assert (report["lines"], report["skipped_lines"]) == (sample.lines, len(sample.unreadable))
    assert (report["paid_reads"], report["readers"]) == (sample.paid_reads, len(sample.owed))
    assert report["gas_per_read"] == round(report["gas_total"] / sample.paid_reads, 1)
    assert [bad["line"] for bad in report["unreadable"]] == list(sample.unreadable)
    assert report["chain"] == "in-process"


def test_replay__tables_for_people(farthing: Farthing, log: str) -> None:
    done = farthing("replay", log)
    assert done.code == 0
    assert "The books balance" in done.out
    assert "line 3: " in done.out
    assert "not a line" in done.out
    # Progress goes elsewhere, so that the report can be piped.
    assert "Redeeming" in done.err
    assert "Redeeming" not in done.out


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("source", ["-", "a file"])
def test_replay__every_form_of_log(
    farthing: Farthing, tmp_path: Path, source: str, pack: Callable[[bytes], bytes]
) -> None:
    data = pack(LOG.encode())
    path = tmp_path / "log"
    path.write_bytes(data)
    if source == "-":
        done = farthing("replay", "-", "--json", stdin=data)
    else:
        done = farthing("replay", str(path), "--json")
    assert done.code == 0
    assert (done.report["lines"], done.report["skipped_lines"]) == (3, 1)
    assert (done.report["readers"], done.report["revenue"]) == (2, 40_000)


def test_replay__an_empty_log(farthing: Farthing) -> None:
    done = farthing("replay", "-", "--json", stdin=b"")
    assert done.code == 0
    assert (done.report["lines"], done.report["revenue"], done.report["gas_total"]) == (0, 0, 0)
    assert done.report["gas_per_read"] is None
    assert done.report["cost_percent"] is None
    people = farthing("replay", "-", stdin=b"")
    assert people.code == 0
    assert "The books balance" in people.out


def test_replay__prices_and_deposit_of_the_user(
    farthing: Farthing, log: str, tmp_path: Path
) -> None:
    rules = tmp_path / "prices.toml"
    rules.write_text('default = "0"\n[[rule]]\npath = "/a"\nprice = "0.07"\n')
    done = farthing("replay", log, "--prices", str(rules), "--deposit", "0.03", "--json")
    assert done.code == 0
    report = done.report
    assert (report["revenue"], report["readers"], report["deposits"]) == (70_000, 1, 3)
    assert (report["paid_reads"], report["free_reads"]) == (1, 1)


def test_replay__market_of_the_user(farthing: Farthing, log: str) -> None:
    done = farthing("replay", log, "--gas-price", "2", "--coin-price", "1000", "--json")
    report = done.report
    assert (report["gas_price_wei"], report["coin_price"]) == (2 * 10**9, "1000")
    dollars = report["gas_total"] * 2e-9 * 1_000
    assert report["cost_percent"] == pytest.approx(dollars / 0.04 * 100, abs=1e-3)


def test_replay__on_a_running_node_with_a_key_of_the_environment(
    farthing: Farthing,
    log: str,
    node_world: World,
    node_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, ANVIL_KEYS[2])
    publisher = Account.from_key(ANVIL_KEYS[2]).address
    done = farthing("replay", log, "--rpc", node_url, "--chain-id", "31337", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.report["chain"] == "chain 31337"
    assert node_world.token.balance_of(publisher) == 40_000


def test_replay__on_a_running_node_with_a_keystore(
    farthing: Farthing,
    log: str,
    node_world: World,
    node_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keystore = tmp_path / "key.json"
    encrypted = Account.encrypt(ANVIL_KEYS[3], "open", kdf="pbkdf2", iterations=2)
    keystore.write_text(json.dumps(encrypted))
    monkeypatch.setenv(PASSWORD_VARIABLE, "open")
    done = farthing("replay", log, "--rpc", node_url, "--account", str(keystore), "--json")
    assert done.code == 0
    publisher = Account.from_key(ANVIL_KEYS[3]).address
    assert node_world.token.balance_of(publisher) == 40_000


def test_replay__twice_on_the_same_node(
    farthing: Farthing, log: str, node_world: World, node_url: str
) -> None:
    before = node_world.token.balance_of(node_world.operator.address)
    for _ in range(2):
        done = farthing("replay", log, "--rpc", node_url, "--json")
        assert (done.code, done.report["receiver_got"]) == (0, 40_000)
    after = node_world.token.balance_of(node_world.operator.address)
    assert after == before + 80_000


def test_replay__on_an_anvil_of_its_own(farthing: Farthing, log: str) -> None:
    done = farthing("replay", log, "--network", "anvil", "--json")
    assert (done.code, done.report["chain"]) == (0, "anvil")
    assert done.report["receiver_got"] == 40_000


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_replay__books_that_do_not_balance(
    farthing: Farthing, log: str, monkeypatch: pytest.MonkeyPatch, form: list[str]
) -> None:
    redeem = run_module.redeem

    def leaky(settlement: Any, sender: Any, *args: Any, **options: Any) -> Any:
        done = redeem(settlement, sender, *args, **options)
        stages[0].token.transfer(sender, party("thief").address, 1)
        return done

    stages: list[Any] = []
    set_stage = replay_module.set_stage
    monkeypatch.setattr(
        replay_module, "set_stage", lambda *a: stages.append(set_stage(*a)) or stages[0]
    )
    monkeypatch.setattr(run_module, "redeem", leaky)
    done = farthing("replay", log, *form)
    assert done.code == 1
    assert "Traceback" not in done.err
    if form:
        assert done.report["books_balance"] is False
        assert (done.report["payers_paid"], done.report["receiver_got"]) == (40_000, 39_999)
    else:
        assert "The books do NOT balance" in done.out


# ---------------------------------------------------------------- bad input: nothing is asked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.log"], ["'missing.log'", "there is no such file"]),
        (["."], ["it is a directory"]),
        (["LOG", "--prices", "missing.toml"], ["'missing.toml'"]),
        (["LOG", "--prices", "."], ["Price file '.'"]),
        (["LOG", "--prices", "RULES"], ["rule 1", "not an amount"]),
        (["LOG", "--gas-price", "cheap"], ["gas price", "'cheap'"]),
        (["LOG", "--gas-price", "-1"], ["is negative"]),
        (["LOG", "--gas-price", "nan"], ["gas price"]),
        (["LOG", "--coin-price", "1e400"], ["coin price"]),
        (["LOG", "--coin-price", ""], ["coin price"]),
        *((["LOG", f"--deposit={each}"], [f"--deposit {each!r} is not"]) for each in NO_AMOUNTS),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_replay__wrong_before_the_chain_matters(
    farthing: Farthing,
    log: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\npath = "/"\nprice = "two"\n')
    monkeypatch.chdir(tmp_path)
    named = [{"LOG": log, "RULES": str(rules)}.get(each, each) for each in arguments]
    with recording_node() as (url, asked):
        done = farthing("replay", *named, "--rpc", url)
    refused(done, *words)
    assert asked == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'LOG'"),
        (["LOG", "--network", "mainnet"], "'mainnet' is not one of"),
        (["LOG", "--chain-id", "one", "--rpc", "http://x"], "'one' is not a valid integer"),
        (["LOG", "--chain-id", "1"], "give --rpc too"),
        (["LOG", "--account", "key.json"], "give --rpc too"),
        (["LOG", "--colour"], "No such option"),
    ],
)
def test_replay__wrong_options(
    farthing: Farthing, log: str, arguments: list[str], words: str
) -> None:
    done = farthing("replay", *(log if each == "LOG" else each for each in arguments))
    assert done.code == 2
    assert done.out == ""
    assert words in done.err
    assert "Traceback" not in done.err


def test_farthing__unknown_command(farthing: Farthing) -> None:
    done = farthing("reply")
    assert (done.code, done.out) == (2, "")
    assert "No such command 'reply'" in done.err


@pytest.mark.parametrize("arguments", [["--help"], ["replay", "--help"]])
def test_farthing__help(farthing: Farthing, arguments: list[str]) -> None:
    done = farthing(*arguments)
    assert (done.code, done.err) == (0, "")
    assert "Usage:" in done.out


# ---------------------------------------------------------------- bad input: nothing is sent


def test_replay__another_chain(farthing: Farthing, log: str) -> None:
    with recording_node(chain_id=1) as (url, asked):
        done = farthing("replay", log, "--rpc", url, "--chain-id", "8453")
    refused(done, "the node is on chain 1, not on 8453")
    assert set(asked) == {"eth_chainId"}


def test_replay__no_key_for_a_chain_that_is_not_for_development(
    farthing: Farthing, log: str
) -> None:
    with recording_node() as (url, asked):
        done = farthing("replay", log, "--rpc", url)
    refused(done, "chain 4242 needs the publisher's key", "--account", "FARTHING_KEY")
    assert set(asked) == {"eth_chainId"}


def test_replay__a_key_that_is_none(
    farthing: Farthing, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "0xdeadbeef")
    with recording_node() as (url, asked):
        done = farthing("replay", log, "--rpc", url)
    refused(done, "FARTHING_KEY is not a private key")
    assert "deadbeef" not in done.err
    assert set(asked) == {"eth_chainId"}


def test_replay__a_keystore_that_does_not_open(
    farthing: Farthing, log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore = tmp_path / "key.json"
    encrypted = Account.encrypt(ANVIL_KEYS[3], "open", kdf="pbkdf2", iterations=2)
    keystore.write_text(json.dumps(encrypted))
    monkeypatch.setenv(PASSWORD_VARIABLE, "sesame")
    with recording_node() as (url, asked):
        done = farthing("replay", log, "--rpc", url, "--account", str(keystore))
        missing = farthing("replay", log, "--rpc", url, "--account", str(tmp_path / "no.json"))
    refused(done, f"keystore {keystore} does not open: check the password")
    assert "sesame" not in done.err
    refused(missing, "no.json cannot be read: No such file or directory")
    assert set(asked) == {"eth_chainId"}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1", "no node answers at http://127.0.0.1:1 (ConnectionError)"),
        ("localhost:8545", "a URL starts with http:// or https://"),
        ("http://[::1", "(InvalidURL)"),
        ("", "a URL starts with http:// or https://"),
    ],
)
def test_replay__no_node_there(farthing: Farthing, log: str, url: str, words: str) -> None:
    refused(farthing("replay", log, "--rpc", url), words)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", result(None)])
def test_replay__no_node_but_something(farthing: Farthing, log: str, answer: bytes) -> None:
    with stub_node(lambda _: answer) as url:
        refused(farthing("replay", log, "--rpc", url), f"no node answers at {url} (its answer")


def test_replay__a_publisher_without_coins(
    farthing: Farthing,
    log: str,
    node_world: World,
    node_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poor = party("poor publisher")
    monkeypatch.setenv(KEY_VARIABLE, poor.key.to_0x_hex())
    before = node_world.w3.eth.block_number
    done = farthing("replay", log, "--rpc", node_url, "--json")
    refused(done, poor.address, "send this account some of the chain's coin for gas")
    assert node_world.w3.eth.block_number == before


# ---------------------------------------------------------------- trouble in the middle


@pytest.mark.parametrize("survives", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["tables", "json"])
def test_replay__the_node_dies_in_the_middle(
    farthing: Farthing,
    log: str,
    node_world: World,
    node_url: str,
    survives: int,
    form: list[str],
) -> None:
    """It survives so many of the four transactions: mint, two deposits, redemption."""
    sent: list[bytes] = []

    def mortal(body: bytes) -> bytes | None:
        if method(body) == "eth_sendRawTransaction":
            sent.append(body)
        # With all four sent, what fails is the last reading of balances.
        at_the_end = survives == len(sent) == 4 and method(body) == "eth_call"
        return None if len(sent) > survives or at_the_end else forward(node_url, body)

    with stub_node(mortal) as url:
        done = farthing("replay", log, "--rpc", url, *form)
    assert done.code == 1
    assert done.out == ""
    assert "Traceback" not in done.err
    assert f"no node answers at {url}" in done.err.splitlines()[-1]
    assert len(sent) == min(survives + 1, 4)
    # What was paid into escrow until then is still there for its payers and the receiver.
    assert node_world.escrowed() == 5_000_000 * max(0, min(survives, 3) - 1) - 40_000 * (
        survives == 4
    )


def test_replay__a_bug_is_one_sentence_unless_it_is_looked_for(
    farthing: Farthing, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(replay_module, "set_stage", broken)
    done = farthing("replay", log, "--json")
    refused(done, "unexpected ZeroDivisionError", "FARTHING_DEBUG=1", code=70)
    monkeypatch.setenv(command_line.DEBUG_VARIABLE, "1")
    with pytest.raises(ZeroDivisionError):
        farthing("replay", log, "--json")


# ---------------------------------------------------------------- as a process


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "farthing.commands", *arguments]


def test_process__report_exit_code_and_standard_input() -> None:
    done = subprocess.run(
        command("replay", "-", "--json"), input=LOG.encode(), cwd=ROOT, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["receiver_got"] == 40_000


def test_process__bad_input(tmp_path: Path) -> None:
    arguments = command("replay", str(tmp_path / "missing.log"))
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("farthing: Cannot read the log ")


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["tables", "json"])
def test_process__nobody_reads_what_it_prints(log: str, form: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command("replay", log, *form), cwd=ROOT, stdout=writing, stderr=subprocess.PIPE
        )
    finally:
        os.close(writing)
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_process__interrupted(tmp_path: Path) -> None:
    """The log is a pipe nobody writes to, so that the process is where it waits for lines."""
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    arguments = command("replay", str(fifo))
    # A shell may run the tests in its background, where children ignore the interrupt.
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    # Opens as soon as the other side does: the command runs, and there is no line yet.
    with fifo.open("wb"):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == command_line.INTERRUPTED
    assert err.endswith("farthing: interrupted.\n")
    assert "Traceback" not in err
