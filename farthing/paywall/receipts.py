"""Signed statements of charges, for clients that ask for them."""

from __future__ import annotations

from typing import Any

from farthing.protocol import Signer
from farthing.protocol.receipts import Charge, Given, Receipt, Statement

# A request stands in an answer's header twice, and a header has its limits: a longer one has no
# receipt.
LONGEST_REQUEST = 4_096


class Receipts:
    """Signs what is charged.

    Args:
        authorizer: The receiver authorizer's key.
        network: The chain as x402 writes it.
        is_announced: Whether the 402 offers them. Published clients send back whatever it does, and
            so would all ask, which takes as much processor time again as the rest of a payment.
    """

    def __init__(self, authorizer: Signer, network: str, *, is_announced: bool = False) -> None:
        self.is_announced = is_announced
        self._authorizer = authorizer
        self._network = network

    def statement(self, payer: str, charge: Charge) -> dict[str, Any] | None:
        """The ``extensions`` of the answer to a request that was charged.

        None when method and URL are longer than a header should carry.
        """
        if len(charge.method) + len(charge.url) > LONGEST_REQUEST:
            return None
        receipt = Receipt(self._network, charge.url, payer, charge.time)
        signed = Statement.by(self._authorizer, receipt), Statement.by(self._authorizer, charge)
        return Given(*signed).extension()
