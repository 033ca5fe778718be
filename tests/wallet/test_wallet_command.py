"""`farthing wallet`, as a new user would try it: from nothing to a paid article and money back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farthing.chain.accounts import KEY_VARIABLE, PASSWORD_VARIABLE
from farthing.wallet import Store
from tests.commands.conftest import Done, Farthing, farthing  # noqa: F401  # a fixture
from tests.escrow_world import DELAY, PAYER, World
from tests.paywall.paywall_kit import CHEAP, on_chain, terms_of
from tests.wallet.loopback import serving
from tests.wallet.test_wallet_folder import PASSWORD, fast_keystores  # noqa: F401  # a fixture


@pytest.fixture
def site(node_world: World, tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "ledger.db"
    chain, terms = on_chain(node_world), terms_of(node_world)
    with serving(path, chain=chain, terms=terms, domain=node_world.settlement.domain) as running:
        yield running[1]


@pytest.fixture
def run(
    farthing: Farthing,  # noqa: F811
    node_world: World,
    node_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """`farthing wallet` with a wallet that has a budget of 0.05 a day."""
    places = node_world.deployment
    monkeypatch.setenv("FARTHING_WALLET", str(tmp_path / "wallet"))
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv(KEY_VARIABLE, "0x" + bytes(PAYER.key).hex())

    def run_one(*arguments: str) -> Done:
        return farthing("wallet", *arguments)

    made = run_one(
        *("create", "--rpc", node_url, "--token", node_world.token.address),
        *("--settlement", places.settlement, "--collector", places.erc3009_collector),
        *("--budget", "0.05 P1D", "--top-up", "0.01"),
    )
    assert made.code == 0 and PAYER.address in made.out, made.err
    return run_one


def test_wallet__from_create_to_an_article_and_the_money_back(
    run: Any, site: str, node_world: World
) -> None:
    got = run("get", site + "/cheap")
    assert (got.code, got.out) == (0, "answer 1")
    assert "0.0099 TUSD not spent" in run("balance").out
    assert run("refund", site + "/cheap", "--amount", "0.004").out.startswith("Refunded  0.004 ")
    channel = next(line.split()[0] for line in run("balance").lines if line.startswith("0x"))
    assert run("withdraw", channel).code == 0
    early = run("withdraw", channel, "--finish")
    assert early.code == 1 and "farthing: " in early.err
    node_world.w3.provider.make_request("evm_increaseTime", [DELAY])  # type: ignore[arg-type]
    node_world.w3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]
    assert run("withdraw", channel, "--finish").out.startswith("Withdrawn  0.0059 ")


def test_history__as_table_csv_and_json(run: Any, site: str) -> None:
    run("get", site + "/cheap")
    run("get", site + "/cheap?2")
    shown = run("history").lines[-1].split()
    assert shown[-3:] == [site + "/cheap?2", "0.0001", "0.0001"]
    rows = list(csv.DictReader(io.StringIO(run("history", "--csv").out)))
    assert [(row["price"], row["charged"]) for row in rows] == [("0.0001", "0.0001")] * 2
    told = [json.loads(line) for line in run("history", "--json", "--limit", "1").lines]
    assert [(each["url"], each["charged"]) for each in told] == [(site + "/cheap", str(CHEAP))]
    watched = run("watch", "--once").lines
    assert [line.split()[-2:] for line in watched] == [["0.0001", "0.0001"]] * 2


def test_exit_codes__of_a_rule_a_server_and_no_answer(run: Any, site: str) -> None:
    assert run("budget", "--per-request", "0.0001").code == 0
    refused = run("get", site + "/dear")
    assert refused.code == 3
    assert "asks for 0.001 TUSD, a request may cost 0.0001 TUSD" in refused.err
    assert "farthing wallet budget --per-request" in refused.err
    assert run("fund", site + "/free", "0.01").code == 4
    assert run("get", "http://127.0.0.1:1/").code == 5


def test_budget__shows_what_is_used_and_changes_what_is_given(run: Any, site: str) -> None:
    run("get", site + "/cheap")
    shown = run("budget").out
    assert "0.0001" in shown and "0.05" in shown and "0.01" in shown
    changed = run("budget", "--budget", "1 P1M", "--budget", "0.5 P1D news.example",
                  "--approve-above", "0.1", "--deny", "bad.example", "--lanes", "2")  # fmt: skip
    assert changed.code == 0
    for text in ("news.example R/2024-01-01T00:00Z/P1D", "bad.example", "Lanes          2"):
        assert text in changed.out
    berlin = run("budget", "--budget", "1 P1D[Europe/Berlin]").out
    assert "R/2024-01-01T00:00[Europe/Berlin]/P1D" in berlin
    # What was not given stays; none takes away.
    assert "0.01" in run("budget", "--approve-above", "none", "--deny", "none").out
    assert "Approve above  none" in run("budget").out


def test_budget__after_a_clock_that_was_ahead__can_be_told(
    run: Any, site: str, tmp_path: Path
) -> None:
    ahead = Store(tmp_path / "wallet" / "wallet.db", lambda: 4_000_000_000)
    ahead.used()
    ahead.close()
    assert "2096-" in run("budget").out
    assert "2096-" not in run("budget", "--reset-clock").out


@pytest.mark.parametrize("budget", ["5", "5 month", "P1M 5", "five P1M", "5 P1M a b", "5 P1M A.b",
                                    "5 P1D[Mars]", "5 [Europe/Berlin]"])  # fmt: skip
def test_budget__that_is_none__refused(run: Any, budget: str) -> None:
    before = run("budget").out
    assert run("budget", "--budget", budget).code != 0
    assert run("budget").out == before


def test_fund_and_recover__for_a_process_without_the_main_key(
    run: Any, site: str, tmp_path: Path
) -> None:
    assert run("get", "--no-deposit", site + "/cheap").code == 3
    assert run("fund", site + "/cheap", "0.02").code == 0
    (tmp_path / "wallet" / "main.json").unlink()
    assert run("get", "--no-deposit", site + "/cheap").out == "answer 1"
    (tmp_path / "wallet" / "wallet.db").unlink()
    assert run("get", site + "/cheap").code == 1
