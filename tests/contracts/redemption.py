"""Redemptions put together word by word, as docs/protocol.md says, without the package's packer.

Nothing here asks the contract: ids, digests and calls come from the written-out rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import boa
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

ZERO_ADDRESS = "0x" + "00" * 20

# Reasons, as in the event.
STALE, OVER_CEILING, BAD_SIGNATURE, EMPTY, CONTRACT_PAYER = range(1, 6)
# Flags of a row.
AUTHORIZER, SALT, CEILING = 1, 2, 4

MAX_TOTAL = 2**88 - 1
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_CONFIG_TYPE = (
    "ChannelConfig(address payer,address payerAuthorizer,address receiver,"
    "address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
)
_VOUCHER_TYPE = "Voucher(bytes32 channelId,uint128 maxClaimableAmount)"
_REDEMPTION_TYPE = "Redemption(bytes call)"
_REDEEM = "redeem((address,address,address,uint40),(uint256,uint256,uint256)[],uint256[])"


# ---------------------------------------------------------------- words and hashes


def word(value: int | str | bytes) -> bytes:
    """Thirty-two bytes of a number, an address or a word."""
    if isinstance(value, str):
        value = int(value, 16)
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    assert len(value) == 32
    return value


def number(value: int | str | bytes) -> int:
    return int.from_bytes(word(value), "big")


def digest(contract: Any, type_string: str, *fields: int | str | bytes) -> bytes:
    """What is signed for a struct of plain words, on the chain that is running."""
    separator = keccak(
        keccak(text=_DOMAIN_TYPE)
        + keccak(text="x402 Batch Settlement")
        + keccak(text="1")
        + word(boa.env.evm.patch.chain_id)
        + word(str(contract.address))
    )
    struct = keccak(text=type_string) + b"".join(map(word, fields))
    return keccak(b"\x19\x01" + separator + keccak(struct))


def channel_id(settlement: Any, config: Any) -> bytes:
    return digest(settlement, _CONFIG_TYPE, *config)


def voucher_digest(settlement: Any, config: Any, ceiling: int) -> bytes:
    return digest(settlement, _VOUCHER_TYPE, channel_id(settlement, config), ceiling)


def redemption_digest(settlement: Any, call: bytes) -> bytes:
    return digest(settlement, _REDEMPTION_TYPE, keccak(call))


# ---------------------------------------------------------------- rows


class Row(NamedTuple):
    """One packed voucher, and what it needs of the extras."""

    head: int
    r: int
    vs: int
    extras: tuple[int, ...] = ()


def compact(signature: bytes) -> tuple[int, int]:
    """EIP-2098 of 65 bytes r, s, v: r, and s with v - 27 in its top bit."""
    r, s, v = signature[:32], signature[32:64], signature[64]
    return number(r), number(s) | (v - 27) << 255


def pack(config: Any, total: int, ceiling: int, signature: bytes) -> Row:
    """The shortest row for a voucher."""
    flags, extras = 0, []
    if config.payerAuthorizer != config.payer:
        flags |= AUTHORIZER
        extras.append(number(config.payerAuthorizer))
    if any(config.salt):
        flags |= SALT
        extras.append(number(config.salt))
    if ceiling != total:
        flags |= CEILING
        extras.append(ceiling)
    head = number(config.payer) << 96 | flags << 88 | total
    return Row(head, *compact(signature), tuple(extras))


def signed_row(
    settlement: Any, config: Any, total: int, by: LocalAccount, ceiling: int | None = None
) -> Row:
    """A row for a voucher that `by` signs up to the ceiling, which is the total if not given."""
    if ceiling is None:
        ceiling = total
    signed = by.unsafe_sign_hash(voucher_digest(settlement, config, ceiling))
    return pack(config, total, ceiling, bytes(signed.signature))


# ---------------------------------------------------------------- calls


class Batch(NamedTuple):
    """The arguments of `redeem`."""

    terms: tuple[str, str, str, int]
    rows: list[tuple[int, int, int]]
    extras: list[int]

    @property
    def call(self) -> bytes:
        """The call to the byte: selector, terms, two offsets, then both lists with their counts."""
        rows_at = 32 * 6
        extras_at = rows_at + 32 * (1 + 3 * len(self.rows))
        words = [*self.terms, rows_at, extras_at, len(self.rows)]
        words += [part for row in self.rows for part in row]
        words += [len(self.extras), *self.extras]
        return keccak(text=_REDEEM)[:4] + b"".join(map(word, words))


def batch(config: Any, rows: Sequence[Row]) -> Batch:
    """Rows under the terms of `config`."""
    return Batch(
        (config.receiver, config.receiverAuthorizer, config.token, config.withdrawDelay),
        [(row.head, row.r, row.vs) for row in rows],
        [extra for row in rows for extra in row.extras],
    )


def sign_batch(settlement: Any, call: bytes, by: LocalAccount) -> bytes:
    """The authorizer's signature over one call, 65 bytes."""
    return bytes(by.unsafe_sign_hash(redemption_digest(settlement, call)).signature)


def selectors_of(contract: Any) -> dict[str, bytes]:
    """Four bytes of every external function, by its signature."""

    def kind(field: dict[str, Any]) -> str:
        name: str = field["type"]
        if not name.startswith("tuple"):
            return name
        return f"({','.join(map(kind, field['components']))}){name.removeprefix('tuple')}"

    signatures = [
        f"{entry['name']}({','.join(map(kind, entry['inputs']))})"
        for entry in contract.abi
        if entry["type"] == "function"
    ]
    return {signature: keccak(text=signature)[:4] for signature in signatures}


# ---------------------------------------------------------------- deposits by authorization

# Later than any test.
LATE = 2**48

_RECEIVE_FIELDS = {
    "from": "address",
    "to": "address",
    "value": "uint256",
    "validAfter": "uint256",
    "validBefore": "uint256",
    "nonce": "bytes32",
}


def deposit_nonce(settlement: Any, config: Any, salt: int = 0) -> bytes:
    """What binds an ERC-3009 authorization to a channel."""
    return keccak(channel_id(settlement, config) + word(salt))


def signed_authorization(
    settlement: Any,
    token: Any,
    config: Any,
    amount: int,
    by: LocalAccount,
    *,
    valid_after: int = 0,
    valid_before: int = LATE,
    salt: int = 0,
    **other: Any,
) -> tuple[int, int, int, bytes]:
    """What `depositWithAuthorization` takes after config and amount, for Test USD.

    `other` fields are signed in place of the right ones.
    """
    message = {
        "from": config.payer,
        "to": settlement.address,
        "value": amount,
        "validAfter": valid_after,
        "validBefore": valid_before,
        "nonce": deposit_nonce(settlement, config, salt),
    } | other
    signed = by.sign_typed_data(
        {
            "name": "Test USD",
            "version": "1",
            "chainId": boa.env.evm.patch.chain_id,
            "verifyingContract": token.address,
        },
        {
            "ReceiveWithAuthorization": [
                {"name": name, "type": kind} for name, kind in _RECEIVE_FIELDS.items()
            ]
        },
        message,
    )
    return valid_after, valid_before, salt, bytes(signed.signature)


# ---------------------------------------------------------------- outcomes and events


class Outcome(NamedTuple):
    """What became of one row: its channel's new total, or the reason it was skipped for."""

    identity: bytes
    reason: int
    total: int


def outcome(identity: bytes, *, reason: int = 0, total: int = 0) -> Outcome:
    return Outcome(identity, reason, total)


def redeemed_word(identity: bytes, total: int) -> int:
    return number(identity[:20] + total.to_bytes(12))


def redeemed(config: Any, amount: int, outcomes: Sequence[Outcome]) -> tuple[str, dict[str, Any]]:
    reasons = sum(each.reason << 4 * index for index, each in enumerate(outcomes))
    return "Redeemed", {
        "receiver": config.receiver,
        "token": config.token,
        "amount": amount,
        "redeemed": tuple(
            redeemed_word(each.identity, each.total) for each in outcomes if each.reason == 0
        ),
        "skipped": (reasons % 2**256, reasons >> 256),
    }


def payout_credited(config: Any, amount: int) -> tuple[str, dict[str, Any]]:
    return "PayoutCredited", {
        "receiver": config.receiver,
        "token": config.token,
        "amount": amount,
    }


def transfer(sender: str, receiver: str, amount: int) -> tuple[str, dict[str, Any]]:
    return "Transfer", {"sender": sender, "receiver": receiver, "value": amount}
