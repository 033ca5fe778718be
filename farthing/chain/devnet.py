"""A development chain for stock x402 clients: our contracts at the addresses they have fixed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.types import RPCEndpoint

from farthing.chain.accounts import KEY_VARIABLE
from farthing.chain.anvil import ANVIL_KEYS, Node, anvil_node
from farthing.chain.artifacts import artifact
from farthing.chain.connection import connect
from farthing.chain.deployment import Deployment, DeploymentFailed, place
from farthing.chain.sender import Sender
from farthing.chain.settlement import Settlement
from farthing.chain.token import TEST_USD_DECIMALS, Token
from farthing.protocol import (
    PERMIT2,
    X402_ERC3009_COLLECTOR,
    X402_PERMIT2_COLLECTOR,
    X402_SETTLEMENT,
)

DEVNET_PORT = 8_545
# Where every public chain has it, and x402's facilitators read the chain through it.
MULTICALL3 = "0xcA11bde05977b3631167028862bE2a173976CA11"
# What each payer holds of the test dollar, in smallest units.
PAYER_FUNDS = 1_000 * 10**TEST_USD_DECIMALS


@dataclass(frozen=True)
class Devnet:
    """A running development chain.

    Attributes:
        node: The node, a child of this process.
        w3: A connection to it.
        deployment: Where the contracts stand; ``token`` is the test dollar.
        publisher: Has coins for gas and no dollars.
        payers: Have coins, and `PAYER_FUNDS` of the test dollar each.
    """

    node: Node
    w3: Web3
    deployment: Deployment
    publisher: LocalAccount
    payers: tuple[LocalAccount, ...]

    @property
    def url(self) -> str:
        """The node's address."""
        return self.node.url

    @property
    def token(self) -> str:
        """The test dollar's address."""
        return str(self.deployment.token)

    def give_coins(self, address: str, wei: int) -> None:
        """Has an account own so many coins for gas, whatever it had."""
        _ask(self.w3, "anvil_setBalance", Web3.to_checksum_address(address), hex(wei))

    def mine(self, blocks: int) -> None:
        """Makes blocks with nothing in them, so that what is in earlier ones becomes final."""
        _ask(self.w3, "anvil_mine", hex(blocks))

    def as_json(self) -> dict[str, Any]:
        """All of it for machines, the public test keys included."""
        places = self.deployment
        return {
            "rpc_url": self.url,
            "chain_id": places.chain_id,
            "settlement": places.settlement,
            "erc3009_collector": places.erc3009_collector,
            "permit2_collector": places.permit2_collector,
            "allowance_collector": places.allowance_collector,
            "permit2": PERMIT2,
            "token": self.token,
            "token_decimals": TEST_USD_DECIMALS,
            "publisher": _party(self.publisher),
            "payers": [_party(payer) for payer in self.payers],
        }

    def as_text(self) -> str:
        """All of it for people, ready to paste into a shell."""
        places = self.deployment
        lines = [
            "A development chain, for play only: its keys are known to everyone.",
            "",
            f"  RPC URL             {self.url}",
            f"  Chain id            {places.chain_id}  (x402 network eip155:{places.chain_id})",
            f"  Settlement          {places.settlement}",
            f"  ERC-3009 collector  {places.erc3009_collector}",
            f"  Permit2 collector   {places.permit2_collector}",
            f"  Test dollar         {self.token}  ({TEST_USD_DECIMALS} decimals)",
            "",
            "Publisher, has coins for gas:",
            _line(self.publisher),
            f"Payers, have coins and {PAYER_FUNDS // 10**TEST_USD_DECIMALS:,} test dollars each:",
            *map(_line, self.payers),
            "",
            f"export FARTHING_RPC={self.url}",
            f"export FARTHING_CHAIN_ID={places.chain_id}",
            f"export FARTHING_TOKEN={self.token}",
            f"export {KEY_VARIABLE}={_key(self.publisher)}",
            f"export PAYER_KEY={_key(self.payers[0])}",
            "",
            "Stop it with Ctrl-C.",
        ]
        return "\n".join(lines)


@contextmanager
def devnet(port: int | None = None) -> Iterator[Devnet]:
    """Runs an anvil node with the contracts, the test dollar and funded keys while the block lasts.

    The keys are anvil's own, known to everyone; every run has the same keys and addresses.

    Args:
        port: The port on loopback; a free one without it.

    Raises:
        AnvilMissing: The program was not found.
        PortTaken: It cannot listen on that port.
        AnvilFailed: It ended before it was ready.
    """
    publisher, *payers = (Account.from_key(key) for key in ANVIL_KEYS)
    with anvil_node(port=port) as node:
        w3 = connect(node.url)
        sender = Sender(w3, publisher)
        deployment = _place_contracts(sender)
        dollars = Token(w3, str(deployment.token))
        sender.transact(dollars.plan_mint([payer.address for payer in payers], PAYER_FUNDS))
        yield Devnet(node, w3, deployment, publisher, tuple(payers))


def _place_contracts(sender: Sender) -> Deployment:
    w3 = sender.w3
    _put(w3, X402_SETTLEMENT, "BatchSettlement")
    # Vouchers will be signed for this domain; the binding checks that it is the contract's own.
    settlement = Settlement(w3, X402_SETTLEMENT).address
    _put(w3, PERMIT2, "Permit2")
    _put(w3, MULTICALL3, "Multicall3")
    _put(w3, X402_ERC3009_COLLECTOR, "ERC3009DepositCollector", settlement)
    _put(w3, X402_PERMIT2_COLLECTOR, "Permit2DepositCollector", settlement, PERMIT2)
    return Deployment(
        chain_id=w3.eth.chain_id,
        settlement=settlement,
        erc3009_collector=X402_ERC3009_COLLECTOR,
        permit2_collector=X402_PERMIT2_COLLECTOR,
        # No client has fixed an address for these.
        allowance_collector=place(sender, "AllowanceDepositCollector", settlement).address,
        token=place(sender, "TestUSD").address,
    )


def _put(w3: Web3, target: str, name: str, *arguments: Any) -> None:
    """Puts a packaged contract at an address of our choice, as if it had been deployed there.

    The creation code itself is put there first and called: the constructor runs where it should,
    so what it fixes of its own address is right, and answers with the code to stay.
    """
    compiled = artifact(name)
    call = w3.eth.contract(abi=compiled.abi, bytecode=compiled.bytecode).constructor(*arguments)
    address = Web3.to_checksum_address(target)
    _set_code(w3, address, call.data_in_transaction)
    code = w3.eth.call({"to": address})
    if not code.startswith(compiled.runtime):
        raise DeploymentFailed(name, address)
    _set_code(w3, address, code.to_0x_hex())


def _set_code(w3: Web3, address: str, code: Any) -> None:
    _ask(w3, "anvil_setCode", address, code)


def _ask(w3: Web3, method: str, *arguments: Any) -> None:
    w3.manager.request_blocking(RPCEndpoint(method), list(arguments))


def _party(account: LocalAccount) -> dict[str, str]:
    return {"address": account.address, "private_key": _key(account)}


def _line(account: LocalAccount) -> str:
    return f"  {account.address}  key {_key(account)}"


def _key(account: LocalAccount) -> str:
    return "0x" + bytes(account.key).hex()
