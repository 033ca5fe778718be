"""`farthing wallet receipt` and `farthing verify-receipt`: from a paid page to a proof."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from farthing.protocol.payments import write_header
from farthing.protocol.proofs import write_proof
from farthing.protocol.receipts import Given, Statement
from tests.commands.conftest import Done, Farthing, farthing  # noqa: F401  # a fixture
from tests.escrow_world import AUTHORIZER, PAYER, RECEIVER, STRANGER, World
from tests.paywall.paywall_kit import CHEAP, decoded
from tests.protocol.protocol_samples import BOB, CONFIG, DOMAIN
from tests.protocol.test_statements import CHARGE
from tests.wallet.test_wallet_command import run, site  # noqa: F401  # fixtures
from tests.wallet.test_wallet_folder import fast_keystores  # noqa: F401  # a fixture

SIGNER = AUTHORIZER.address


@pytest.fixture
def paid(run: Any, site: str) -> str:  # noqa: F811
    """The receipt of a page that was paid, as the wallet prints it."""
    run("get", site + "/cheap")
    done = run("receipt", "1")
    assert (done.code, done.err) == (0, "")
    return str(done.out)


@pytest.fixture
def verify(farthing: Farthing, tmp_path: Path) -> Any:  # noqa: F811
    """`farthing verify-receipt` of a text in a file."""

    def verify_one(text: str, *options: str) -> Done:
        file = tmp_path / "receipt.json"
        file.write_text(text)
        return farthing("verify-receipt", str(file), *options)

    return verify_one


def rewrite(tmp_path: Path, receipt: str | None) -> None:
    """Changes what the history has of the only payment."""
    database = apsw.Connection(str(tmp_path / "wallet" / "wallet.db"))
    database.execute("UPDATE payments SET receipt = ?", (receipt,))
    database.close()


def test_receipt__of_a_paid_page__can_be_checked_by_anybody(
    paid: str,
    verify: Any,
    site: str,  # noqa: F811
    node_world: World,
) -> None:
    done = verify(paid)
    assert (done.code, done.err) == (0, "")
    told = dict(line.split(maxsplit=1) for line in done.lines)
    assert told["signer"] == SIGNER
    assert told["request"] == f"GET {site}/cheap"
    assert (told["charged"], told["total"]) == (str(CHEAP), str(CHEAP))
    assert told["payer"] == PAYER.address and told["receiver"] == RECEIVER.address
    assert told["token"] == node_world.token.address
    assert told["channel"] == "0x" + json.loads(paid)["charge"]["payload"]["channelId"][2:]
    assert verify(paid, "--signer", SIGNER).code == 0
    assert json.loads(verify(paid, "--json").out) == told


def test_verify__from_standard_input(
    paid: str,
    farthing: Farthing,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(paid.encode())))
    assert SIGNER in farthing("verify-receipt", "-").out


def test_verify__what_is_not_right__ends_with_1(paid: str, verify: Any) -> None:
    document = json.loads(paid)
    document["charge"]["payload"]["amount"] = "1"
    spoilt = verify(json.dumps(document))
    assert spoilt.code == 1 and spoilt.out == "" and len(spoilt.err.splitlines()) == 1
    assert spoilt.err.startswith("farthing: this receipt proves nothing, do not count on it: ")
    other = verify(paid, "--signer", STRANGER.address)
    assert other.code == 1 and f"signed by {SIGNER}, not by {STRANGER.address}" in other.err
    assert verify("no receipt").code == 1
    assert verify("").code == 1
    assert verify(paid, "--signer", "0x12").code == 1
    assert verify(paid[:-10] + " " * 2**20).code == 1


def test_verify__a_payment_response__needs_its_signer(
    paid: str,
    verify: Any,
    run: Any,  # noqa: F811
) -> None:
    header = run("history", "--json").json[0]["receipt"]
    assert verify(header).code == 1
    told = verify(header, "--signer", SIGNER)
    assert told.code == 0 and "receiver" not in told.out


def test_verify__words_that_a_terminal_would_obey__are_shown_as_such(verify: Any) -> None:
    charge = replace(CHARGE, request_id="\x1b[2J\n", time=2**64 - 1)
    text = json.dumps(write_proof(Given(None, Statement.by(BOB, charge)), CONFIG, DOMAIN))
    told = verify(text)
    assert told.code == 0 and "\x1b" not in told.out and r"\x1b[2J\n" in told.out
    assert str(2**64 - 1) in told.out


def test_history__as_json__has_the_proof(paid: str, run: Any) -> None:  # noqa: F811
    (line,) = run("history", "--json").json
    assert (line["proof"], line["problem"]) == (json.loads(paid), None)


def test_receipt__that_is_wrong__is_printed_and_ends_with_4(
    paid: str,
    run: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    message = decoded(run("history", "--json").json[0]["receipt"])
    message["extensions"]["offer-receipt"]["info"]["charge"]["payload"]["amount"] = "1"
    rewrite(tmp_path, write_header(message).decode())
    done = run("receipt", "1")
    assert done.code == 4 and "the receipt of payment 1 is wrong, ask its publisher why" in done.err
    assert json.loads(done.out)["charge"]["payload"]["amount"] == "1"
    assert run("history", "--json").json[0]["problem"] in done.err
    assert "ALERT  payment 1: its receipt is wrong" in run("watch", "--once").out


def test_receipt__that_was_not_given__ends_with_1(
    paid: str,
    run: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    rewrite(tmp_path, None)
    done = run("receipt", "1")
    assert (done.code, done.out) == (1, "") and "gave none" in done.err
    assert run("receipt", "2").code == 1
    assert run("receipt", "0").code == 2
