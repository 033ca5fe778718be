import re

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3.exceptions import ContractLogicError

from farthing.chain import reverts
from farthing.chain.reverts import (
    BatchTooLong,
    ClaimExceedsBalance,
    ContractReverted,
    RevertedWithReason,
    revert_data,
    typed_revert,
)
from farthing.protocol.errors import FarthingError
from scripts.package import PACKAGED, ROOT

CLASSES = [each for each in ContractReverted.__subclasses__() if each.signature]


def selector(signature: str) -> bytes:
    return keccak(text=signature)[:4]


def raised_by_the_packaged_contracts() -> set[str]:
    """Signature of every custom error in the sources, the modules they import included."""
    contracts = ROOT / "contracts"
    sources = [ROOT / source for source in PACKAGED] + sorted((contracts / "modules").glob("*.vy"))
    found = set()
    for source in sources:
        text = source.read_text()
        for start in (match.end() for match in re.finditer(r"raw_revert\(", text)):
            named = re.search(r'method_id\(\s*"(\w+\([\w,]*\))"', text[start:])
            assert named is not None, f"{source} reverts with something unnamed"
            found.add(named[1])
    return found


def test_classes__are_the_errors_of_the_packaged_contracts() -> None:
    assert {each.signature for each in CLASSES} == raised_by_the_packaged_contracts()


X402 = """
InvalidChannel ZeroDeposit DepositOverflow InvalidSignature NotReceiverAuthorizer
NotAuthorizedToClaim NotAuthorizedToRefund ClaimExceedsCeiling ClaimExceedsBalance
WithdrawalAlreadyPending WithdrawalNotPending NotAuthorizedToFinalizeWithdraw
WithdrawDelayNotElapsed NothingToWithdraw WithdrawAmountExceedsAvailable WithdrawDelayOutOfRange
EmptyBatch DepositCollectionFailed InvalidCollector InvalidRefundNonce ZeroRefund
"""


@pytest.mark.parametrize("name", X402.split())
def test_classes__every_error_of_x402(name: str) -> None:
    assert getattr(reverts, name).signature == f"{name}()"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_typed_revert__every_error(kind: type[ContractReverted]) -> None:
    data = selector(kind.signature) + bytes(96)
    error = typed_revert(data)
    assert type(error) is kind
    assert kind.signature.partition("(")[0] == kind.__name__
    assert isinstance(error, FarthingError)
    assert error.data == data
    assert error.row is None
    assert str(error) == f"{kind.__name__}: {kind.meaning}."


def test_typed_revert__no_data() -> None:
    error = typed_revert(b"")
    assert type(error) is ContractReverted
    assert str(error) == "the contract refused the call without saying why."


def test_typed_revert__a_text() -> None:
    error = typed_revert(selector("Error(string)") + encode(["string"], ["paused"]))
    assert type(error) is RevertedWithReason
    assert str(error) == "the contract says: paused."


def test_typed_revert__a_panic() -> None:
    error = typed_revert(selector("Panic(uint256)") + encode(["uint256"], [17]))
    assert str(error) == "the contract panicked with code 17."


@pytest.mark.parametrize("data", [b"\x01\x02\x03\x04", b"\x01", selector("Error(string)") + b"x"])
def test_typed_revert__unknown(data: bytes) -> None:
    error = typed_revert(data)
    assert type(error) is RevertedWithReason
    assert str(error) == (
        f"the contract refused with 0x{data.hex()}, which is not an error known here."
    )


def test_at__keeps_class_and_data_and_names_the_row() -> None:
    error = ClaimExceedsBalance(b"data").at(3, "channel 0xab, balance 5")
    assert type(error) is ClaimExceedsBalance
    assert (error.data, error.row, error.detail) == (b"data", 3, "channel 0xab, balance 5")
    assert str(error) == (
        "ClaimExceedsBalance: the claim is above what the channel holds; claim at most its "
        "balance (row 3: channel 0xab, balance 5)."
    )
    assert str(BatchTooLong().at(0, "")).endswith("; split it (row 0).")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("0x", b""),
        ("0x0102", b"\x01\x02"),
        ({"data": "0x0102"}, b"\x01\x02"),
        # Not revert data, but the message tells that it was one.
        ({"data": None}, b""),
        ({}, b""),
        ("no data", b""),
        ("0x012", b""),
        ("0xzz", b""),
        (None, b""),
    ],
)
def test_revert_data__of_a_refusal(data: object, found: bytes) -> None:
    assert revert_data(ContractLogicError("execution reverted", data=data)) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error", [ValueError("0x0102"), ValueError(b"\x01\x02"), OSError("down"), ValueError()]
)
def test_revert_data__of_anything_else(error: Exception) -> None:
    assert revert_data(error) is None
