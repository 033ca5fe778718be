"""A ledger that an older program made becomes one of the present version, with all it has."""

from pathlib import Path

import apsw
import msgspec
import psycopg
import pytest
from ledger_samples import ANSWER, CONFIG, MIRROR, Backdoor, channel_id, pay

from farthing.ledger import Entitlement, Payer, PayerChange, Tally, Totals, open_ledger

# Whose the channels are, and who signs where the config names nobody.
PAYER = Payer.of(CONFIG)

HERE = Path(__file__).parent
# The name of a table that only the next version has.
NEXT = {"v1": "attempts", "v2": "tallies", "v3": "held"}
NEW_COLUMN = {
    "v1": ("channels", "unredeemed_since"),
    "v2": ("charges", "reason"),
    "v3": ("refunds", "transaction_id"),
}


@pytest.fixture(params=["v1", "v2", "v3"])
def version(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def old_url(ledger_url: str, version: str) -> str:
    """An old ledger, with six charges in four channels, of which three are redeemed."""
    if "://" in ledger_url:
        with psycopg.connect(ledger_url) as connection:
            connection.execute((HERE / version / "postgresql.sql").read_bytes())
    else:
        connection = apsw.Connection(ledger_url)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute((HERE / version / "sqlite.sql").read_text())
        connection.close()
    return ledger_url


def test_open__an_old_version_keeps_what_it_has(old_url: str) -> None:
    ledger = open_ledger(old_url)
    assert ledger.totals() == Totals(4, 6, 73, 7, 4_000_000)
    assert ledger.prove() == []
    assert [charge.time for charge in ledger.charges()] == [1000, 1010, 1020, 1005, 1003, 1030]
    claimed = msgspec.structs.replace(MIRROR, total_claimed=7, synced_at=200)
    channel = ledger.channel(channel_id(1))
    assert channel is not None and channel.config == CONFIG
    assert (channel.state.mirror, channel.state.ceiling) == (claimed, 19)
    assert ledger.recall("owner") == "somebody"
    assert {charge.reason for charge in ledger.charges()} == {""}
    ledger.close()


def test_open__an_old_version_keeps_confirmed_deposits_as_transactions(old_url: str) -> None:
    ledger = open_ledger(old_url)
    deposit = ledger.transactions()[0]
    assert (deposit.kind, deposit.subject) == ("deposit", b"\x03" + b"\x01" * 31)
    assert (deposit.state, deposit.succeeded, deposit.created_at) == ("final", True, 6)
    assert ledger.find_transaction("deposit", deposit.subject) == deposit
    (attempt,) = ledger.attempts(deposit.id)
    assert (attempt.hash, attempt.raw) == (b"\x04" + b"\x02" * 31, b"\x00raw")
    ledger.close()


def test_open__an_old_version_finds_the_oldest_unredeemed_charges(old_url: str) -> None:
    ledger = open_ledger(old_url)
    found = {each.channel.channel_id: each.since for each in ledger.redeemable()}
    assert found == {channel_id(1): 1010, channel_id(4): 1003}
    assert [each.channel_id for each in ledger.channels(withdrawing=True)] == [channel_id(4)]
    ledger.close()


def test_open__an_old_version_goes_on(old_url: str) -> None:
    open_ledger(old_url).close()
    ledger = open_ledger(old_url)
    for number in (1, 2, 3):
        pay(ledger, channel_id(number), time=2_000, answer=ANSWER)
    found = {each.channel.channel_id: each.since for each in ledger.redeemable()}
    assert found == {
        channel_id(1): 1010,
        channel_id(2): 2000,
        channel_id(3): 2000,
        channel_id(4): 1003,
    }
    assert [each.kind for each in ledger.transactions()].count("deposit") == 1
    assert ledger.prove() == []
    ledger.close()


def test_open__an_old_version_holds_what_a_transaction_gives_back(
    old_url: str, version: str
) -> None:
    ledger = open_ledger(old_url)
    held = [ledger.held_refund(channel_id(number), 0) for number in (1, 2, 3, 4)]
    assert held == ([0, 40, 0, 0] if version == "v3" else [0, 0, 0, 0])
    assert ledger.held_refund(channel_id(2), 301) == 0
    ledger.close()


def test_open__an_old_version_keeps_payers_from_now_on(old_url: str) -> None:
    ledger = open_ledger(old_url)
    (version,) = ledger.reserve_payers([PAYER.id])
    assert version == 0
    bought = Entitlement("own", "a/1", 2_000, 0, 1, 0)
    change = PayerChange(PAYER, 0, [Tally("free", 0, 1)], [bought])
    pay(ledger, channel_id(1), time=2_000, reason="bought a/1", change=change)
    assert [each.entitlement for each in ledger.entitlements()] == [bought]
    assert ledger.charges(newest_first=True)[0].reason == "bought a/1"
    assert ledger.prove() == []
    ledger.close()


def test_open__an_old_version_is_left_as_it_was_when_it_cannot_be_brought_up(
    old_url: str, version: str
) -> None:
    """A table in the way stands for whatever may go wrong half way."""
    backdoor = Backdoor(old_url)
    backdoor.run(f"CREATE TABLE {NEXT[version]} (id INTEGER)")
    with pytest.raises(Exception, match=r"already (exists|another table)"):
        open_ledger(old_url)
    table, new = NEW_COLUMN[version]
    for table_, column, is_there in ((table, new, False), ("channels", "withdraw_delay", True)):
        query = COLUMN if backdoor.is_local else COLUMN_POSTGRES
        assert len(backdoor.run(query, table_, column)) == is_there
    backdoor.run(f"DROP TABLE {NEXT[version]}")
    ledger = open_ledger(old_url)
    assert ledger.totals().charges == 6
    ledger.close()


COLUMN = "SELECT name FROM pragma_table_info(?) WHERE name = ?"
COLUMN_POSTGRES = (
    "SELECT column_name FROM information_schema.columns "
    "WHERE table_schema = 'farthing' AND table_name = ? AND column_name = ?"
)
