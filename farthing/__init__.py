"""Farthing: charge fractions of a cent over x402 batch settlement."""

from farthing.protocol.errors import FarthingError

__all__ = ["FarthingError"]
