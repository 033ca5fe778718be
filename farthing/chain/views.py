"""What contracts of others answer, which may not have the function that is asked for."""

from __future__ import annotations

from hexbytes import HexBytes
from web3 import Web3

from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import as_farthing_error
from farthing.protocol.keccak import keccak

_WORD = 32


def word(w3: Web3, address: str, function: str, arguments: int = 0) -> bytes | None:
    """The 32 bytes that a view function answers with, asked with so many words of zeros.

    None without such a function: then a contract reverts, or its fallback answers with nothing.

    Args:
        function: Its name and types, as ``paused()``.

    Raises:
        NodeUnreachable, TransactionRefused: The node does not say.
    """
    data = HexBytes(keccak(function.encode())[:4] + bytes(_WORD * arguments))
    try:
        answer = w3.eth.call({"to": Web3.to_checksum_address(address), "data": data})
    except Exception as error:
        found = as_farthing_error(error, address)
        if isinstance(found, ContractReverted):
            return None
        raise found from error
    return bytes(answer) if len(answer) == _WORD else None
