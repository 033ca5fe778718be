"""What the scripts share: their one way to fail, the account they act for, amounts and folders.

Ape leaves files whose name starts with an underscore alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import ape
import click
from ape.api import AccountAPI, TestAccountAPI
from ape.cli import ConnectedProviderCommand
from ape.cli import account_option as ape_account_option
from ape.exceptions import ApeException
from ape_accounts import KeyfileAccount
from eth_account import Account
from eth_account.messages import SignableMessage
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from requests.exceptions import RequestException
from web3 import Web3
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from farthing.chain.deployment import Deployment
from farthing.protocol import FarthingError, SigningFailed, amounts
from farthing.protocol.amounts import AmountInvalid

# In the current folder, where ape looks for the scripts too.
DEPLOYMENTS = Path("deployments")
CHANNELS = Path("channels")

# Chain ids of ape's in-process chain and of anvil: their accounts are known to everyone.
DEVELOPMENT_CHAINS = (1_337, 31_337)


# ---------------------------------------------------------------- failing


class BadInput(FarthingError):
    """Something given to a script cannot be used; the sentence says what and why."""


class Command(ConnectedProviderCommand):
    """An ape command that ends every failure with one sentence and exit code 1."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with one_sentence():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with one_sentence():
            return super().invoke(ctx)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turns what a user can act on into a `click.ClickException` of one line."""
    try:
        yield
    except click.UsageError as error:
        # Ape lists every network it knows on further lines.
        raise click.ClickException(_first_line(error.format_message())) from error
    except FarthingError as error:
        raise click.ClickException(str(error)) from error
    except ApeException as error:
        raise click.ClickException(_first_line(str(error))) from error
    except (RequestException, Web3Exception) as error:
        raise click.ClickException(
            f"the node stopped answering ({type(error).__name__}): check that it runs, and run "
            "this again."
        ) from error


def _first_line(text: str) -> str:
    first = text.strip().splitlines()[0]
    return first.removesuffix(" Options:")


# ---------------------------------------------------------------- chain and account


def chain() -> Web3:
    """The chain that `--network` chose."""
    web3: Web3 = ape.networks.provider.web3
    return web3


def ends_with_this_command() -> bool:
    """Whether the chain is one that ape started for this command and stops after it."""
    provider = ape.networks.provider
    return provider.name == "test" or getattr(provider, "process", None) is not None


def catch_up_with_the_clock() -> None:
    """Mines a block on a development chain: without one its time is that of the last block."""
    w3 = chain()
    if w3.eth.chain_id in DEVELOPMENT_CHAINS:
        w3.provider.make_request(RPCEndpoint("evm_mine"), [])


@dataclass(frozen=True)
class SignedTransaction:
    """A transaction as it goes over the wire."""

    raw_transaction: bytes

    @property
    def hash(self) -> HexBytes:
        return HexBytes(keccak(self.raw_transaction))


class ApeAccount:
    """One of ape's accounts as `farthing` wants a signer. Ape asks its owner before it signs."""

    def __init__(self, account: AccountAPI) -> None:
        self._account = account
        self.address = str(account.address)
        # The passphrase once (or from APE_ACCOUNTS_<alias>_PASSPHRASE), not for every signature.
        if isinstance(account, KeyfileAccount):
            account.unlock()

    def sign_transaction(self, fields: Any, /) -> SignedTransaction:
        """Raises SigningFailed when the owner says no."""
        transaction = ape.networks.ethereum.create_transaction(**fields, sender=self.address)
        signed = self._account.sign_transaction(transaction)
        if signed is None:
            raise SigningFailed(self.address, "did not sign")
        return SignedTransaction(bytes(signed.serialize_transaction()))

    def sign_message(self, message: SignableMessage, /) -> Any:
        """None when the owner says no."""
        return self._account.sign_message(message)


def account_option() -> Callable[..., Any]:
    """`--account`: an alias of ape's, or `TEST::0` and so on; gives the command an `account`."""
    return ape_account_option(prompt=False)


def signer(account: AccountAPI | None) -> LocalAccount | ApeAccount:
    """The account a script acts for; the first test account where nobody said and money is play.

    Raises:
        BadInput: No account was named on a chain where money is real.
    """
    if account is None:
        if chain().eth.chain_id not in DEVELOPMENT_CHAINS:
            raise BadInput(
                f"chain {chain().eth.chain_id} needs an account: name one with --account (`ape "
                "accounts list` shows yours)."
            )
        account = ape.accounts.test_accounts[0]
    if isinstance(account, TestAccountAPI):
        local: LocalAccount = Account.from_key(account.private_key)
        return local
    return ApeAccount(account)


def deployment() -> Deployment:
    """The contracts of this chain, as `ape run deploy` wrote them down.

    Raises:
        DeploymentMissing: It was not run for this chain.
    """
    return Deployment.load(DEPLOYMENTS, chain().eth.chain_id)


# ---------------------------------------------------------------- amounts


def to_units(option: str, text: str, decimals: int) -> int:
    """A decimal amount in smallest units.

    Raises:
        BadInput: It is not an amount above zero with at most that many decimals.
    """
    try:
        units = amounts.to_units(text, decimals)
    except AmountInvalid:
        units = 0
    if not 0 < units < 2**96:
        raise BadInput(
            f"{option} {text!r} is not an amount: give a number above 0 with at most {decimals} "
            "decimals, for example 5.00."
        )
    return units


def show(units: int, decimals: int, symbol: str) -> str:
    """Smallest units as people write them."""
    return f"{Decimal(units).scaleb(-decimals):,f} {symbol}"
