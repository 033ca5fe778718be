"""A whole chain inside this process: eth-tester on py-evm, behind web3. No node needed."""

from web3 import Web3
from web3.providers.eth_tester import EthereumTesterProvider

from farthing.protocol.errors import FarthingError


class InProcessChainMissing(FarthingError):
    """The extra that brings the in-process chain is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "the in-process chain is an extra: `pip install 'farthing[tester]'`, or name a node "
            "with --rpc."
        )


def in_process_chain() -> tuple[Web3, str]:
    """Starts a new chain and returns it with the private key of a funded account.

    The rules are those of the Prague hard fork, the block gas limit is 30 million, and every
    transaction is mined at once. The chain ends with the process.

    Raises:
        InProcessChainMissing: The extra ``tester`` is not installed.
    """
    try:
        from eth_tester import EthereumTester, PyEVMBackend
    except ImportError as error:
        raise InProcessChainMissing from error
    backend = PyEVMBackend()
    provider = EthereumTesterProvider(EthereumTester(backend))
    return Web3(provider), backend.account_keys[0].to_hex()
