"""The demonstration of a batch with bad rows, as somebody runs it."""

from collections import Counter
from dataclasses import replace

import pytest

from examples import bad_batch
from examples.bad_batch import (
    CHARGED,
    LEFT,
    BooksDoNotBalance,
    Demonstration,
    demonstrate,
    main,
    prove,
)
from farthing.chain.reverts import InvalidSignature
from farthing.protocol import Reason


@pytest.fixture(scope="module")
def shown() -> Demonstration:
    return demonstrate()


def test_bad_batch__every_kind_of_bad_row_is_skipped_for_its_reason(shown: Demonstration) -> None:
    outcomes = shown.redeemed.outcomes
    assert [outcome.index for outcome in outcomes] == list(range(128))
    bad = [(row.what, outcomes[i].reason) for i, row in enumerate(shown.rows) if row.what != "good"]
    assert bad == [
        ("redeemed before", Reason.STALE),
        ("above its voucher's ceiling", Reason.OVER_CEILING),
        ("signed by somebody else", Reason.BAD_SIGNATURE),
        ("with the signature's high-s twin", Reason.BAD_SIGNATURE),
        ("of a channel nobody opened", Reason.EMPTY),
        ("of an emptied channel", Reason.EMPTY),
        ("the first row once more", Reason.STALE),
        ("a contract's, with no key to sign", Reason.CONTRACT_PAYER),
        ("above what a withdrawal left", Reason.REDEEMED),
    ]


def test_bad_batch__good_rows_are_paid_and_the_withdrawn_one_what_is_left(
    shown: Demonstration,
) -> None:
    totals = [o.total for o in shown.redeemed.outcomes if o.reason is Reason.REDEEMED]
    assert Counter(totals) == {CHARGED: 119, LEFT: 1}
    assert (shown.redeemed.amount, shown.redeemed.credited) == (119 * CHARGED + LEFT, 0)


def test_bad_batch__claim_refuses_all_for_one_row(shown: Demonstration) -> None:
    assert type(shown.refusal) is InvalidSignature
    assert shown.refusal.row == 0


def test_bad_batch__prints_every_bad_row(
    shown: Demonstration, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bad_batch, "demonstrate", lambda: shown)
    main()
    printed = capsys.readouterr().out
    for row, outcome in zip(shown.rows, shown.redeemed.outcomes, strict=True):
        assert row.what in printed
        assert outcome.reason.sentence() in printed


def test_bad_batch__ends_with_an_error_when_the_books_do_not_balance(
    shown: Demonstration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong() -> None:
        prove(replace(shown, received=shown.received + 1))

    monkeypatch.setattr(bad_batch, "demonstrate", wrong)
    with pytest.raises(SystemExit) as ended:
        main()
    due = 119 * CHARGED + LEFT
    assert ended.value.code == (
        f"error: {due} was due, the event says {due}, and {due + 1} was received."
    )


def test_prove__a_row_that_came_out_otherwise(shown: Demonstration) -> None:
    outcomes = shown.redeemed.outcomes
    forgiven = [replace(o, reason=Reason.REDEEMED) if o.reason else o for o in outcomes]
    redeemed = replace(shown.redeemed, outcomes=forgiven)
    with pytest.raises(BooksDoNotBalance, match="a row came out otherwise than announced"):
        prove(replace(shown, redeemed=redeemed))


@pytest.mark.parametrize(
    ("account", "sentence"),
    [("settlement", "channels are owed .* holds"), ("publisher", "was claimed in all, .* holds")],
)
def test_prove__money_that_is_not_where_it_should_be(
    shown: Demonstration, monkeypatch: pytest.MonkeyPatch, account: str, sentence: str
) -> None:
    token, tampered = shown.shop.token, getattr(shown.shop, account).address
    honest = token.balance_of
    monkeypatch.setattr(token, "balance_of", lambda owner: honest(owner) + (owner == tampered))
    with pytest.raises(BooksDoNotBalance, match=sentence):
        prove(shown)
