"""What can go wrong in a playground."""

from farthing.protocol import FarthingError


class BooksDoNotBalance(FarthingError):
    """Money is not where the books say; the sentence says where they differ."""


class SiteFailed(FarthingError):
    """An app could not be served, or what it earned could not be redeemed."""
