"""Whether a deposit collector is one, and of which kind and settlement contract it is."""

from __future__ import annotations

from web3 import Web3

from farthing.chain.views import word
from farthing.chain.wallets import is_contract
from farthing.protocol.errors import FarthingError


class WrongCollector(FarthingError):
    """A contract cannot pull the deposits it is named for; each one would revert."""


def check_collector(w3: Web3, address: str, settlement: str, *, is_permit2: bool) -> None:
    """Looks that a collector answers to ``settlement``, and takes the signatures it is named for.

    x402's own collectors have these functions too. All have `x402BatchSettlement`, for each serves
    one contract alone; `PERMIT2` has only the one that pulls by it.

    Raises:
        WrongCollector: It does not.
        NodeUnreachable, TransactionRefused: The node does not say.
    """
    if not is_contract(w3, address):
        raise WrongCollector(
            f"there is no contract at {address} on chain {w3.eth.chain_id}: check the address."
        )
    served = word(w3, address, "x402BatchSettlement()")
    if served is None:
        raise WrongCollector(f"the contract at {address} is no collector: check the address.")
    if int.from_bytes(served, "big") != int(settlement, 16):
        of = Web3.to_checksum_address(served[-20:])
        raise WrongCollector(
            f"the collector at {address} serves the settlement contract {of}, not {settlement}: "
            "name one that was deployed for it."
        )
    if (word(w3, address, "PERMIT2()") is not None) != is_permit2:
        found, wanted = ("ERC-3009", "Permit2") if is_permit2 else ("Permit2", "ERC-3009")
        raise WrongCollector(
            f"the collector at {address} is for {found}: name the one for {wanted}, the two may "
            "have changed places."
        )
