"""Several calls in one transaction, with one sender, all or none."""

from __future__ import annotations

import boa
import pytest
from contract_support import Books, books, call_data, claimed, deposited, refunded, transfer
from eth_abi import encode
from eth_utils import keccak

DEPOSIT = 1_000_000


def multicall_data(calls):
    return keccak(text="multicall(bytes[])")[:4] + encode(["bytes[]"], [calls])


def test_multicall__moves_a_channels_rest_to_another(
    settlement,
    config,
    channel_config,
    token,
    open_collector,
    deposit,
    voucher_claim,
    sign_refund,
    payer,
    receiver,
    stranger,
    events,
):
    old, new = config, channel_config(salt=b"\x01" * 32)
    old_id, new_id = deposit(old, DEPOSIT), settlement.getChannelId(new)
    settlement.claim([voucher_claim(old, 400)], sender=receiver.address)
    token.approve(open_collector.address, DEPOSIT, sender=payer.address)
    rest = DEPOSIT - 400

    settlement.multicall(
        [
            call_data(settlement, "refundWithSignature", old, rest, 0, sign_refund(old, 0, rest)),
            call_data(settlement, "deposit", new, rest, open_collector.address, b""),
        ],
        sender=stranger.address,
    )

    logs = events(settlement)
    assert logs[:3] == [
        refunded(old_id, stranger, rest),
        transfer(settlement, payer, rest),
        transfer(payer, settlement, rest),
    ]
    assert logs[-1] == deposited(new_id, stranger, rest, rest)
    assert books(settlement, old) == Books(balance=400, claimed=400, refund_nonce=1)
    assert books(settlement, new) == Books(balance=rest)
    assert token.balanceOf(payer.address) == 0
    assert token.balanceOf(settlement) == DEPOSIT


def test_multicall__claims_refunds_and_settles_by_signature(
    settlement,
    config,
    token,
    deposit,
    voucher_claim,
    sign_claim_batch,
    sign_refund,
    payer,
    receiver,
    stranger,
    events,
):
    channel_id = deposit(config, DEPOSIT)
    rows = [voucher_claim(config, 400)]

    settlement.multicall(
        [
            call_data(settlement, "claimWithSignature", rows, sign_claim_batch(rows)),
            call_data(
                settlement,
                "refundWithSignature",
                config,
                DEPOSIT,
                0,
                sign_refund(config, 0, DEPOSIT),
            ),
            call_data(settlement, "settle", receiver.address, token.address),
        ],
        sender=stranger.address,
    )

    assert events(settlement)[:2] == [
        claimed(channel_id, stranger, 400, 400),
        refunded(channel_id, stranger, DEPOSIT - 400),
    ]
    assert token.balanceOf(receiver.address) == 400
    assert token.balanceOf(payer.address) == DEPOSIT - 400
    assert token.balanceOf(settlement) == 0


def test_multicall__keeps_the_sender(
    settlement, config, deposit, payer, receiver, voucher_claim, stranger, now, expect_error
):
    deposit(config, DEPOSIT)
    claim = call_data(settlement, "claim", [voucher_claim(config, 4)])
    with expect_error("NotAuthorizedToClaim()"):
        settlement.multicall([claim], sender=stranger.address)
    settlement.multicall([claim], sender=receiver.address)
    started = now()
    settlement.multicall(
        [call_data(settlement, "initiateWithdraw", config, 5)], sender=payer.address
    )
    assert books(settlement, config) == Books(DEPOSIT, 4, 5, started)


def test_multicall__undoes_everything_when_one_call_fails(
    settlement, config, token, deposit, sign_refund, payer, expect_error
):
    deposit(config, DEPOSIT)
    calls = [
        call_data(settlement, "refundWithSignature", config, 4, 0, sign_refund(config, 0, 4)),
        call_data(settlement, "refundWithSignature", config, 4, 0, sign_refund(config, 0, 4)),
    ]
    with expect_error("InvalidRefundNonce()"):
        settlement.multicall(calls)
    assert books(settlement, config) == Books(balance=DEPOSIT)
    assert token.balanceOf(payer.address) == 0


def test_multicall__returns_what_the_calls_returned(settlement, config, deposit):
    channel_id = deposit(config, DEPOSIT)
    assert settlement.multicall(
        [
            call_data(settlement, "channels", channel_id),
            call_data(settlement, "settle", config.receiver, config.token),
            call_data(settlement, "getChannelId", config),
        ]
    ) == [encode(["uint128", "uint128"], [DEPOSIT, 0]), b"", channel_id]


def test_multicall__of_nothing_does_nothing(settlement, events):
    assert settlement.multicall([]) == []
    assert events(settlement) == []


def test_multicall__can_hold_another(settlement, config, deposit, receiver):
    deposit(config, DEPOSIT)
    inner = call_data(settlement, "multicall", [call_data(settlement, "refund", config, 4)])
    settlement.multicall([inner], sender=receiver.address)
    assert books(settlement, config) == Books(balance=DEPOSIT - 4, refund_nonce=1)


def test_multicall__fails_on_an_unknown_function(settlement, expect_error):
    with expect_error(None):
        settlement.multicall([b"\x01\x02\x03\x04"])


def test_multicall__takes_no_coins(settlement, stranger):
    boa.env.set_balance(stranger.address, 1)
    with pytest.raises(boa.BoaError):
        settlement.multicall([], value=1, sender=stranger.address)
    assert boa.env.get_balance(settlement.address) == 0


def test_multicall__takes_sixteen_calls_and_no_more(settlement, config, deposit, receiver):
    deposit(config, DEPOSIT)
    refund = call_data(settlement, "refund", config, 1)
    settlement.multicall([refund] * 16, sender=receiver.address)
    assert books(settlement, config) == Books(balance=DEPOSIT - 16, refund_nonce=16)


def test_multicall__refuses_a_seventeenth_call(
    settlement,
    receiver,
    token,
    expect_error,
    call_by_signature,
):
    call = call_data(settlement, "settle", receiver.address, token.address)
    with expect_error(None):
        call_by_signature(settlement, None, raw=multicall_data([call] * 17))


def test_multicall__bounds_the_size_of_a_call(
    settlement, receiver, token, expect_error, call_by_signature
):
    call = call_data(settlement, "settle", receiver.address, token.address)
    call_by_signature(settlement, None, raw=multicall_data([call.ljust(4_096, b"\0")]))
    with expect_error(None):
        call_by_signature(settlement, None, raw=multicall_data([call.ljust(4_097, b"\0")]))


def test_every_call__names_its_caller_and_not_the_origin_of_the_transaction(
    settlement,
    channel_config,
    token,
    open_collector,
    fund,
    wallet,
    voucher_claim,
    warp,
    stranger,
    events,
):
    config = channel_config(payer=wallet.address, receiver=wallet.address)
    fund(token, wallet.address, 100)
    seen = {}
    for function, args in (
        ("deposit", (config, 100, open_collector.address, b"")),
        ("claim", ([voucher_claim(config, 4)],)),
        ("settle", (wallet.address, token.address)),
        ("initiateWithdraw", (config, 10)),
        ("refund", (config, 5)),
        ("finalizeWithdraw", (config,)),
    ):
        warp(900)
        wallet.execute(
            settlement.address, call_data(settlement, function, *args), sender=stranger.address
        )
        for event in events(wallet, of=settlement):
            if "sender" in event.args:
                seen[event.name] = event.args["sender"]
    assert seen == dict.fromkeys(
        ("Deposited", "Claimed", "Settled", "Refunded", "WithdrawFinalized"), wallet.address
    )
    assert token.balanceOf(wallet.address) == 4 + 5 + 5


def test_every_call__refuses_a_contract_that_was_called_by_somebody_entitled(
    settlement,
    config,
    deposit,
    wallet,
    voucher_claim,
    payer,
    payer_authorizer,
    receiver,
    receiver_authorizer,
    expect_error,
):
    deposit(config, 100)
    rows = [voucher_claim(config, 4)]
    payers, receivers = (payer, payer_authorizer), (receiver, receiver_authorizer)
    for error, origins, function, args in (
        ("NotAuthorizedToClaim()", receivers, "claim", (rows,)),
        ("NotAuthorizedToRefund()", receivers, "refund", (config, 5)),
        ("InvalidChannel()", payers, "initiateWithdraw", (config, 10)),
        ("NotAuthorizedToFinalizeWithdraw()", payers, "finalizeWithdraw", (config,)),
    ):
        for origin in origins:
            with expect_error(error):
                wallet.execute(
                    settlement.address,
                    call_data(settlement, function, *args),
                    sender=origin.address,
                )
    assert books(settlement, config) == Books(balance=100)


def test_multicall__cuts_a_result_after_512_bytes(settlement):
    # Only a multicall in a multicall can answer with more than that.
    inner = call_data(settlement, "multicall", [call_data(settlement, "MAX_CALLS")] * 10)
    (result,) = settlement.multicall([inner])
    whole = encode(["bytes[]"], [[(16).to_bytes(32)] * 10])
    assert len(whole) > 512
    assert result == whole[:512]
