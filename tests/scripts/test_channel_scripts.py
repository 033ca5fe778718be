"""`ape run fund`, `redeem` and `withdraw`: one channel's way, and what stops each step."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ape_project import Project
from eth_account import Account

from farthing.chain.anvil import ANVIL_KEYS
from farthing.chain.settlement import Channel, Settlement
from farthing.chain.token import Token
from farthing.protocol import ChannelConfig, Reason, Voucher, sign

# `TEST::0` and `TEST::1`.
PAYER, RECEIVER = (Account.from_key(key) for key in ANVIL_KEYS[:2])
DOLLAR = 1_000_000


def fund(project: Project, salt: int, amount: str = "5.00") -> Path:
    """Funds a new channel and returns its file."""
    ended = project.call(
        "fund",
        *("--receiver", RECEIVER.address, "--amount", amount),
        *("--delay", 900, "--salt", salt, "--mint"),
    )
    assert (ended.code, ended.error) == (0, ""), ended
    (name,) = re.findall(
        r"^Written to (channels/31337-0x[0-9a-f]{64}\.json)\.$", ended.output, re.M
    )
    return project.folder / name


def config_of(path: Path) -> ChannelConfig:
    return ChannelConfig.from_json(json.loads(path.read_text())["channelConfig"])


def settlement(project: Project) -> Settlement:
    return Settlement(project.chain, project.deployment().settlement)


def token(project: Project) -> Token:
    return Token(project.chain, str(project.deployment().token))


def channel(project: Project, path: Path) -> Channel:
    contract = settlement(project)
    return contract.channel(config_of(path).channel_id(contract.domain))


def voucher(project: Project, path: Path, ceiling: int, claimed: int) -> dict[str, Any]:
    """A row of the voucher file, signed by the payer."""
    config, domain = config_of(path), settlement(project).domain
    signature = sign(PAYER, Voucher(config.channel_id(domain), ceiling), domain)
    return {
        "channelConfig": config.to_json(),
        "maxClaimableAmount": str(ceiling),
        "signature": "0x" + signature.hex(),
        "totalClaimed": str(claimed),
    }


# ---------------------------------------------------------------- the way


def test_fund__a_new_channel(deployed: Project) -> None:
    before = token(deployed).balance_of(PAYER.address)
    path = fund(deployed, salt=1)

    data = json.loads(path.read_text())
    config = config_of(path)
    contract = settlement(deployed)
    assert config == ChannelConfig(
        payer=PAYER.address,
        payer_authorizer=PAYER.address,
        receiver=RECEIVER.address,
        receiver_authorizer=RECEIVER.address,
        token=token(deployed).address,
        withdraw_delay=900,
        salt=(1).to_bytes(32, "big"),
    )
    channel_id = "0x" + config.channel_id(contract.domain).hex()
    assert path.name == f"31337-{channel_id}.json"
    assert (data["chainId"], data["settlement"]) == (31_337, contract.address)
    assert data["channelId"] == channel_id
    assert channel(deployed, path) == Channel(balance=5 * DOLLAR, total_claimed=0)
    assert token(deployed).balance_of(PAYER.address) == before


def test_fund__a_channel_again(deployed: Project) -> None:
    path = fund(deployed, salt=2)
    assert fund(deployed, salt=2, amount="0.000001") == path
    assert channel(deployed, path) == Channel(balance=5 * DOLLAR + 1, total_claimed=0)


def test_redeem__two_channels(deployed: Project, tmp_path: Path) -> None:
    first, second = fund(deployed, salt=3), fund(deployed, salt=4)
    before = token(deployed).balance_of(RECEIVER.address)
    rows = [
        voucher(deployed, first, ceiling=2 * DOLLAR, claimed=DOLLAR),
        voucher(deployed, second, ceiling=DOLLAR, claimed=DOLLAR),
    ]
    vouchers = tmp_path / "vouchers.json"
    vouchers.write_text(json.dumps(rows))

    block = deployed.chain.eth.block_number

    ended = deployed.run("redeem", "--account", "TEST::1", vouchers)

    (gas,) = _gas_since(deployed, block)
    assert (ended.code, ended.error) == (0, "")
    assert ended.output.splitlines() == [
        "Redeemed a batch of 2.",
        "Vouchers  2",
        "Batches   1",
        f"Gas       {gas:,}",
        "Paid      2.000000 TUSD",
    ]
    assert token(deployed).balance_of(RECEIVER.address) == before + 2 * DOLLAR
    assert channel(deployed, first) == Channel(5 * DOLLAR, DOLLAR)
    assert channel(deployed, second) == Channel(5 * DOLLAR, DOLLAR)


def test_redeem__a_voucher_that_was_redeemed(deployed: Project, tmp_path: Path) -> None:
    path = fund(deployed, salt=6)
    vouchers = tmp_path / "vouchers.json"
    vouchers.write_text(json.dumps([voucher(deployed, path, ceiling=DOLLAR, claimed=DOLLAR)]))
    deployed.call("redeem", "--account", "TEST::1", vouchers)
    before, block = token(deployed).balance_of(RECEIVER.address), deployed.chain.eth.block_number

    ended = deployed.call("redeem", "--account", "TEST::1", vouchers)

    (gas,) = _gas_since(deployed, block)
    channel_id = json.loads(path.read_text())["channelId"]
    assert (ended.code, ended.error) == (0, "")
    assert ended.output.splitlines() == [
        "Redeemed a batch of 1.",
        "Vouchers  1",
        "Batches   1",
        f"Gas       {gas:,}",
        "Paid      0.000000 TUSD",
        f"Skipped   channel {channel_id}: {Reason.STALE.sentence()}",
    ]
    assert token(deployed).balance_of(RECEIVER.address) == before


def test_withdraw__from_asking_to_the_money(deployed: Project) -> None:
    path = fund(deployed, salt=5)
    asked = deployed.run("withdraw", path)
    started = deployed.chain.eth.get_block("latest")["timestamp"]
    ready = datetime.fromtimestamp(started + 900, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    before = token(deployed).balance_of(PAYER.address)
    early = deployed.run("withdraw", path)

    assert (asked.code, asked.error) == (0, "")
    assert asked.output.splitlines() == [
        "Withdrawal of 5.000000 TUSD initiated.",
        f"It can be finalized from {ready} on: run this again then.",
    ]
    assert (early.code, early.output) == (1, "")
    assert early.error == (
        f"Error: the withdrawal of 5.000000 TUSD waits until {ready}: run this again then."
    )
    assert token(deployed).balance_of(PAYER.address) == before

    deployed.rpc("evm_increaseTime", 900)
    late = deployed.run("withdraw", path)
    again = deployed.run("withdraw", path)

    assert (late.code, late.error) == (0, "")
    assert late.output == f"Withdrawn: 5.000000 TUSD went to {PAYER.address}."
    assert token(deployed).balance_of(PAYER.address) == before + 5 * DOLLAR
    assert (again.code, again.output) == (1, "")
    assert again.error == (
        "Error: the channel has 0.000000 TUSD that is not claimed: there is no more to withdraw."
    )


# ---------------------------------------------------------------- what stops fund


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"--amount": "1.0000001"},
            "--amount '1.0000001' is not an amount: give a number above 0 with at most 6 "
            "decimals, for example 5.00.",
        ),
        (
            {"--amount": "-1"},
            "--amount '-1' is not an amount: give a number above 0 with at most 6 decimals, for "
            "example 5.00.",
        ),
        ({"--receiver": "0x12"}, "receiver must be an address, 0x and 40 hex digits, got '0x12'"),
        ({"--delay": "899"}, "withdraw_delay must be 900 to 2592000 seconds, got 899"),
        (
            {"--salt": "-1"},
            "--salt -1 does not fit: give a whole number of 0 to 2**256 - 1.",
        ),
        (
            {"--token": RECEIVER.address},
            f"no token at {RECEIVER.address}: check the address and the chain.",
        ),
        (
            {"--account": "TEST::7"},
            "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955 holds 0.000000 TUSD, less than the "
            "deposit of 5.000000 TUSD: get more, or give --mint if this is the test dollar.",
        ),
    ],
    ids=["too-fine", "negative", "receiver", "delay", "salt", "no-token", "no-money"],
)
def test_fund__bad_input(deployed: Project, options: dict[str, str], sentence: str) -> None:
    block, files = deployed.chain.eth.block_number, _channel_files(deployed)
    given = {"--receiver": RECEIVER.address, "--amount": "5.00", **options}
    ended = deployed.call("fund", *(word for option in given.items() for word in option))

    assert (ended.code, ended.output, ended.error) == (1, "", f"Error: {sentence}")
    assert deployed.chain.eth.block_number == block
    assert _channel_files(deployed) == files


def test_fund__before_deploy(project: Project, node: str) -> None:
    project = project.on(node)
    ended = project.call("fund", "--receiver", RECEIVER.address, "--amount", "1")

    assert (ended.code, ended.output) == (1, "")
    assert ended.error == (
        "Error: no deployment in deployments/31337.json (there is no such "
        "file): run `ape run deploy` for that chain first."
    )


def test_fund__after_the_node_started_anew(deployed: Project, node: str) -> None:
    ended = deployed.on(node).call("fund", "--receiver", RECEIVER.address, "--amount", "1")

    assert (ended.code, ended.output) == (1, "")
    assert ended.error == (
        f"Error: no settlement contract of chain 31337 at {deployed.deployment().settlement} "
        "(there is no code): check the address and the chain, or deploy one with `ape run deploy`."
    )


# ---------------------------------------------------------------- what stops redeem


@pytest.fixture(scope="module")
def funded(deployed: Project) -> Path:
    """File of a channel with five dollars."""
    return fund(deployed, salt=100)


def redeem(project: Project, folder: Path, content: str, account: str = "TEST::1") -> str:
    """Runs a redemption that must fail without sending anything, and returns its sentence."""
    vouchers = folder / "vouchers.json"
    vouchers.write_text(content)
    block = project.chain.eth.block_number
    ended = project.call("redeem", "--account", account, vouchers)

    assert (ended.code, ended.output) == (1, "")
    assert project.chain.eth.block_number == block
    return ended.error.replace(str(vouchers), "FILE")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"maxClaimableAmount": "2000001"},
            "the signature is not the payer's over this voucher on this chain and contract",
        ),
        (
            {"maxClaimableAmount": 2_000_000},
            "maxClaimableAmount must be a decimal string of 1 to 39 digits, got 2000000",
        ),
        (
            {"totalClaimed": "2000001"},
            "total_claimed must not exceed the voucher's ceiling of 2000000, got 2000001",
        ),
        ({"signature": "0xzz"}, "signature must be hex digits after 0x, got '0xzz'"),
        ({"channelConfig": None}, "channel_config must be a JSON object, got None"),
    ],
    ids=["signature", "number", "above-ceiling", "no-hex", "no-config"],
)
def test_redeem__one_bad_row(
    deployed: Project, funded: Path, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    good = voucher(deployed, funded, ceiling=2 * DOLLAR, claimed=DOLLAR)
    error = redeem(deployed, tmp_path, json.dumps([good, {**good, **change}]))
    assert error == f"Error: FILE row 1: {sentence}; nothing was sent."


def test_redeem__more_than_the_channel_holds(
    deployed: Project, funded: Path, tmp_path: Path
) -> None:
    row = voucher(deployed, funded, ceiling=6 * DOLLAR, claimed=6 * DOLLAR)
    assert redeem(deployed, tmp_path, json.dumps([row])) == (
        "Error: FILE row 0: it claims 6000000 and the channel holds 5000000; nothing was sent."
    )


def test_redeem__from_another_account(deployed: Project, funded: Path, tmp_path: Path) -> None:
    row = voucher(deployed, funded, ceiling=DOLLAR, claimed=DOLLAR)
    assert redeem(deployed, tmp_path, json.dumps([row]), account="TEST::0") == (
        f"Error: FILE row 0: its receiver authorizer is {RECEIVER.address}, not the account "
        f"{PAYER.address}: redeem from that one; nothing was sent."
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "voucher file FILE must hold a JSON list of at least one voucher."),
        ("{}", "voucher file FILE must hold a JSON list of at least one voucher."),
        ("[1]", "FILE row 0: must be a JSON object; nothing was sent."),
        ("[", "voucher file FILE is not JSON: Expecting value: line 1 column 2 (char 1)."),
    ],
    ids=["empty", "no-list", "no-object", "no-json"],
)
def test_redeem__a_file_of_something_else(
    deployed: Project, tmp_path: Path, content: str, sentence: str
) -> None:
    assert redeem(deployed, tmp_path, content) == f"Error: {sentence}"


# ---------------------------------------------------------------- what stops withdraw


def test_withdraw__from_another_account(deployed: Project, funded: Path) -> None:
    ended = deployed.call("withdraw", "--account", "TEST::1", funded)

    assert (ended.code, ended.output) == (1, "")
    assert ended.error == (
        f"Error: {RECEIVER.address} is neither payer nor payer authorizer of this channel: "
        f"withdraw from {PAYER.address}."
    )


def test_withdraw__more_than_there_is(deployed: Project, funded: Path) -> None:
    ended = deployed.call("withdraw", "--amount", "5.000001", funded)

    assert (ended.code, ended.output) == (1, "")
    assert ended.error == (
        "Error: the channel has 5.000000 TUSD that is not claimed: there is no more to withdraw."
    )


def test_withdraw__on_another_chain(deployed: Project, funded: Path) -> None:
    ended = deployed.on("").call("withdraw", funded)

    assert (ended.code, ended.output) == (1, "")
    assert ended.error == (
        f"Error: {funded} is a channel of chain 31337, and --network is chain 1337: name the "
        "network of the channel."
    )


def test_withdraw__without_a_channel_file(deployed: Project, tmp_path: Path) -> None:
    ended = deployed.call("withdraw", tmp_path / "none.json")

    assert (ended.code, ended.output) == (1, "")
    assert ended.error == (
        f"Error: channel file {tmp_path}/none.json cannot be read: No such file or directory."
    )


def test_withdraw__with_a_changed_channel_file(
    deployed: Project, funded: Path, tmp_path: Path
) -> None:
    data = json.loads(funded.read_text())
    data["channelConfig"]["withdrawDelay"] = 901
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(data))
    ended = deployed.call("withdraw", changed)

    assert (ended.code, ended.output) == (1, "")
    assert ended.error == (
        f"Error: {changed} was changed: its config is not that of channel {data['channelId']}."
    )


def _gas_since(project: Project, block: int) -> list[int]:
    eth = project.chain.eth
    return [eth.get_block(n)["gasUsed"] for n in range(block + 1, eth.block_number + 1)]


def _channel_files(project: Project) -> list[str]:
    return sorted(path.name for path in (project.folder / "channels").glob("*"))
