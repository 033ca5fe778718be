"""A wallet's two keys: the main key owns the money, the session key signs vouchers.

The session key is made of the main key's signature, so the main key alone brings it back.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_account import Account
from eth_account.signers.local import LocalAccount

from farthing.protocol import Domain, Signer, TypedMessage, sign
from farthing.protocol.keccak import keccak
from farthing.protocol.typed_data import StructType

SESSION_KEY = StructType("FarthingSessionKey(uint256 index)")


@dataclass(frozen=True)
class _SessionKey(TypedMessage):
    index: int

    def struct_hash(self) -> bytes:
        return SESSION_KEY.hash(self.index)


def session_of(main: Signer, domain: Domain, index: int = 0) -> LocalAccount:
    """The session key of a main key for one settlement contract; another for each ``index``.

    The main key has to sign the same message the same way each time, as local keys do. Who gets
    that signature has the session key, so it must never be asked for by anybody else.
    """
    account: LocalAccount = Account.from_key(keccak(sign(main, _SessionKey(index), domain)))
    return account
