"""A restored ledger: nothing is charged until it has caught up, and then the books add up."""

from __future__ import annotations

from dataclasses import replace as dataclass_replace
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from farthing.chain.cursor import Cursor, Point
from farthing.chain.watcher import Watcher
from farthing.ledger import open_ledger
from farthing.opening import open_contracts
from farthing.operations import parts
from farthing.operations.backups import RestoreRefused, make_backup, mark_restored, restore
from farthing.operations.compare import compare
from farthing.operations.parts import WatcherPart, read_differences
from farthing.operations.restored import ROUTE, is_restored, mark_if_behind
from farthing.paywall import open_paywall
from farthing.redeemer.follower import Follower
from farthing.settings import Settings, SettingsInvalid
from tests.conftest import rpc
from tests.escrow_world import AUTHORIZER, PAYER, SECOND_PAYER, STRANGER, World
from tests.operations.kit import KEYS, charge, ledger_of, meet


def move_away(settings: Settings) -> None:
    """The disk is lost."""
    for path in settings.path.parent.glob("books.db*"):
        path.rename(path.with_name("lost-" + path.name))


def watch(settings: Settings, steps: int = 1) -> None:
    part = WatcherPart(settings, KEYS)
    try:
        for _ in range(steps):
            part.step()
    finally:
        part.close()


def test_restore__an_old_backup_catches_up_with_the_chain(
    settings: Settings, node_world: World, tmp_path: Path
) -> None:
    config, other = node_world.deposit(PAYER, 10_000), node_world.deposit(SECOND_PAYER, 10_000)
    with ledger_of(settings) as ledger:
        for each, payer in ((config, PAYER), (other, SECOND_PAYER)):
            meet(ledger, node_world, each)
            charge(ledger, node_world, each, 100, payer=payer)
    make_backup(settings, tmp_path / "backup.db")
    with ledger_of(settings) as ledger:
        assert not is_restored(ledger)
        charge(ledger, node_world, config, 150)
    # More was charged and redeemed since the backup.
    row = node_world.row(PAYER, config, 250)
    node_world.settlement.claim(node_world.sender(AUTHORIZER), [row])
    move_away(settings)

    assert restore(settings, tmp_path / "backup.db") == 2
    with pytest.raises(SettingsInvalid, match="ledger: it was restored from a backup"):
        open_paywall(settings)
    with ledger_of(settings) as ledger:
        assert is_restored(ledger)
        found = compare(ledger, node_world.settlement)
    assert found.differences[0].problem == "250 is claimed on chain and 100 was charged"

    watch(settings)
    with ledger_of(settings) as ledger:
        assert not is_restored(ledger)
        first = ledger.channel(node_world.channel_id(config))
        second = ledger.channel(node_world.channel_id(other))
        assert first is not None
        assert second is not None
        assert (first.state.charged, first.state.mirror.total_claimed) == (250, 250)
        assert second.state.charged == 100
        assert [(each.amount, each.route) for each in ledger.charges()][2:] == [(150, ROUTE)]
        assert ledger.prove() == []
        assert compare(ledger, node_world.settlement).differences == []
        # That it differed was to be expected, and is no alert.
        assert read_differences(ledger) == []
        assert [each.channel.channel_id for each in ledger.redeemable()] == [second.channel_id]
        # The channel can be charged on, and redeemed.
        charge(ledger, node_world, config, 50)
    open_paywall(settings).ledger.close()


def test_restore__a_channel_that_came_after_the_backup(
    settings: Settings, node_world: World, tmp_path: Path
) -> None:
    watch(settings)
    make_backup(settings, tmp_path / "backup.db")
    config = node_world.deposit(PAYER, 10_000)
    node_world.settlement.claim(node_world.sender(AUTHORIZER), [node_world.row(PAYER, config, 250)])
    move_away(settings)
    restore(settings, tmp_path / "backup.db")
    watch(settings)
    with ledger_of(settings) as ledger:
        channel = ledger.channel(node_world.channel_id(config))
        assert channel is not None
        assert (channel.state.charged, channel.state.charges) == (250, 0)
        assert not is_restored(ledger)
        assert ledger.prove() == []


def test_restore__a_voucher_that_covers_what_was_claimed_is_kept(
    settings: Settings, node_world: World, tmp_path: Path
) -> None:
    config = node_world.deposit(PAYER, 10_000)
    with ledger_of(settings) as ledger:
        meet(ledger, node_world, config)
        # It allowed 300, and the handler charged less.
        charge(ledger, node_world, config, 100, price=300)
        kept = ledger.channel(node_world.channel_id(config))
    make_backup(settings, tmp_path / "backup.db")
    assert kept is not None
    row = node_world.row(PAYER, config, 250)
    node_world.settlement.claim(node_world.sender(AUTHORIZER), [row])
    move_away(settings)
    restore(settings, tmp_path / "backup.db")
    watch(settings)
    with ledger_of(settings) as ledger:
        channel = ledger.channel(node_world.channel_id(config))
        assert ledger.prove() == []
    assert channel is not None
    assert (channel.state.charged, channel.state.ceiling) == (250, 300)
    assert channel.state.signature == kept.state.signature


def test_restore__over_a_ledger(settings: Settings, tmp_path: Path) -> None:
    with ledger_of(settings):
        pass
    make_backup(settings, tmp_path / "backup.db")
    with pytest.raises(RestoreRefused, match="there is a ledger at "):
        restore(settings, tmp_path / "backup.db")
    with ledger_of(settings) as ledger:
        assert not is_restored(ledger)


def left(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.path.parent.glob("books.db*"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no file at"),
        (b"", "is a ledger of nobody: use another backup"),
        (b"not a database at all" * 100, "is no ledger: "),
    ],
)
def test_restore__no_backup(
    settings: Settings, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "backup.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RestoreRefused, match=said):
        restore(settings, path)
    assert left(settings) == []


def test_restore__of_another_receiver(settings: Settings, tmp_path: Path) -> None:
    with ledger_of(settings):
        pass
    make_backup(settings, tmp_path / "backup.db")
    move_away(settings)
    terms = replace(settings.terms, receiver=STRANGER.address)
    with pytest.raises(SettingsInvalid, match="ledger: it is that of receiver"):
        restore(dataclass_replace(settings, terms=terms), tmp_path / "backup.db")
    assert left(settings) == []


def test_restore__books_that_do_not_add_up(
    settings: Settings, node_world: World, tmp_path: Path
) -> None:
    config = node_world.deposit(PAYER, 10_000)
    with ledger_of(settings) as ledger:
        meet(ledger, node_world, config)
        charge(ledger, node_world, config, 100)
    path = tmp_path / "backup.db"
    make_backup(settings, path)
    # Left open, so that what it wrote is not in the file itself yet.
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE channels SET charged = ?", ((5).to_bytes(16, "big"),))
    move_away(settings)
    with pytest.raises(RestoreRefused, match="does not add up: channel 0x"):
        restore(settings, path)
    connection.close()
    assert left(settings) == []


def test_restore__a_file_that_was_copied_by_other_means(settings: Settings, tmp_path: Path) -> None:
    with ledger_of(settings):
        pass
    path = tmp_path / "copy.db"
    (settings.path.parent / "books.db").rename(path)
    move_away(settings)
    restore(settings, path)
    with ledger_of(settings) as ledger:
        assert is_restored(ledger)


def test_restore__in_postgresql(settings: Settings, postgres_url: str, tmp_path: Path) -> None:
    elsewhere = dataclass_replace(settings, ledger=postgres_url)
    with pytest.raises(SettingsInvalid, match="use pg_restore, then `farthing restore --mark`"):
        restore(elsewhere, tmp_path / "backup.db")
    mark_restored(elsewhere)
    ledger = open_ledger(postgres_url)
    assert is_restored(ledger)
    ledger.close()


def test_watcher__looks_anew_at_a_ledger_that_is_restored_beneath_it(
    settings: Settings, node_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Follower] = []

    class Counted(Follower):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            looks.append(self)

    monkeypatch.setattr(parts, "Follower", Counted)
    part = WatcherPart(settings, KEYS)
    part.step()
    part.step()
    assert len(looks) == 1
    mark_restored(settings)
    part.step()
    with ledger_of(settings) as ledger:
        assert not is_restored(ledger)
    part.step()
    part.close()
    assert len(looks) == 2


def test_mark_if_behind__a_ledger_no_watcher_looked_after(
    settings: Settings, node_world: World
) -> None:
    settlement = open_contracts(settings).settlement
    rpc(node_world.w3, "anvil_mine", hex(40), hex(60))
    head = node_world.w3.eth.block_number
    name = Watcher(settlement, []).name
    with ledger_of(settings) as ledger:
        # One that has never seen the chain is new.
        mark_if_behind(settings, ledger, settlement, 5)
        assert not is_restored(ledger)
        ledger.remember(name, Cursor(Point(head - 17, "0x" + "00" * 32)).to_text())
        mark_if_behind(settings, ledger, settlement, 5)
        assert not is_restored(ledger)
        ledger.remember(name, Cursor(Point(head - 18, "0x" + "00" * 32)).to_text())
        mark_if_behind(settings, ledger, settlement, 5)
        assert is_restored(ledger)
