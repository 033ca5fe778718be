"""A whole chain inside this process: eth-tester on py-evm, behind web3. No node needed."""

from ast import literal_eval
from typing import Any

from web3 import Web3
from web3.providers.eth_tester import EthereumTesterProvider
from web3.types import RPCEndpoint, RPCResponse

from farthing.protocol.errors import FarthingError

# JSON-RPC codes that nodes answer with: a contract's refusal, and any other failure.
_REVERTED = 3
_FAILED = -32_000
# What py-evm puts before the reason of every failed call.
_PREFIX = "execution reverted: "


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
    provider = _InProcessProvider(EthereumTester(backend))
    # A contract must not be able to make us fetch a URL by what it reverts with (EIP-3668).
    provider.global_ccip_read_enabled = False
    return Web3(provider), backend.account_keys[0].to_hex()


class _InProcessProvider(EthereumTesterProvider):
    """Answers a failed call as nodes do: with the contract's revert data, if there is any."""

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        from eth_tester.exceptions import TransactionFailed

        try:
            return super().make_request(method, params)
        except TransactionFailed as failure:
            return _refusal(str(failure).removeprefix(_PREFIX))


def _refusal(reason: str) -> RPCResponse:
    # eth-tester keeps revert data only as the text Python shows for bytes.
    try:
        data = literal_eval(reason)
    except (ValueError, SyntaxError):
        data = None
    if not isinstance(data, bytes):
        return {"jsonrpc": "2.0", "id": 0, "error": {"code": _FAILED, "message": reason}}
    return {
        "jsonrpc": "2.0",
        "id": 0,
        "error": {"code": _REVERTED, "message": "execution reverted", "data": "0x" + data.hex()},
    }
