"""The publisher gives unclaimed money back: what was charged is claimed first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from farthing.ledger import Ledger, LedgerUnavailable, open_ledger
from farthing.opening import ledger_path, open_books, open_contracts
from farthing.operations.compare import compare
from farthing.operations.parts import open_queue
from farthing.operations.refunds import Refund, RefundRefused, refund
from farthing.protocol import ChannelConfig
from farthing.settings import Settings
from tests.escrow_world import AUTHORIZER, FUNDS, PAYER, RECEIVER, STRANGER, World
from tests.operations.kit import KEYS, charge, meet, mirror_of


@dataclass
class Shop:
    """A ledger with one channel of 10,000, of which 700 are charged."""

    settings: Settings
    world: World
    ledger: Ledger
    journal: Ledger
    config: ChannelConfig

    @property
    def channel_id(self) -> bytes:
        return self.world.channel_id(self.config)

    def refund(self, amount: int | None = None) -> Refund:
        contracts = open_contracts(self.settings)
        queue = open_queue(self.settings, KEYS, contracts, self.journal, "test")
        return refund(
            self.ledger, contracts.settlement, queue, KEYS.authorizer, self.channel_id, amount
        )


@pytest.fixture
def shop(settings: Settings, node_world: World) -> Iterator[Shop]:
    config = node_world.deposit(PAYER, 10_000)
    ledger, journal = open_books(settings), open_books(settings)
    meet(ledger, node_world, config)
    charge(ledger, node_world, config, 700)
    yield Shop(settings, node_world, ledger, journal, config)
    ledger.close()
    journal.close()


def test_refund__all_that_is_left(shop: Shop) -> None:
    done = shop.refund()
    assert (done.amount, done.claimed, done.transaction.state) == (9_300, 700, "mined")
    assert shop.world.token.balance_of(PAYER.address) == FUNDS - 700
    on_chain = shop.world.settlement.channel(shop.channel_id)
    assert (on_chain.balance, on_chain.total_claimed) == (700, 700)
    meet(shop.ledger, shop.world, shop.config)
    assert compare(shop.ledger, shop.world.settlement).differences == []
    # What is claimed with it is not redeemed again.
    assert list(shop.ledger.redeemable()) == []


def test_refund__a_part_and_another(shop: Shop) -> None:
    assert shop.refund(4_000).amount == 4_000
    meet(shop.ledger, shop.world, shop.config)
    done = shop.refund(300)
    assert (done.amount, done.claimed) == (300, 0)
    assert shop.world.settlement.channel(shop.channel_id).balance == 10_000 - 4_300


@pytest.mark.parametrize(("where", "held", "charges"), [("order", 0, 1), ("send", 4_000, 2)])
def test_refund__ended_by_a_kill__holds_what_was_ordered(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, where: str, held: int, charges: int
) -> None:
    class Killed(BaseException):
        """The process ends here."""

    def dies(*_: object, **__: object) -> int:
        raise Killed

    monkeypatch.setattr(shop.journal, {"order": "enqueue", "send": "take_lease"}[where], dies)
    with pytest.raises(Killed):
        shop.refund(4_000)
    channel = shop.ledger.channel(shop.channel_id)
    assert channel is not None
    assert channel.state.mirror.withdraw_amount == held
    assert channel.state.charges == charges


def test_refund__written_by_a_ledger_that_then_fails(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue = shop.journal.enqueue

    def writes_and_fails(**order: Any) -> int:
        enqueue(**order)
        raise LedgerUnavailable("ledger.db", "the disk is gone")

    monkeypatch.setattr(shop.journal, "enqueue", writes_and_fails)
    with pytest.raises(LedgerUnavailable):
        shop.refund(4_000)
    channel = shop.ledger.channel(shop.channel_id)
    assert channel is not None
    assert channel.state.mirror.withdraw_amount == 4_000
    assert [each.state for each in shop.ledger.transactions()] == ["queued"]


def test_refund__while_one_is_on_its_way(shop: Shop) -> None:
    shop.ledger.enqueue(
        sender=RECEIVER.address,
        kind="refund",
        subject=shop.channel_id + bytes(16),
        to=shop.world.settlement.address,
        data=b"",
        gas=1,
        time=1,
    )
    with pytest.raises(RefundRefused, match="is on its way, transaction 1: wait for it"):
        shop.refund(4_000)
    assert len(shop.ledger.transactions()) == 1


@pytest.mark.parametrize("amount", [0, 9_301, 10_000])
def test_refund__more_than_is_left(shop: Shop, amount: int) -> None:
    with pytest.raises(RefundRefused, match="9300 smallest units of the deposit are left"):
        shop.refund(amount)
    assert shop.ledger.transactions() == []
    channel = shop.ledger.channel(shop.channel_id)
    assert channel is not None
    assert channel.state.mirror.withdraw_amount == 0


def test_refund__a_channel_nobody_knows(shop: Shop) -> None:
    shop.config = replace(shop.config, salt=b"\1" * 32)
    with pytest.raises(RefundRefused, match="the ledger knows no channel 0x"):
        shop.refund()


def test_refund__while_a_request_is_under_way(shop: Shop) -> None:
    path = ledger_path(shop.settings)
    other = open_ledger(str(path))
    other.reserve([shop.channel_id])
    with pytest.raises(RefundRefused, match="a request of this channel is under way: try again"):
        shop.refund()
    other.close()
    assert shop.refund().amount == 9_300


def test_refund__of_another_authorizers_channel(shop: Shop) -> None:
    config = replace(shop.config, receiver_authorizer=STRANGER.address)
    mirror = mirror_of(shop.world, config)
    shop.ledger.mirror(shop.world.channel_id(config), config, mirror)
    shop.config = config
    with pytest.raises(RefundRefused, match="name the right one"):
        shop.refund()


def test_refund__where_more_is_claimed_than_was_charged(shop: Shop) -> None:
    row = shop.world.row(PAYER, shop.config, 800)
    shop.world.settlement.claim(shop.world.sender(AUTHORIZER), [row])
    with pytest.raises(RefundRefused, match="800 is claimed on chain and 700 was charged"):
        shop.refund()
