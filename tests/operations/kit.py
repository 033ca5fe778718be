"""A publisher's folder and ledger for tests of operations, on a chain that stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount

from farthing.ledger import Ledger, Mirror, NewCharge
from farthing.opening import Keys, open_books
from farthing.protocol import ChannelConfig, Voucher, sign
from farthing.settings import Settings
from tests.escrow_world import AUTHORIZER, PAYER, RECEIVER, World
from tests.paywall.site import PASSWORD, site_text, write_keystore

KEYS = Keys(RECEIVER, AUTHORIZER)


def make_folder(folder: Path, world: World, url: str) -> Path:
    """A folder with settings for a sender and an authorizer; the path of the settings."""
    text = site_text(world, url)
    text = text.replace(
        'keystore = "sender.json"',
        'keystore = "sender.json"\nauthorizer_keystore = "authorizer.json"',
    )
    path = folder / "farthing.toml"
    path.write_text(text)
    write_keystore(folder / "sender.json", RECEIVER)
    write_keystore(folder / "authorizer.json", AUTHORIZER)
    return path


@contextmanager
def ledger_of(settings: Settings) -> Iterator[Ledger]:
    ledger = open_books(settings)
    try:
        yield ledger
    finally:
        ledger.close()


def mirror_of(world: World, config: ChannelConfig) -> Mirror:
    """What the chain says of a channel now."""
    found = world.settlement.snapshot(world.channel_id(config))
    return Mirror(
        found.balance,
        found.total_claimed,
        found.withdraw_amount,
        found.withdraw_requested_at,
        found.refund_nonce,
        time.time_ns() // 1_000_000,
    )


def meet(ledger: Ledger, world: World, config: ChannelConfig) -> None:
    """Writes a channel down as the chain has it."""
    ledger.mirror(world.channel_id(config), config, mirror_of(world, config))


def charge(
    ledger: Ledger,
    world: World,
    config: ChannelConfig,
    amount: int,
    *,
    price: int | None = None,
    payer: LocalAccount = PAYER,
    time: int = 1_700_000_000,
    route: str = "GET /articles/{slug}",
    **more: Any,
) -> None:
    """A charge with a real voucher behind it; ``more`` is what else it has."""
    channel_id = world.channel_id(config)
    channel = ledger.channel(channel_id)
    assert channel is not None
    state = channel.state
    price = amount if price is None else price
    ceiling = state.charged + price
    signature = sign(payer, Voucher(channel_id, ceiling), world.settlement.domain)
    made = ledger.commit(
        [
            NewCharge(
                channel_id=channel_id,
                charges=state.charges,
                charged=state.charged,
                amount=amount,
                price=price,
                ceiling=ceiling,
                signature=signature,
                route=route,
                request_id=f"test-{channel_id.hex()[:8]}-{state.charges}",
                time=time,
                answer=None,
                **more,
            )
        ]
    )
    assert made == [True]


__all__ = ["KEYS", "PASSWORD", "charge", "ledger_of", "make_folder", "meet", "mirror_of"]
