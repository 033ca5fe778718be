"""The test dollar: ERC-20, EIP-2612 and ERC-3009, whose functions come in two forms by one name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

AMOUNT = 1_000
ZERO_ADDRESS = "0x" + "00" * 20
MAX_UINT256 = 2**256 - 1
NONCE = b"\7" * 32
LATE = 2**48

MOVE = "(address,address,uint256,uint256,uint256,bytes32,"
FORMS = {"bytes": "bytes)", "vrs": "uint8,bytes32,bytes32)"}


def _fields(*fields: str) -> list[dict[str, str]]:
    return [dict(zip(("type", "name"), field.split(), strict=True)) for field in fields]


MOVE_FIELDS = _fields(
    "address from",
    "address to",
    "uint256 value",
    "uint256 validAfter",
    "uint256 validBefore",
    "bytes32 nonce",
)
TYPES = {
    "Permit": _fields(
        "address owner",
        "address spender",
        "uint256 value",
        "uint256 nonce",
        "uint256 deadline",
    ),
    "TransferWithAuthorization": MOVE_FIELDS,
    "ReceiveWithAuthorization": MOVE_FIELDS,
    "CancelAuthorization": _fields("address authorizer", "bytes32 nonce"),
}


@pytest.fixture
def signed(token: Any, payer: LocalAccount) -> Callable[..., Any]:
    """`signed("Permit", *values, by=account)`: typed data signed without the token's help."""

    def make(kind: str, *values: Any, by: LocalAccount = payer) -> Any:
        domain = {
            "name": "Test USD",
            "version": "1",
            "chainId": 1,
            "verifyingContract": token.address,
        }
        names = [field["name"] for field in TYPES[kind]]
        message = dict(zip(names, values, strict=True))
        return by.sign_typed_data(domain, {kind: TYPES[kind]}, message)

    return make


@pytest.fixture(params=FORMS)
def form(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def authorize(
    form: str, token: Any, signed: Callable[..., Any], call_by_signature: Any, payer: LocalAccount
) -> Callable[..., None]:
    """Signs an ERC-3009 call and makes it, in each of the two forms.

    `claims=` are the values sent, where they are not the values signed.
    """

    def call(
        kind: str,
        *values: Any,
        by: LocalAccount = payer,
        claims: tuple[Any, ...] | None = None,
        sender: str | None = None,
    ) -> None:
        signature = signed(kind, *values, by=by)
        name = kind[0].lower() + kind[1:]
        head = "(address,bytes32," if kind == "CancelAuthorization" else MOVE
        proof = (
            [bytes(signature.signature)]
            if form == "bytes"
            else [signature.v, signature.r.to_bytes(32), signature.s.to_bytes(32)]
        )
        sent = values if claims is None else claims
        call_by_signature(token, name + head + FORMS[form], *sent, *proof, sender=sender)

    return call


# ---------------------------------------------------------------- ERC-20


def test_metadata__is_that_of_a_dollar_with_six_decimals(token: Any) -> None:
    assert (token.name(), token.symbol(), token.decimals(), token.version()) == (
        "Test USD",
        "TUSD",
        6,
        "1",
    )


def test_mint__gives_to_anybody(token: Any, stranger: LocalAccount, events: Any) -> None:
    token.mint(stranger.address, AMOUNT, sender=stranger.address)
    assert events(token) == [
        ("Transfer", {"sender": ZERO_ADDRESS, "receiver": stranger.address, "value": AMOUNT})
    ]
    assert (token.balanceOf(stranger.address), token.totalSupply()) == (AMOUNT, AMOUNT)


def test_mint__refuses_the_zero_address_and_an_overflow(
    token: Any, payer: LocalAccount, expect_error: Any
) -> None:
    with expect_error("ERC20InvalidReceiver(address)", ZERO_ADDRESS):
        token.mint(ZERO_ADDRESS, 1)
    token.mint(payer.address, MAX_UINT256)
    with expect_error(None):
        token.mint(payer.address, 1)


def test_mint_batch__gives_to_each(token: Any, account: Any) -> None:
    holders = [account(f"holder {i}").address for i in range(3)]
    token.mintBatch([*holders, holders[0]], AMOUNT)
    assert [token.balanceOf(holder) for holder in holders] == [2 * AMOUNT, AMOUNT, AMOUNT]
    assert token.totalSupply() == 4 * AMOUNT


def test_transfer__moves_exactly_the_amount(
    token: Any, payer: LocalAccount, receiver: LocalAccount, events: Any
) -> None:
    token.mint(payer.address, AMOUNT)
    assert token.transfer(receiver.address, AMOUNT - 1, sender=payer.address)
    assert events(token) == [
        (
            "Transfer",
            {"sender": payer.address, "receiver": receiver.address, "value": AMOUNT - 1},
        )
    ]
    assert (token.balanceOf(payer.address), token.balanceOf(receiver.address)) == (1, AMOUNT - 1)
    assert token.transfer(payer.address, 1, sender=payer.address)
    assert token.balanceOf(payer.address) == 1


def test_transfer__refuses_too_much_and_the_zero_address(
    token: Any, payer: LocalAccount, receiver: LocalAccount, expect_error: Any
) -> None:
    token.mint(payer.address, AMOUNT)
    with expect_error(
        "ERC20InsufficientBalance(address,uint256,uint256)", payer.address, AMOUNT, AMOUNT + 1
    ):
        token.transfer(receiver.address, AMOUNT + 1, sender=payer.address)
    with expect_error("ERC20InvalidReceiver(address)", ZERO_ADDRESS):
        token.transfer(ZERO_ADDRESS, 1, sender=payer.address)


def test_transfer_from__spends_the_allowance(
    token: Any,
    payer: LocalAccount,
    receiver: LocalAccount,
    stranger: LocalAccount,
    expect_error: Any,
) -> None:
    token.mint(payer.address, AMOUNT)
    assert token.approve(stranger.address, 10, sender=payer.address)
    assert token.transferFrom(payer.address, receiver.address, 4, sender=stranger.address)
    assert token.allowance(payer.address, stranger.address) == 6
    with expect_error(
        "ERC20InsufficientAllowance(address,uint256,uint256)", stranger.address, 6, 7
    ):
        token.transferFrom(payer.address, receiver.address, 7, sender=stranger.address)
    assert token.balanceOf(receiver.address) == 4


def test_transfer_from__leaves_an_endless_allowance_endless(
    token: Any, payer: LocalAccount, receiver: LocalAccount, stranger: LocalAccount
) -> None:
    token.mint(payer.address, AMOUNT)
    token.approve(stranger.address, MAX_UINT256, sender=payer.address)
    token.transferFrom(payer.address, receiver.address, AMOUNT, sender=stranger.address)
    assert token.allowance(payer.address, stranger.address) == MAX_UINT256


def test_approve__is_logged(
    token: Any, payer: LocalAccount, stranger: LocalAccount, events: Any
) -> None:
    token.approve(stranger.address, 5, sender=payer.address)
    assert events(token) == [
        ("Approval", {"owner": payer.address, "spender": stranger.address, "value": 5})
    ]


# ---------------------------------------------------------------- EIP-2612


@pytest.fixture
def permit(token: Any, signed: Any, payer: LocalAccount, stranger: LocalAccount) -> Any:
    """Sends a permit for `stranger`; `said` is the amount sent, where it is not the one signed."""

    def call(
        *, nonce: int = 0, deadline: int = LATE, said: int = AMOUNT, by: LocalAccount = payer
    ) -> None:
        proof = signed("Permit", payer.address, stranger.address, AMOUNT, nonce, deadline, by=by)
        token.permit(
            payer.address,
            stranger.address,
            said,
            deadline,
            proof.v,
            proof.r.to_bytes(32),
            proof.s.to_bytes(32),
        )

    return call


def test_permit__sets_the_allowance_once(
    token: Any,
    permit: Any,
    payer: LocalAccount,
    stranger: LocalAccount,
    events: Any,
    expect_error: Any,
) -> None:
    permit()
    assert events(token) == [
        ("Approval", {"owner": payer.address, "spender": stranger.address, "value": AMOUNT})
    ]
    assert token.allowance(payer.address, stranger.address) == AMOUNT
    assert token.nonces(payer.address) == 1
    with expect_error("InvalidSignature()"):
        permit()
    permit(nonce=1)


def test_permit__refuses_what_was_not_signed(
    permit: Any, stranger: LocalAccount, expect_error: Any
) -> None:
    for wrong in ({"nonce": 1}, {"said": AMOUNT + 1}, {"by": stranger}):
        with expect_error("InvalidSignature()"):
            permit(**wrong)


def test_permit__refuses_the_zero_owner(
    token: Any, stranger: LocalAccount, expect_error: Any
) -> None:
    with expect_error("InvalidSignature()"):
        token.permit(ZERO_ADDRESS, stranger.address, 1, LATE, 27, b"\0" * 32, b"\0" * 32)


def test_permit__holds_the_deadline_to_the_second(permit: Any, now: Any, expect_error: Any) -> None:
    with expect_error("ERC2612ExpiredSignature(uint256)", now() - 1):
        permit(deadline=now() - 1)
    permit(deadline=now())


# ---------------------------------------------------------------- ERC-3009, both forms


@pytest.mark.parametrize("kind", ["TransferWithAuthorization", "ReceiveWithAuthorization"])
def test_authorization__moves_the_signed_amount_once(
    kind: str,
    token: Any,
    authorize: Any,
    payer: LocalAccount,
    receiver: LocalAccount,
    events: Any,
    expect_error: Any,
) -> None:
    token.mint(payer.address, 3 * AMOUNT)
    values = (payer.address, receiver.address, AMOUNT, 0, LATE, NONCE)
    assert not token.authorizationState(payer.address, NONCE)
    authorize(kind, *values, sender=receiver.address)
    assert events(token) == [
        ("AuthorizationUsed", {"authorizer": payer.address, "nonce": NONCE}),
        ("Transfer", {"sender": payer.address, "receiver": receiver.address, "value": AMOUNT}),
    ]
    assert token.authorizationState(payer.address, NONCE)
    assert token.balanceOf(receiver.address) == AMOUNT
    with expect_error("AuthorizationUsedOrCanceled()"):
        authorize(kind, *values, sender=receiver.address)
    assert token.balanceOf(payer.address) == 2 * AMOUNT


@pytest.mark.parametrize("kind", ["TransferWithAuthorization", "ReceiveWithAuthorization"])
def test_authorization__refuses_what_was_not_signed(
    kind: str,
    token: Any,
    authorize: Any,
    payer: LocalAccount,
    receiver: LocalAccount,
    stranger: LocalAccount,
    expect_error: Any,
) -> None:
    token.mint(payer.address, 3 * AMOUNT)
    token.mint(stranger.address, 3 * AMOUNT)
    signed = (payer.address, stranger.address, AMOUNT, 0, LATE, NONCE)
    true = (payer.address, receiver.address, AMOUNT, 0, LATE, NONCE)
    changed = [
        (stranger.address, *true[1:]),
        true,
        (*signed[:1], receiver.address, AMOUNT + 1, 0, LATE, NONCE),
        (*signed[:1], receiver.address, AMOUNT, 1, LATE, NONCE),
        (*signed[:1], receiver.address, AMOUNT, 0, LATE + 1, NONCE),
        (*signed[:1], receiver.address, AMOUNT, 0, LATE, b"\6" * 32),
    ]
    for claims in changed:
        basis = signed if claims == true else true
        with expect_error("InvalidSignature()"):
            authorize(kind, *basis, claims=claims, sender=receiver.address)
    with expect_error("InvalidSignature()"):
        authorize(kind, *true, by=stranger, sender=receiver.address)


def test_authorization__of_one_kind_is_not_one_of_the_other(
    token: Any,
    signed: Any,
    payer: LocalAccount,
    receiver: LocalAccount,
    expect_error: Any,
) -> None:
    token.mint(payer.address, AMOUNT)
    values = (payer.address, receiver.address, AMOUNT, 0, LATE, NONCE)
    receive = bytes(signed("ReceiveWithAuthorization", *values).signature)
    with expect_error("InvalidSignature()"):
        token.transferWithAuthorization(*values, receive, sender=receiver.address)
    token.receiveWithAuthorization(*values, receive, sender=receiver.address)
    assert token.balanceOf(receiver.address) == AMOUNT


@pytest.mark.parametrize("kind", ["TransferWithAuthorization", "ReceiveWithAuthorization"])
def test_authorization__holds_between_its_times_and_not_at_them(
    kind: str,
    token: Any,
    authorize: Any,
    payer: LocalAccount,
    receiver: LocalAccount,
    now: Any,
    expect_error: Any,
) -> None:
    token.mint(payer.address, AMOUNT)
    head = (payer.address, receiver.address, AMOUNT)
    with expect_error("AuthorizationNotYetValid()"):
        authorize(kind, *head, now(), LATE, NONCE, sender=receiver.address)
    with expect_error("AuthorizationExpired()"):
        authorize(kind, *head, 0, now(), NONCE, sender=receiver.address)
    authorize(kind, *head, now() - 1, now() + 1, NONCE, sender=receiver.address)
    assert token.balanceOf(receiver.address) == AMOUNT


def test_receive_with_authorization__is_for_the_payee_alone(
    token: Any,
    authorize: Any,
    payer: LocalAccount,
    receiver: LocalAccount,
    stranger: LocalAccount,
    expect_error: Any,
) -> None:
    token.mint(payer.address, AMOUNT)
    values = (payer.address, receiver.address, AMOUNT, 0, LATE, NONCE)
    with expect_error("CallerMustBePayee()"):
        authorize("ReceiveWithAuthorization", *values, sender=stranger.address)
    authorize("TransferWithAuthorization", *values, sender=stranger.address)
    assert token.balanceOf(receiver.address) == AMOUNT


def test_cancel_authorization__makes_it_void(
    token: Any,
    authorize: Any,
    payer: LocalAccount,
    receiver: LocalAccount,
    stranger: LocalAccount,
    events: Any,
    expect_error: Any,
) -> None:
    token.mint(payer.address, AMOUNT)
    with expect_error("InvalidSignature()"):
        authorize("CancelAuthorization", payer.address, NONCE, by=stranger)
    authorize("CancelAuthorization", payer.address, NONCE)
    assert events(token) == [
        ("AuthorizationCanceled", {"authorizer": payer.address, "nonce": NONCE})
    ]
    with expect_error("AuthorizationUsedOrCanceled()"):
        authorize("CancelAuthorization", payer.address, NONCE)
    with expect_error("AuthorizationUsedOrCanceled()"):
        authorize(
            "TransferWithAuthorization", payer.address, receiver.address, AMOUNT, 0, LATE, NONCE
        )


def test_authorization__of_a_contract_wallet(
    token: Any, authorize: Any, wallet: Any, wallet_owner: LocalAccount, receiver: LocalAccount
) -> None:
    token.mint(wallet.address, AMOUNT)
    values = (wallet.address, receiver.address, AMOUNT, 0, LATE, NONCE)
    authorize("TransferWithAuthorization", *values, by=wallet_owner)
    assert token.balanceOf(receiver.address) == AMOUNT


# ---------------------------------------------------------------- the fallback and the domain


def test_fallback__refuses_unknown_and_cut_calls(
    token: Any, call_by_signature: Any, expect_error: Any
) -> None:
    with expect_error(None):
        call_by_signature(token, "nothing()")
    for name, head in (
        ("transferWithAuthorization", MOVE),
        ("receiveWithAuthorization", MOVE),
        ("cancelAuthorization", "(address,bytes32,"),
    ):
        selector = keccak(text=name + head + FORMS["vrs"])[:4]
        with expect_error(None):
            call_by_signature(token, None, raw=selector + b"\0" * 64)
    with expect_error(None):
        call_by_signature(token, None, raw=b"\1\2")


def test_domain__is_what_wallets_build_from_erc5267(token: Any) -> None:
    assert token.eip712Domain()[:5] == (b"\x0f", "Test USD", "1", 1, token.address)
    domain_type = (
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    )
    words = [
        keccak(text=domain_type),
        keccak(text="Test USD"),
        keccak(text="1"),
        (1).to_bytes(32),
        bytes.fromhex(token.address[2:]).rjust(32, b"\0"),
    ]
    assert token.DOMAIN_SEPARATOR() == keccak(b"".join(words))
