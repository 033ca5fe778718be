import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3 import Web3

from farthing.chain.artifacts import artifact
from farthing.chain.deployment import (
    CREATE2_DEPLOYER,
    Deployment,
    DeploymentFailed,
    DeploymentMissing,
    as_deployment,
    create2_address,
    place,
    place_all,
)
from farthing.chain.settlement import Channel, Settlement
from farthing.protocol import PERMIT2, X402_SETTLEMENT, Domain, Voucher, VoucherClaim, sign
from tests.conftest import rpc
from tests.escrow_world import AUTHORIZER, PAYER, RECEIVER, World

DEPLOYMENT = Deployment(
    chain_id=8453,
    settlement="0x" + "11" * 20,
    erc3009_collector="0x" + "22" * 20,
    permit2_collector="0x" + "33" * 20,
    allowance_collector="0x" + "44" * 20,
)
NAMES = [
    "BatchSettlement",
    "ERC3009DepositCollector",
    "Permit2DepositCollector",
    "AllowanceDepositCollector",
]

# ---------------------------------------------------------------- on file


@pytest.mark.parametrize("token", [None, "0x" + "55" * 20])
def test_save__and_load_it_again(tmp_path: Path, token: str | None) -> None:
    deployment = replace(DEPLOYMENT, token=token)
    path = deployment.save(tmp_path / "deployments")
    assert path == tmp_path / "deployments" / "8453.json"
    assert Deployment.load(tmp_path / "deployments", 8453) == deployment


def test_save__over_an_older_one(tmp_path: Path) -> None:
    DEPLOYMENT.save(tmp_path)
    newer = replace(DEPLOYMENT, settlement="0x" + "66" * 20)
    newer.save(tmp_path)
    assert Deployment.load(tmp_path, 8453) == newer


def test_load__no_file(tmp_path: Path) -> None:
    with pytest.raises(DeploymentMissing) as caught:
        Deployment.load(tmp_path, 8453)
    assert caught.value.path == tmp_path / "8453.json"
    assert str(caught.value) == (
        f"no deployment in {tmp_path / '8453.json'} (there is no such file): "
        "run `ape run deploy` for that chain first."
    )


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", "{}", '{"chain_id": 8453}', '{"unknown": 1}', "\x00"],
)
def test_load__not_a_deployment_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "8453.json").write_text(text)
    with pytest.raises(DeploymentMissing, match=r"\(it is not a deployment file\)"):
        Deployment.load(tmp_path, 8453)


@pytest.mark.parametrize("field", ["settlement", "erc3009_collector", "token"])
@pytest.mark.parametrize("value", ["0x1234", 5, "nobody"])
def test_load__an_address_that_is_none(tmp_path: Path, field: str, value: object) -> None:
    spoiled = {**asdict(DEPLOYMENT), field: value}
    (tmp_path / "8453.json").write_text(json.dumps(spoiled))
    with pytest.raises(DeploymentMissing, match=r"\(it is not a deployment file\)"):
        Deployment.load(tmp_path, 8453)


def test_load__not_text(tmp_path: Path) -> None:
    (tmp_path / "8453.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DeploymentMissing, match=r"\(it is not a deployment file\)"):
        Deployment.load(tmp_path, 8453)


def test_load__of_another_chain(tmp_path: Path) -> None:
    DEPLOYMENT.save(tmp_path).rename(tmp_path / "1.json")
    with pytest.raises(DeploymentMissing, match=r"\(it is of chain 8453\)"):
        Deployment.load(tmp_path, 1)


def test_load__a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "1.json").mkdir()
    with pytest.raises(DeploymentMissing, match=r"\(it cannot be read\)"):
        Deployment.load(tmp_path, 1)


# ---------------------------------------------------------------- on the chain


def test_place_all__in_process_deploys_anew_each_time(world: World) -> None:
    first = place_all(world.operator)
    second = place_all(world.operator)
    assert [placed.name for placed in first] == NAMES
    assert not any(placed.found for placed in first + second)
    addresses = {placed.address for placed in first + second}
    assert len(addresses) == 2 * len(NAMES)
    for placed in first:
        code = bytes(world.w3.eth.get_code(Web3.to_checksum_address(placed.address)))
        assert code.startswith(artifact(placed.name).runtime)


def test_place_all__on_a_node_finds_what_stands(node_world: World) -> None:
    first = place_all(node_world.operator, test_token=True)
    block = node_world.w3.eth.block_number
    second = place_all(node_world.operator, test_token=True)
    assert [placed.name for placed in second] == [*NAMES, "TestUSD"]
    assert all(placed.found for placed in second)
    assert [p.address for p in first] == [p.address for p in second]
    assert node_world.w3.eth.block_number == block
    chain_id = node_world.w3.eth.chain_id
    assert as_deployment(chain_id, second) == node_world.deployment


def test_place_all__collectors_belong_to_the_settlement_contract(world: World) -> None:
    deployment = as_deployment(world.w3.eth.chain_id, place_all(world.operator))
    for address in (
        deployment.erc3009_collector,
        deployment.permit2_collector,
        deployment.allowance_collector,
    ):
        code = bytes(world.w3.eth.get_code(Web3.to_checksum_address(address)))
        assert bytes.fromhex(deployment.settlement[2:]) in code
    assert deployment.token is None
    permit2 = Web3.to_checksum_address(deployment.permit2_collector)
    assert bytes.fromhex(PERMIT2[2:]) in bytes(world.w3.eth.get_code(permit2))


def test_place__at_the_address_its_code_gives(node_world: World) -> None:
    """Computed here a second time, by the rule of EIP-1014."""
    settlement = encode(["address"], [node_world.settlement.address])
    init_code = artifact("ERC3009DepositCollector").bytecode + settlement
    preimage = b"\xff" + bytes.fromhex(CREATE2_DEPLOYER[2:]) + bytes(32) + keccak(init_code)
    expected = Web3.to_checksum_address(keccak(preimage)[-20:])
    assert create2_address(init_code) == expected
    assert node_world.deployment.erc3009_collector == expected


def test_place__other_code_stands_there(node_world: World) -> None:
    address = node_world.deployment.settlement
    rpc(node_world.w3, "anvil_setCode", address, "0x6001")
    with pytest.raises(DeploymentFailed) as caught:
        place(node_world.operator, "BatchSettlement")
    assert (caught.value.name, caught.value.address) == ("BatchSettlement", address)
    assert str(caught.value) == (
        f"BatchSettlement at {address} does not have the packaged code: do not use it."
    )


# ---------------------------------------------------------------- at another address


def test_settlement__works_at_the_address_stock_clients_have_fixed(node_world: World) -> None:
    """Put there by the chain and never deployed there, the code knows its domain all the same."""
    w3 = node_world.w3
    code = bytes(w3.eth.get_code(node_world.settlement.address))
    rpc(w3, "anvil_setCode", X402_SETTLEMENT, "0x" + code.hex())
    moved = Settlement(w3, X402_SETTLEMENT)
    assert moved.domain == Domain(w3.eth.chain_id, X402_SETTLEMENT)
    assert moved.domain != node_world.settlement.domain

    collector = place(node_world.operator, "ERC3009DepositCollector", X402_SETTLEMENT).address
    deployment = replace(node_world.deployment, settlement=X402_SETTLEMENT)
    deployment = replace(deployment, erc3009_collector=collector)
    world = replace(node_world, deployment=deployment, settlement=moved)
    config = world.deposit(PAYER, 1_000)
    moved.claim(world.sender(AUTHORIZER), [world.row(PAYER, config, 600)])
    assert moved.channel(config.channel_id(moved.domain)) == Channel(1_000, 600)
    assert moved.settle(world.operator, RECEIVER.address, world.token.address).amount == 600
    assert world.token.balance_of(RECEIVER.address) == 600
    assert world.token.balance_of(X402_SETTLEMENT) == 400

    # What was signed for the contract where it was deployed counts for nothing here.
    elsewhere = Voucher(config.channel_id(moved.domain), 900)
    signature = sign(PAYER, elsewhere, node_world.settlement.domain)
    row = VoucherClaim(config, 900, signature, 900)
    with pytest.raises(Exception, match="InvalidSignature") as caught:
        moved.claim(world.sender(AUTHORIZER), [row])
    assert type(caught.value).__name__ == "InvalidSignature"
