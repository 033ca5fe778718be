"""The way of a payment through the books: reserve, commit, answer, release."""

import threading

import msgspec
import pytest
from ledger_samples import (
    ANSWER,
    CONFIG,
    MIRROR,
    MOST,
    Backdoor,
    channel_id,
    known,
    next_charge,
    pay,
    reserved,
)

from farthing.ledger import ChannelState, Charge, Ledger, Mirror, NotReserved
from farthing.ledger.ledger import LARGE

# ---------------------------------------------------------------- reserve and release


def test_reserve__a_known_channel(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    (state,) = ledger.reserve([channel])
    assert state == ledger.channel(channel).state  # type: ignore[union-attr]
    assert (state.charged, state.charges, state.ceiling, state.signature, state.last_charge) == (
        0,
        0,
        0,
        b"",
        0,
    )
    assert state.mirror == MIRROR


def test_reserve__an_unknown_channel_is_not_held(ledger: Ledger, another: Ledger) -> None:
    assert ledger.reserve([channel_id(1)]) == [NotReserved.UNKNOWN]
    known(ledger, 1)
    reserved(another, channel_id(1))


def test_reserve__twice_in_one_ledger(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    reserved(ledger, channel)
    assert ledger.reserve([channel]) == [NotReserved.BUSY]


def test_reserve__held_by_another_ledger(ledger: Ledger, another: Ledger) -> None:
    channel = known(ledger, 1)
    reserved(ledger, channel)
    assert another.reserve([channel]) == [NotReserved.BUSY]
    ledger.release([channel])
    reserved(another, channel)
    assert ledger.reserve([channel]) == [NotReserved.BUSY]


def test_reserve__answers_in_the_order_of_a_mixed_batch(ledger: Ledger, another: Ledger) -> None:
    held, free, second = known(ledger, 1), known(ledger, 2, balance=2), known(ledger, 3, balance=3)
    unknown = channel_id(4)
    reserved(another, held)
    answers = ledger.reserve([unknown, second, held, free, second, unknown])
    assert [getattr(each, "mirror", each) for each in answers] == [
        NotReserved.UNKNOWN,
        msgspec.structs.replace(MIRROR, balance=3),
        NotReserved.BUSY,
        msgspec.structs.replace(MIRROR, balance=2),
        NotReserved.BUSY,
        NotReserved.UNKNOWN,
    ]


def test_reserve__nothing(ledger: Ledger) -> None:
    assert ledger.reserve([]) == []


def test_release__some_of_them_held(ledger: Ledger, another: Ledger) -> None:
    first, second, other = (known(ledger, number) for number in (1, 2, 3))
    reserved(ledger, first)
    reserved(ledger, second)
    reserved(another, other)
    ledger.release([channel_id(9), first, first, other])
    reserved(another, first)
    assert another.reserve([second]) == [NotReserved.BUSY]
    assert ledger.reserve([other]) == [NotReserved.BUSY]


def test_close__gives_back_what_is_reserved(ledger: Ledger, another: Ledger) -> None:
    channel = known(ledger, 1)
    reserved(another, channel)
    another.close()
    # PostgreSQL hears of it a moment later.
    while (state := ledger.reserve([channel])) == [NotReserved.BUSY]:
        assert not ledger.is_local
    assert isinstance(state[0], ChannelState)


def test_reserve__sees_what_was_committed_before_the_release(
    ledger: Ledger, another: Ledger
) -> None:
    channel = known(ledger, 1)
    for charges in range(5):
        for each in (ledger, another):
            state = reserved(each, channel)
            assert each.commit([next_charge(channel, state)]) == [True]
            each.release([channel])
        assert reserved(ledger, channel).charges == 2 * charges + 2
        ledger.release([channel])


# ---------------------------------------------------------------- commit


def test_commit__the_first_charge(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    charge = pay(ledger, channel, amount=7, price=10, signature=b"one", route="r", time=5)
    state = reserved(ledger, channel)
    assert (state.charged, state.charges, state.ceiling, state.signature) == (7, 1, 10, b"one")
    assert ledger.charges() == [
        Charge(state.last_charge, channel, 0, 7, 7, 10, "r", charge.request_id, 5)
    ]


def test_commit__charges_link_back_one_by_one(ledger: Ledger) -> None:
    first, second = known(ledger, 1), known(ledger, 2)
    for channel in (first, second, first, first, second):
        pay(ledger, channel)
    charges = ledger.charges(channel_id=first)
    assert [charge.total for charge in charges] == [7, 14, 21]
    assert [charge.previous for charge in charges] == [0, charges[0].id, charges[1].id]
    ids = [charge.id for charge in ledger.charges()]
    assert ids == sorted(set(ids)) and len(ids) == 5 and ids[0] >= 1


def test_commit__a_batch_of_many_channels(ledger: Ledger) -> None:
    channels = [known(ledger, number) for number in range(50)]
    batch = [
        next_charge(channel, reserved(ledger, channel), amount=number, price=number)
        for number, channel in enumerate(channels)
    ]
    assert ledger.commit(batch) == [True] * 50
    assert [charge.channel_id for charge in ledger.charges()] == channels
    assert [charge.amount for charge in ledger.charges()] == list(range(50))


def test_commit__nothing(ledger: Ledger) -> None:
    assert ledger.commit([]) == []


def test_commit__an_amount_of_zero_is_a_charge(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    pay(ledger, channel, amount=0)
    assert reserved(ledger, channel).charges == 1
    assert len(ledger.charges()) == 1


def test_commit__a_channel_that_has_moved_on(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    stale = next_charge(channel, reserved(ledger, channel), request_id="stale")
    ledger.release([channel])
    pay(ledger, channel)
    before = ledger.channel(channel), ledger.charges()
    assert ledger.commit([stale]) == [False]
    assert (ledger.channel(channel), ledger.charges()) == before


def test_commit__the_same_total_at_another_count(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    stale = next_charge(channel, reserved(ledger, channel), request_id="stale")
    ledger.release([channel])
    pay(ledger, channel, amount=0)
    assert ledger.commit([stale]) == [False]


def test_commit__the_same_count_at_another_total(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    charge = next_charge(channel, reserved(ledger, channel), charged=1)
    assert ledger.commit([charge]) == [False]
    assert ledger.charges() == []


def test_commit__an_unknown_channel(ledger: Ledger) -> None:
    state = reserved(ledger, known(ledger, 1))
    assert ledger.commit([next_charge(channel_id(2), state)]) == [False]
    assert ledger.charges() == []


def test_commit__the_refused_and_the_made_in_one_batch(ledger: Ledger) -> None:
    first, second, third = (known(ledger, number) for number in (1, 2, 3))
    states = {each: reserved(ledger, each) for each in (first, second, third)}
    batch = [
        next_charge(first, states[first]),
        next_charge(second, states[second], charged=5),
        next_charge(third, states[third]),
    ]
    assert ledger.commit(batch) == [True, False, True]
    assert [charge.channel_id for charge in ledger.charges()] == [first, third]
    assert ledger.prove() == []


def test_charge__above_its_ceiling__cannot_be_asked_for(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    state = reserved(ledger, channel)
    assert ledger.commit([next_charge(channel, state, amount=10, ceiling=10)]) == [True]
    ledger.release([channel])
    state = reserved(ledger, channel)
    with pytest.raises(ValueError, match="above the voucher's ceiling"):
        next_charge(channel, state, amount=1, ceiling=10)
    # A charge of nothing moves the channel on, also where nobody ever signed for it.
    assert ledger.commit([next_charge(channel, state, amount=0, ceiling=0)]) == [True]


def test_commit__two_for_one_fence_in_one_batch(ledger: Ledger) -> None:
    channel, other = known(ledger, 1), known(ledger, 2)
    state = reserved(ledger, channel)
    batch = [
        next_charge(channel, state, amount=1, request_id="a"),
        next_charge(other, reserved(ledger, other)),
        next_charge(channel, state, amount=2, request_id="b"),
    ]
    assert ledger.commit(batch) == [True, True, False]
    assert [charge.amount for charge in ledger.charges(channel_id=channel)] == [1]


def test_commit__the_same_charge_twice_in_one_batch(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    charge = next_charge(channel, reserved(ledger, channel))
    assert ledger.commit([charge, charge]) == [True, True]
    assert len(ledger.charges()) == 1


def test_commit__two_that_follow_each_other_in_one_batch(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    state = reserved(ledger, channel)
    first = next_charge(channel, state, request_id="a")
    second = msgspec.structs.replace(first, charges=1, charged=7, ceiling=17, request_id="b")
    assert ledger.commit([first, second]) == [True, True]
    assert [charge.total for charge in ledger.charges()] == [7, 14]
    assert ledger.prove() == []


def test_commit__again_with_the_same_charges(ledger: Ledger, another: Ledger) -> None:
    first, second = known(ledger, 1), known(ledger, 2)
    batch = [next_charge(each, reserved(ledger, each), answer=ANSWER) for each in (first, second)]
    assert ledger.commit(batch) == [True, True]
    before = ledger.charges(), ledger.channel(first)
    assert ledger.commit(batch) == [True, True]
    assert another.commit(batch) == [True, True]
    assert (ledger.charges(), ledger.channel(first)) == before


def test_commit__again_when_it_is_no_longer_the_latest(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    charge = pay(ledger, channel)
    pay(ledger, channel)
    assert ledger.commit([charge]) == [False]


def test_commit__the_highest_amounts(ledger: Ledger) -> None:
    channel = known(ledger, 1, balance=MOST, withdraw_amount=MOST - 1)
    pay(ledger, channel, amount=MOST - 3, price=MOST - 2)
    pay(ledger, channel, amount=3, price=3)
    state = reserved(ledger, channel)
    assert (state.charged, state.ceiling) == (MOST, MOST)
    assert state.mirror == Mirror(MOST, 0, MOST - 1, 0, 0, 100)
    assert [(c.amount, c.total, c.price) for c in ledger.charges()] == [
        (MOST - 3, MOST - 3, MOST - 2),
        (3, MOST, 3),
    ]
    assert ledger.prove() == []


def test_commit__from_many_threads_at_once(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    state = reserved(ledger, channel)
    made: list[bool] = []
    barrier = threading.Barrier(8)

    def commit(number: int) -> None:
        barrier.wait()
        made.extend(ledger.commit([next_charge(channel, state, request_id=str(number))]))

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]
    assert len(ledger.charges()) == 1


def test_commit__beside_a_thread_that_reserves(ledger: Ledger) -> None:
    """`commit` has a thread of its own; the books agree after both have run."""
    channels = [known(ledger, number) for number in range(200)]
    states = ledger.reserve(channels)
    made: list[bool] = []

    def commit() -> None:
        for channel, state in zip(channels, states, strict=True):
            made.extend(ledger.commit([next_charge(channel, state)]))  # type: ignore[arg-type]

    thread = threading.Thread(target=commit)
    thread.start()
    for number in range(1_000, 1_200):
        pending = known(ledger, number)
        reserved(ledger, pending)
        ledger.release([pending])
        ledger.charges(limit=5)
    thread.join()
    assert made == [True] * 200
    assert ledger.totals().charges == 200
    assert ledger.prove() == []


# ---------------------------------------------------------------- answers


def test_answer__of_the_latest_charge(ledger: Ledger, another: Ledger) -> None:
    channel = known(ledger, 1)
    assert ledger.answer(channel) is None
    pay(ledger, channel, answer=ANSWER)
    assert another.answer(channel) == ANSWER
    later = msgspec.structs.replace(ANSWER, body=b"\xff" * 100_000, headers=[])
    pay(ledger, channel, answer=later)
    assert ledger.answer(channel) == later
    assert ledger.answer(channel_id(2)) is None


def test_answer__none_kept_with_the_latest(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    pay(ledger, channel, answer=ANSWER)
    pay(ledger, channel, answer=None)
    assert ledger.answer(channel) is None


def test_answer__of_a_charge_that_was_not_made(ledger: Ledger) -> None:
    channel = known(ledger, 1)
    state = reserved(ledger, channel)
    assert ledger.commit([next_charge(channel, state, charged=1, answer=ANSWER)]) == [False]
    assert ledger.answer(channel) is None


@pytest.mark.parametrize(("now", "forgotten"), [(1_000, 0), (1_001, 1)])
def test_forget_answers__expired_before_now(ledger: Ledger, now: int, forgotten: int) -> None:
    old, new = known(ledger, 1), known(ledger, 2)
    pay(ledger, old, answer=ANSWER)
    pay(ledger, new, answer=msgspec.structs.replace(ANSWER, expires_at=5_000))
    assert ledger.forget_answers(now) == forgotten
    assert (ledger.answer(old) is None) == bool(forgotten)
    assert ledger.answer(new) is not None
    assert ledger.forget_answers(now) == 0


def test_answers__that_are_large__only_the_last_of_a_channel_is_kept(
    ledger: Ledger, another: Ledger, backdoor: Backdoor
) -> None:
    kept = msgspec.structs.replace(ANSWER, expires_at=2**40, body=bytes(LARGE + 1))

    def answers() -> int:
        # Whoever has charged, and also a process that has just come.
        another.forget_answers(0)
        ((number,),) = backdoor.run("SELECT count(*) FROM answers")
        return int(number)

    first, second = known(ledger, 1), known(ledger, 2)
    for _ in range(5):
        pay(ledger, first, answer=kept)
    pay(ledger, second, answer=kept)
    assert answers() == 2
    assert ledger.answer(first) == ledger.answer(second) == kept
    pay(ledger, second, answer=kept)
    # One too long to be kept takes its place all the same.
    pay(ledger, first)
    assert answers() == 1
    assert (ledger.answer(first), ledger.answer(second)) == (None, kept)


def test_channel__of_the_config_it_was_given(ledger: Ledger) -> None:
    found = ledger.channel(known(ledger, 1))
    assert found is not None and found.config == CONFIG and found.channel_id == channel_id(1)
