"""EIP-712 domains: the settlement contract's, and those that deposits are signed under."""

from __future__ import annotations

from dataclasses import dataclass, field

from farthing.protocol import values
from farthing.protocol.errors import InvalidField
from farthing.protocol.keccak import keccak
from farthing.protocol.typed_data import StructType

DOMAIN_NAME = "x402 Batch Settlement"
DOMAIN_VERSION = "1"

# The addresses that published x402 clients have fixed, the same on every chain.
X402_SETTLEMENT = "0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003"
X402_ERC3009_COLLECTOR = "0x4020806089470a89826cB9fB1f4059150b550004"
X402_PERMIT2_COLLECTOR = "0x4020425FAf3B746C082C2f942b4E5159887B0005"
PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3"

_VERSIONED = StructType(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_PLACELESS = StructType("EIP712Domain(string name,string version,uint256 chainId)")
_UNVERSIONED = StructType("EIP712Domain(string name,uint256 chainId,address verifyingContract)")


@dataclass(frozen=True)
class Domain:
    """A settlement contract on a chain.

    ``chain_id`` is the EIP-155 id, ``contract`` the address, not zero. Raises
    :class:`~farthing.protocol.errors.InvalidField`.
    """

    chain_id: int
    contract: str
    separator: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_place(self)
        words = (_hash(DOMAIN_NAME), _hash(DOMAIN_VERSION), self.chain_id, self.contract)
        object.__setattr__(self, "separator", _VERSIONED.hash(*words))


@dataclass(frozen=True)
class TokenDomain:
    """A token that takes signatures (ERC-3009, EIP-2612), with the name and version it hashes.

    They are what the token's ``eip712Domain()`` says, which need not be what ``name()`` says.
    Raises :class:`~farthing.protocol.errors.InvalidField`.
    """

    name: str
    version: str
    chain_id: int
    contract: str
    separator: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for part in ("name", "version"):
            text = getattr(self, part)
            if not isinstance(text, str) or not text:
                raise InvalidField(part, text, "must be a text that is not empty")
        _check_place(self)
        words = (_hash(self.name), _hash(self.version), self.chain_id, self.contract)
        object.__setattr__(self, "separator", _VERSIONED.hash(*words))


@dataclass(frozen=True)
class Permit2Domain:
    """Permit2 on a chain: its domain has a name and no version.

    Raises :class:`~farthing.protocol.errors.InvalidField`.
    """

    chain_id: int
    contract: str = PERMIT2
    separator: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_place(self)
        words = (_hash("Permit2"), self.chain_id, self.contract)
        object.__setattr__(self, "separator", _UNVERSIONED.hash(*words))


@dataclass(frozen=True)
class StatementDomain:
    """A kind of statement that is for people and programs, not for a contract.

    Its chain id is 1 whatever chain it speaks of, as x402 has it for its receipts; what it speaks
    of is in the statement itself.
    """

    name: str
    separator: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "separator", _PLACELESS.hash(_hash(self.name), _hash("1"), 1))


def _check_place(domain: Domain | TokenDomain | Permit2Domain) -> None:
    values.uint256("chain_id", domain.chain_id)
    checked = values.non_zero_address("contract", domain.contract)
    object.__setattr__(domain, "contract", checked)


def _hash(text: str) -> bytes:
    return keccak(text.encode())
