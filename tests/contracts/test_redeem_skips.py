"""A bad row is skipped for its own reason, wherever it stands, and the good ones are paid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import boa
import pytest
from eth_account.signers.local import LocalAccount
from redemption import (
    BAD_SIGNATURE,
    CONTRACT_PAYER,
    CURVE_ORDER,
    EMPTY,
    OVER_CEILING,
    STALE,
    ZERO_ADDRESS,
    Row,
    batch,
    channel_id,
    outcome,
    redeemed,
    signed_row,
    transfer,
)

DEPOSIT = 1_000
MAX_S = CURVE_ORDER // 2
MAX_WORD = 2**256 - 1


class World(NamedTuple):
    """Channels of one payer, in every state a row can meet."""

    settlement: Any
    payer: LocalAccount
    other: LocalAccount
    good: list[Any]
    fresh: Any
    half_claimed: Any
    drained: Any
    emptied: Any
    unknown: Any
    of_wallet: Any
    with_authorizer: Any
    of_rising: Any

    def row(self, config: Any, total: int, ceiling: int | None = None, by: Any = None) -> Row:
        return signed_row(self.settlement, config, total, by or self.payer, ceiling)

    def id(self, config: Any) -> bytes:
        return channel_id(self.settlement, config)


@pytest.fixture(scope="module")
def world(settlement, channel_config, deposit, account, payer, receiver, wallet):
    """Made once: titanoboa takes each test back to here."""

    def channel(salt: int, **parts: Any) -> Any:
        config = channel_config(payerAuthorizer=payer.address, salt=salt.to_bytes(32))._replace(
            **parts
        )
        deposit(config, DEPOSIT)
        return config

    # Good and bad rows are of the same payer: what an earlier row left behind would be its key.
    good = [channel(salt) for salt in range(1, 5)]
    fresh, half_claimed, drained, emptied = (channel(salt) for salt in range(10, 14))
    claims = [
        signed_row(settlement, half_claimed, 500, payer),
        signed_row(settlement, drained, DEPOSIT, payer),
    ]
    settlement.redeem(*batch(fresh, claims), sender=receiver.address)
    settlement.refund(emptied, DEPOSIT, sender=receiver.address)
    return World(
        settlement,
        payer,
        account("somebody else"),
        good,
        fresh,
        half_claimed,
        drained,
        emptied,
        fresh._replace(salt=b"\xff" * 32),
        channel(20, payer=wallet.address, payerAuthorizer=ZERO_ADDRESS),
        channel(21, payerAuthorizer=account("session key").address),
        # Without a salt, so that a full batch leaves extras for the bad rows.
        channel(0),
    )


class Bad(NamedTuple):
    row: Row
    # Whose id the outcome carries: a channel, or an id that no channel of ours has.
    of: Any
    reason: int


# ---------------------------------------------------------------- the kinds


def total_of_zero(w: World) -> Bad:
    return Bad(w.row(w.fresh, 0), w.fresh, STALE)


def total_as_claimed(w: World) -> Bad:
    return Bad(w.row(w.half_claimed, 500), w.half_claimed, STALE)


def total_below_claimed(w: World) -> Bad:
    return Bad(w.row(w.half_claimed, 499), w.half_claimed, STALE)


def over_its_ceiling(w: World) -> Bad:
    return Bad(w.row(w.fresh, 101, 100), w.fresh, OVER_CEILING)


def over_its_ceiling_and_stale(w: World) -> Bad:
    return Bad(w.row(w.half_claimed, 400, 399), w.half_claimed, OVER_CEILING)


def over_a_ceiling_of_zero(w: World) -> Bad:
    return Bad(w.row(w.fresh, 1, 0), w.fresh, OVER_CEILING)


def unknown_channel(w: World) -> Bad:
    return Bad(w.row(w.unknown, 100), w.unknown, EMPTY)


def emptied_channel(w: World) -> Bad:
    return Bad(w.row(w.emptied, 100), w.emptied, EMPTY)


def drained_channel(w: World) -> Bad:
    return Bad(w.row(w.drained, DEPOSIT + 1), w.drained, EMPTY)


def contract_payer(w: World) -> Bad:
    return Bad(w.row(w.of_wallet, 100), w.of_wallet, CONTRACT_PAYER)


def payer_of_zero(w: World) -> Bad:
    # No signature at all recovers to the zero address, and that is nobody's channel.
    config = w.fresh._replace(payer=ZERO_ADDRESS, payerAuthorizer=ZERO_ADDRESS)
    row = w.row(config, 100)._replace(r=0, vs=0)
    return Bad(row, config, EMPTY)


def signed_by_another_key(w: World) -> Bad:
    return Bad(w.row(w.fresh, 100, by=w.other), w.fresh, BAD_SIGNATURE)


def signed_by_the_payer_behind_its_authorizer(w: World) -> Bad:
    return Bad(w.row(w.with_authorizer, 100), w.with_authorizer, BAD_SIGNATURE)


def signed_for_another_ceiling(w: World) -> Bad:
    signed = w.row(w.fresh, 101)
    return Bad(w.row(w.fresh, 100)._replace(r=signed.r, vs=signed.vs), w.fresh, BAD_SIGNATURE)


def signed_for_another_channel(w: World) -> Bad:
    signed = w.row(w.good[0], 100)
    return Bad(w.row(w.fresh, 100)._replace(r=signed.r, vs=signed.vs), w.fresh, BAD_SIGNATURE)


def other_parity(w: World) -> Bad:
    row = w.row(w.fresh, 100)
    return Bad(row._replace(vs=row.vs ^ 2**255), w.fresh, BAD_SIGNATURE)


def malleated(w: World) -> Bad:
    """The same signature with its high s, as it would stand in 65 bytes."""
    row = w.row(w.fresh, 100)
    high_s = CURVE_ORDER - row.vs % 2**255
    return Bad(row._replace(vs=high_s), w.fresh, BAD_SIGNATURE)


def malleated_with_its_parity(w: World) -> Bad:
    row = w.row(w.fresh, 100)
    high_s = CURVE_ORDER - row.vs % 2**255
    return Bad(row._replace(vs=high_s | (row.vs ^ 2**255) >> 255 << 255), w.fresh, BAD_SIGNATURE)


def _with_words(**words: int) -> Callable[[World], Bad]:
    def make(w: World) -> Bad:
        return Bad(w.row(w.fresh, 100)._replace(**words), w.fresh, BAD_SIGNATURE)

    return make


def _cut(bits: int) -> Callable[[World], Bad]:
    """The end of the signature never arrived and counts as zeros."""

    def make(w: World) -> Bad:
        row = w.row(w.fresh, 100)
        return Bad(row._replace(vs=row.vs >> bits << bits), w.fresh, BAD_SIGNATURE)

    return make


def authorizer_not_named(w: World) -> Bad:
    """Without its authorizer the row is of another channel."""
    row = w.row(w.with_authorizer, 100)
    row = row._replace(head=row.head ^ 1 << 88, extras=row.extras[1:])
    return Bad(row, w.with_authorizer._replace(payerAuthorizer=w.payer.address), EMPTY)


def authorizer_with_dirty_bits(w: World) -> Bad:
    row = w.row(w.with_authorizer, 100)
    dirty = row.extras[0] | 1 << 160
    row = row._replace(extras=(dirty, *row.extras[1:]))
    return Bad(row, w.with_authorizer._replace(payerAuthorizer=hex(dirty)), EMPTY)


def authorizer_of_all_bits(w: World) -> Bad:
    # The contract's own word for "nobody", hence the reason.
    row = w.row(w.with_authorizer, 100)
    row = row._replace(extras=(MAX_WORD, *row.extras[1:]))
    of = w.with_authorizer._replace(payerAuthorizer=hex(MAX_WORD))
    return Bad(row, of, CONTRACT_PAYER)


def ceiling_with_dirty_bits(w: World) -> Bad:
    row = w.row(w.fresh, 100, 200)
    return Bad(row._replace(extras=(row.extras[0], 200 | 1 << 128)), w.fresh, BAD_SIGNATURE)


KINDS: dict[str, Callable[[World], Bad]] = {
    kind.__name__: kind
    for kind in (
        total_of_zero,
        total_as_claimed,
        total_below_claimed,
        over_its_ceiling,
        over_its_ceiling_and_stale,
        over_a_ceiling_of_zero,
        unknown_channel,
        emptied_channel,
        drained_channel,
        contract_payer,
        payer_of_zero,
        signed_by_another_key,
        signed_by_the_payer_behind_its_authorizer,
        signed_for_another_ceiling,
        signed_for_another_channel,
        other_parity,
        malleated,
        malleated_with_its_parity,
        authorizer_not_named,
        authorizer_with_dirty_bits,
        authorizer_of_all_bits,
        ceiling_with_dirty_bits,
    )
} | {
    "r_of_zero": _with_words(r=0),
    "r_of_the_order": _with_words(r=CURVE_ORDER),
    "r_of_all_bits": _with_words(r=MAX_WORD),
    "s_of_zero": _with_words(vs=0),
    "s_of_zero_and_v_28": _with_words(vs=2**255),
    "s_just_high": _with_words(vs=MAX_S + 1),
    "s_of_all_bits": _with_words(vs=MAX_WORD),
    "no_signature": _with_words(r=0, vs=0),
    "last_byte_of_s_missing": _cut(8),
    "last_half_of_s_missing": _cut(128),
}


@pytest.fixture(params=KINDS)
def bad(request, world):
    return KINDS[request.param](world)


@pytest.fixture(scope="module")
def rising_rows(world):
    """125 good rows of one channel, each one unit above the one before, and their outcomes."""
    config = world.of_rising
    return (
        [world.row(config, total) for total in range(1, 126)],
        [outcome(world.id(config), total=total) for total in range(1, 126)],
    )


# ---------------------------------------------------------------- at each index


@pytest.mark.parametrize("index", range(4))
def test_bad_row__is_skipped_and_the_others_are_paid(
    settlement, token, world, bad, receiver, events, index
):
    totals = {0: 100, 1: 200, 2: 400, 3: 800}
    del totals[index]
    rows = {i: world.row(world.good[i], total) for i, total in totals.items()}
    rows[index] = bad.row
    outcomes = {i: outcome(world.id(world.good[i]), total=total) for i, total in totals.items()}
    outcomes[index] = outcome(world.id(bad.of), reason=bad.reason)
    untouched = settlement.channels(world.id(bad.of))
    had = token.balanceOf(receiver.address)
    held = token.balanceOf(settlement.address)
    paid = sum(totals.values())

    settlement.redeem(
        *batch(world.fresh, [row for _, row in sorted(rows.items())]), sender=receiver.address
    )

    assert events(settlement) == [
        redeemed(world.fresh, paid, [word for _, word in sorted(outcomes.items())]),
        transfer(settlement.address, receiver.address, paid),
    ]
    assert settlement.channels(world.id(bad.of)) == untouched
    assert token.balanceOf(receiver.address) == had + paid
    assert token.balanceOf(settlement.address) == held - paid
    for i, config in enumerate(world.good):
        assert settlement.channels(world.id(config)) == (DEPOSIT, totals.get(i, 0))


def test_bad_row__is_skipped_first_midway_and_last_of_a_full_batch(
    settlement, token, world, bad, receiver, events, rising_rows
):
    rows, outcomes = list(rising_rows[0]), list(rising_rows[1])
    for index in (0, 63, 127):
        rows.insert(index, bad.row)
        outcomes.insert(index, outcome(world.id(bad.of), reason=bad.reason))
    assert len(rows) == 128
    untouched = settlement.channels(world.id(bad.of))
    had = token.balanceOf(receiver.address)

    settlement.redeem(*batch(world.fresh, rows), sender=receiver.address)

    assert events(settlement) == [
        redeemed(world.fresh, 125, outcomes),
        transfer(settlement.address, receiver.address, 125),
    ]
    assert settlement.channels(world.id(bad.of)) == untouched
    assert token.balanceOf(receiver.address) == had + 125


def test_bad_rows__of_every_kind_at_once_move_nothing(settlement, token, world, receiver, events):
    bad = [kind(world) for kind in KINDS.values()]
    had = token.balanceOf(receiver.address)
    held = token.balanceOf(settlement.address)

    settlement.redeem(*batch(world.fresh, [each.row for each in bad]), sender=receiver.address)

    assert events(settlement) == [
        redeemed(world.fresh, 0, [outcome(world.id(each.of), reason=each.reason) for each in bad])
    ]
    assert token.balanceOf(receiver.address) == had
    assert token.balanceOf(settlement.address) == held


def test_bad_row__alone_is_not_an_error(settlement, world, bad, receiver, events):
    settlement.redeem(*batch(world.fresh, [bad.row]), sender=receiver.address)
    assert events(settlement) == [
        redeemed(world.fresh, 0, [outcome(world.id(bad.of), reason=bad.reason)])
    ]


# ---------------------------------------------------------------- duplicates


@pytest.mark.parametrize("lower_by", [0, 1])
@pytest.mark.parametrize(("first", "second"), [(a, b) for b in range(4) for a in range(b)])
def test_duplicate__of_an_earlier_row_is_stale(
    settlement, world, receiver, events, first, second, lower_by
):
    others = iter(world.good)
    rows, outcomes = [], []
    for index in range(4):
        config = world.fresh if index in (first, second) else next(others)
        rows.append(world.row(config, 300 - lower_by * (index == second)))
        outcomes.append(outcome(world.id(config), total=300))
    outcomes[second] = outcome(world.id(world.fresh), reason=STALE)

    settlement.redeem(*batch(world.fresh, rows), sender=receiver.address)

    assert events(settlement)[0] == redeemed(world.fresh, 900, outcomes)
    assert settlement.channels(world.id(world.fresh)) == (DEPOSIT, 300)


@pytest.mark.parametrize(("first", "second"), [(0, 63), (0, 127), (63, 127), (126, 127)])
def test_duplicate__far_from_the_earlier_row_is_stale(
    settlement, world, receiver, events, rising_rows, first, second
):
    rows, outcomes = list(rising_rows[0]), list(rising_rows[1])
    rows.append(world.row(world.good[1], 1))
    outcomes.append(outcome(world.id(world.good[1]), total=1))
    again = world.row(world.fresh, 300)
    for index, result in ((first, {"total": 300}), (second, {"reason": STALE})):
        rows.insert(index, again)
        outcomes.insert(index, outcome(world.id(world.fresh), **result))
    assert len(rows) == 128
    settlement.redeem(*batch(world.fresh, rows), sender=receiver.address)
    assert events(settlement)[0] == redeemed(world.fresh, 426, outcomes)


def test_duplicate__above_what_the_channel_holds_is_empty(settlement, world, receiver, events):
    rows = [world.row(world.fresh, total) for total in (DEPOSIT + 5, DEPOSIT + 6, DEPOSIT)]
    settlement.redeem(*batch(world.fresh, rows), sender=receiver.address)
    identity = world.id(world.fresh)
    assert events(settlement)[0] == redeemed(
        world.fresh,
        DEPOSIT,
        [
            outcome(identity, total=DEPOSIT),
            outcome(identity, reason=EMPTY),
            outcome(identity, reason=STALE),
        ],
    )


def test_bad_signature__does_not_spoil_a_good_one_after_it(settlement, world, receiver, events):
    rows = [world.row(world.fresh, 300, by=world.other), world.row(world.fresh, 300)]
    settlement.redeem(*batch(world.fresh, rows), sender=receiver.address)
    identity = world.id(world.fresh)
    assert events(settlement)[0] == redeemed(
        world.fresh, 300, [outcome(identity, reason=BAD_SIGNATURE), outcome(identity, total=300)]
    )


# ---------------------------------------------------------------- high s


@pytest.fixture
def agreeable_ecrecover(monkeypatch, world):
    """An ecrecover that finds the payer in everything, and keeps what it was asked.

    A voucher whose own s is near half the order cannot be made: it would take 2**127 tries. This
    shows that the bound is the contract's and not the luck of the recovered address.
    """
    asked = []
    identity = bytes(19) + b"\x01"

    def recover(computation: Any) -> Any:
        asked.append(bytes(computation.msg.data))
        computation.output = bytes(12) + bytes.fromhex(world.payer.address[2:])
        return computation

    precompiles = boa.env.evm.vm.state.computation_class._precompiles
    monkeypatch.setitem(precompiles, identity, recover)
    return asked


@pytest.mark.parametrize("v", [27, 28])
def test_signature__of_the_highest_low_s_is_taken(
    settlement, world, receiver, events, agreeable_ecrecover, v
):
    row = world.row(world.fresh, 100)._replace(r=5, vs=MAX_S | (v - 27) << 255)
    settlement.redeem(*batch(world.fresh, [row]), sender=receiver.address)
    assert events(settlement)[0] == redeemed(
        world.fresh, 100, [outcome(world.id(world.fresh), total=100)]
    )
    assert [asked[32:] for asked in agreeable_ecrecover] == [
        b"".join(part.to_bytes(32) for part in (v, 5, MAX_S))
    ]


@pytest.mark.parametrize("v", [27, 28])
@pytest.mark.parametrize("s", [MAX_S + 1, 2**255 - 1])
def test_signature__of_a_high_s_is_refused_whoever_it_recovers_to(
    settlement, world, receiver, events, agreeable_ecrecover, s, v
):
    row = world.row(world.fresh, 100)._replace(r=5, vs=s | (v - 27) << 255)
    settlement.redeem(*batch(world.fresh, [row]), sender=receiver.address)
    assert events(settlement) == [
        redeemed(world.fresh, 0, [outcome(world.id(world.fresh), reason=BAD_SIGNATURE)])
    ]
    assert agreeable_ecrecover == []


# ---------------------------------------------------------------- beyond what claim takes


def test_row__with_an_authorizer_pays_a_wallet_s_voucher(
    settlement, channel_config, deposit, wallet, account, receiver, events
):
    """A payer with code needs an authorizer with a key, and then has a place in a row."""
    key = account("session key")
    config = channel_config(payer=wallet.address, payerAuthorizer=key.address)
    deposit(config, DEPOSIT)
    rows = batch(config, [signed_row(settlement, config, 100, key)])
    settlement.redeem(*rows, sender=receiver.address)
    assert events(settlement)[0] == redeemed(
        config, 100, [outcome(channel_id(settlement, config), total=100)]
    )


def test_row__takes_a_signed_ceiling_wider_than_claim_can_say(world, settlement, receiver, events):
    """The payer signed a word that no `uint128` holds; what it commits is bounded all the same."""
    row = world.row(world.fresh, 100, 2**128)
    settlement.redeem(*batch(world.fresh, [row]), sender=receiver.address)
    assert events(settlement)[0] == redeemed(
        world.fresh, 100, [outcome(world.id(world.fresh), total=100)]
    )
