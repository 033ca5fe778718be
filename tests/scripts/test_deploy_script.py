"""`ape run deploy`: where the contracts come to stand, and what a second run does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ape_project import Project
from eth_account import Account

from farthing.chain.anvil import ANVIL_KEYS, anvil
from farthing.chain.artifacts import artifact
from farthing.chain.deployment import CREATE2_DEPLOYER, Deployment, create2_address
from farthing.chain.settlement import Settlement

DEPLOYER = Account.from_key(ANVIL_KEYS[0]).address
NAMES = {
    "settlement": "BatchSettlement",
    "erc3009_collector": "ERC3009DepositCollector",
    "permit2_collector": "Permit2DepositCollector",
    "allowance_collector": "AllowanceDepositCollector",
    "token": "TestUSD",
}


def states(output: str) -> dict[str, tuple[str, str]]:
    """Name to address and state, as printed."""
    rows = re.findall(r"^  (\w+) +(0x\w{40})  (found|deployed)$", output, re.MULTILINE)
    return {name: (address, state) for name, address, state in rows}


def on_file(project: Project, chain_id: int) -> dict[str, str]:
    data = json.loads((project.folder / f"deployments/{chain_id}.json").read_text())
    return {NAMES[role]: data[role] for role in NAMES if data[role] is not None}


def test_deploy__on_a_new_chain(project: Project, node: str) -> None:
    project = project.on(node)
    ended = project.run("deploy", "--test-token")

    assert (ended.code, ended.error) == (0, "")
    placed = on_file(project, 31_337)
    assert states(ended.output) == {name: (placed[name], "deployed") for name in NAMES.values()}
    assert placed["BatchSettlement"] == create2_address(artifact("BatchSettlement").bytecode)
    for name, address in placed.items():
        code = bytes(project.chain.eth.get_code(address))
        assert code.startswith(artifact(name).runtime)
    assert Settlement(project.chain, placed["BatchSettlement"]).domain.chain_id == 31_337
    assert "Written to deployments/31337.json." in ended.output
    assert "ends with it" not in ended.output


def test_deploy__a_second_time(deployed: Project) -> None:
    project = deployed
    placed, sent = on_file(project, 31_337), project.chain.eth.get_transaction_count(DEPLOYER)

    ended = project.run("deploy")

    assert (ended.code, ended.error) == (0, "")
    assert states(ended.output) == {name: (placed[name], "found") for name in NAMES.values()}
    assert "Everything stood already; nothing was sent." in ended.output
    assert project.chain.eth.get_transaction_count(DEPLOYER) == sent == len(NAMES)
    assert on_file(project, 31_337) == placed


def test_deploy__on_a_chain_without_the_create2_deployer(project: Project, node: str) -> None:
    project = project.on(node)
    project.rpc("anvil_setCode", CREATE2_DEPLOYER, "0x")
    first = project.call("deploy")
    placed = on_file(project, 31_337)
    second = project.call("deploy", "--test-token")

    assert (first.code, second.code) == (0, 0)
    assert "these addresses are this chain's alone" in first.output
    assert states(first.output) == {name: (at, "deployed") for name, at in placed.items()}
    token = on_file(project, 31_337)["TestUSD"]
    assert states(second.output) == {
        **{name: (at, "found") for name, at in placed.items()},
        "TestUSD": (token, "deployed"),
    }
    assert project.chain.eth.get_transaction_count(DEPLOYER) == len(NAMES)


def test_deploy__after_what_is_on_file_is_gone(project: Project, node: str) -> None:
    project = project.on(node)
    project.rpc("anvil_setCode", CREATE2_DEPLOYER, "0x")
    project.call("deploy")
    before = on_file(project, 31_337)
    project.rpc("anvil_setCode", before["ERC3009DepositCollector"], "0x")

    ended = project.call("deploy")

    assert {state for _, state in states(ended.output).values()} == {"deployed"}
    assert not set(on_file(project, 31_337).values()) & set(before.values())


def test_deploy__in_process(project: Project) -> None:
    ended = project.run("deploy")

    assert (ended.code, ended.error) == (0, "")
    placed = on_file(project, 1_337)
    assert states(ended.output) == {name: (at, "deployed") for name, at in placed.items()}
    assert "This chain was started for this command and ends with it" in ended.output


def test_deploy__in_process_keeps_what_is_on_file(project: Project) -> None:
    roles = dict.fromkeys((role for role in NAMES if role != "token"), DEPLOYER)
    kept = Deployment(1_337, **roles).save(project.folder / "deployments")
    before = kept.read_text()

    ended = project.run("deploy")

    assert ended.code == 0
    assert kept.read_text() == before
    assert "Written to" not in ended.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--network", "ethereum:nowhere"),
            "Error: Invalid value for '--network': No network in 'ethereum' named 'nowhere'.",
        ),
        (
            ("--network", "http://127.0.0.1:9"),
            "Error: No (supported) node found on 'http://127.0.0.1:9'.",
        ),
        (
            ("--account", "nobody"),
            "Error: Invalid value for '--account': Account with alias 'nobody' not found.",
        ),
    ],
    ids=["unknown-network", "node-down", "unknown-account"],
)
def test_deploy__bad_input(project: Project, arguments: tuple[str, ...], sentence: str) -> None:
    ended = project.run("deploy", *arguments)

    assert (ended.code, ended.output, ended.error) == (1, "", sentence)
    assert not (project.folder / "deployments").exists()


def test_deploy__on_the_wrong_chain(project: Project, node: str) -> None:
    ended = project.call("deploy", "--network", f"ethereum:sepolia:{node}")

    assert (ended.code, ended.output) == (1, "")
    assert ended.error == (
        "Error: Provider connected to chain ID '31337', which does not match network chain ID "
        "'11155111'. Are you connected to 'sepolia'?"
    )
    assert not (project.folder / "deployments").exists()


def test_deploy__on_a_public_chain_without_an_account(project: Project) -> None:
    with anvil("--chain-id", "777") as url:
        ended = project.on(url).call("deploy")

    assert (ended.code, ended.output) == (1, "")
    assert ended.error == (
        "Error: chain 777 needs an account: name one with --account (`ape accounts list` shows "
        "yours)."
    )


@pytest.fixture
def keyfile(project: Project) -> str:
    """Address of an account with a keyfile, alias `publisher`, and no coin."""
    account = Account.from_key("0x" + "11" * 32)
    folder = project.folder / "ape" / "accounts"
    folder.mkdir(parents=True)
    encrypted = Account.encrypt(account.key, "right", iterations=2)
    Path(folder / "publisher.json").write_text(json.dumps(encrypted))
    return str(account.address)


def test_deploy__from_a_keyfile(project: Project, node: str, keyfile: str) -> None:
    project = project.on(node)
    project.rpc("anvil_setBalance", keyfile, hex(10**18))
    ended = project.run(
        "deploy",
        *("--account", "publisher"),
        answers="y\n" * 4,
        APE_ACCOUNTS_publisher_PASSPHRASE="right",
    )

    assert (ended.code, ended.error) == (0, "")
    assert project.chain.eth.get_transaction_count(keyfile) == 4
    assert "BatchSettlement" in on_file(project, 31_337)


@pytest.mark.parametrize(
    ("passphrase", "answer", "sentence"),
    [
        ("wrong", "y\n", "Error: Invalid password"),
        ("right", "n\n", "did not sign: check the account or the device behind it"),
    ],
    ids=["wrong-passphrase", "owner-says-no"],
)
def test_deploy__from_a_keyfile_that_cannot_send(
    project: Project, node: str, keyfile: str, passphrase: str, answer: str, sentence: str
) -> None:
    ended = project.on(node).run(
        "deploy",
        *("--account", "publisher"),
        answers=answer,
        APE_ACCOUNTS_publisher_PASSPHRASE=passphrase,
    )

    assert ended.code == 1
    assert ended.error.endswith(sentence)
    assert ended.error.count("\n") == 0
    assert ended.error.startswith("Error: ")
    assert project.on(node).chain.eth.block_number == 0
    assert not (project.folder / "deployments").exists()


def test_deploy__without_coin_for_gas(project: Project, node: str) -> None:
    project = project.on(node)
    project.rpc("anvil_setBalance", DEPLOYER, "0x0")
    ended = project.call("deploy")

    assert (ended.code, ended.output) == (1, "")
    assert ended.error.startswith(f"Error: the node refused a transaction of {DEPLOYER}: ")
    assert ended.error.endswith("send this account some of the chain's coin for gas.")
    assert project.chain.eth.block_number == 0
    assert not (project.folder / "deployments").exists()
