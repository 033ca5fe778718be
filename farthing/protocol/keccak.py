"""The hash that everything on Ethereum is named by."""

from __future__ import annotations

import sha3


def keccak(data: bytes) -> bytes:
    """keccak-256 of ``data``, 32 bytes."""
    # In C, five times as fast as the one eth-hash finds first; a payment takes five of them.
    digest: bytes = sha3.keccak_256(data).digest()
    return digest
