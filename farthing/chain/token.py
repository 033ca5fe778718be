"""An ERC-20 token, bound: what escrow needs of it, and what the test dollar gives besides."""

from collections.abc import Sequence
from typing import Any

from web3 import Web3
from web3.exceptions import Web3RPCError
from web3.types import TxReceipt

from farthing.chain.artifacts import artifact
from farthing.chain.json_rpc import asking
from farthing.chain.sender import Sender, Transaction, as_farthing_error
from farthing.chain.views import word
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
# What tokens hash as their version that do not tell it, as nearly all with EIP-2612.
_VERSION = "1"


class NotAToken(FarthingError):
    """There is no token at an address.

    Attributes:
        address: Where it was looked for.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(f"no token at {address}: check the address and the chain.")


class NotErc3009(FarthingError):
    """A token does not take signed transfers (ERC-3009), or not those signed as it is announced.

    Attributes:
        address: The token's.
    """

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        super().__init__(
            f"the token at {address} {reason}: take another one, or deposits by permit2 alone."
        )


def holding(w3: Web3, token: str, owner: str) -> int:
    """What ``owner`` has of the token at an address."""
    contract = w3.eth.contract(Web3.to_checksum_address(token), abi=artifact("TestUSD").abi)
    try:
        balance: int = contract.functions.balanceOf(owner).call()
    except Exception as error:
        raise as_farthing_error(error, owner) from error
    return balance


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
        """Binds the token and reads its symbol, its decimals and its EIP-712 domain.

        Clients need the domain for ERC-3009 and EIP-2612 only, and x402 has it announced for every
        token. One that has neither is good for Permit2: then the domain is what comes nearest.

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
        except (FarthingError, Web3RPCError):
            raise
        except Exception as error:
            raise NotAToken(self.address) from error
        name = self._text("name") or self.symbol
        version = self._text("version") or _VERSION
        return TokenDomain(name, version, self.w3.eth.chain_id, self.address)

    def _text(self, function: str) -> str:
        """What it says; nothing when it has no such function, or one of another type."""
        try:
            return str(self._contract.functions[function]().call())
        except (FarthingError, Web3RPCError):
            raise
        except Exception:
            return ""

    def check_erc3009(self) -> None:
        """Looks that it takes transfers that are signed for its domain.

        A token that does not tell its domain's hash is taken: ERC-3009 asks for no such function,
        and some bridged tokens lack it. If its name or version is not what it hashes, its deposits
        are refused when they are tried, before anything is sent.

        Raises:
            NotErc3009: It does not.
            NodeUnreachable, TransactionRefused: The node does not say.
        """
        if word(self.w3, self.address, "authorizationState(address,bytes32)", 2) is None:
            raise NotErc3009(self.address, "takes no signed transfers (ERC-3009)")
        separator = word(self.w3, self.address, "DOMAIN_SEPARATOR()")
        if separator not in (None, self.domain.separator):
            raise NotErc3009(
                self.address,
                f"does not hash the name {self.domain.name!r} and the version "
                f"{self.domain.version!r} that it tells, so that what clients sign is void",
            )

    def balance_of(self, owner: str) -> int:
        """What ``owner`` holds."""
        return holding(self.w3, self.address, owner)

    def is_paused(self) -> bool:
        """Whether its issuer has stopped all transfers; False for a token that nobody can stop."""
        answer = word(self.w3, self.address, "paused()")
        return answer is not None and int.from_bytes(answer, "big") == 1

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
