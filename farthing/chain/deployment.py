"""Where the contracts stand on a chain, and how they get there."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eth_typing import ChecksumAddress
from eth_utils.crypto import keccak
from web3 import Web3

from farthing.chain.artifacts import artifact
from farthing.chain.sender import Sender, Transaction
from farthing.chain.settlement import Settlement
from farthing.protocol import PERMIT2, values
from farthing.protocol.errors import FarthingError

# The deployer that stands at the same address on nearly every chain (EIP-2470's successor). Called
# with a salt and creation code, it puts the contract at an address that depends on these alone.
CREATE2_DEPLOYER = Web3.to_checksum_address("0x4e59b44847b379578588920cA78FbF26c0B4956C")
SALT = bytes(32)
DEPLOY_GAS = 6_000_000


class DeploymentMissing(FarthingError):
    """No deployment of this chain is on file.

    Attributes:
        path: The file that was looked for.
    """

    def __init__(self, path: Path, reason: str = "there is no such file") -> None:
        self.path = path
        super().__init__(
            f"no deployment in {path} ({reason}): run `ape run deploy` for that chain first."
        )


class DeploymentFailed(FarthingError):
    """A contract does not stand where it was put, or with other code.

    Attributes:
        name: The contract.
        address: Where it should stand.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        super().__init__(f"{name} at {address} does not have the packaged code: do not use it.")


@dataclass(frozen=True)
class Deployment:
    """Addresses of one chain's contracts; ``token`` is a test dollar, if one was deployed.

    Raises :class:`~farthing.protocol.errors.InvalidField` for what is not an address.
    """

    chain_id: int
    settlement: str
    erc3009_collector: str
    permit2_collector: str
    allowance_collector: str
    token: str | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "chain_id" and (name, value) != ("token", None):
                object.__setattr__(self, name, values.non_zero_address(name, value))

    def save(self, folder: Path) -> Path:
        """Writes ``<folder>/<chain id>.json`` and returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.chain_id}.json"
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")
        return path

    @classmethod
    def load(cls, folder: Path, chain_id: int) -> "Deployment":
        """Reads ``<folder>/<chain id>.json``.

        Raises:
            DeploymentMissing: It is not there, or not a deployment of that chain.
        """
        path = folder / f"{chain_id}.json"
        try:
            deployment = cls(**json.loads(path.read_text()))
        except FileNotFoundError as error:
            raise DeploymentMissing(path) from error
        except OSError as error:
            raise DeploymentMissing(path, "it cannot be read") from error
        except (ValueError, TypeError) as error:
            raise DeploymentMissing(path, "it is not a deployment file") from error
        if deployment.chain_id != chain_id:
            raise DeploymentMissing(path, f"it is of chain {deployment.chain_id}")
        return deployment


@dataclass(frozen=True)
class Placed:
    """A contract that stands on the chain; ``found`` says it stood there before."""

    name: str
    address: str
    found: bool


def place(sender: Sender, name: str, *arguments: Any) -> Placed:
    """Puts a packaged contract on the chain, or finds it where it stands.

    Through the CREATE2 deployer the address is the same on every chain that has the deployer, and
    a contract that stands is found again; without it every call deploys a new one.

    Raises:
        DeploymentFailed: The code at the address is not the packaged code.
    """
    compiled = artifact(name)
    w3 = sender.w3
    call = w3.eth.contract(abi=compiled.abi, bytecode=compiled.bytecode).constructor(*arguments)
    init_code = bytes.fromhex(call.data_in_transaction.removeprefix("0x"))
    if not w3.eth.get_code(CREATE2_DEPLOYER):
        receipt = sender.transact(Transaction(None, init_code, DEPLOY_GAS))
        address = receipt["contractAddress"]
        if address is None:
            raise DeploymentFailed(name, "no address")
        return _checked(w3, Placed(name, address, found=False))
    target = create2_address(init_code)
    found = bool(w3.eth.get_code(target))
    if not found:
        sender.transact(Transaction(CREATE2_DEPLOYER, SALT + init_code, DEPLOY_GAS))
    return _checked(w3, Placed(name, target, found))


def place_all(sender: Sender, *, permit2: str = PERMIT2, test_token: bool = False) -> list[Placed]:
    """Puts the settlement contract, its collectors and, if asked, a test dollar on the chain.

    The settlement contract's domain is checked before anything is built on it.

    Raises:
        DeploymentFailed: Code at an address is not the packaged code.
        NotASettlement: The settlement contract's domain is not this chain's.
    """
    settlement = place(sender, "BatchSettlement")
    Settlement(sender.w3, settlement.address)
    placed = [
        settlement,
        place(sender, "ERC3009DepositCollector", settlement.address),
        place(sender, "Permit2DepositCollector", settlement.address, permit2),
        place(sender, "AllowanceDepositCollector", settlement.address),
    ]
    if test_token:
        placed.append(place(sender, "TestUSD"))
    return placed


def as_deployment(chain_id: int, placed: list[Placed]) -> Deployment:
    """The addresses of `place_all`, by their role."""
    address = {contract.name: contract.address for contract in placed}
    return Deployment(
        chain_id=chain_id,
        settlement=address["BatchSettlement"],
        erc3009_collector=address["ERC3009DepositCollector"],
        permit2_collector=address["Permit2DepositCollector"],
        allowance_collector=address["AllowanceDepositCollector"],
        token=address.get("TestUSD"),
    )


def create2_address(init_code: bytes) -> ChecksumAddress:
    """Where the CREATE2 deployer puts a contract with this creation code."""
    deployer = bytes.fromhex(CREATE2_DEPLOYER[2:])
    digest = keccak(b"\xff" + deployer + SALT + keccak(init_code))
    return Web3.to_checksum_address(digest[12:])


def _checked(w3: Web3, placed: Placed) -> Placed:
    # Immutable values follow the code.
    code = bytes(w3.eth.get_code(Web3.to_checksum_address(placed.address)))
    if not code.startswith(artifact(placed.name).runtime):
        raise DeploymentFailed(placed.name, placed.address)
    return placed
