"""Redemption of good rows: who may, what is paid, what stands in the books and in the event."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from types import SimpleNamespace

import boa
import pytest
from eth_account import Account
from eth_utils import keccak
from redemption import (
    EMPTY,
    MAX_TOTAL,
    STALE,
    ZERO_ADDRESS,
    batch,
    channel_id,
    outcome,
    pack,
    redeemed,
    redeemed_word,
    redemption_digest,
    selectors_of,
    sign_batch,
    signed_row,
    transfer,
)

DEPOSIT = 1_000
SALT = b"\x07" * 32


@pytest.fixture
def own_config(channel_config, payer):
    """Like most channels: the payer signs for itself, and there is no salt."""
    return channel_config(payerAuthorizer=payer.address)


@pytest.fixture
def funded(own_config, deposit):
    deposit(own_config, DEPOSIT)
    return own_config


def test_redeem__pays_the_receiver_in_one_transaction(
    settlement, token, funded, payer, receiver, events
):
    identity = channel_id(settlement, funded)
    rows = batch(funded, [signed_row(settlement, funded, 300, payer)])

    settlement.redeem(*rows, sender=receiver.address)

    assert events(settlement) == [
        redeemed(funded, 300, [outcome(identity, total=300)]),
        transfer(settlement.address, receiver.address, 300),
    ]
    assert settlement.channels(identity) == (DEPOSIT, 300)
    assert token.balanceOf(receiver.address) == 300
    assert token.balanceOf(settlement.address) == DEPOSIT - 300
    # What was paid out directly never went through the receiver's account.
    assert settlement.receivers(receiver.address, token.address) == (0, 0)


def test_redeem__is_the_call_of_the_specification(settlement, funded, payer, receiver):
    rows = batch(funded, [signed_row(settlement, funded, 300, payer, 400)] * 2)
    assert rows.call == bytes(settlement.redeem.prepare_calldata(*rows))
    assert channel_id(settlement, funded) == settlement.getChannelId(funded)


def test_redeem__logs_the_event_of_the_specification(settlement, funded, payer, receiver):
    good = signed_row(settlement, funded, 300, payer)
    settlement.redeem(*batch(funded, [good] * 66), sender=receiver.address)
    _, address, topics, data = min(settlement._computation.get_raw_log_entries())

    assert address == bytes.fromhex(settlement.address[2:])
    assert topics == (
        int.from_bytes(keccak(text="Redeemed(address,address,uint256,uint256[],uint256[2])")),
        int(funded.receiver, 16),
        int(funded.token, 16),
    )
    assert data == b"".join(
        [
            (300).to_bytes(32),
            (0x80).to_bytes(32),
            # All but the first row are stale: four bits each, the first row's lowest.
            bytes.fromhex("11" * 31 + "10"),
            bytes.fromhex("00" * 31 + "11"),
            (1).to_bytes(32),
            channel_id(settlement, funded)[:20] + (300).to_bytes(12),
        ]
    )


# ---------------------------------------------------------------- who may


def test_redeem__by_the_receiver_authorizer_pays_the_receiver(
    settlement, token, funded, payer, receiver, receiver_authorizer
):
    rows = batch(funded, [signed_row(settlement, funded, 300, payer)])
    settlement.redeem(*rows, sender=receiver_authorizer.address)
    assert token.balanceOf(receiver.address) == 300
    assert token.balanceOf(receiver_authorizer.address) == 0


@pytest.mark.parametrize("who", ["stranger", "payer", "payer_authorizer"])
def test_redeem__by_anybody_else_is_refused(
    settlement, funded, payer, payer_authorizer, stranger, expect_error, who
):
    sender = {"stranger": stranger, "payer": payer, "payer_authorizer": payer_authorizer}[who]
    rows = batch(funded, [signed_row(settlement, funded, 300, payer)])
    with expect_error("NotAuthorizedToClaim()"):
        settlement.redeem(*rows, sender=sender.address)
    assert settlement.channels(channel_id(settlement, funded)) == (DEPOSIT, 0)


def test_redeem__by_a_stranger_as_its_own_receiver_finds_no_money(
    settlement, token, funded, payer, stranger, events
):
    own = funded._replace(receiver=stranger.address)
    rows = batch(own, [signed_row(settlement, funded, 300, payer)])

    settlement.redeem(*rows, sender=stranger.address)

    assert events(settlement) == [
        redeemed(own, 0, [outcome(channel_id(settlement, own), reason=EMPTY)])
    ]
    assert settlement.channels(channel_id(settlement, funded)) == (DEPOSIT, 0)
    assert token.balanceOf(stranger.address) == 0


@pytest.mark.parametrize("term", range(4))
def test_redeem__under_other_terms_is_of_an_unknown_channel(
    settlement, funded, payer, receiver, stranger, awkward_token, events, term
):
    other = [
        funded._replace(receiver=stranger.address, receiverAuthorizer=receiver.address),
        funded._replace(receiverAuthorizer=stranger.address),
        funded._replace(token=awkward_token.address),
        funded._replace(withdrawDelay=901),
    ][term]
    rows = batch(other, [signed_row(settlement, funded, 300, payer)])

    settlement.redeem(*rows, sender=receiver.address)

    assert channel_id(settlement, other) != channel_id(settlement, funded)
    assert events(settlement) == [
        redeemed(other, 0, [outcome(channel_id(settlement, other), reason=EMPTY)])
    ]


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(("authorizer", "salt", "ceiling"), list(product([False, True], repeat=3)))
def test_redeem__takes_every_combination_of_extras(
    settlement, token, own_config, deposit, payer, payer_authorizer, receiver, events,
    authorizer, salt, ceiling,
):  # fmt: skip
    config = own_config._replace(
        payerAuthorizer=payer_authorizer.address if authorizer else payer.address,
        salt=SALT if salt else b"\0" * 32,
    )
    deposit(own_config, DEPOSIT)
    identity = channel_id(settlement, config)
    if config != own_config:
        deposit(config, DEPOSIT)
    signer = payer_authorizer if authorizer else payer
    row = signed_row(settlement, config, 300, signer, 400 if ceiling else None)
    # A plain row on both sides shows that each row takes its own extras and no others.
    plain = [signed_row(settlement, own_config, total, payer) for total in (10, 500)]

    settlement.redeem(*batch(config, [plain[0], row, plain[1]]), sender=receiver.address)

    assert row.head >> 88 & 255 == authorizer + 2 * salt + 4 * ceiling
    plain_identity = channel_id(settlement, own_config)
    paid = 800 if config != own_config else 500
    assert events(settlement) == [
        redeemed(
            config,
            paid,
            [
                outcome(plain_identity, total=10),
                outcome(identity, total=300),
                outcome(plain_identity, total=500),
            ],
        ),
        transfer(settlement.address, receiver.address, paid),
    ]
    assert settlement.channels(identity)[1] == (300 if config != own_config else 500)
    assert token.balanceOf(receiver.address) == paid


def test_redeem__takes_extras_that_say_what_is_so_without_them(
    settlement, funded, payer, receiver, events
):
    short = signed_row(settlement, funded, 300, payer)
    said = short._replace(head=short.head | 7 << 88, extras=(int(payer.address, 16), 0, 300))
    settlement.redeem(*batch(funded, [said]), sender=receiver.address)
    assert events(settlement)[0] == redeemed(
        funded, 300, [outcome(channel_id(settlement, funded), total=300)]
    )


def test_redeem__takes_a_payer_without_authorizer(
    settlement, own_config, deposit, payer, receiver, events
):
    config = own_config._replace(payerAuthorizer=ZERO_ADDRESS)
    deposit(config, DEPOSIT)
    rows = batch(config, [signed_row(settlement, config, 300, payer)])
    settlement.redeem(*rows, sender=receiver.address)
    assert events(settlement)[0] == redeemed(
        config, 300, [outcome(channel_id(settlement, config), total=300)]
    )


def test_redeem__takes_a_key_with_code_that_is_its_own_authorizer(
    settlement, funded, payer, receiver, wallet, events
):
    # A key that delegated to code (EIP-7702) still signs: a named authorizer is ECDSA only.
    boa.env.set_code(payer.address, b"\xef\x01\x00" + bytes.fromhex(wallet.address[2:]))
    rows = batch(funded, [signed_row(settlement, funded, 300, payer)])
    settlement.redeem(*rows, sender=receiver.address)
    assert events(settlement)[0] == redeemed(
        funded, 300, [outcome(channel_id(settlement, funded), total=300)]
    )


def test_redeem__leaves_flags_without_a_meaning_alone(settlement, funded, payer, receiver, events):
    row = signed_row(settlement, funded, 300, payer)
    row = row._replace(head=row.head | 0b1111_1000 << 88)
    settlement.redeem(*batch(funded, [row]), sender=receiver.address)
    assert events(settlement)[0] == redeemed(
        funded, 300, [outcome(channel_id(settlement, funded), total=300)]
    )


def test_redeem__takes_the_highest_total_a_row_can_say(
    settlement, token, own_config, deposit, payer, receiver, events
):
    deposit(own_config, 2**128 - 1)
    rows = batch(own_config, [signed_row(settlement, own_config, MAX_TOTAL, payer)])
    settlement.redeem(*rows, sender=receiver.address)
    identity = channel_id(settlement, own_config)
    assert events(settlement)[0] == redeemed(
        own_config, MAX_TOTAL, [outcome(identity, total=MAX_TOTAL)]
    )
    assert settlement.channels(identity) == (2**128 - 1, MAX_TOTAL)
    assert token.balanceOf(receiver.address) == MAX_TOTAL


def test_redeem__of_a_total_beyond_a_row_goes_through_claim(
    settlement, token, own_config, deposit, payer, receiver, voucher_claim
):
    deposit(own_config, 2**128 - 1)
    settlement.claim([voucher_claim(own_config, MAX_TOTAL + 1, by=payer)], sender=receiver.address)
    settlement.settle(receiver.address, token.address)
    assert token.balanceOf(receiver.address) == MAX_TOTAL + 1


# ---------------------------------------------------------------- totals


def test_redeem__again_pays_the_difference(settlement, token, funded, payer, receiver, events):
    for total, paid in ((300, 300), (301, 1), (DEPOSIT, 699)):
        rows = batch(funded, [signed_row(settlement, funded, total, payer)])
        settlement.redeem(*rows, sender=receiver.address)
        assert events(settlement) == [
            redeemed(funded, paid, [outcome(channel_id(settlement, funded), total=total)]),
            transfer(settlement.address, receiver.address, paid),
        ]
    assert token.balanceOf(receiver.address) == DEPOSIT


def test_redeem__of_rising_totals_pays_each_rise(
    settlement, token, funded, payer, receiver, events
):
    identity = channel_id(settlement, funded)
    rows = [signed_row(settlement, funded, total, payer) for total in (1, 2, 900)]
    settlement.redeem(*batch(funded, rows), sender=receiver.address)
    assert events(settlement)[0] == redeemed(
        funded, 900, [outcome(identity, total=total) for total in (1, 2, 900)]
    )
    assert token.balanceOf(receiver.address) == 900


def test_redeem__keeps_books_with_claim_and_settle(
    settlement, token, funded, payer, receiver, voucher_claim, events
):
    identity = channel_id(settlement, funded)
    settlement.claim([voucher_claim(funded, 100, by=payer)], sender=receiver.address)
    rows = batch(funded, [signed_row(settlement, funded, 250, payer)])
    settlement.redeem(*rows, sender=receiver.address)
    assert events(settlement)[0] == redeemed(funded, 150, [outcome(identity, total=250)])
    settlement.claim([voucher_claim(funded, 250, by=payer)], sender=receiver.address)
    assert settlement.receivers(receiver.address, token.address) == (100, 0)

    settlement.settle(receiver.address, token.address)

    assert settlement.receivers(receiver.address, token.address) == (100, 100)
    assert settlement.channels(identity) == (DEPOSIT, 250)
    assert token.balanceOf(receiver.address) == 250


def test_redeem__leaves_the_rest_to_the_payer(
    settlement, token, funded, payer, receiver, warp, events
):
    settlement.initiateWithdraw(funded, DEPOSIT, sender=payer.address)
    rows = batch(funded, [signed_row(settlement, funded, 300, payer)])
    settlement.redeem(*rows, sender=receiver.address)
    warp(900)
    settlement.finalizeWithdraw(funded, sender=payer.address)
    assert token.balanceOf(payer.address) == DEPOSIT - 300
    assert token.balanceOf(receiver.address) == 300
    assert token.balanceOf(settlement.address) == 0
    assert settlement.channels(channel_id(settlement, funded)) == (300, 300)


def test_redeem__after_a_withdrawal_pays_what_is_left(
    settlement, token, funded, deposit, payer, receiver, warp, events
):
    identity = channel_id(settlement, funded)
    settlement.initiateWithdraw(funded, 900, sender=payer.address)
    warp(900)
    settlement.finalizeWithdraw(funded, sender=payer.address)
    rows = batch(funded, [signed_row(settlement, funded, 300, payer)])

    settlement.redeem(*rows, sender=receiver.address)
    assert events(settlement) == [
        redeemed(funded, 100, [outcome(identity, total=100)]),
        transfer(settlement.address, receiver.address, 100),
    ]
    assert settlement.channels(identity) == (100, 100)

    # The voucher stays good for what it has not been paid.
    settlement.redeem(*rows, sender=receiver.address)
    assert events(settlement) == [redeemed(funded, 0, [outcome(identity, reason=EMPTY)])]
    deposit(funded, 500)
    settlement.redeem(*rows, sender=receiver.address)
    assert events(settlement) == [
        redeemed(funded, 200, [outcome(identity, total=300)]),
        transfer(settlement.address, receiver.address, 200),
    ]
    assert settlement.channels(identity) == (600, 300)
    assert token.balanceOf(receiver.address) == 300


def test_redeem__of_nothing_new_pays_nothing(settlement, token, funded, payer, receiver, events):
    identity = channel_id(settlement, funded)
    rows = batch(funded, [signed_row(settlement, funded, 300, payer)] * 3)
    settlement.redeem(*rows, sender=receiver.address)
    assert events(settlement)[0] == redeemed(
        funded, 300, [outcome(identity, total=300), *[outcome(identity, reason=STALE)] * 2]
    )
    settlement.redeem(*rows, sender=receiver.address)
    assert events(settlement) == [redeemed(funded, 0, [outcome(identity, reason=STALE)] * 3)]
    assert token.balanceOf(receiver.address) == 300


# ---------------------------------------------------------------- the batch


@pytest.fixture
def rising(settlement, funded, payer):
    """`rising(n)`: n good rows of one channel."""

    def make(count):
        return [signed_row(settlement, funded, total, payer) for total in range(1, count + 1)]

    return make


def test_redeem__takes_as_many_rows_as_it_says(settlement, funded, rising, receiver, events):
    assert settlement.MAX_ROWS() == 128
    identity = channel_id(settlement, funded)
    settlement.redeem(*batch(funded, rising(128)), sender=receiver.address)
    assert events(settlement)[0] == redeemed(
        funded, 128, [outcome(identity, total=total) for total in range(1, 129)]
    )


def test_redeem__of_one_row_more_is_refused(settlement, funded, rising, receiver, expect_error):
    with expect_error("BatchTooLong()"):
        settlement.redeem(*batch(funded, rising(129)), sender=receiver.address)


def test_redeem__of_still_more_rows_does_not_decode(
    settlement, funded, rising, receiver, expect_error, call_raw
):
    with expect_error(None):
        call_raw(batch(funded, rising(130)).call, receiver)


def test_redeem__of_no_rows_is_refused(settlement, funded, receiver, expect_error):
    with expect_error("EmptyBatch()"):
        settlement.redeem(*batch(funded, []), sender=receiver.address)


@pytest.fixture
def call_raw(settlement, call_by_signature):
    def call(data, sender):
        return call_by_signature(settlement, None, raw=data, sender=sender.address)

    return call


def test_redeem__takes_as_many_extras_as_it_says(
    settlement, funded, payer, receiver, events, call_raw, expect_error
):
    assert settlement.MAX_EXTRAS() == 128
    rows = [
        signed_row(settlement, funded, total, payer, ceiling=DEPOSIT) for total in range(1, 129)
    ]
    full = batch(funded, rows)
    assert len(full.extras) == 128
    with expect_error(None):
        call_raw(full._replace(extras=[*full.extras, 0]).call, receiver)
    settlement.redeem(*full, sender=receiver.address)
    assert events(settlement)[0].args["amount"] == 128


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_redeem__with_extras_missing_is_refused(
    settlement, token, channel_config, deposit, payer_authorizer, receiver, expect_error, missing
):
    config = channel_config(salt=SALT)
    deposit(config, DEPOSIT)
    full = batch(config, [signed_row(settlement, config, 300, payer_authorizer, 400)])
    assert len(full.extras) == 3
    with expect_error(None):
        settlement.redeem(*full._replace(extras=full.extras[:-missing]), sender=receiver.address)
    assert settlement.channels(channel_id(settlement, config)) == (DEPOSIT, 0)


def test_redeem__leaves_extras_nobody_asked_for_alone(settlement, token, funded, payer, receiver):
    full = batch(funded, [signed_row(settlement, funded, 300, payer)])
    settlement.redeem(*full._replace(extras=[1, 2, 3]), sender=receiver.address)
    assert token.balanceOf(receiver.address) == 300


@pytest.mark.parametrize("term", range(4))
def test_redeem__with_a_term_out_of_range_does_not_decode(
    settlement, funded, payer, receiver, expect_error, call_raw, term
):
    call = bytearray(batch(funded, [signed_row(settlement, funded, 300, payer)]).call)
    call[4 + 32 * term] = 1
    with expect_error(None):
        call_raw(bytes(call), receiver)


def test_redeem__many_payers_at_once(
    settlement, token, own_config, account, deposit, receiver, events
):
    payers = [account(f"reader {i}") for i in range(6)]
    configs = [
        own_config._replace(payer=each.address, payerAuthorizer=each.address) for each in payers
    ]
    for config in configs:
        deposit(config, DEPOSIT)
    totals = [100 + i for i in range(6)]
    rows = [signed_row(settlement, *parts) for parts in zip(configs, totals, payers, strict=True)]

    settlement.redeem(*batch(own_config, rows), sender=receiver.address)

    ids = [channel_id(settlement, config) for config in configs]
    assert events(settlement) == [
        redeemed(
            own_config,
            sum(totals),
            [outcome(i, total=total) for i, total in zip(ids, totals, strict=True)],
        ),
        transfer(settlement.address, receiver.address, sum(totals)),
    ]
    assert [settlement.channels(i) for i in ids] == [(DEPOSIT, total) for total in totals]


def test_redeem__through_multicall_counts_as_its_sender(
    settlement, token, funded, payer, receiver, stranger, expect_error
):
    call = batch(funded, [signed_row(settlement, funded, 300, payer)]).call
    with expect_error("NotAuthorizedToClaim()"):
        settlement.multicall([call], sender=stranger.address)
    settlement.multicall([call], sender=receiver.address)
    assert token.balanceOf(receiver.address) == 300


def test_redeem__on_another_chain_finds_no_money(
    settlement, funded, payer, receiver, events, monkeypatch
):
    rows = batch(funded, [signed_row(settlement, funded, 300, payer)])
    monkeypatch.setattr(boa.env.evm.patch, "chain_id", 5)
    settlement.redeem(*rows, sender=receiver.address)
    there = outcome(channel_id(settlement, funded), reason=EMPTY)
    assert events(settlement) == [redeemed(funded, 0, [there])]


def test_redeem__at_another_contract_takes_no_signature_of_this_one(
    settlement, token, deploy, funded, fund, open_collector, payer, receiver, events
):
    other = deploy("BatchSettlement.vy")
    fund(token, payer.address, DEPOSIT)
    other.deposit(funded, DEPOSIT, open_collector.address, b"")
    rows = batch(funded, [signed_row(settlement, funded, 300, payer)])

    other.redeem(*rows, sender=receiver.address)

    there = outcome(channel_id(other, funded), reason=3)
    assert events(other) == [redeemed(funded, 0, [there])]


def test_pack__makes_the_shortest_row(channel_config, payer, payer_authorizer):
    config = channel_config(salt=SALT)
    row = pack(config, 1, 2, b"\x11" * 32 + b"\x22" * 32 + b"\x1c")
    assert row.head == int(payer.address, 16) * 2**96 + 7 * 2**88 + 1
    assert (row.r, row.vs) == (int("11" * 32, 16), 2**255 + int("22" * 32, 16))
    assert row.extras == (int(payer_authorizer.address, 16), int.from_bytes(SALT), 2)


# ---------------------------------------------------------------- the specification


@pytest.fixture
def specification():
    return (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")


def test_specification__has_the_contract_s_numbers(settlement, specification):
    besides = [
        "redeem",
        "redeemWithSignature",
        "getRedemptionDigest",
        "payOut",
        "depositWithAuthorization",
        "MAX_ROWS",
        "MAX_EXTRAS",
        "REDEMPTION_TYPEHASH",
    ]
    selectors = {
        signature.partition("(")[0]: selector
        for signature, selector in selectors_of(settlement).items()
    }
    for function in besides:
        assert f"`0x{selectors[function].hex()}`" in specification, function
    for error in (
        "NotAuthorizedToClaim",
        "EmptyBatch",
        "BatchTooLong",
        "NotEnoughGas",
        "NotARedemption",
        "InvalidSignature",
    ):
        assert f"| `{error}()` | `0x{keccak(text=error + '()')[:4].hex()}` |" in specification
    for event in ("Redeemed(address,address,uint256,uint256[],uint256[2])",
                  "PayoutCredited(address,address,uint256)"):  # fmt: skip
        assert keccak(text=event).hex() in specification
    assert bytes(settlement.REDEMPTION_TYPEHASH()).hex() in specification


def test_specification__has_a_true_example(own_config, specification):
    """Held against the contract by the tests that use the same helpers."""
    payer, authorizer = (Account.from_key(bytes([byte]) * 32) for byte in (1, 2))
    contract = SimpleNamespace(address="0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003")
    first = own_config._replace(
        payer=payer.address,
        payerAuthorizer=payer.address,
        receiver="0x" + "aa" * 20,
        receiverAuthorizer=authorizer.address,
        token="0x" + "cc" * 20,
    )
    second = first._replace(salt=b"\x05" * 32)
    rows = [
        signed_row(contract, first, 1_000, payer),
        signed_row(contract, second, 250, payer, 400),
    ]
    call = batch(first, rows).call

    printed = specification.partition("```\n07c71965")[2].partition("```")[0]
    assert call.hex() == "07c71965" + "".join(printed.split())
    for value in (
        channel_id(contract, first),
        channel_id(contract, second),
        redemption_digest(contract, call),
        sign_batch(contract, call, authorizer),
        redeemed_word(channel_id(contract, first), 1_000).to_bytes(32),
    ):
        assert f"`0x{value.hex()}`" in specification
