"""The development chain, and `farthing devnet` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3.exceptions import ContractLogicError

from farthing.chain.anvil import ANVIL_KEYS, AnvilEnded, PortTaken
from farthing.chain.artifacts import artifact
from farthing.chain.connection import NodeUnreachable, connect
from farthing.chain.devnet import MULTICALL3, PAYER_FUNDS, Devnet, devnet
from farthing.chain.sender import Sender
from farthing.chain.settlement import Channel, Settlement
from farthing.chain.token import Token
from farthing.protocol import (
    PERMIT2,
    X402_ERC3009_COLLECTOR,
    X402_PERMIT2_COLLECTOR,
    X402_SETTLEMENT,
    ChannelConfig,
    DepositAuthorization,
    Domain,
    Permit,
    Permit2Deposit,
    Permit2Domain,
    Voucher,
    VoucherClaim,
    sign,
)
from farthing.redeemer import redeem
from tests.conftest import rpc

ROOT = Path(__file__).parents[2]
PUBLISHER, *PAYERS = (Account.from_key(key) for key in ANVIL_KEYS)
FAR = 2**40


@pytest.fixture(scope="module")
def running() -> Iterator[Devnet]:
    with devnet() as chain:
        yield chain


@pytest.fixture
def net(running: Devnet) -> Iterator[Devnet]:
    """The chain as it starts."""
    snapshot = rpc(running.w3, "evm_snapshot")
    yield running
    assert rpc(running.w3, "evm_revert", snapshot) is True


def channel(net: Devnet, payer: LocalAccount) -> ChannelConfig:
    return ChannelConfig(
        payer=payer.address,
        payer_authorizer=payer.address,
        receiver=net.publisher.address,
        receiver_authorizer=net.publisher.address,
        token=net.token,
        withdraw_delay=900,
        salt=bytes(32),
    )


def deposit(net: Devnet, payer: LocalAccount, amount: int) -> ChannelConfig:
    """Into the payer's channel, by ERC-3009; the publisher pays the gas."""
    settlement, config = Settlement(net.w3, X402_SETTLEMENT), channel(net, payer)
    authorization = DepositAuthorization(
        payer=payer.address,
        collector=X402_ERC3009_COLLECTOR,
        amount=amount,
        valid_after=0,
        valid_before=FAR,
        channel_id=config.channel_id(settlement.domain),
        salt=0,
    )
    consent = sign(payer, authorization, Token(net.w3, net.token).domain)
    sender = Sender(net.w3, net.publisher)
    data = authorization.collector_data(consent)
    settlement.deposit(sender, config, amount, X402_ERC3009_COLLECTOR, data)
    return config


def permit2_deposit(net: Devnet, payer: LocalAccount, amount: int) -> ChannelConfig:
    """The same by Permit2, whose allowance comes along as a permit."""
    settlement, config = Settlement(net.w3, X402_SETTLEMENT), channel(net, payer)
    transfer = Permit2Deposit(
        token=net.token,
        amount=amount,
        collector=X402_PERMIT2_COLLECTOR,
        nonce=0,
        deadline=FAR,
        channel_id=config.channel_id(settlement.domain),
    )
    permit = Permit(payer.address, PERMIT2, amount, nonce=0, deadline=FAR)
    permit_data = permit.data(sign(payer, permit, Token(net.w3, net.token).domain))
    consent = sign(payer, transfer, Permit2Domain(net.deployment.chain_id))
    data = transfer.collector_data(consent, permit_data)
    sender = Sender(net.w3, net.publisher)
    settlement.deposit(sender, config, amount, X402_PERMIT2_COLLECTOR, data)
    return config


# ---------------------------------------------------------------- the chain


def test_devnet__contracts_stand_where_clients_expect_them(net: Devnet) -> None:
    settlement = bytes.fromhex(X402_SETTLEMENT[2:])
    expected = {
        "BatchSettlement": (X402_SETTLEMENT, settlement),
        "ERC3009DepositCollector": (X402_ERC3009_COLLECTOR, settlement),
        "Permit2DepositCollector": (X402_PERMIT2_COLLECTOR, settlement),
        "AllowanceDepositCollector": (net.deployment.allowance_collector, settlement),
        "Permit2": (PERMIT2, b""),
        "TestUSD": (net.token, bytes.fromhex(net.token[2:])),
    }
    for name, (address, fixed) in expected.items():
        code = bytes(net.w3.eth.get_code(net.w3.to_checksum_address(address)))
        assert code.startswith(artifact(name).runtime), name
        # Its own address, or that of the settlement contract, among the immutable values.
        assert fixed in code[len(artifact(name).runtime) :], name
    assert net.deployment.settlement == X402_SETTLEMENT
    assert net.deployment.erc3009_collector == X402_ERC3009_COLLECTOR
    assert net.deployment.permit2_collector == X402_PERMIT2_COLLECTOR


def test_devnet__the_domain_is_that_of_the_fixed_address(net: Devnet) -> None:
    assert Settlement(net.w3, X402_SETTLEMENT).domain == Domain(31_337, X402_SETTLEMENT)


def test_devnet__many_contracts_can_be_read_at_once(net: Devnet) -> None:
    many = net.w3.eth.contract(
        net.w3.to_checksum_address(MULTICALL3), abi=artifact("Multicall3").abi
    )
    dollars = net.w3.eth.contract(
        net.w3.to_checksum_address(net.token), abi=artifact("TestUSD").abi
    )
    decimals = bytes.fromhex(dollars.encode_abi("decimals", args=[])[2:])
    calls = [(net.token, decimals), (X402_SETTLEMENT, b"none"), (net.token, decimals)]
    answers = many.functions.tryAggregate(False, calls).call()
    assert [done for done, _ in answers] == [True, False, True]
    assert int.from_bytes(answers[2][1], "big") == 6
    with pytest.raises(ContractLogicError, match="call failed"):
        many.functions.tryAggregate(True, calls).call()
    some = [(target, target == X402_SETTLEMENT, data) for target, data in calls]
    assert many.functions.aggregate3(some).call() == answers
    all_of_them = [(target, False, data) for target, data in calls]
    with pytest.raises(ContractLogicError, match="call failed"):
        many.functions.aggregate3(all_of_them).call()


def test_devnet__keys_are_funded(net: Devnet) -> None:
    token = Token(net.w3, net.token)
    assert net.publisher == PUBLISHER
    assert list(net.payers) == PAYERS
    assert token.balance_of(PUBLISHER.address) == 0
    for payer in PAYERS:
        assert token.balance_of(payer.address) == PAYER_FUNDS == 1_000_000_000
        assert net.w3.eth.get_balance(payer.address) == 10_000 * 10**18
    assert net.w3.eth.get_balance(PUBLISHER.address) > 9_999 * 10**18


@pytest.mark.parametrize("pay_in", [deposit, permit2_deposit])
def test_devnet__deposit_and_redemption(net: Devnet, pay_in: Any) -> None:
    payer = PAYERS[0]
    config = pay_in(net, payer, 5_000_000)
    settlement, token = Settlement(net.w3, X402_SETTLEMENT), Token(net.w3, net.token)
    channel_id = config.channel_id(settlement.domain)
    assert settlement.channel(channel_id) == Channel(5_000_000, 0)
    assert token.balance_of(payer.address) == PAYER_FUNDS - 5_000_000

    signature = sign(payer, Voucher(channel_id, 3_000_000), settlement.domain)
    claim = VoucherClaim(config, 3_000_000, signature, 3_000_000)
    done = redeem(settlement, Sender(net.w3, net.publisher), net.publisher, [claim])
    assert (done.paid, done.credited, done.skipped) == (3_000_000, 0, [])
    assert token.balance_of(PUBLISHER.address) == 3_000_000
    assert token.balance_of(X402_SETTLEMENT) == 2_000_000


def test_devnet__ends_with_its_block() -> None:
    with devnet() as net:
        pass
    with pytest.raises(NodeUnreachable):
        connect(net.url)


def test_devnet__node_that_ends_by_itself() -> None:
    with devnet() as net:
        net.node.process.terminate()
        with pytest.raises(AnvilEnded) as caught:
            net.node.wait()
    assert str(caught.value) == (
        f"the anvil node at {net.url} has ended by itself: start it again."
    )


def test_devnet__port_in_use() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken) as caught, devnet(port):
            pass
    assert caught.value.port == port
    assert str(caught.value) == (
        f"port {port} of 127.0.0.1 cannot be used (address already in use): choose another with "
        "--port."
    )


# ---------------------------------------------------------------- the command


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`farthing devnet` as a process of its own, with a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "farthing.commands", "devnet", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whom", ["the command", "all of its terminal"])
def test_command__stops_cleanly(number: signal.Signals, whom: str) -> None:
    port = free_port()
    with command("--json", "--port", str(port)) as process:
        assert process.stdout is not None
        printed = json.loads(process.stdout.readline())
        assert printed["rpc_url"] == f"http://127.0.0.1:{port}"
        connect(printed["rpc_url"], chain_id=31_337)
        if whom == "the command":
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    with pytest.raises(NodeUnreachable):
        connect(printed["rpc_url"])


def test_command__what_it_prints_for_machines(net: Devnet) -> None:
    with command("--json", "--port", str(free_port())) as process:
        assert process.stdout is not None
        printed = json.loads(process.stdout.readline())
        w3 = connect(printed.pop("rpc_url"))
        assert Token(w3, printed["token"]).balance_of(printed["payers"][0]["address"])
    here = net.as_json()
    del here["rpc_url"]
    assert printed == here
    assert set(printed) == {
        *("chain_id", "settlement", "erc3009_collector", "permit2_collector", "permit2"),
        *("allowance_collector", "token", "token_decimals", "publisher", "payers"),
    }
    for party, key in zip([printed["publisher"], *printed["payers"]], ANVIL_KEYS, strict=True):
        assert party == {"address": Account.from_key(key).address, "private_key": key}


def test_command__what_it_prints_can_be_pasted(net: Devnet) -> None:
    text = net.as_text()
    exports = [line for line in text.splitlines() if line.startswith("export ")]
    shell = subprocess.run(
        ["sh", "-c", "\n".join([*exports, "env"])], capture_output=True, text=True, check=True
    )
    env = dict(line.split("=", 1) for line in shell.stdout.splitlines() if "=" in line)
    assert env["FARTHING_RPC"] == net.url
    assert env["FARTHING_CHAIN_ID"] == "31337"
    assert env["FARTHING_TOKEN"] == net.token
    assert env["FARTHING_KEY"] == ANVIL_KEYS[0]
    assert env["PAYER_KEY"] == ANVIL_KEYS[1]
    for payer in net.payers:
        assert payer.address in text


def test_command__port_in_use_is_one_sentence() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with command("--port", str(port)) as process:
            out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert err == (
        f"farthing: port {port} of 127.0.0.1 cannot be used (address already in use): choose "
        "another with --port.\n"
    )


def test_command__port_of_a_chain_just_stopped() -> None:
    """Connections of the one before linger for a minute on the port, and do not count."""
    port = free_port()
    for _ in range(2):
        with devnet(port) as net:
            assert net.w3.eth.chain_id == 31_337


@pytest.mark.parametrize("port", ["0", "65536", "-1", "eight"])
def test_command__port_that_is_none(port: str) -> None:
    with command("--port", port) as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (2, "")
    assert "Invalid value for '--port'" in err


def test_give_coins__the_account_owns_so_many(net: Devnet) -> None:
    net.give_coins("0x" + "ab" * 20, 12_345)
    assert net.w3.eth.get_balance(net.w3.to_checksum_address("0x" + "ab" * 20)) == 12_345


def test_mine__so_many_blocks_more(net: Devnet) -> None:
    before = net.w3.eth.block_number
    net.mine(3)
    assert net.w3.eth.block_number == before + 3
