"""The packed redemption's bytes, both ways: the call, and what the event says of every row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

from farthing.chain.artifacts import artifact
from farthing.protocol import (
    MAX_EXTRAS,
    MAX_ROWS,
    ZERO_ADDRESS,
    ChannelConfig,
    Domain,
    InvalidField,
    Outcome,
    Reason,
    RedemptionCall,
    Terms,
    VoucherClaim,
    decode_outcomes,
    extras_of,
    is_packable,
    redeem_call,
)
from farthing.protocol.redemption import MAX_TOTAL, REDEEM_SELECTOR

CONTRACT = Web3().eth.contract(abi=artifact("BatchSettlement").abi)
TERMS = Terms("0x" + "aa" * 20, "0x" + "bb" * 20, "0x" + "cc" * 20, 900)
PAYER = "0x" + "11" * 20
KEY = "0x" + "22" * 20
SALT = bytes(range(32))
R, S = 0xA1 << 240, 0x71 << 248
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def signature(r: int = R, s: int = S, v: int = 27) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((v,))


def claim(
    total: int = 5,
    ceiling: int | None = None,
    *,
    signed: bytes | None = None,
    authorizer: str = PAYER,
    salt: bytes = bytes(32),
) -> VoucherClaim:
    terms = (TERMS.receiver, TERMS.receiver_authorizer, TERMS.token, TERMS.withdraw_delay)
    channel = ChannelConfig(PAYER, authorizer, *terms, salt)
    signed = signature() if signed is None else signed
    return VoucherClaim(channel, total if ceiling is None else ceiling, signed, total)


def by_hand(rows: list[tuple[int, int, int]], extras: list[int]) -> str:
    """The call as web3 encodes it from the contract's packaged interface."""
    terms = (TERMS.receiver, TERMS.receiver_authorizer, TERMS.token, TERMS.withdraw_delay)
    call: str = CONTRACT.encode_abi("redeem", args=[terms, rows, extras])
    return call


# ---------------------------------------------------------------- the call


def test_selector__is_that_of_the_interface() -> None:
    function = CONTRACT.get_function_by_name("redeem")
    assert function_abi_to_4byte_selector(function.abi) == REDEEM_SELECTOR


HEAD = int(PAYER, 16) << 96


@pytest.mark.parametrize(
    ("row", "words", "extras"),
    [
        (claim(), (HEAD | 5, R, S), []),
        (claim(0), (HEAD, R, S), []),
        (claim(MAX_TOTAL), (HEAD | 2**88 - 1, R, S), []),
        (claim(signed=signature(v=28)), (HEAD | 5, R, 2**255 | S), []),
        (claim(signed=signature(s=HALF_ORDER, v=28)), (HEAD | 5, R, 2**255 | HALF_ORDER), []),
        (claim(signed=signature(0, 0)), (HEAD | 5, 0, 0), []),
        (claim(authorizer=KEY), (HEAD | 2**88 | 5, R, S), [int(KEY, 16)]),
        (claim(authorizer=ZERO_ADDRESS), (HEAD | 2**88 | 5, R, S), [0]),
        (claim(salt=SALT), (HEAD | 2**89 | 5, R, S), [int.from_bytes(SALT, "big")]),
        (claim(5, 6), (HEAD | 2**90 | 5, R, S), [6]),
        (claim(5, 2**128 - 1), (HEAD | 2**90 | 5, R, S), [2**128 - 1]),
        (
            claim(5, 7, authorizer=KEY, salt=SALT),
            (HEAD | 7 << 88 | 5, R, S),
            [int(KEY, 16), int.from_bytes(SALT, "big"), 7],
        ),
    ],
)
def test_redeem_call__one_row(
    row: VoucherClaim, words: tuple[int, int, int], extras: list[int]
) -> None:
    assert extras_of(row) == extras
    assert "0x" + redeem_call(TERMS, [row]).hex() == by_hand([words], extras)


def test_redeem_call__rows_and_their_extras_in_order() -> None:
    rows = [claim(1), claim(2, 3, authorizer=KEY), claim(4), claim(5, salt=SALT)]
    words = [
        (HEAD | 1, R, S),
        (HEAD | 2**88 | 2**90 | 2, R, S),
        (HEAD | 4, R, S),
        (HEAD | 2**89 | 5, R, S),
    ]
    extras = [int(KEY, 16), 3, int.from_bytes(SALT, "big")]
    assert "0x" + redeem_call(TERMS, rows).hex() == by_hand(words, extras)


def test_redeem_call__as_long_as_the_contract_takes() -> None:
    rows = [claim(n + 1, authorizer=KEY) for n in range(MAX_ROWS)]
    words = [(HEAD | 2**88 | n + 1, R, S) for n in range(MAX_ROWS)]
    expected = by_hand(words, [int(KEY, 16)] * MAX_EXTRAS)
    assert "0x" + redeem_call(TERMS, rows).hex() == expected


FULL = [claim()] * MAX_ROWS


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "must be 1 to 128 rows, not 0"),
        ([*FULL, claim()], "must be 1 to 128 rows, not 129"),
        ([claim(), claim(MAX_TOTAL + 1)], "must be packable; claim this one instead"),
        ([claim(signed=b"")], "must be packable; claim this one instead"),
        ([claim(signed=signature(s=HALF_ORDER + 1))], "must be packable; claim this one instead"),
        ([claim(signed=signature(v=29))], "must be packable; claim this one instead"),
        ([*[claim(1, 2, authorizer=KEY)] * 64, claim(1, 2)], "need 129 extras of 128; split"),
    ],
)
def test_redeem_call__what_the_contract_would_not_take(
    rows: list[VoucherClaim], sentence: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        redeem_call(TERMS, rows)
    assert caught.value.field == "claims"
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"receiver": KEY},
        {"receiver_authorizer": KEY},
        {"token": KEY},
        {"withdraw_delay": 901},
    ],
)
def test_redeem_call__a_row_of_other_terms(changes: dict[str, Any]) -> None:
    other = replace(claim(), channel=replace(claim().channel, **changes))
    with pytest.raises(InvalidField, match="must all be of the redemption's terms"):
        redeem_call(TERMS, [claim(), other])


def test_terms__compare_with_a_channels_whatever_the_case_of_their_addresses() -> None:
    assert Terms.of(claim().channel) == TERMS
    receiver, authorizer, token = "0x" + "AA" * 20, "0x" + "bb" * 20, "0x" + "CC" * 20
    assert Terms(receiver, authorizer, token, 900) == TERMS


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("receiver", ZERO_ADDRESS),
        ("receiver_authorizer", "0x12"),
        ("token", None),
        ("withdraw_delay", 899),
    ],
)
def test_terms__that_no_channel_can_have(field: str, wrong: Any) -> None:
    with pytest.raises(InvalidField) as caught:
        replace(TERMS, **{field: wrong})
    assert (caught.value.field, caught.value.value) == (field, wrong)


@pytest.mark.parametrize(
    ("row", "packable"),
    [
        (claim(), True),
        (claim(MAX_TOTAL), True),
        (claim(MAX_TOTAL + 1), False),
        (claim(signed=signature(s=HALF_ORDER)), True),
        (claim(signed=signature(s=HALF_ORDER + 1)), False),
        (claim(signed=signature(v=28)), True),
        (claim(signed=signature(v=26)), False),
        (claim(signed=signature(v=0)), False),
        (claim(signed=signature()[:64]), False),
        (claim(signed=signature() + b"\x00"), False),
    ],
)
def test_is_packable__strict_signatures_and_small_totals(row: VoucherClaim, packable: bool) -> None:
    assert is_packable(row) is packable


def test_redemption_digest__is_the_eip712_one() -> None:
    domain = Domain(31_337, "0x" + "dd" * 20)
    call = redeem_call(TERMS, [claim()])
    typed = {
        "types": {"Redemption": [{"name": "call", "type": "bytes"}]},
        "domain": {
            "name": "x402 Batch Settlement",
            "version": "1",
            "chainId": 31_337,
            "verifyingContract": "0x" + "dd" * 20,
        },
        "message": {"call": call},
    }
    account = Account.from_key(keccak(text="authorizer"))
    signed = account.sign_typed_data(typed["domain"], typed["types"], typed["message"])
    assert bytes(signed.message_hash) == RedemptionCall(call).digest(domain)


# ---------------------------------------------------------------- the outcomes


def redeemed_word(number: int, total: int) -> int:
    return number << 96 | total


def prefix(number: int) -> bytes:
    return number.to_bytes(20, "big")


def test_decode_outcomes__words_built_by_hand() -> None:
    words = [redeemed_word(2**160 - 1, 2**96 - 1), redeemed_word(7, 9)]
    # Rows 0 to 6: every reason, with the redeemed ones first and last but one.
    skipped = [0x3_0_5_4_2_1_0, 0]
    assert decode_outcomes(words, skipped) == [
        Outcome(0, Reason.REDEEMED, b"\xff" * 20, 2**96 - 1),
        Outcome(1, Reason.STALE),
        Outcome(2, Reason.OVER_CEILING),
        Outcome(3, Reason.EMPTY),
        Outcome(4, Reason.CONTRACT_PAYER),
        Outcome(5, Reason.REDEEMED, prefix(7), 9),
        Outcome(6, Reason.BAD_SIGNATURE),
    ]


def test_decode_outcomes__the_second_word_of_reasons() -> None:
    words = [redeemed_word(n, n + 1) for n in range(126)]
    outcomes = decode_outcomes(words, [0x2 << 252, 0x1 << 252])
    skipped = [(outcome.index, outcome.reason) for outcome in outcomes if outcome.reason]
    assert skipped == [(63, Reason.OVER_CEILING), (127, Reason.STALE)]
    assert [o.index for o in outcomes] == list(range(128))
    assert outcomes[64] == Outcome(64, Reason.REDEEMED, prefix(63), 64)
    assert outcomes[126] == Outcome(126, Reason.REDEEMED, prefix(125), 126)


def test_decode_outcomes__nothing_redeemed() -> None:
    outcomes = decode_outcomes([], [0x44, 0])
    assert outcomes == [Outcome(0, Reason.EMPTY), Outcome(1, Reason.EMPTY)]


@pytest.mark.parametrize("number", range(6, 16))
def test_decode_outcomes__a_reason_that_is_none(number: int) -> None:
    with pytest.raises(InvalidField) as caught:
        decode_outcomes([redeemed_word(1, 1)], [number << 4, 0])
    assert (caught.value.field, caught.value.value) == ("skipped", number)
    assert "is no reason that row 1 can have" in str(caught.value)


@pytest.mark.parametrize(
    ("words", "skipped", "row"),
    [([], [0x10, 0], 0), ([redeemed_word(1, 1)], [0x1_0_0, 0], 1), ([], [0, 1], 0)],
)
def test_decode_outcomes__a_redeemed_row_without_a_word(
    words: list[int], skipped: list[int], row: int
) -> None:
    with pytest.raises(InvalidField, match=f"is no reason that row {row} can have"):
        decode_outcomes(words, skipped)


REASONS = st.lists(st.sampled_from(Reason), min_size=1, max_size=MAX_ROWS)


@given(reasons=REASONS)
def test_decode_outcomes__any_batch(reasons: list[Reason]) -> None:
    skipped = [0, 0]
    words, expected = [], []
    for row, reason in enumerate(reasons):
        skipped[row // 64] |= reason << row % 64 * 4
        if reason is Reason.REDEEMED:
            words.append(redeemed_word(row + 1, row + 2))
            expected.append(Outcome(row, reason, prefix(row + 1), row + 2))
        else:
            expected.append(Outcome(row, reason))
    assert decode_outcomes(words, skipped) == expected


def test_reasons__each_has_its_own_sentence() -> None:
    assert [int(reason) for reason in Reason] == [0, 1, 2, 3, 4, 5]
    assert len({reason.sentence() for reason in Reason}) == len(Reason)
