"""An ERC-20 token, bound: what escrow needs of it, and what the test dollar gives besides."""

from collections.abc import Sequence
from typing import Any

from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import Web3RPCError
from web3.types import TxReceipt

from farthing.chain.artifacts import artifact
from farthing.chain.json_rpc import asking
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import Sender, Transaction, as_farthing_error
from farthing.protocol import TokenDomain
from farthing.protocol.errors import FarthingError
from farthing.protocol.keccak import keccak

# Decimals of the test dollar.
TEST_USD_DECIMALS = 6
# Accounts that one `mintBatch` may name; see contracts/mocks/TestUSD.vy.
MAX_MINT = 1_000
MINT_GAS = 100_000
TRANSFER = keccak(b"Transfer(address,address,uint256)")
MINT_ACCOUNT_GAS = 30_000
# `paused()`, which not every token has.
_PAUSED = HexBytes("0x5c975abb")


class NotAToken(FarthingError):
    """There is no token with signatures (ERC-3009) at an address.

    Attributes:
        address: Where it was looked for.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(f"no ERC-3009 token at {address}: check the address and the chain.")


def transferred(receipt: TxReceipt, token: str, source: str, target: str) -> int:
    """What a token says in a receipt that it moved from ``source`` to ``target``."""
    ends = [int(source, 16), int(target, 16)]
    return sum(
        int.from_bytes(log["data"], "big")
        for log in receipt["logs"]
        if log["address"].lower() == token.lower()
        and len(log["topics"]) == 1 + len(ends)
        and bytes(log["topics"][0]) == TRANSFER
        and [int.from_bytes(topic, "big") for topic in log["topics"][1:]] == ends
    )


class Token:
    """One deployed token. Amounts are its smallest unit."""

    def __init__(self, w3: Web3, address: str) -> None:
        """Binds the token and reads its name, its decimals and its EIP-712 domain.

        Raises:
            NotAToken: Nothing of the kind is there.
            NodeUnreachable, NodeRefused: The node does not say.
        """
        self.w3 = w3
        self.address = Web3.to_checksum_address(address)
        self._contract = w3.eth.contract(self.address, abi=artifact("TestUSD").abi)
        with asking("what the token is"):
            self.domain = self._read()

    def _read(self) -> TokenDomain:
        try:
            self.symbol: str = self._contract.functions.symbol().call()
            self.decimals: int = self._contract.functions.decimals().call()
            name = self._contract.functions.name().call()
            version = self._contract.functions.version().call()
        except (FarthingError, Web3RPCError):
            raise
        except Exception as error:
            raise NotAToken(self.address) from error
        return TokenDomain(name, version, self.w3.eth.chain_id, self.address)

    def balance_of(self, owner: str) -> int:
        """What ``owner`` holds."""
        try:
            balance: int = self._contract.functions.balanceOf(owner).call()
        except Exception as error:
            raise as_farthing_error(error, owner) from error
        return balance

    def is_paused(self) -> bool:
        """Whether its issuer has stopped all transfers; False for a token that nobody can stop."""
        try:
            answer = self.w3.eth.call({"to": self.address, "data": _PAUSED})
        except Exception as error:
            found = as_farthing_error(error, self.address)
            if isinstance(found, ContractReverted):
                return False
            raise found from error
        # A token without the function may have a fallback that answers with nothing.
        return len(answer) == 32 and int.from_bytes(answer, "big") == 1

    def transfer(self, sender: Sender, to: str, amount: int) -> TxReceipt:
        """Moves ``amount`` from the sender to ``to``."""
        return sender.transact(self._transaction("transfer", to, amount))

    def allowance(self, owner: str, spender: str) -> int:
        """What ``spender`` may take of the owner's."""
        try:
            allowed: int = self._contract.functions.allowance(owner, spender).call()
        except Exception as error:
            raise as_farthing_error(error, owner) from error
        return allowed

    def approve(self, sender: Sender, spender: str, amount: int) -> TxReceipt:
        """Lets ``spender`` take ``amount`` of the sender's."""
        return sender.transact(self._transaction("approve", spender, amount))

    def plan_mint(self, accounts: Sequence[str], amount: int) -> Transaction:
        """Gives each of at most 1,000 accounts ``amount`` new units. Only the test dollar can."""
        gas = MINT_GAS + MINT_ACCOUNT_GAS * len(accounts)
        return self._transaction("mintBatch", list(accounts), amount, gas=gas)

    def _transaction(self, function: str, *arguments: Any, gas: int | None = None) -> Transaction:
        data = self._contract.encode_abi(function, args=list(arguments))
        return Transaction(self.address, bytes.fromhex(data[2:]), gas)
