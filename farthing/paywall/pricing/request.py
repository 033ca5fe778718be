"""What a price may depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from farthing.protocol import FarthingError

# Fields of a query that are looked at for a price; it is read before anything is paid.
MAX_FIELDS = 100


class RequestInvalid(FarthingError):
    """A request that has no price as it is; a price's function may raise it too.

    Its sentence is told to the client, with status 400.
    """


@dataclass(frozen=True)
class Request:
    """What a price may depend on.

    Attributes:
        method: In upper case.
        path: Decoded, as the app sees it.
        query: Raw query string.
        headers: Names in lower case, and values; of repeated ones the last.
        parameters: What the rule's ``{name}`` stand for.
    """

    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]
    parameters: Mapping[str, str]

    def argument(self, name: str) -> str | None:
        """The value of ``name`` in the query string; None when it is not there.

        Raises:
            RequestInvalid: It is there twice. Apps do not agree on which of them counts. Or there
                is more in it than anybody needs.
        """
        text = self.query.decode("latin-1")
        try:
            fields = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError:
            raise RequestInvalid(
                f"the query has more than {MAX_FIELDS} fields: give fewer"
            ) from None
        values = [value for key, value in fields if key == name]
        if len(values) > 1:
            raise RequestInvalid(f"the query has {name!r} twice: give it once")
        return values[0] if values else None
