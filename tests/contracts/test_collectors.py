"""Collectors pull exactly what the payer signed, for the channel it was signed for, once.

Typed data is signed by eth-account from the written-out types, independently of the contracts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eth_abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

AMOUNT = 1_000_000
ZERO_ADDRESS = "0x" + "00" * 20
OLD, LATE = 0, 2**48
SALT = 7
NONCE = 300

WITNESS_TYPES = {
    "PermitWitnessTransferFrom": [
        {"name": "permitted", "type": "TokenPermissions"},
        {"name": "spender", "type": "address"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
        {"name": "witness", "type": "DepositWitness"},
    ],
    "TokenPermissions": [
        {"name": "token", "type": "address"},
        {"name": "amount", "type": "uint256"},
    ],
    "DepositWitness": [{"name": "channelId", "type": "bytes32"}],
}


def _fields(*fields: str) -> list[dict[str, str]]:
    return [dict(zip(("type", "name"), field.split(), strict=True)) for field in fields]


def _domain(contract: Any, name: str, **more: str) -> dict[str, Any]:
    return {"name": name, **more, "chainId": 1, "verifyingContract": contract.address}


@pytest.fixture
def channel_id(settlement: Any) -> Callable[[Any], bytes]:
    return lambda config: bytes(settlement.getChannelId(config))


@pytest.fixture
def data_3009(token: Any, erc3009_collector: Any, channel_id: Any, payer: LocalAccount) -> Any:
    """Collector data of a receive-authorization; any signed field can be another."""

    def make(
        config: Any,
        amount: int = AMOUNT,
        *,
        after: int = OLD,
        before: int = LATE,
        salt: int = SALT,
        to: Any = erc3009_collector,
        by: LocalAccount = payer,
    ) -> bytes:
        types = {
            "ReceiveWithAuthorization": _fields(
                "address from",
                "address to",
                "uint256 value",
                "uint256 validAfter",
                "uint256 validBefore",
                "bytes32 nonce",
            )
        }
        message = {
            "from": config.payer,
            "to": to.address,
            "value": amount,
            "validAfter": after,
            "validBefore": before,
            "nonce": keccak(encode(["bytes32", "uint256"], [channel_id(config), salt])),
        }
        domain = _domain(token, "Test USD", version="1")
        signature = by.sign_typed_data(domain, types, message).signature
        return encode(
            ["uint256", "uint256", "uint256", "bytes"], [after, before, salt, bytes(signature)]
        )

    return make


@pytest.fixture
def data_permit2(permit2: Any, permit2_collector: Any, channel_id: Any, payer: LocalAccount) -> Any:
    """Collector data of a Permit2 witness transfer."""

    def make(
        config: Any,
        amount: int = AMOUNT,
        *,
        nonce: int = NONCE,
        deadline: int = LATE,
        spender: Any = permit2_collector,
        by: LocalAccount = payer,
        permit: bytes = b"",
    ) -> bytes:
        message = {
            "permitted": {"token": config.token, "amount": amount},
            "spender": spender.address,
            "nonce": nonce,
            "deadline": deadline,
            "witness": {"channelId": channel_id(config)},
        }
        signed = by.sign_typed_data(_domain(permit2, "Permit2"), WITNESS_TYPES, message)
        return encode(
            ["uint256", "uint256", "bytes", "bytes"],
            [nonce, deadline, bytes(signed.signature), permit],
        )

    return make


@pytest.fixture
def data_allowance(allowance_collector: Any, channel_id: Any, payer: LocalAccount) -> Any:
    """Collector data of a signed allowance deposit."""

    def make(
        config: Any,
        amount: int = AMOUNT,
        *,
        nonce: int = NONCE,
        deadline: int = LATE,
        by: LocalAccount = payer,
        permit: bytes = b"",
    ) -> bytes:
        types = {
            "AllowanceDeposit": _fields(
                "bytes32 channelId", "uint256 amount", "uint256 nonce", "uint256 deadline"
            )
        }
        message = {
            "channelId": channel_id(config),
            "amount": amount,
            "nonce": nonce,
            "deadline": deadline,
        }
        domain = _domain(allowance_collector, "Farthing Allowance Collector", version="1")
        signature = bytes(by.sign_typed_data(domain, types, message).signature)
        return encode(
            ["uint256", "uint256", "bytes", "bytes"], [nonce, deadline, signature, permit]
        )

    return make


@pytest.fixture
def permit_data(token: Any, payer: LocalAccount) -> Any:
    """An EIP-2612 permit as collectors take it."""

    def make(
        spender: Any, amount: int = AMOUNT, *, nonce: int = 0, by: LocalAccount = payer
    ) -> bytes:
        types = {
            "Permit": _fields(
                "address owner",
                "address spender",
                "uint256 value",
                "uint256 nonce",
                "uint256 deadline",
            )
        }
        message = {
            "owner": payer.address,
            "spender": spender.address,
            "value": amount,
            "nonce": nonce,
            "deadline": LATE,
        }
        signed = by.sign_typed_data(_domain(token, "Test USD", version="1"), types, message)
        return encode(
            ["uint256", "uint256", "uint8", "bytes32", "bytes32"],
            [amount, LATE, signed.v, signed.r.to_bytes(32), signed.s.to_bytes(32)],
        )

    return make


@pytest.fixture
def permit2_payer(fund: Any, token: Any, permit2: Any, payer: LocalAccount) -> LocalAccount:
    """The payer, with money that Permit2 may move."""
    fund(token, payer.address, 2 * AMOUNT, permit2)
    return payer


@pytest.fixture
def allowance_payer(
    fund: Any, token: Any, allowance_collector: Any, payer: LocalAccount
) -> LocalAccount:
    """The payer, with money that the allowance collector may move."""
    fund(token, payer.address, 2 * AMOUNT, allowance_collector)
    return payer


@pytest.fixture
def assert_deposited(settlement: Any, token: Any, channel_id: Any) -> Callable[..., None]:
    """The books and the tokens moved by exactly the amount, and no collector kept any."""

    def check(config: Any, amount: int, *, left: int, collector: Any) -> None:
        assert settlement.channels(channel_id(config)) == (amount, 0)
        assert token.balanceOf(settlement.address) == amount
        assert token.balanceOf(config.payer) == left
        assert token.balanceOf(collector.address) == 0

    return check


# ---------------------------------------------------------------- all collectors


COLLECTORS = ["erc3009_collector", "permit2_collector", "allowance_collector"]


@pytest.mark.parametrize("name", COLLECTORS)
def test_collect__refuses_everybody_but_settlement(
    name: str, request: Any, config: Any, expect_error: Any
) -> None:
    collector = request.getfixturevalue(name)
    with expect_error("OnlyX402BatchSettlement()"):
        collector.collect(config.payer, config.token, 1, b"\0" * 32, b"", sender=config.payer)


@pytest.mark.parametrize("name", COLLECTORS)
def test_x402_batch_settlement__is_the_one_of_the_constructor(
    name: str, request: Any, settlement: Any
) -> None:
    assert request.getfixturevalue(name).x402BatchSettlement() == settlement.address


@pytest.mark.parametrize(
    ("path", "others"),
    [
        ("collectors/ERC3009DepositCollector.vy", []),
        ("collectors/Permit2DepositCollector.vy", ["0x" + "11" * 20]),
        ("collectors/AllowanceDepositCollector.vy", []),
    ],
)
def test_deploy__refuses_a_zero_settlement(
    path: str, others: list[str], deploy: Any, expect_error: Any
) -> None:
    with expect_error("InvalidX402BatchSettlementAddress()"):
        deploy(path, ZERO_ADDRESS, *others)


def test_deploy__refuses_a_zero_permit2(deploy: Any, settlement: Any, expect_error: Any) -> None:
    with expect_error("InvalidPermit2Address()"):
        deploy("collectors/Permit2DepositCollector.vy", settlement.address, ZERO_ADDRESS)


def test_permit2_collector__tells_its_permit2_and_witness_type(
    permit2_collector: Any, permit2: Any
) -> None:
    assert permit2_collector.PERMIT2() == permit2.address
    assert permit2_collector.DEPOSIT_WITNESS_TYPE_STRING() == (
        "DepositWitness witness)DepositWitness(bytes32 channelId)"
        "TokenPermissions(address token,uint256 amount)"
    )
    assert permit2_collector.DEPOSIT_WITNESS_TYPEHASH() == keccak(
        text="DepositWitness(bytes32 channelId)"
    )


# ---------------------------------------------------------------- ERC-3009


def test_erc3009__moves_the_signed_amount_into_the_channel(
    settlement: Any,
    token: Any,
    erc3009_collector: Any,
    config: Any,
    channel_id: Any,
    data_3009: Any,
    stranger: LocalAccount,
    events: Any,
    assert_deposited: Any,
) -> None:
    nonce = keccak(encode(["bytes32", "uint256"], [channel_id(config), SALT]))
    token.mint(config.payer, AMOUNT + 5)
    settlement.deposit(
        config, AMOUNT, erc3009_collector.address, data_3009(config), sender=stranger.address
    )
    assert events(settlement, of=token) == [
        ("AuthorizationUsed", {"authorizer": config.payer, "nonce": nonce}),
        (
            "Transfer",
            {"sender": config.payer, "receiver": erc3009_collector.address, "value": AMOUNT},
        ),
        (
            "Transfer",
            {"sender": erc3009_collector.address, "receiver": settlement.address, "value": AMOUNT},
        ),
    ]
    assert_deposited(config, AMOUNT, left=5, collector=erc3009_collector)


def test_erc3009__takes_a_contract_wallet_as_payer(
    settlement: Any,
    token: Any,
    erc3009_collector: Any,
    channel_config: Any,
    data_3009: Any,
    wallet: Any,
    wallet_owner: LocalAccount,
    assert_deposited: Any,
) -> None:
    config = channel_config(payer=wallet.address)
    token.mint(wallet.address, AMOUNT)
    settlement.deposit(
        config, AMOUNT, erc3009_collector.address, data_3009(config, by=wallet_owner)
    )
    assert_deposited(config, AMOUNT, left=0, collector=erc3009_collector)


def test_erc3009__takes_the_longest_wallet_signature_and_no_longer_one(
    settlement: Any,
    token: Any,
    erc3009_collector: Any,
    channel_config: Any,
    hostile_wallet: Any,
    expect_error: Any,
    assert_deposited: Any,
) -> None:
    config = channel_config(payer=hostile_wallet.address)
    hostile_wallet.answerWith(bytes.fromhex("1626ba7e") + b"\0" * 28, 32)
    token.mint(hostile_wallet.address, AMOUNT)

    def data(size: int) -> bytes:
        return encode(["uint256", "uint256", "uint256", "bytes"], [OLD, LATE, SALT, b"x" * size])

    with expect_error(None):
        settlement.deposit(config, AMOUNT, erc3009_collector.address, data(1_025))
    settlement.deposit(config, AMOUNT, erc3009_collector.address, data(1_024))
    assert_deposited(config, AMOUNT, left=0, collector=erc3009_collector)


def test_erc3009__refuses_the_same_authorization_twice(
    settlement: Any,
    token: Any,
    erc3009_collector: Any,
    config: Any,
    data_3009: Any,
    expect_error: Any,
    assert_deposited: Any,
) -> None:
    token.mint(config.payer, 2 * AMOUNT)
    settlement.deposit(config, AMOUNT, erc3009_collector.address, data_3009(config))
    with expect_error("AuthorizationUsedOrCanceled()"):
        settlement.deposit(config, AMOUNT, erc3009_collector.address, data_3009(config))
    assert_deposited(config, AMOUNT, left=AMOUNT, collector=erc3009_collector)
    settlement.deposit(config, AMOUNT, erc3009_collector.address, data_3009(config, salt=SALT + 1))
    assert_deposited(config, 2 * AMOUNT, left=0, collector=erc3009_collector)


def test_erc3009__refuses_what_was_not_signed(
    settlement: Any,
    token: Any,
    erc3009_collector: Any,
    channel_config: Any,
    data_3009: Any,
    stranger: LocalAccount,
    expect_error: Any,
) -> None:
    config = channel_config()
    token.mint(config.payer, 2 * AMOUNT)
    stolen = channel_config(
        payerAuthorizer=stranger.address,
        receiver=stranger.address,
        receiverAuthorizer=stranger.address,
    )
    refused = [
        (stolen, AMOUNT, data_3009(config)),
        (channel_config(salt=b"\1" * 32), AMOUNT, data_3009(config)),
        (config, AMOUNT + 1, data_3009(config)),
        (config, AMOUNT - 1, data_3009(config)),
        (config, AMOUNT, data_3009(config, by=stranger)),
    ]
    for named, amount, data in refused:
        with expect_error("InvalidSignature()"):
            settlement.deposit(named, amount, erc3009_collector.address, data)
    assert token.balanceOf(config.payer) == 2 * AMOUNT


def test_erc3009__holds_the_times_of_the_authorization(
    settlement: Any,
    token: Any,
    erc3009_collector: Any,
    config: Any,
    data_3009: Any,
    now: Any,
    expect_error: Any,
    assert_deposited: Any,
) -> None:
    token.mint(config.payer, AMOUNT)
    with expect_error("AuthorizationExpired()"):
        settlement.deposit(
            config, AMOUNT, erc3009_collector.address, data_3009(config, before=now())
        )
    with expect_error("AuthorizationNotYetValid()"):
        settlement.deposit(
            config, AMOUNT, erc3009_collector.address, data_3009(config, after=now())
        )
    data = data_3009(config, after=now() - 1, before=now() + 1)
    settlement.deposit(config, AMOUNT, erc3009_collector.address, data)
    assert_deposited(config, AMOUNT, left=0, collector=erc3009_collector)


def test_erc3009__cannot_be_taken_by_another_settlement(
    deploy: Any,
    settlement: Any,
    token: Any,
    erc3009_collector: Any,
    config: Any,
    data_3009: Any,
    expect_error: Any,
) -> None:
    token.mint(config.payer, AMOUNT)
    other = deploy("BatchSettlement.vy")
    with expect_error("OnlyX402BatchSettlement()"):
        other.deposit(config, AMOUNT, erc3009_collector.address, data_3009(config))


def test_erc3009__refuses_more_than_the_payer_has(
    settlement: Any,
    token: Any,
    erc3009_collector: Any,
    config: Any,
    data_3009: Any,
    expect_error: Any,
) -> None:
    token.mint(config.payer, AMOUNT - 1)
    with expect_error(
        "ERC20InsufficientBalance(address,uint256,uint256)", config.payer, AMOUNT - 1, AMOUNT
    ):
        settlement.deposit(config, AMOUNT, erc3009_collector.address, data_3009(config))


# ---------------------------------------------------------------- Permit2


def test_permit2__moves_the_signed_amount_straight_into_the_channel(
    settlement: Any,
    token: Any,
    permit2: Any,
    permit2_collector: Any,
    permit2_payer: LocalAccount,
    config: Any,
    data_permit2: Any,
    stranger: LocalAccount,
    events: Any,
    assert_deposited: Any,
) -> None:
    settlement.deposit(
        config, AMOUNT, permit2_collector.address, data_permit2(config), sender=stranger.address
    )
    assert events(settlement, of=token) == [
        ("Transfer", {"sender": config.payer, "receiver": settlement.address, "value": AMOUNT})
    ]
    assert events(settlement, of=permit2_collector) == []
    assert_deposited(config, AMOUNT, left=AMOUNT, collector=permit2_collector)
    assert permit2.nonceBitmap(config.payer, NONCE // 256) == 1 << (NONCE % 256)


def test_permit2__takes_a_contract_wallet_as_payer(
    settlement: Any,
    token: Any,
    permit2: Any,
    permit2_collector: Any,
    channel_config: Any,
    data_permit2: Any,
    fund: Any,
    wallet: Any,
    wallet_owner: LocalAccount,
    stranger: LocalAccount,
    expect_error: Any,
    assert_deposited: Any,
) -> None:
    config = channel_config(payer=wallet.address)
    fund(token, wallet.address, AMOUNT, permit2)
    with expect_error("InvalidContractSignature()"):
        settlement.deposit(
            config, AMOUNT, permit2_collector.address, data_permit2(config, by=stranger)
        )
    settlement.deposit(
        config, AMOUNT, permit2_collector.address, data_permit2(config, by=wallet_owner)
    )
    assert_deposited(config, AMOUNT, left=0, collector=permit2_collector)


def test_permit2__refuses_the_same_nonce_twice(
    settlement: Any,
    permit2_collector: Any,
    permit2_payer: LocalAccount,
    config: Any,
    data_permit2: Any,
    expect_error: Any,
    assert_deposited: Any,
) -> None:
    settlement.deposit(config, AMOUNT, permit2_collector.address, data_permit2(config))
    with expect_error("InvalidNonce()"):
        settlement.deposit(config, AMOUNT, permit2_collector.address, data_permit2(config))
    settlement.deposit(config, AMOUNT, permit2_collector.address, data_permit2(config, nonce=0))
    assert_deposited(config, 2 * AMOUNT, left=0, collector=permit2_collector)


def test_permit2__refuses_what_was_not_signed(
    settlement: Any,
    token: Any,
    permit2_collector: Any,
    permit2_payer: LocalAccount,
    channel_config: Any,
    data_permit2: Any,
    stranger: LocalAccount,
    expect_error: Any,
) -> None:
    config = channel_config()
    stolen = channel_config(
        payerAuthorizer=stranger.address,
        receiver=stranger.address,
        receiverAuthorizer=stranger.address,
    )
    refused = [
        (stolen, AMOUNT, data_permit2(config)),
        (channel_config(salt=b"\1" * 32), AMOUNT, data_permit2(config)),
        (config, AMOUNT + 1, data_permit2(config)),
        (config, AMOUNT - 1, data_permit2(config)),
        (config, AMOUNT, data_permit2(config, spender=stranger)),
        (config, AMOUNT, data_permit2(config, by=stranger)),
    ]
    for named, amount, data in refused:
        with expect_error("InvalidSigner()"):
            settlement.deposit(named, amount, permit2_collector.address, data)
    assert token.balanceOf(config.payer) == 2 * AMOUNT


def test_permit2__holds_the_deadline_to_the_second(
    settlement: Any,
    permit2_collector: Any,
    permit2_payer: LocalAccount,
    config: Any,
    data_permit2: Any,
    now: Any,
    expect_error: Any,
    assert_deposited: Any,
) -> None:
    with expect_error("SignatureExpired(uint256)", now() - 1):
        settlement.deposit(
            config, AMOUNT, permit2_collector.address, data_permit2(config, deadline=now() - 1)
        )
    settlement.deposit(
        config, AMOUNT, permit2_collector.address, data_permit2(config, deadline=now())
    )
    assert_deposited(config, AMOUNT, left=AMOUNT, collector=permit2_collector)


# ---------------------------------------------------------------- allowance


def test_allowance__moves_the_signed_amount_straight_into_the_channel(
    settlement: Any,
    token: Any,
    allowance_collector: Any,
    allowance_payer: LocalAccount,
    config: Any,
    data_allowance: Any,
    stranger: LocalAccount,
    events: Any,
    assert_deposited: Any,
) -> None:
    settlement.deposit(
        config, AMOUNT, allowance_collector.address, data_allowance(config), sender=stranger.address
    )
    assert events(settlement, of=token) == [
        ("Transfer", {"sender": config.payer, "receiver": settlement.address, "value": AMOUNT})
    ]
    assert_deposited(config, AMOUNT, left=AMOUNT, collector=allowance_collector)
    assert allowance_collector.isNonceUsed(config.payer, NONCE)
    assert not allowance_collector.isNonceUsed(config.payer, NONCE + 1)


def test_allowance__is_not_consent_to_a_channel_of_a_thief(
    settlement: Any,
    token: Any,
    allowance_collector: Any,
    allowance_payer: LocalAccount,
    channel_config: Any,
    data_allowance: Any,
    stranger: LocalAccount,
    expect_error: Any,
) -> None:
    config = channel_config()
    stolen = channel_config(
        payerAuthorizer=stranger.address,
        receiver=stranger.address,
        receiverAuthorizer=stranger.address,
    )
    unsigned = encode(["uint256", "uint256", "bytes", "bytes"], [NONCE, LATE, b"", b""])
    refused = [
        (stolen, AMOUNT, unsigned),
        (stolen, AMOUNT, data_allowance(stolen, by=stranger)),
        (stolen, AMOUNT, data_allowance(config)),
        (channel_config(salt=b"\1" * 32), AMOUNT, data_allowance(config)),
        (config, AMOUNT + 1, data_allowance(config)),
        (config, AMOUNT - 1, data_allowance(config)),
    ]
    for named, amount, data in refused:
        with expect_error("InvalidSignature()"):
            settlement.deposit(
                named, amount, allowance_collector.address, data, sender=stranger.address
            )
    assert token.balanceOf(config.payer) == 2 * AMOUNT


def test_allowance__permit_is_not_consent_either(
    settlement: Any,
    token: Any,
    allowance_collector: Any,
    channel_config: Any,
    data_allowance: Any,
    permit_data: Any,
    stranger: LocalAccount,
    expect_error: Any,
) -> None:
    stolen = channel_config(payerAuthorizer=stranger.address, receiver=stranger.address)
    token.mint(stolen.payer, AMOUNT)
    data = data_allowance(stolen, by=stranger, permit=permit_data(allowance_collector))
    with expect_error("InvalidSignature()"):
        settlement.deposit(stolen, AMOUNT, allowance_collector.address, data)
    assert token.balanceOf(stolen.payer) == AMOUNT


def test_allowance__takes_a_contract_wallet_as_payer(
    settlement: Any,
    token: Any,
    allowance_collector: Any,
    channel_config: Any,
    data_allowance: Any,
    fund: Any,
    wallet: Any,
    wallet_owner: LocalAccount,
    stranger: LocalAccount,
    expect_error: Any,
    assert_deposited: Any,
) -> None:
    config = channel_config(payer=wallet.address)
    fund(token, wallet.address, AMOUNT, allowance_collector)
    with expect_error("InvalidSignature()"):
        settlement.deposit(
            config, AMOUNT, allowance_collector.address, data_allowance(config, by=stranger)
        )
    settlement.deposit(
        config, AMOUNT, allowance_collector.address, data_allowance(config, by=wallet_owner)
    )
    assert_deposited(config, AMOUNT, left=0, collector=allowance_collector)


def test_allowance__refuses_the_same_nonce_twice(
    settlement: Any,
    allowance_collector: Any,
    allowance_payer: LocalAccount,
    config: Any,
    data_allowance: Any,
    expect_error: Any,
    assert_deposited: Any,
) -> None:
    settlement.deposit(config, AMOUNT, allowance_collector.address, data_allowance(config))
    with expect_error("NonceAlreadyUsed()"):
        settlement.deposit(config, AMOUNT, allowance_collector.address, data_allowance(config))
    settlement.deposit(config, AMOUNT, allowance_collector.address, data_allowance(config, nonce=0))
    assert_deposited(config, 2 * AMOUNT, left=0, collector=allowance_collector)


def test_allowance__holds_the_deadline_to_the_second(
    settlement: Any,
    allowance_collector: Any,
    allowance_payer: LocalAccount,
    config: Any,
    data_allowance: Any,
    now: Any,
    expect_error: Any,
    assert_deposited: Any,
) -> None:
    with expect_error("DepositExpired()"):
        settlement.deposit(
            config, AMOUNT, allowance_collector.address, data_allowance(config, deadline=now() - 1)
        )
    settlement.deposit(
        config, AMOUNT, allowance_collector.address, data_allowance(config, deadline=now())
    )
    assert_deposited(config, AMOUNT, left=AMOUNT, collector=allowance_collector)


def test_allowance__digest_is_what_the_payer_signs(
    allowance_collector: Any,
    config: Any,
    channel_id: Any,
    data_allowance: Any,
    sign: Any,
    payer: Any,
) -> None:
    digest = allowance_collector.getDepositDigest(channel_id(config), AMOUNT, NONCE, LATE)
    signature = sign(payer, digest)
    assert data_allowance(config) == encode(
        ["uint256", "uint256", "bytes", "bytes"], [NONCE, LATE, signature, b""]
    )


def test_allowance__signature_is_void_at_another_collector(
    deploy: Any,
    settlement: Any,
    token: Any,
    config: Any,
    data_allowance: Any,
    fund: Any,
    expect_error: Any,
) -> None:
    other = deploy("collectors/AllowanceDepositCollector.vy", settlement.address)
    fund(token, config.payer, AMOUNT, other)
    with expect_error("InvalidSignature()"):
        settlement.deposit(config, AMOUNT, other.address, data_allowance(config))


def test_allowance__refuses_a_token_that_answers_false(
    settlement: Any,
    awkward_token: Any,
    allowance_collector: Any,
    channel_config: Any,
    data_allowance: Any,
    fund: Any,
    expect_error: Any,
) -> None:
    config = channel_config(token=awkward_token.address)
    fund(awkward_token, config.payer, AMOUNT, allowance_collector)
    awkward_token.setAnswersFalse(True)
    with expect_error("SafeERC20FailedOperation(address)", awkward_token.address):
        settlement.deposit(config, AMOUNT, allowance_collector.address, data_allowance(config))


def test_allowance__takes_a_token_that_answers_nothing(
    settlement: Any,
    no_return_token: Any,
    allowance_collector: Any,
    channel_config: Any,
    channel_id: Any,
    data_allowance: Any,
    fund: Any,
) -> None:
    config = channel_config(token=no_return_token.address)
    fund(no_return_token, config.payer, AMOUNT, allowance_collector)
    settlement.deposit(config, AMOUNT, allowance_collector.address, data_allowance(config))
    assert settlement.channels(channel_id(config)) == (AMOUNT, 0)
    assert no_return_token.balanceOf(settlement.address) == AMOUNT


# ---------------------------------------------------------------- short pulls


@pytest.mark.parametrize("name", ["permit2_collector", "allowance_collector"])
def test_deposit__refuses_a_pull_that_a_fee_made_short(
    name: str,
    request: Any,
    settlement: Any,
    awkward_token: Any,
    permit2: Any,
    allowance_collector: Any,
    permit2_collector: Any,
    channel_config: Any,
    data_permit2: Any,
    data_allowance: Any,
    fund: Any,
    expect_error: Any,
) -> None:
    config = channel_config(token=awkward_token.address)
    through_permit2 = name == "permit2_collector"
    fund(awkward_token, config.payer, AMOUNT, permit2 if through_permit2 else allowance_collector)
    awkward_token.setFee(1)
    data = data_permit2(config) if through_permit2 else data_allowance(config)
    collector = permit2_collector if through_permit2 else allowance_collector
    with expect_error("DepositCollectionFailed()"):
        settlement.deposit(config, AMOUNT, collector.address, data)
    assert awkward_token.balanceOf(config.payer) == AMOUNT


# ---------------------------------------------------------------- EIP-2612 on the way


@pytest.fixture(params=["permit2", "allowance"])
def permitting(
    request: Any,
    permit2: Any,
    permit2_collector: Any,
    data_permit2: Any,
    allowance_collector: Any,
    data_allowance: Any,
) -> tuple[Any, Any, Any]:
    """Collector, the spender its permit names, and what makes its data."""
    if request.param == "permit2":
        return permit2_collector, permit2, data_permit2
    return allowance_collector, allowance_collector, data_allowance


def test_permit__gives_the_allowance_on_the_way(
    permitting: Any,
    settlement: Any,
    token: Any,
    config: Any,
    permit_data: Any,
    events: Any,
    assert_deposited: Any,
) -> None:
    collector, spender, data = permitting
    token.mint(config.payer, AMOUNT)
    settlement.deposit(config, AMOUNT, collector.address, data(config, permit=permit_data(spender)))
    assert events(settlement, of=collector) == []
    assert_deposited(config, AMOUNT, left=0, collector=collector)
    assert token.allowance(config.payer, spender.address) == 0


def test_permit__used_by_somebody_first_does_not_stop_the_deposit(
    permitting: Any,
    settlement: Any,
    token: Any,
    config: Any,
    permit_data: Any,
    payer: LocalAccount,
    stranger: LocalAccount,
    events: Any,
    assert_deposited: Any,
) -> None:
    collector, spender, data = permitting
    token.mint(config.payer, AMOUNT)
    permit = permit_data(spender)
    v, r, s = permit[95], permit[96:128], permit[128:160]
    token.permit(payer.address, spender.address, AMOUNT, LATE, v, r, s, sender=stranger.address)

    settlement.deposit(config, AMOUNT, collector.address, data(config, permit=permit))
    assert events(settlement, of=collector) == [
        (
            "EIP2612PermitFailedWithData",
            {
                "token": token.address,
                "owner": config.payer,
                "data": keccak(text="InvalidSignature()")[:4],
            },
        )
    ]
    assert_deposited(config, AMOUNT, left=0, collector=collector)


def test_permit__of_another_amount_is_refused(
    permitting: Any,
    settlement: Any,
    token: Any,
    config: Any,
    permit_data: Any,
    expect_error: Any,
) -> None:
    collector, spender, data = permitting
    token.mint(config.payer, 2 * AMOUNT)
    for amount in (AMOUNT - 1, AMOUNT + 1):
        with expect_error("Permit2612AmountMismatch()"):
            settlement.deposit(
                config, AMOUNT, collector.address, data(config, permit=permit_data(spender, amount))
            )


def test_permit__that_fails_without_an_allowance_moves_nothing(
    settlement: Any,
    token: Any,
    allowance_collector: Any,
    config: Any,
    data_allowance: Any,
    permit_data: Any,
    stranger: LocalAccount,
    expect_error: Any,
) -> None:
    token.mint(config.payer, AMOUNT)
    data = data_allowance(config, permit=permit_data(allowance_collector, by=stranger))
    with expect_error(
        "ERC20InsufficientAllowance(address,uint256,uint256)",
        allowance_collector.address,
        0,
        AMOUNT,
    ):
        settlement.deposit(config, AMOUNT, allowance_collector.address, data)
    assert token.balanceOf(config.payer) == AMOUNT
    assert not allowance_collector.isNonceUsed(config.payer, NONCE)
