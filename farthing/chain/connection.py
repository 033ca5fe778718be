"""From a URL to a chain one may send money to."""

from requests.exceptions import RequestException
from web3 import Web3
from web3.exceptions import Web3Exception
from web3.providers import HTTPProvider

from farthing.protocol.errors import FarthingError

TIMEOUT_SECONDS = 30


class NodeUnreachable(FarthingError):
    """Nothing that speaks JSON-RPC answers at the URL.

    Attributes:
        url: The node's address, as given.
    """

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        super().__init__(f"no node answers at {url} ({reason}): check the URL and that it runs.")


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
    w3 = Web3(HTTPProvider(url, request_kwargs={"timeout": TIMEOUT_SECONDS}))
    try:
        found = w3.eth.chain_id
    except (RequestException, Web3Exception, ValueError) as error:
        raise NodeUnreachable(url, type(error).__name__) from error
    if chain_id is not None and found != chain_id:
        raise WrongChain(chain_id, found)
    return w3
