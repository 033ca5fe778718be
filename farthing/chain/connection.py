"""From a URL to a chain one may send money to."""

import threading
from typing import Any

from requests.exceptions import RequestException
from web3 import Web3
from web3.exceptions import Web3RPCError
from web3.providers import HTTPProvider
from web3.types import RPCEndpoint, RPCResponse

from farthing.protocol.errors import FarthingError

TIMEOUT_SECONDS = 30


class NodeUnreachable(FarthingError):
    """Nothing that speaks JSON-RPC answers at the URL.

    The sentence shows its host only: providers have their customers put a key into the rest.

    Attributes:
        url: The node's address, as given.
    """

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        super().__init__(
            f"no node answers at {_shown(url)} ({reason}): check the URL and that it runs."
        )


class WrongChain(FarthingError):
    """The node follows another chain than the one asked for.

    Attributes:
        expected: Chain id asked for.
        found: Chain id of the node.
    """

    def __init__(self, expected: int, found: int) -> None:
        self.expected = expected
        self.found = found
        super().__init__(
            f"the node is on chain {found}, not on {expected}: use a node of chain {expected}, "
            "or ask for the chain you mean."
        )


def connect(url: str, *, chain_id: int | None = None) -> Web3:
    """Connects to a node over HTTP and asks it for its chain.

    Args:
        url: ``http://`` or ``https://`` address of the node.
        chain_id: The chain it must be on; any without it.

    Raises:
        NodeUnreachable: The URL is not one, or nothing there speaks JSON-RPC.
        WrongChain: It follows another chain.
    """
    if not url.startswith(("http://", "https://")):
        raise NodeUnreachable(url, "a URL starts with http:// or https://")
    w3 = Web3(_NodeProvider(url, request_kwargs={"timeout": TIMEOUT_SECONDS}))
    # A contract must not be able to make us fetch a URL by what it reverts with (EIP-3668).
    w3.provider.global_ccip_read_enabled = False
    try:
        found = w3.eth.chain_id
    except FarthingError:
        raise
    except Web3RPCError as error:
        # Not in its words: they may hold the customer's key.
        raise NodeUnreachable(url, "it refuses to tell its chain id now") from error
    except Exception as error:  # an answer can be JSON and still be anything
        raise NodeUnreachable(url, "its answer is not a chain id") from error
    if type(found) is not int:
        raise NodeUnreachable(url, "its answer is not a chain id")
    if chain_id is not None and found != chain_id:
        raise WrongChain(chain_id, found)
    return w3


def _shown(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    host = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    return f"{scheme}://{host}"


class _NodeProvider(HTTPProvider):
    """Makes one typed error of every way in which a node fails to answer, now or later."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        # Requests may be made from many threads.
        self._asked = threading.local()

    def encode_rpc_request(self, method: RPCEndpoint, params: Any) -> bytes:
        encoded: bytes = super().encode_rpc_request(method, params)
        # Its id stands last.
        self._asked.id = int(encoded.rpartition(b":")[2].rstrip(b"} "))
        return encoded

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        url = str(self.endpoint_uri)
        try:
            answer = super().make_request(method, params)
        except RequestException as error:
            raise NodeUnreachable(url, type(error).__name__) from error
        except ValueError as error:
            raise NodeUnreachable(url, "its answer is not JSON") from error
        if not isinstance(answer, dict):
            raise NodeUnreachable(url, "its answer is not JSON-RPC")
        # One that could not read the request does not know its id.
        if answer.get("id") not in (None, self._asked.id):
            raise NodeUnreachable(url, "its answer is to another question")
        return answer
