"""The surface is the official contract's; what is signed is bound to one chain and one address."""

from __future__ import annotations

import boa
import pytest
from contract_support import MAX_UINT128, Books, books, claims_call
from eth_account.messages import encode_typed_data
from eth_utils import keccak, to_checksum_address
from vyper.compiler.output import build_method_identifiers_output
from x402.mechanisms.evm.batch_settlement.abi import BATCH_SETTLEMENT_ABI

CONFIG = "(address,address,address,address,address,uint40,bytes32)"
CLAIMS = f"(({CONFIG},uint128),bytes,uint128)[]"

FUNCTIONS = {
    # as the official contract has them
    f"deposit({CONFIG},uint128,address,bytes)": ("nonpayable", ""),
    f"claim({CLAIMS})": ("nonpayable", ""),
    f"claimWithSignature({CLAIMS},bytes)": ("nonpayable", ""),
    "settle(address,address)": ("nonpayable", ""),
    f"initiateWithdraw({CONFIG},uint128)": ("nonpayable", ""),
    f"finalizeWithdraw({CONFIG})": ("nonpayable", ""),
    f"refund({CONFIG},uint128)": ("nonpayable", ""),
    f"refundWithSignature({CONFIG},uint128,uint256,bytes)": ("nonpayable", ""),
    "multicall(bytes[])": ("nonpayable", "bytes[]"),
    "channels(bytes32)": ("view", "uint128,uint128"),
    "pendingWithdrawals(bytes32)": ("view", "uint128,uint40"),
    "refundNonce(bytes32)": ("view", "uint256"),
    "receivers(address,address)": ("view", "uint128,uint128"),
    f"getChannelId({CONFIG})": ("view", "bytes32"),
    "getVoucherDigest(bytes32,uint128)": ("view", "bytes32"),
    "getRefundDigest(bytes32,uint256,uint128)": ("view", "bytes32"),
    f"getClaimBatchDigest({CLAIMS})": ("view", "bytes32"),
    "CHANNEL_CONFIG_TYPEHASH()": ("view", "bytes32"),
    "VOUCHER_TYPEHASH()": ("view", "bytes32"),
    "REFUND_TYPEHASH()": ("view", "bytes32"),
    "CLAIM_ENTRY_TYPEHASH()": ("view", "bytes32"),
    "CLAIM_BATCH_TYPEHASH()": ("view", "bytes32"),
    "MIN_WITHDRAW_DELAY()": ("view", "uint40"),
    "MAX_WITHDRAW_DELAY()": ("view", "uint40"),
    "eip712Domain()": ("view", "bytes1,string,string,uint256,address,bytes32,uint256[]"),
}
# Ours: the bounds, and what the extensions add. Their own tests say what they are.
OWN_FUNCTIONS = {
    "MAX_CLAIMS",
    "MAX_CALLS",
    "MAX_ROWS",
    "MAX_EXTRAS",
    "REDEMPTION_TYPEHASH",
    "depositWithAuthorization",
    "redeem",
    "redeemWithSignature",
    "payOut",
    "getRedemptionDigest",
}
OWN_EVENTS = {"Redeemed"}

# The number of indexed arguments, which come first.
EVENTS = {
    f"ChannelCreated(bytes32,{CONFIG})": 1,
    f"ChannelClosed(bytes32,{CONFIG})": 1,
    "Deposited(bytes32,address,uint128,uint128)": 2,
    "Claimed(bytes32,address,uint128,uint128)": 2,
    "Settled(address,address,address,uint128)": 3,
    "Refunded(bytes32,address,uint128)": 2,
    "WithdrawInitiated(bytes32,uint128,uint40)": 1,
    "WithdrawFinalized(bytes32,address,uint128)": 2,
}

DOMAIN_TYPE = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]
TYPES = {
    "ChannelConfig": "address payer,address payerAuthorizer,address receiver,"
    "address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt",
    "Voucher": "bytes32 channelId,uint128 maxClaimableAmount",
    "Refund": "bytes32 channelId,uint256 nonce,uint128 amount",
    "ClaimEntry": "bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed",
    "ClaimBatch": "ClaimEntry[] claims",
}


def canonical(inputs) -> str:
    def name(field) -> str:
        if not field["type"].startswith("tuple"):
            return field["type"]
        return f"({canonical(field['components'])}){field['type'].removeprefix('tuple')}"

    return ",".join(map(name, inputs))


def typed_digest(contract, chain_id, primary, message) -> bytes:
    """EIP-712 by eth-account, which knows nothing of the contract."""
    used = ["ClaimBatch", "ClaimEntry"] if primary == "ClaimBatch" else [primary]
    fields = {
        name: [
            dict(zip(("type", "name"), field.split(), strict=True))
            for field in TYPES[name].split(",")
        ]
        for name in used
    }
    signable = encode_typed_data(
        full_message={
            "domain": {
                "name": "x402 Batch Settlement",
                "version": "1",
                "chainId": chain_id,
                "verifyingContract": contract.address,
            },
            "types": {"EIP712Domain": DOMAIN_TYPE, **fields},
            "primaryType": primary,
            "message": message,
        }
    )
    return keccak(b"\x19\x01" + signable.header + signable.body)


def channel_id_of(contract, chain_id, config) -> bytes:
    return typed_digest(contract, chain_id, "ChannelConfig", config._asdict())


# ---------------------------------------------------------------- surface


def test_functions__are_the_official_ones_and_our_own(settlement):
    found = {
        f"{entry['name']}({canonical(entry['inputs'])})": (
            entry["stateMutability"],
            canonical(entry["outputs"]),
        )
        for entry in settlement.abi
        if entry["type"] == "function" and entry["name"] not in OWN_FUNCTIONS
    }
    assert found == FUNCTIONS


def test_functions__are_dispatched_by_their_selectors(settlement):
    found = build_method_identifiers_output(settlement.compiler_data)
    official = {
        int(selector, 16)
        for signature, selector in found.items()
        if signature.partition("(")[0] not in OWN_FUNCTIONS
    }
    assert official == {int.from_bytes(keccak(text=signature)[:4]) for signature in FUNCTIONS}


def test_functions__are_those_a_stock_client_calls(settlement):
    own = {entry["name"]: entry for entry in settlement.abi if entry["type"] == "function"}
    for entry in BATCH_SETTLEMENT_ABI:
        if entry["type"] == "function":
            ours = own[entry["name"]]
            assert canonical(ours["inputs"]) == canonical(entry["inputs"])
            assert canonical(ours["outputs"]) == canonical(entry["outputs"])
            assert ours["stateMutability"] == entry["stateMutability"]


def test_events__carry_the_official_topics(settlement, config, deposit):
    deposit(config, 5)
    topics = [topics[0] for _, _, topics, _ in settlement._computation.get_raw_log_entries()]
    assert topics[1:] == [
        int.from_bytes(keccak(text=f"ChannelCreated(bytes32,{CONFIG})")),
        int.from_bytes(keccak(text="Deposited(bytes32,address,uint128,uint128)")),
    ]


def test_constants__are_the_official_ones(settlement):
    assert settlement.MIN_WITHDRAW_DELAY() == 15 * 60
    assert settlement.MAX_WITHDRAW_DELAY() == 30 * 24 * 60 * 60
    assert settlement.MAX_CLAIMS() == 100
    assert settlement.MAX_CALLS() == 16


def test_type_hashes__are_those_of_the_written_types(settlement):
    def type_hash(name: str, *more: str) -> bytes:
        return keccak(text="".join(f"{each}({TYPES[each]})" for each in (name, *more)))

    assert settlement.CHANNEL_CONFIG_TYPEHASH() == type_hash("ChannelConfig")
    assert settlement.VOUCHER_TYPEHASH() == type_hash("Voucher")
    assert settlement.REFUND_TYPEHASH() == type_hash("Refund")
    assert settlement.CLAIM_ENTRY_TYPEHASH() == type_hash("ClaimEntry")
    assert settlement.CLAIM_BATCH_TYPEHASH() == type_hash("ClaimBatch", "ClaimEntry")


def test_views__are_zero_where_nothing_is_known(settlement, config, stranger):
    assert books(settlement, config) == Books()
    assert settlement.receivers(stranger.address, config.token) == (0, 0)


def test_contract__takes_no_coins_and_has_no_fallback(settlement, stranger, expect_error):
    boa.env.set_balance(stranger.address, 1)
    for data, value in ((b"", 1), (b"", 0), (b"\x01\x02\x03\x04", 0), (b"\x01", 0)):
        computation = boa.env.execute_code(
            settlement.address, sender=stranger.address, data=data, value=value
        )
        assert computation.is_error
        assert computation.output == b""


# ---------------------------------------------------------------- digests


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"withdrawDelay": 2**40 - 1, "salt": b"\xff" * 32},
        {"payerAuthorizer": "0x" + "00" * 20},
    ],
)
def test_get_channel_id__is_the_typed_digest_of_the_config(settlement, channel_config, changes):
    config = channel_config(**changes)
    assert settlement.getChannelId(config) == channel_id_of(settlement, 1, config)


def test_get_channel_id__differs_in_every_field(settlement, channel_config, stranger):
    configs = [channel_config()] + [
        channel_config(**{field: stranger.address})
        for field in ("payer", "payerAuthorizer", "receiver", "receiverAuthorizer", "token")
    ]
    configs += [channel_config(withdrawDelay=901), channel_config(salt=b"\x01" * 32)]
    assert len({settlement.getChannelId(config) for config in configs}) == len(configs)


@pytest.mark.parametrize("amount", [0, 100, MAX_UINT128])
def test_get_voucher_digest__is_the_typed_digest(settlement, config, amount):
    channel_id = settlement.getChannelId(config)
    assert settlement.getVoucherDigest(channel_id, amount) == typed_digest(
        settlement, 1, "Voucher", {"channelId": channel_id, "maxClaimableAmount": amount}
    )


@pytest.mark.parametrize(("nonce", "amount"), [(0, 0), (7, 999), (2**256 - 1, MAX_UINT128)])
def test_get_refund_digest__is_the_typed_digest(settlement, config, nonce, amount):
    channel_id = settlement.getChannelId(config)
    assert settlement.getRefundDigest(channel_id, nonce, amount) == typed_digest(
        settlement, 1, "Refund", {"channelId": channel_id, "nonce": nonce, "amount": amount}
    )


@pytest.mark.parametrize("count", [0, 1, 2, 101])
def test_get_claim_batch_digest__is_the_typed_digest(settlement, channel_config, count):
    configs = [channel_config(salt=n.to_bytes(32)) for n in range(count)]
    # Signatures are no part of what is signed.
    rows = [((config, 10 + n), b"\x01" * n, n) for n, config in enumerate(configs)]
    claims = [
        {
            "channelId": channel_id_of(settlement, 1, config),
            "maxClaimableAmount": 10 + n,
            "totalClaimed": n,
        }
        for n, config in enumerate(configs)
    ]
    assert settlement.getClaimBatchDigest(rows) == typed_digest(
        settlement, 1, "ClaimBatch", {"claims": claims}
    )


def test_get_claim_batch_digest__takes_what_the_decoder_takes(settlement, config):
    # One row more than can be claimed, like `claim`; beyond that there is no reason given.
    row = ((config, 0), b"", 0)
    for rows, refused in ((101, False), (102, True)):
        call = claims_call("getClaimBatchDigest", [row] * rows)
        computation = boa.env.execute_code(settlement.address, data=call)
        assert computation.is_error == refused
        assert len(computation.output) == (0 if refused else 32)


# ---------------------------------------------------------------- domain


def test_eip712_domain__tells_the_domain(settlement):
    assert settlement.eip712Domain() == (
        b"\x0f",
        "x402 Batch Settlement",
        "1",
        1,
        settlement.address,
        b"\0" * 32,
        [],
    )


def test_domain__follows_a_change_of_the_chain_id(
    settlement, config, deposit, voucher_claim, receiver, expect_error
):
    deposit(config, 100)
    row = voucher_claim(config, 40)
    boa.env.evm.patch.chain_id = 61

    assert settlement.eip712Domain()[3] == 61
    channel_id = settlement.getChannelId(config)
    assert channel_id == channel_id_of(settlement, 61, config)
    assert settlement.getVoucherDigest(channel_id, 40) == typed_digest(
        settlement, 61, "Voucher", {"channelId": channel_id, "maxClaimableAmount": 40}
    )
    # The channel has another id here, so this is a channel without money.
    with expect_error("ClaimExceedsBalance()"):
        settlement.claim([row], sender=receiver.address)


def test_domain__voids_vouchers_of_another_chain(
    settlement, config, deposit, voucher_claim, receiver, expect_error
):
    row = voucher_claim(config, 40)
    boa.env.evm.patch.chain_id = 61
    deposit(config, 100)
    with expect_error("InvalidSignature()"):
        settlement.claim([row], sender=receiver.address)
    settlement.claim([voucher_claim(config, 40)], sender=receiver.address)
    assert books(settlement, config) == Books(balance=100, claimed=40)


@pytest.fixture
def moved(settlement):
    """The same runtime code at the address stock clients know."""
    address = to_checksum_address("0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003")
    boa.env.set_code(address, boa.env.get_code(settlement.address))
    return settlement.deployer.at(address)


def test_domain__follows_the_code_to_another_address(
    settlement,
    moved,
    config,
    token,
    open_collector,
    fund,
    voucher_claim,
    sign,
    payer,
    payer_authorizer,
    receiver,
    expect_error,
):
    assert moved.eip712Domain()[4] == moved.address
    channel_id = moved.getChannelId(config)
    assert channel_id == channel_id_of(moved, 1, config)
    assert channel_id != settlement.getChannelId(config)

    fund(token, payer.address, 100)
    moved.deposit(config, 100, open_collector.address, b"")
    with expect_error("InvalidSignature()"):
        moved.claim([voucher_claim(config, 40)], sender=receiver.address)
    digest = typed_digest(moved, 1, "Voucher", {"channelId": channel_id, "maxClaimableAmount": 40})
    moved.claim([((config, 40), sign(payer_authorizer, digest), 40)], sender=receiver.address)
    assert books(moved, config) == Books(balance=100, claimed=40)


def test_domain__voids_refunds_and_batches_of_another_address(
    moved,
    config,
    token,
    open_collector,
    fund,
    voucher_claim,
    sign_refund,
    sign_claim_batch,
    payer,
    expect_error,
):
    rows = [voucher_claim(config, 40)]
    fund(token, payer.address, 100)
    moved.deposit(config, 100, open_collector.address, b"")
    with expect_error("InvalidSignature()"):
        moved.refundWithSignature(config, 5, 0, sign_refund(config, 0, 5))
    with expect_error("InvalidSignature()"):
        moved.claimWithSignature(rows, sign_claim_batch(rows))
    assert books(moved, config) == Books(balance=100)
