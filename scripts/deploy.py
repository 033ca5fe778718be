"""Puts the contracts on a chain, or finds them there, and writes their addresses down."""

import click
from ape.api import AccountAPI
from web3 import Web3

from farthing.chain.artifacts import artifact
from farthing.chain.deployment import (
    CREATE2_DEPLOYER,
    Deployment,
    DeploymentMissing,
    Placed,
    as_deployment,
    place,
    place_all,
)
from farthing.chain.sender import Sender
from farthing.chain.settlement import Settlement
from scripts._support import (
    DEPLOYMENTS,
    Command,
    account_option,
    chain,
    ends_with_this_command,
    signer,
)


@click.command(cls=Command)
@account_option()
@click.option("--test-token", is_flag=True, help="Deploy the test dollar too.")
def cli(account: AccountAPI | None, test_token: bool) -> None:
    """Deploy the settlement contract and its collectors.

    Through the CREATE2 deployer they stand at the same address on every chain that has it. What
    stands already is found, checked and left alone.
    """
    w3 = chain()
    sender = Sender(w3, signer(account))
    known = _on_file(w3)
    if known is not None and known.token is not None:
        test_token = test_token or _stands(w3, "TestUSD", known.token)

    has_deployer = bool(w3.eth.get_code(CREATE2_DEPLOYER))
    standing = None if known is None or has_deployer else _standing(w3, known)
    if standing is None:
        placed = place_all(sender, test_token=test_token)
    else:
        placed = standing
        if test_token and all(each.name != "TestUSD" for each in placed):
            placed = [*placed, place(sender, "TestUSD")]
    click.echo(f"Chain {w3.eth.chain_id}, from {sender.address}")
    for each in placed:
        state = "found" if each.found else "deployed"
        click.echo(f"  {each.name:<26} {each.address}  {state}")
    if all(each.found for each in placed):
        click.echo("Everything stood already; nothing was sent.")
    if not has_deployer:
        click.echo("This chain has no CREATE2 deployer: these addresses are this chain's alone.")
    click.echo("Code and domain are right.")
    passing = ends_with_this_command()
    # What is on file of a chain that stays is worth more than what is gone in a moment.
    if known is None or not passing:
        path = as_deployment(w3.eth.chain_id, placed).save(DEPLOYMENTS)
        click.echo(f"Written to {path}.")
    if passing:
        click.echo(
            "This chain was started for this command and ends with it, and so does what was "
            "deployed: name a node that stays with --network."
        )


def _on_file(w3: Web3) -> Deployment | None:
    try:
        return Deployment.load(DEPLOYMENTS, w3.eth.chain_id)
    except DeploymentMissing:
        return None


def _standing(w3: Web3, known: Deployment) -> list[Placed] | None:
    """The contracts on file, if all of them stand; None sends the caller to deploy new ones."""
    addresses = {
        "BatchSettlement": known.settlement,
        "ERC3009DepositCollector": known.erc3009_collector,
        "Permit2DepositCollector": known.permit2_collector,
        "AllowanceDepositCollector": known.allowance_collector,
    }
    if not all(_stands(w3, name, address) for name, address in addresses.items()):
        return None
    Settlement(w3, known.settlement)
    if known.token is not None and _stands(w3, "TestUSD", known.token):
        addresses["TestUSD"] = known.token
    return [Placed(name, address, found=True) for name, address in addresses.items()]


def _stands(w3: Web3, name: str, address: str) -> bool:
    code = bytes(w3.eth.get_code(Web3.to_checksum_address(address)))
    return code.startswith(artifact(name).runtime)
