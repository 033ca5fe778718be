"""Signing, and the settlement contract's rules for which signature counts.

A signature accepted here is one the contract accepts, and the other way round: exactly 65 bytes
r, s, v; v is 27 or 28; s in the lower half of the curve's order; a signer that is not the zero
address; ERC-1271 for an account that has code. Source: ``contracts/modules/signatures.vy``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias
from weakref import WeakKeyDictionary

from coincurve import PrivateKey, PublicKey
from eth_account.messages import SignableMessage
from eth_account.signers.local import LocalAccount

from farthing.protocol import values
from farthing.protocol.channel import ChannelConfig
from farthing.protocol.errors import ChainReadNeeded, SigningFailed
from farthing.protocol.keccak import keccak
from farthing.protocol.typed_data import SigningDomain, TypedMessage

IsContract: TypeAlias = Callable[[str], bool]
"""Does this address have code? The answer of ``eth_getCode`` on the channel's chain."""

IsValidErc1271: TypeAlias = Callable[[str, bytes, bytes], bool]
"""Does the wallet at this address accept the digest with the signature (ERC-1271)?"""

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

_ECDSA_LENGTH = 65
_LOW_S = (SECP256K1_ORDER // 2).to_bytes(32, "big")
_NOBODY = bytes(20)

# Deriving a curve key from its secret costs more than signing with it. An entry goes when its
# account goes, so no secret outlives its owner.
_curve_keys: WeakKeyDictionary[LocalAccount, PrivateKey] = WeakKeyDictionary()


class Signed(Protocol):
    """What a signer answers: eth-account's ``SignedMessage``, or anything with the same parts."""

    @property
    def r(self) -> int | bytes: ...
    @property
    def s(self) -> int | bytes: ...
    @property
    def v(self) -> int: ...


class Signer(Protocol):
    """An account that signs EIP-712 messages: every eth-account ``BaseAccount`` is one."""

    @property
    def address(self) -> str: ...

    def sign_message(self, signable_message: SignableMessage, /) -> Signed | None: ...


# ---------------------------------------------------------------- signing


def sign(signer: Signer, message: TypedMessage, domain: SigningDomain) -> bytes:
    """Sign ``message`` for ``domain``: 65 bytes r, s, v, with v 27 or 28 and a low s.

    Whatever form the signer answers in, the result is the one the contract takes. A signer other
    than a plain local key is not trusted: its answer is checked against its address.

    Raises :class:`~farthing.protocol.errors.SigningFailed` when the signer gives no signature or
    another's.
    """
    # A subclass may sign elsewhere or ask its owner first, and so does not take the short way.
    if type(signer) is LocalAccount:
        return _sign_locally(signer, message.digest(domain))
    signable = SignableMessage(b"\x01", domain.separator, message.struct_hash())
    signed = signer.sign_message(signable)
    if signed is None:
        raise SigningFailed(signer.address, "did not sign")
    signature = _strict(signer.address, signed)
    if recover(message.digest(domain), signature) != values.address("signer", signer.address):
        raise SigningFailed(signer.address, "returned a signature that is not its own")
    return signature


def _sign_locally(account: LocalAccount, digest: bytes) -> bytes:
    key = _curve_keys.get(account)
    if key is None:
        key = _curve_keys[account] = PrivateKey(bytes(account.key))
    # libsecp256k1 signs with a low s and answers with a recovery id of 0 or 1. (An id of 2 or 3
    # needs an r above the curve's order, which nobody has ever met.)
    signature = key.sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes((27 + signature[64],))


def _strict(address: str, signed: Signed) -> bytes:
    r, s, v = _number(signed.r), _number(signed.s), int(signed.v)
    parity = v - 27 if v >= 27 else v
    if parity not in (0, 1) or not 0 < r < SECP256K1_ORDER or not 0 < s < SECP256K1_ORDER:
        raise SigningFailed(address, "returned something that is not an ECDSA signature")
    if s > SECP256K1_ORDER // 2:
        s, parity = SECP256K1_ORDER - s, 1 - parity
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((27 + parity,))


def _number(part: int | bytes) -> int:
    return int.from_bytes(part, "big") if isinstance(part, bytes) else int(part)


# ---------------------------------------------------------------- checking


def is_strict(signature: bytes) -> bool:
    """Whether a signature has the one form the contract takes: 65 bytes, v 27 or 28, a low s."""
    return (
        len(signature) == _ECDSA_LENGTH and signature[64] in (27, 28) and signature[32:64] <= _LOW_S
    )


def recover(digest: bytes, signature: bytes) -> str | None:
    """Who signed ``digest``, with checksum; ``None`` for every signature that is not a strict one.

    Raises :class:`~farthing.protocol.errors.InvalidField` when ``digest`` is not 32 bytes.
    """
    signer = _address(_key(values.bytes32("digest", digest), signature))
    return None if signer is None else values.address("signer", "0x" + signer.hex())


def is_valid_signature(
    signer: str,
    digest: bytes,
    signature: bytes,
    *,
    is_contract: IsContract | None = None,
    is_valid_erc1271: IsValidErc1271 | None = None,
) -> bool:
    """Whether the contract would take ``signature`` over ``digest`` as ``signer``'s.

    ERC-1271 where the signer has code, ECDSA where it has none: the rule for a receiver
    authorizer, and for a payer without an authorizer. Which of the two it is only the chain knows;
    the two callables ask it, and what they raise is passed on.

    Raises :class:`~farthing.protocol.errors.ChainReadNeeded` when a callable is needed and was not
    given, :class:`~farthing.protocol.errors.InvalidField` for a bad ``signer`` or ``digest``.
    """
    signer = values.address("signer", signer)
    values.bytes32("digest", digest)
    if len(signature) > values.MAX_SIGNATURE:
        return False
    if is_contract is None:
        raise ChainReadNeeded(signer)
    if not is_contract(signer):
        return _are_signed_by([(signer, digest, signature)])[0]
    if is_valid_erc1271 is None:
        raise ChainReadNeeded(signer)
    return is_valid_erc1271(signer, digest, signature)


def is_payer_signature(
    config: ChannelConfig,
    digest: bytes,
    signature: bytes,
    *,
    is_contract: IsContract | None = None,
    is_valid_erc1271: IsValidErc1271 | None = None,
) -> bool:
    """Whether the contract would take ``signature`` over a voucher's ``digest`` for this channel.

    With a payer authorizer set: ECDSA by that key and nothing else; the chain is not asked. With
    none: the payer's own signature, by the rule and with the errors of
    :func:`is_valid_signature`.

    Raises :class:`~farthing.protocol.errors.InvalidField` when ``digest`` is not 32 bytes.
    """
    if config.payer_authorizer != values.ZERO_ADDRESS:
        values.bytes32("digest", digest)
        return are_authorizer_signatures([(config, digest, signature)])[0]
    if len(signature) > values.MAX_VOUCHER_SIGNATURE:
        return False
    return is_valid_signature(
        config.payer,
        digest,
        signature,
        is_contract=is_contract,
        is_valid_erc1271=is_valid_erc1271,
    )


def are_authorizer_signatures(asked: Sequence[tuple[ChannelConfig, bytes, bytes]]) -> list[bool]:
    """:func:`is_payer_signature` for many channels that have a payer authorizer, without reads.

    Each is a channel, a digest that is known to be 32 bytes, and a signature. To ask for many at a
    time is quicker: the tables of the curve are larger than the processor's nearest caches.
    """
    return _are_signed_by(
        [(config.payer_authorizer, digest, signature) for config, digest, signature in asked]
    )


def _are_signed_by(asked: Sequence[tuple[str, bytes, bytes]]) -> list[bool]:
    """For each address, digest and signature, by the contract's rules."""
    keys = [_key(digest, signature) for _, digest, signature in asked]
    # Raw bytes are compared: a checksum would cost one more hash for every voucher.
    return [
        _address(key) == bytes.fromhex(address[2:])
        for (address, _, _), key in zip(asked, keys, strict=True)
    ]


def _key(digest: bytes, signature: bytes) -> PublicKey | None:
    """The signer's key; ``digest`` is checked by the caller."""
    if not is_strict(signature):
        return None
    try:
        return PublicKey.from_signature_and_message(
            signature[:64] + bytes((signature[64] - 27,)), digest, hasher=None
        )
    except ValueError:
        # r or s is zero or not below the order, or r is not on the curve: ecrecover's zero address.
        return None


def _address(key: PublicKey | None) -> bytes | None:
    """The key's 20 bytes; None for none, and for the zero address."""
    if key is None:
        return None
    signer = keccak(key.format(compressed=False)[1:])[12:]
    return None if signer == _NOBODY else signer
