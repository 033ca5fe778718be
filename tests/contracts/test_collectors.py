"""Collectors pull exactly what the payer signed, for the channel it was signed for, once.

Typed data is signed by eth-account from the written-out types, independently of the contracts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

AMOUNT = 1_000_000
ZERO_ADDRESS = "0x" + "00" * 20
LATE = 2**48
NONCE = 300
MAGIC_WORD = bytes.fromhex("1626ba7e") + b"\0" * 28

TYPES = {
    "ReceiveWithAuthorization": (
        "address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce"
    ),
    "PermitWitnessTransferFrom": (
        "TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,"
        "DepositWitness witness"
    ),
    "TokenPermissions": "address token,uint256 amount",
    "DepositWitness": "bytes32 channelId",
    "AllowanceDeposit": "bytes32 channelId,uint256 amount,uint256 nonce,uint256 deadline",
    "Permit": "address owner,address spender,uint256 value,uint256 nonce,uint256 deadline",
}
USES = {"PermitWitnessTransferFrom": ("TokenPermissions", "DepositWitness")}


def sign_typed(
    by: LocalAccount, contract: Any, domain: dict[str, str], kind: str, *values: Any
) -> Any:
    types = {
        name: [
            dict(zip(("type", "name"), field.split(), strict=True))
            for field in TYPES[name].split(",")
        ]
        for name in (kind, *USES.get(kind, ()))
    }
    message = dict(zip((field["name"] for field in types[kind]), values, strict=True))
    full_domain = {**domain, "chainId": 1, "verifyingContract": contract.address}
    return by.sign_typed_data(full_domain, types, message)


@dataclass(frozen=True)
class Way:
    """One way to deposit: its collector, its data, and the errors it answers with."""

    collector: Any
    # Whom the payer gives an allowance; nobody for ERC-3009.
    spender: Any | None
    # make(config, amount, nonce, deadline, by, permit): collector data of what was signed.
    make: Callable[..., bytes]
    not_signed: str
    not_signed_by_wallet: str
    replayed: str
    # Called with the deadline.
    expired: Callable[[int], tuple[Any, ...]]

    def data(
        self,
        config: Any,
        amount: int = AMOUNT,
        *,
        by: LocalAccount,
        nonce: int = NONCE,
        deadline: int = LATE,
        permit: bytes = b"",
    ) -> bytes:
        return self.make(config, amount, nonce, deadline, by, permit)


@pytest.fixture
def erc3009(settlement: Any, token: Any, erc3009_collector: Any) -> Way:
    def make(
        config: Any, amount: int, salt: int, deadline: int, by: LocalAccount, _permit: bytes
    ) -> bytes:
        nonce = keccak(encode(["bytes32", "uint256"], [settlement.getChannelId(config), salt]))
        # The first second it is not valid at.
        before = deadline + 1
        values = (config.payer, erc3009_collector.address, amount, 0, before, nonce)
        domain = {"name": "Test USD", "version": "1"}
        signed = sign_typed(by, token, domain, "ReceiveWithAuthorization", *values)
        return encode(
            ["uint256", "uint256", "uint256", "bytes"], [0, before, salt, bytes(signed.signature)]
        )

    return Way(
        erc3009_collector,
        None,
        make,
        not_signed="InvalidSignature()",
        not_signed_by_wallet="InvalidSignature()",
        replayed="AuthorizationUsedOrCanceled()",
        expired=lambda _deadline: ("AuthorizationExpired()",),
    )


@pytest.fixture
def by_permit2(settlement: Any, permit2: Any, permit2_collector: Any) -> Way:
    def make(
        config: Any, amount: int, nonce: int, deadline: int, by: LocalAccount, permit: bytes
    ) -> bytes:
        signed = sign_typed(
            by,
            permit2,
            {"name": "Permit2"},
            "PermitWitnessTransferFrom",
            {"token": config.token, "amount": amount},
            permit2_collector.address,
            nonce,
            deadline,
            {"channelId": settlement.getChannelId(config)},
        )
        return encode(
            ["uint256", "uint256", "bytes", "bytes"],
            [nonce, deadline, bytes(signed.signature), permit],
        )

    return Way(
        permit2_collector,
        permit2,
        make,
        not_signed="InvalidSigner()",
        not_signed_by_wallet="InvalidContractSignature()",
        replayed="InvalidNonce()",
        expired=lambda deadline: ("SignatureExpired(uint256)", deadline),
    )


@pytest.fixture
def by_allowance(settlement: Any, allowance_collector: Any) -> Way:
    def make(
        config: Any, amount: int, nonce: int, deadline: int, by: LocalAccount, permit: bytes
    ) -> bytes:
        values = (settlement.getChannelId(config), amount, nonce, deadline)
        domain = {"name": "Farthing Allowance Collector", "version": "1"}
        signed = sign_typed(by, allowance_collector, domain, "AllowanceDeposit", *values)
        return encode(
            ["uint256", "uint256", "bytes", "bytes"],
            [nonce, deadline, bytes(signed.signature), permit],
        )

    return Way(
        allowance_collector,
        allowance_collector,
        make,
        not_signed="InvalidSignature()",
        not_signed_by_wallet="InvalidSignature()",
        replayed="NonceAlreadyUsed()",
        expired=lambda _deadline: ("DepositExpired()",),
    )


WAYS = ["erc3009", "by_permit2", "by_allowance"]
PULLING = WAYS[1:]


@pytest.fixture(params=WAYS)
def way(request: Any) -> Way:
    found: Way = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=PULLING)
def pulling(request: Any) -> Way:
    """A way that needs an allowance, and takes a permit for it."""
    found: Way = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def give(token: Any) -> Callable[..., None]:
    """Mints for an owner, with whatever allowance the way needs."""
    standard = token

    def fund(way: Way, owner: str, amount: int, token: Any = standard) -> None:
        token.mint(owner, amount)
        if way.spender is not None:
            token.approve(way.spender.address, amount, sender=owner)

    return fund


@pytest.fixture
def assert_moved(settlement: Any, token: Any) -> Callable[..., None]:
    """Books and tokens moved by exactly the amount, and the collector kept none."""

    def check(way: Way, config: Any, amount: int, *, left: int) -> None:
        assert settlement.channels(settlement.getChannelId(config)) == (amount, 0)
        assert token.balanceOf(settlement.address) == amount
        assert token.balanceOf(config.payer) == left
        assert token.balanceOf(way.collector.address) == 0

    return check


# ---------------------------------------------------------------- construction and caller


def test_collect__refuses_everybody_but_settlement(
    way: Way, config: Any, payer: LocalAccount, give: Any, expect_error: Any
) -> None:
    give(way, config.payer, AMOUNT)
    data = way.data(config, by=payer)
    with expect_error("OnlyX402BatchSettlement()"):
        way.collector.collect(
            config.payer, config.token, AMOUNT, b"\0" * 32, data, sender=config.payer
        )


def test_deposit__refuses_the_collector_of_another_settlement(
    way: Way, deploy: Any, config: Any, payer: LocalAccount, give: Any, expect_error: Any
) -> None:
    give(way, config.payer, AMOUNT)
    other = deploy("BatchSettlement.vy")
    with expect_error("OnlyX402BatchSettlement()"):
        other.deposit(config, AMOUNT, way.collector.address, way.data(config, by=payer))


def test_x402_batch_settlement__is_the_one_of_the_constructor(way: Way, settlement: Any) -> None:
    assert way.collector.x402BatchSettlement() == settlement.address


@pytest.mark.parametrize(
    ("path", "others"), [("ERC3009", []), ("Permit2", ["0x" + "11" * 20]), ("Allowance", [])]
)
def test_deploy__refuses_a_zero_settlement(
    path: str, others: list[str], deploy: Any, expect_error: Any
) -> None:
    with expect_error("InvalidX402BatchSettlementAddress()"):
        deploy(f"collectors/{path}DepositCollector.vy", ZERO_ADDRESS, *others)


def test_deploy__refuses_a_zero_permit2(deploy: Any, settlement: Any, expect_error: Any) -> None:
    with expect_error("InvalidPermit2Address()"):
        deploy("collectors/Permit2DepositCollector.vy", settlement.address, ZERO_ADDRESS)


def test_permit2_collector__tells_its_permit2_and_witness(
    permit2_collector: Any, permit2: Any
) -> None:
    assert permit2_collector.PERMIT2() == permit2.address
    assert permit2_collector.DEPOSIT_WITNESS_TYPE_STRING() == (
        "DepositWitness witness)DepositWitness(bytes32 channelId)"
        "TokenPermissions(address token,uint256 amount)"
    )
    expected = keccak(text="DepositWitness(bytes32 channelId)")
    assert permit2_collector.DEPOSIT_WITNESS_TYPEHASH() == expected


# ---------------------------------------------------------------- what moves


def test_deposit__through_erc3009_passes_the_collector(
    erc3009: Way,
    settlement: Any,
    token: Any,
    config: Any,
    payer: LocalAccount,
    stranger: LocalAccount,
    events: Any,
    assert_moved: Any,
) -> None:
    token.mint(config.payer, AMOUNT + 5)
    data = erc3009.data(config, by=payer)
    nonce = keccak(encode(["bytes32", "uint256"], [settlement.getChannelId(config), NONCE]))
    middle = erc3009.collector.address
    settlement.deposit(config, AMOUNT, middle, data, sender=stranger.address)
    assert events(settlement, of=token) == [
        ("AuthorizationUsed", {"authorizer": config.payer, "nonce": nonce}),
        ("Transfer", {"sender": config.payer, "receiver": middle, "value": AMOUNT}),
        ("Transfer", {"sender": middle, "receiver": settlement.address, "value": AMOUNT}),
    ]
    assert_moved(erc3009, config, AMOUNT, left=5)


def test_deposit__through_an_allowance_goes_straight(
    pulling: Way,
    settlement: Any,
    token: Any,
    config: Any,
    payer: LocalAccount,
    stranger: LocalAccount,
    give: Any,
    events: Any,
    assert_moved: Any,
) -> None:
    give(pulling, config.payer, AMOUNT + 5)
    data = pulling.data(config, by=payer)
    settlement.deposit(config, AMOUNT, pulling.collector.address, data, sender=stranger.address)
    assert events(settlement, of=token) == [
        ("Transfer", {"sender": config.payer, "receiver": settlement.address, "value": AMOUNT})
    ]
    assert events(settlement, of=pulling.collector) == []
    assert_moved(pulling, config, AMOUNT, left=5)


def test_deposit__of_a_contract_wallet(
    way: Way,
    settlement: Any,
    channel_config: Any,
    wallet: Any,
    wallet_owner: LocalAccount,
    stranger: LocalAccount,
    give: Any,
    expect_error: Any,
    assert_moved: Any,
) -> None:
    config = channel_config(payer=wallet.address)
    give(way, wallet.address, AMOUNT)
    with expect_error(way.not_signed_by_wallet):
        settlement.deposit(config, AMOUNT, way.collector.address, way.data(config, by=stranger))
    settlement.deposit(config, AMOUNT, way.collector.address, way.data(config, by=wallet_owner))
    assert_moved(way, config, AMOUNT, left=0)


def test_deposit__takes_the_longest_wallet_signature_and_no_longer_one(
    way: Way,
    settlement: Any,
    channel_config: Any,
    hostile_wallet: Any,
    give: Any,
    expect_error: Any,
    assert_moved: Any,
) -> None:
    config = channel_config(payer=hostile_wallet.address)
    hostile_wallet.answerWith(MAGIC_WORD, 32)
    give(way, hostile_wallet.address, AMOUNT)

    def data(size: int) -> bytes:
        if way.spender is None:
            types = ["uint256", "uint256", "uint256", "bytes"]
            return encode(types, [0, LATE, NONCE, b"x" * size])
        return encode(["uint256", "uint256", "bytes", "bytes"], [NONCE, LATE, b"x" * size, b""])

    with expect_error(None):
        settlement.deposit(config, AMOUNT, way.collector.address, data(769))
    settlement.deposit(config, AMOUNT, way.collector.address, data(768))
    assert_moved(way, config, AMOUNT, left=0)


# ---------------------------------------------------------------- what does not


def test_deposit__counts_one_signature_once(
    way: Way,
    settlement: Any,
    config: Any,
    payer: LocalAccount,
    give: Any,
    expect_error: Any,
    assert_moved: Any,
) -> None:
    give(way, config.payer, 2 * AMOUNT)
    address = way.collector.address
    settlement.deposit(config, AMOUNT, address, way.data(config, by=payer))
    with expect_error(way.replayed):
        settlement.deposit(config, AMOUNT, address, way.data(config, by=payer))
    assert_moved(way, config, AMOUNT, left=AMOUNT)
    # Nonces have no order.
    settlement.deposit(config, AMOUNT, address, way.data(config, by=payer, nonce=NONCE - 1))
    assert_moved(way, config, 2 * AMOUNT, left=0)


def test_deposit__refuses_what_the_payer_did_not_sign(
    way: Way,
    settlement: Any,
    token: Any,
    channel_config: Any,
    payer: LocalAccount,
    stranger: LocalAccount,
    give: Any,
    expect_error: Any,
) -> None:
    config = channel_config()
    stolen = channel_config(
        payerAuthorizer=stranger.address,
        receiver=stranger.address,
        receiverAuthorizer=stranger.address,
    )
    give(way, config.payer, 2 * AMOUNT)
    good = way.data(config, by=payer)
    for named, amount, data in [
        (stolen, AMOUNT, good),
        (stolen, AMOUNT, way.data(stolen, by=stranger)),
        (channel_config(salt=b"\1" * 32), AMOUNT, good),
        (config, AMOUNT + 1, good),
        (config, AMOUNT - 1, good),
        (config, AMOUNT, way.data(config, by=stranger)),
    ]:
        with expect_error(way.not_signed):
            settlement.deposit(named, amount, way.collector.address, data, sender=stranger.address)
    assert token.balanceOf(config.payer) == 2 * AMOUNT


def test_deposit__is_in_time_at_the_last_second_and_late_after_it(
    way: Way,
    settlement: Any,
    config: Any,
    payer: LocalAccount,
    give: Any,
    now: Any,
    expect_error: Any,
    assert_moved: Any,
) -> None:
    give(way, config.payer, AMOUNT)
    address, last = way.collector.address, now()
    with expect_error(*way.expired(last - 1)):
        settlement.deposit(config, AMOUNT, address, way.data(config, by=payer, deadline=last - 1))
    settlement.deposit(config, AMOUNT, address, way.data(config, by=payer, deadline=last))
    assert_moved(way, config, AMOUNT, left=0)


def test_deposit__refuses_more_than_the_payer_has(
    way: Way, settlement: Any, token: Any, config: Any, payer: Any, give: Any, expect_error: Any
) -> None:
    give(way, config.payer, AMOUNT)
    token.transfer(config.receiver, 1, sender=config.payer)
    error = ("ERC20InsufficientBalance(address,uint256,uint256)", config.payer, AMOUNT - 1, AMOUNT)
    with expect_error(*error):
        settlement.deposit(config, AMOUNT, way.collector.address, way.data(config, by=payer))


def test_deposit__refuses_a_pull_that_a_fee_made_short(
    pulling: Way,
    settlement: Any,
    awkward_token: Any,
    channel_config: Any,
    payer: LocalAccount,
    give: Any,
    expect_error: Any,
) -> None:
    config = channel_config(token=awkward_token.address)
    give(pulling, config.payer, AMOUNT, awkward_token)
    awkward_token.setFee(1)
    with expect_error("DepositCollectionFailed()"):
        data = pulling.data(config, by=payer)
        settlement.deposit(config, AMOUNT, pulling.collector.address, data)
    assert awkward_token.balanceOf(config.payer) == AMOUNT


# ---------------------------------------------------------------- a permit on the way


@pytest.fixture
def tokens(token: Any, awkward_token: Any) -> dict[str, Any]:
    return {"token": token, "awkward_token": awkward_token}


@pytest.fixture
def sign_permit(token: Any, payer: LocalAccount) -> Callable[..., bytes]:
    """`sign_permit(way)`: an EIP-2612 permit for the way's spender, as collectors take it."""

    def make(way: Way, amount: int = AMOUNT, by: LocalAccount = payer) -> bytes:
        assert way.spender is not None
        values = (payer.address, way.spender.address, amount, 0, LATE)
        signed = sign_typed(by, token, {"name": "Test USD", "version": "1"}, "Permit", *values)
        return encode(
            ["uint256", "uint256", "uint8", "uint256", "uint256"],
            [amount, LATE, signed.v, signed.r, signed.s],
        )

    return make


def test_permit__gives_the_allowance_on_the_way(
    pulling: Way,
    settlement: Any,
    token: Any,
    config: Any,
    payer: LocalAccount,
    sign_permit: Any,
    events: Any,
    assert_moved: Any,
) -> None:
    token.mint(config.payer, AMOUNT)
    data = pulling.data(config, by=payer, permit=sign_permit(pulling))
    settlement.deposit(config, AMOUNT, pulling.collector.address, data)
    assert events(settlement, of=pulling.collector) == []
    assert_moved(pulling, config, AMOUNT, left=0)
    assert token.allowance(config.payer, pulling.spender.address) == 0


def test_permit__used_by_somebody_first_does_not_stop_the_deposit(
    pulling: Way,
    settlement: Any,
    token: Any,
    config: Any,
    payer: LocalAccount,
    stranger: LocalAccount,
    sign_permit: Any,
    events: Any,
    assert_moved: Any,
) -> None:
    token.mint(config.payer, AMOUNT)
    permit = sign_permit(pulling)
    proof = permit[95], permit[96:128], permit[128:160]
    token.permit(
        payer.address, pulling.spender.address, AMOUNT, LATE, *proof, sender=stranger.address
    )
    data = pulling.data(config, by=payer, permit=permit)
    settlement.deposit(config, AMOUNT, pulling.collector.address, data)
    error = keccak(text="InvalidSignature()")[:4]
    assert events(settlement, of=pulling.collector) == [
        (
            "EIP2612PermitFailedWithData",
            {"token": token.address, "owner": config.payer, "data": error},
        )
    ]
    assert_moved(pulling, config, AMOUNT, left=0)


def test_permit__of_another_amount_is_refused(
    pulling: Way,
    settlement: Any,
    token: Any,
    config: Any,
    payer: LocalAccount,
    sign_permit: Any,
    expect_error: Any,
) -> None:
    token.mint(config.payer, 2 * AMOUNT)
    for amount in (AMOUNT - 1, AMOUNT + 1):
        data = pulling.data(config, by=payer, permit=sign_permit(pulling, amount))
        with expect_error("Permit2612AmountMismatch()"):
            settlement.deposit(config, AMOUNT, pulling.collector.address, data)


def test_permit__that_fails_without_an_allowance_moves_nothing(
    pulling: Way,
    settlement: Any,
    token: Any,
    config: Any,
    payer: LocalAccount,
    stranger: LocalAccount,
    sign_permit: Any,
    expect_error: Any,
) -> None:
    token.mint(config.payer, AMOUNT)
    data = pulling.data(config, by=payer, permit=sign_permit(pulling, by=stranger))
    error = "ERC20InsufficientAllowance(address,uint256,uint256)"
    with expect_error(error, pulling.spender.address, 0, AMOUNT):
        settlement.deposit(config, AMOUNT, pulling.collector.address, data)
    assert token.balanceOf(config.payer) == AMOUNT


@pytest.mark.parametrize("token_name", ["token", "awkward_token"])
def test_permit__is_not_consent_to_a_deposit(
    token_name: str,
    tokens: dict[str, Any],
    by_allowance: Way,
    settlement: Any,
    channel_config: Any,
    stranger: LocalAccount,
    sign_permit: Any,
    give: Any,
    expect_error: Any,
) -> None:
    # The awkward token swallows any permit, so that a forged one seems to succeed.
    token = tokens[token_name]
    stolen = channel_config(
        payerAuthorizer=stranger.address, receiver=stranger.address, token=token.address
    )
    give(by_allowance, stolen.payer, AMOUNT, token)
    data = by_allowance.data(stolen, by=stranger, permit=sign_permit(by_allowance))
    with expect_error("InvalidSignature()"):
        settlement.deposit(stolen, AMOUNT, by_allowance.collector.address, data)
    assert token.balanceOf(stolen.payer) == AMOUNT


# ---------------------------------------------------------------- one collector's own


def test_erc3009__is_not_valid_yet(
    settlement: Any, token: Any, erc3009: Way, config: Any, now: Any, expect_error: Any
) -> None:
    token.mint(config.payer, AMOUNT)
    data = encode(["uint256", "uint256", "uint256", "bytes"], [now(), LATE, NONCE, b""])
    with expect_error("AuthorizationNotYetValid()"):
        settlement.deposit(config, AMOUNT, erc3009.collector.address, data)


def test_erc3009__moves_nothing_where_the_token_swallows_the_authorization(
    settlement: Any,
    awkward_token: Any,
    erc3009: Way,
    channel_config: Any,
    payer: LocalAccount,
    give: Any,
    expect_error: Any,
) -> None:
    config = channel_config(token=awkward_token.address)
    give(erc3009, config.payer, AMOUNT, awkward_token)
    data = erc3009.data(config, by=payer)
    # The collector has nothing to pass on, and the token says so in either way.
    with expect_error(None):
        settlement.deposit(config, AMOUNT, erc3009.collector.address, data)
    awkward_token.setAnswersFalse(True)
    with expect_error("SafeERC20FailedOperation(address)", awkward_token.address):
        settlement.deposit(config, AMOUNT, erc3009.collector.address, data)
    assert awkward_token.balanceOf(config.payer) == AMOUNT


def test_permit2__spends_one_bit(
    by_permit2: Way, settlement: Any, permit2: Any, config: Any, payer: LocalAccount, give: Any
) -> None:
    give(by_permit2, config.payer, AMOUNT)
    data = by_permit2.data(config, by=payer)
    settlement.deposit(config, AMOUNT, by_permit2.collector.address, data)
    assert permit2.nonceBitmap(config.payer, NONCE // 256) == 1 << (NONCE % 256)


def test_allowance__spends_one_nonce(
    by_allowance: Way, settlement: Any, config: Any, payer: LocalAccount, give: Any
) -> None:
    give(by_allowance, config.payer, AMOUNT)
    data = by_allowance.data(config, by=payer)
    collector = by_allowance.collector
    settlement.deposit(config, AMOUNT, collector.address, data)
    used = [collector.isNonceUsed(config.payer, NONCE + i) for i in (-1, 0, 1)]
    assert used == [False, True, False]


def test_allowance__digest_is_what_the_payer_signs(
    by_allowance: Way, settlement: Any, config: Any, payer: LocalAccount, sign: Any
) -> None:
    channel_id = settlement.getChannelId(config)
    digest = by_allowance.collector.getDepositDigest(channel_id, AMOUNT, NONCE, LATE)
    fields = [NONCE, LATE, sign(payer, digest), b""]
    expected = encode(["uint256", "uint256", "bytes", "bytes"], fields)
    assert by_allowance.data(config, by=payer) == expected


def test_allowance__signature_is_void_at_another_collector(
    by_allowance: Way,
    deploy: Any,
    settlement: Any,
    token: Any,
    config: Any,
    payer: LocalAccount,
    fund: Any,
    expect_error: Any,
) -> None:
    other = deploy("collectors/AllowanceDepositCollector.vy", settlement.address)
    fund(token, config.payer, AMOUNT, other)
    with expect_error("InvalidSignature()"):
        settlement.deposit(config, AMOUNT, other.address, by_allowance.data(config, by=payer))


def test_allowance__refuses_a_token_that_answers_false(
    by_allowance: Way,
    settlement: Any,
    awkward_token: Any,
    channel_config: Any,
    payer: LocalAccount,
    give: Any,
    expect_error: Any,
) -> None:
    config = channel_config(token=awkward_token.address)
    give(by_allowance, config.payer, AMOUNT, awkward_token)
    awkward_token.setAnswersFalse(True)
    data = by_allowance.data(config, by=payer)
    with expect_error("SafeERC20FailedOperation(address)", awkward_token.address):
        settlement.deposit(config, AMOUNT, by_allowance.collector.address, data)


def test_deposit__takes_a_token_that_answers_nothing(
    pulling: Way,
    settlement: Any,
    no_return_token: Any,
    channel_config: Any,
    payer: LocalAccount,
    give: Any,
) -> None:
    config = channel_config(token=no_return_token.address)
    give(pulling, config.payer, AMOUNT, no_return_token)
    data = pulling.data(config, by=payer)
    settlement.deposit(config, AMOUNT, pulling.collector.address, data)
    assert settlement.channels(settlement.getChannelId(config)) == (AMOUNT, 0)
    assert no_return_token.balanceOf(settlement.address) == AMOUNT
