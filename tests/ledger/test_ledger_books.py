"""What the ledger writes down beside payments, and what it shows."""

import msgspec
import pytest
from ledger_samples import (
    CONFIG,
    MIRROR,
    MOST,
    Amount,
    Backdoor,
    channel_id,
    known,
    next_charge,
    pay,
    reserved,
)

from farthing.ledger import Ledger, Mirror, Totals
from farthing.ledger.records import LATE_MS

# ---------------------------------------------------------------- the chain's side


def test_mirror__of_an_unknown_channel_begins_at_what_is_claimed(ledger: Ledger) -> None:
    mirror = Mirror(1_000, 400, 30, 20, 10, 100)
    state = ledger.mirror(channel_id(1), CONFIG, mirror)
    assert (state.charged, state.charges, state.ceiling, state.mirror) == (400, 0, 0, mirror)
    pay(ledger, channel_id(1), amount=5)
    assert [charge.total for charge in ledger.charges()] == [405]
    assert ledger.prove() == []


def test_mirror__of_a_known_channel_leaves_its_charges(ledger: Ledger, another: Ledger) -> None:
    channel = known(ledger, 1)
    pay(ledger, channel)
    newer = Mirror(2_000, 5, 1, 2, 3, 101)
    state = ledger.mirror(channel, CONFIG, newer)
    assert (state.charged, state.charges, state.mirror) == (7, 1, newer)
    assert reserved(another, channel) == state


@pytest.mark.parametrize(("synced_at", "balance"), [(99, 1_000_000), (100, 5), (101, 5)])
def test_mirror__older_than_what_is_kept(ledger: Ledger, synced_at: int, balance: int) -> None:
    channel = known(ledger, 1)
    state = ledger.mirror(channel, CONFIG, Mirror(5, 0, 0, 0, 0, synced_at))
    assert state.mirror.balance == balance
    assert reserved(ledger, channel) == state


@pytest.mark.parametrize(
    ("block", "synced_at", "balance"),
    [
        (7, 100, 5),
        (6, 200, 1_000_000),
        (6, 100 + LATE_MS - 1, 1_000_000),
        # The chain has become another one, or block 7 never was.
        (6, 100 + LATE_MS, 5),
        # Nobody knows of which block it is.
        (0, 200, 5),
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_mirror__of_an_earlier_block_than_what_is_kept(
    ledger: Ledger, block: int, synced_at: int, balance: int, many: bool
) -> None:
    channel = known(ledger, 1)
    kept = msgspec.structs.replace(MIRROR, block=7)
    assert ledger.mirror(channel, CONFIG, kept).mirror == kept
    said = Mirror(5, 0, 0, 0, 0, synced_at, block)
    if many:
        ledger.mirror_many([(channel, CONFIG, said)])
    else:
        ledger.mirror(channel, CONFIG, said)
    assert reserved(ledger, channel).mirror == (said if balance == 5 else kept)


def test_mirror__between_reserve_and_commit(ledger: Ledger, another: Ledger) -> None:
    channel = known(ledger, 1)
    charge = next_charge(channel, reserved(ledger, channel))
    another.mirror(channel, CONFIG, msgspec.structs.replace(MIRROR, balance=5, synced_at=200))
    assert ledger.commit([charge]) == [True]


def test_remember__and_recall(ledger: Ledger, another: Ledger) -> None:
    assert ledger.recall("cursor") is None
    ledger.remember("cursor", "block 5")
    ledger.remember("other", "£ 'quoted'")
    ledger.remember("cursor", "block 6")
    assert another.recall("cursor") == "block 6"
    assert another.recall("other") == "£ 'quoted'"


# ---------------------------------------------------------------- looking


def test_channel__unknown(ledger: Ledger) -> None:
    assert ledger.channel(channel_id(1)) is None


def test_charges__after_an_id_and_at_most_so_many(ledger: Ledger) -> None:
    first, second = known(ledger, 1), known(ledger, 2)
    for channel in (first, second) * 5:
        pay(ledger, channel)
    everything = ledger.charges()
    assert len(everything) == 10
    assert ledger.charges(limit=3) == everything[:3]
    assert ledger.charges(after=everything[3].id, limit=3) == everything[4:7]
    assert ledger.charges(after=everything[-1].id) == []
    of_first = everything[::2]
    assert ledger.charges(channel_id=first) == of_first
    assert ledger.charges(channel_id=first, limit=2) == of_first[:2]
    assert ledger.charges(channel_id=first, after=of_first[1].id, limit=2) == of_first[2:4]
    assert ledger.charges(channel_id=first, after=everything[1].id) == of_first[1:]
    assert ledger.charges(channel_id=channel_id(9)) == []


def test_totals__of_nothing(ledger: Ledger) -> None:
    assert ledger.totals() == Totals(0, 0, 0, 0, 0)


def test_totals__of_several_channels(ledger: Ledger) -> None:
    first = known(ledger, 1, balance=MOST)
    second = known(ledger, 2, balance=MOST, total_claimed=100)
    known(ledger, 3, balance=1)
    pay(ledger, first, amount=7)
    pay(ledger, first, amount=2)
    pay(ledger, second, amount=3)
    # The chain has more of this one than was charged: it does not make up for the others.
    ledger.mirror(first, CONFIG, Mirror(MOST, 20, 0, 0, 0, 200))
    assert ledger.totals() == Totals(3, 3, 112, 3, 2 * MOST + 1)


# ---------------------------------------------------------------- append-only


@pytest.mark.parametrize("statement", ["UPDATE charges SET amount = ?", "DELETE FROM charges"])
def test_charges__are_never_changed_or_removed(
    ledger: Ledger, backdoor: Backdoor, statement: str
) -> None:
    pay(ledger, known(ledger, 1))
    before = ledger.charges()
    values = [Amount(1)] if "?" in statement else []
    with pytest.raises(Exception, match=r"a charge (never changes|is never)"):
        backdoor.run(statement, *values)
    assert ledger.charges() == before


def test_charges__are_never_truncated(ledger: Ledger, backdoor: Backdoor) -> None:
    if backdoor.is_local:
        return  # SQLite has no TRUNCATE.
    pay(ledger, known(ledger, 1))
    with pytest.raises(Exception, match="a charge is never"):
        backdoor.run("TRUNCATE charges")
    assert len(ledger.charges()) == 1
