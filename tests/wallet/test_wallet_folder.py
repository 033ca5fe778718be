"""A wallet from an empty folder to a paid article, and what can be wrong with the folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account

from farthing.chain.accounts import KeyUnusable
from farthing.chain.settlement import NotASettlement
from farthing.wallet import Budget, Home, NoFunds, Rules, Store, WalletUnusable
from farthing.wallet.export import COLUMNS, write_csv
from farthing.wallet.folder import create_wallet, main_key, open_wallet
from farthing.wallet.httpx_client import PayingTransport
from farthing.wallet.onchain import recover
from tests.escrow_world import PAYER, STRANGER, World
from tests.paywall.paywall_kit import CHEAP, on_chain, terms_of
from tests.wallet.loopback import serving
from tests.wallet.wallet_kit import DAILY

PASSWORD = "a password for tests"
RULES = Rules((Budget(50_000, DAILY),), top_up=10_000)


@pytest.fixture(autouse=True)
def fast_keystores(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Account.encrypt
    monkeypatch.setattr(
        Account,
        "encrypt",
        lambda key, password: slow(key, password, kdf="pbkdf2", iterations=2),
    )


@pytest.fixture
def make(node_world: World, node_url: str) -> Any:
    def make_one(folder: Path, **changes: Any) -> Home:
        places = node_world.deployment
        given = {
            "rpc": node_url,
            "token": node_world.token.address,
            "settlement": places.settlement,
            "collector": places.erc3009_collector,
            "main": PAYER,
            **changes,
        }
        return create_wallet(folder, PASSWORD, RULES, **given)

    return make_one


@pytest.fixture
def site(node_world: World, tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "ledger.db"
    chain, terms = on_chain(node_world), terms_of(node_world)
    with serving(path, chain=chain, terms=terms, domain=node_world.settlement.domain) as running:
        yield running[1]


def get(folder: Path, url: str, **options: Any) -> int:
    wallet = open_wallet(folder, PASSWORD, **options)
    try:
        with httpx.Client(transport=PayingTransport(wallet)) as client:
            return client.get(url).status_code
    finally:
        wallet.close()


def test_wallet__from_an_empty_folder_to_a_paid_article(
    tmp_path: Path, make: Any, site: str
) -> None:
    folder = tmp_path / "my" / "wallet"
    home = make(folder)
    assert home.payer == PAYER.address == main_key(folder, PASSWORD).address
    assert {each.stat().st_mode & 0o077 for each in folder.iterdir()} == {0}
    assert get(folder, site + "/cheap") == 200
    # Without the main key it goes on from what is deposited, and not beyond.
    (folder / "main.json").unlink()
    assert get(folder, site + "/cheap", with_main=False) == 200
    store = Store(folder / "wallet.db")
    assert [each.charged for each in store.history()] == [CHEAP, CHEAP]
    store.close()


def test_wallet__made_anew_with_its_key__has_its_channels_back(
    tmp_path: Path, make: Any, site: str
) -> None:
    make(tmp_path / "old")
    get(tmp_path / "old", site + "/cheap")
    make(tmp_path / "new")
    wallet = open_wallet(tmp_path / "new", PASSWORD)
    assert len(recover(wallet)) == 1
    wallet.close()
    assert get(tmp_path / "new", site + "/cheap", with_main=False) == 200


def test_wallet__of_a_new_key__has_no_money_and_says_so(
    tmp_path: Path, make: Any, site: str
) -> None:
    home = make(tmp_path / "wallet", main=None)
    assert home.payer != PAYER.address
    with pytest.raises(NoFunds):
        get(tmp_path / "wallet", site + "/cheap", with_main=False)


def test_create__twice__refused_and_the_first_kept(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "wallet")
    before = (tmp_path / "wallet" / "main.json").read_text()
    with pytest.raises(WalletUnusable, match="already"):
        make(tmp_path / "wallet", main=STRANGER)
    assert (tmp_path / "wallet" / "main.json").read_text() == before


def test_create__on_contracts_that_are_not_there__leaves_nothing(tmp_path: Path, make: Any) -> None:
    with pytest.raises(NotASettlement):
        make(tmp_path / "wallet", settlement=STRANGER.address)
    with pytest.raises(WalletUnusable, match="no collector"):
        make(tmp_path / "wallet", collector=STRANGER.address)
    assert not (tmp_path / "wallet").exists()


def test_open__with_a_wrong_password_or_anothers_key__refused(tmp_path: Path, make: Any) -> None:
    folder = tmp_path / "wallet"
    make(folder)
    with pytest.raises(KeyUnusable):
        open_wallet(folder, "another password")
    foreign = Account.encrypt(bytes(STRANGER.key), PASSWORD)
    for name in ("main.json", "session.json"):
        kept = (folder / name).read_text()
        (folder / name).write_text(json.dumps(foreign))
        with pytest.raises(WalletUnusable, match="key is"):
            open_wallet(folder, PASSWORD)
        (folder / name).write_text(kept)
    open_wallet(folder, PASSWORD).close()


def test_keys__are_nowhere_in_the_clear(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "wallet")
    for path in (tmp_path / "wallet").iterdir():
        content = path.read_bytes()
        assert bytes(PAYER.key) not in content and PAYER.key.hex().encode() not in content


def test_csv__one_line_a_payment_and_no_formula(tmp_path: Path, make: Any, site: str) -> None:
    make(tmp_path / "wallet")
    get(tmp_path / "wallet", site + "/cheap")
    store = Store(tmp_path / "wallet" / "wallet.db")
    (payment,) = store.history()
    store.close()
    file = io.StringIO()
    evil = replace(payment, id=2, charged=None, receipt=None, host="=cmd()")
    write_csv([payment, evil], 6, file)
    first, second = csv.DictReader(io.StringIO(file.getvalue()))
    assert tuple(first) == COLUMNS
    assert (first["url"], first["charged"]) == (site + "/cheap", "0.0001")
    assert first["receipt"] == payment.receipt and first["time"].endswith("+00:00")
    assert (second["host"], second["charged"]) == ("'=cmd()", "")
